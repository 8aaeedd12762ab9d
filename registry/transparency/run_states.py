"""The states of a training that are run again: what binds their list, and which stretches are drawn. Pure.

Nobody may know which stretches will be drawn while the states can still be made up. So they follow from the list, which the record
of the run binds, and from a checkpoint of the log that was signed after that record was in it.
"""

import hashlib
from collections.abc import Mapping

from peft_registry.registry.transparency import merkle
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run_states import BoundStates, RunStates

_DRAWN = b"peft-registry:drawn-stretches:v1\n"


def bound_states(states: RunStates, arithmetic: Mapping[str, str]) -> BoundStates:
    """What the record of a run says of its states, and of the machine that computed them."""
    return BoundStates(
        stretches=len(states.states) - 1,
        bytes=sum(state.bytes for state in states.states),
        root=root_of_states(states),
        arithmetic=dict(arithmetic),
    )


def root_of_states(states: RunStates) -> Digest:
    """The root of the Merkle tree over a list of states."""
    return Digest(merkle.root_of(state.to_canonical() for state in states.states).hex())


def drawn_stretches(bound: BoundStates, log_root: bytes, count: int) -> tuple[int, ...]:
    """The stretches to run again, from 0 and in their order; all where there are no more than `count`.

    Args:
        bound: what the record of the run says.
        log_root: of a checkpoint that was signed after the record was logged.
        count: how many are wanted.
    """
    draw = hashlib.sha256(_DRAWN + bytes.fromhex(bound.root.hex) + log_root).digest()
    lots = {stretch: hashlib.sha256(draw + stretch.to_bytes(8, "big")).digest() for stretch in range(bound.stretches)}
    return tuple(sorted(sorted(lots, key=lots.__getitem__)[:count]))
