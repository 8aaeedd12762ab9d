"""Which stretches of a training are run again, and what binds the states at their ends."""

import hashlib
from collections import Counter

import pytest
from pydantic import ValidationError

from peft_registry.registry.transparency.run_states import bound_states, drawn_stretches, root_of_states
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run_states import KeptState, RunStates


def states(count: int = 5) -> RunStates:
    kept = tuple(KeptState(step=10 * at, sha256=Digest.of(b"%d" % at), bytes=7) for at in range(count))
    return RunStates(run_id="run-1", states=kept)


def test_the_root_is_that_of_rfc_9162_over_the_states_as_canonical_json() -> None:
    leaves = [
        hashlib.sha256(b"\0" + canonical_bytes({"step": kept.step, "sha256": str(kept.sha256), "bytes": 7})).digest()
        for kept in states(3).states
    ]
    left = hashlib.sha256(b"\1" + leaves[0] + leaves[1]).digest()
    assert root_of_states(states(3)).hex == hashlib.sha256(b"\1" + left + leaves[2]).hexdigest()
    bound = bound_states(states(3), {})
    assert (bound.stretches, bound.bytes, bound.root) == (2, 21, root_of_states(states(3)))


def test_another_digit_of_any_state_has_another_root() -> None:
    whole = states()
    roots = {root_of_states(whole)}
    for at, kept in enumerate(whole.states):
        for change in ({"sha256": Digest.of(b"other")}, {"bytes": 8}, {"step": kept.step + 1}):
            if at == 0 and "step" in change:
                continue  # the first is of step 0
            changed = (*whole.states[:at], kept.revised(**change), *whole.states[at + 1 :])
            roots.add(root_of_states(whole.revised(states=changed)))
    assert len(roots) == 1 + 3 * 5 - 1


@pytest.mark.parametrize("steps", [(1, 2), (0, 2, 2), (0, 3, 2)])
def test_a_list_that_does_not_begin_before_the_first_step_or_goes_back_is_none(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError, match="step 0, and each is later"):
        RunStates(run_id="r", states=tuple(KeptState(step=step, sha256=Digest.of(b""), bytes=0) for step in steps))


def test_every_stretch_is_drawn_equally_often_and_by_the_log_and_the_states_alone() -> None:
    bound = bound_states(states(), {})
    logs = [hashlib.sha256(b"%d" % number).digest() for number in range(2_000)]
    drawn = Counter(stretch for root in logs for stretch in drawn_stretches(bound, root, 2))
    assert sorted(drawn) == [0, 1, 2, 3]
    assert all(900 < times < 1_100 for times in drawn.values()), drawn
    assert drawn_stretches(bound, logs[0], 2) == drawn_stretches(bound, logs[0], 2)
    others = bound_states(states().revised(states=(*states().states[:-1], states().states[-1].revised(bytes=8))), {})
    assert any(drawn_stretches(bound, root, 2) != drawn_stretches(others, root, 2) for root in logs[:20])


def test_no_more_are_drawn_than_there_are() -> None:
    assert drawn_stretches(bound_states(states(), {}), b"log", 9) == (0, 1, 2, 3)
