"""A merge computed a second time, from its definition, by none of the code that wrote it: so that its gate can fail.

Each adapter's own W'ᵢ is what peft makes of the base in fp64, the combination is numpy's in fp64, and what was written is read
back by transformers. Of tensors drawn by seed every entry is compared; what no adapter touches must be the base's own.

Entries whose choice hangs on the last bits (a magnitude at the threshold of `ties`, votes that cancel) are not decided by either
computation and are left out; they are counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peft_registry.registry.verification.merge_definitions import (
    RELATIVE,
    ROUNDING,
    Array,
    Expected,
    MergedPart,
    expected_by_definition,
)
from peft_registry.schemas.errors import RunFailed
from peft_registry.schemas.merge import Algorithm
from peft_registry.trainer.machine.seeding import rank_by_hash
from peft_registry.trainer.merge.names import ModelNames, Placed

MAX_ENTRIES = 1 << 24  # that are drawn, over all tensors: 128 MiB in fp64 for each adapter


class MergeNotReproduced(RunFailed):
    what = "the merged model is not what {algorithm} defines: tensor {tensor!r}"
    why = "{wrong} of {entries} compared entries differ from a second computation in fp64, by {largest:.3g} at most"
    fix = "report this as a bug; nothing was registered"

    algorithm: str
    tensor: str
    wrong: int
    entries: int
    largest: float


class MergeNotComparable(RunFailed):
    what = "the merged model cannot be computed a second time"
    why = "{reason}"
    fix = "merge with --algorithm linear, which is compared with the adapters side by side; nothing was registered"

    reason: str


@dataclass(frozen=True, slots=True)
class Reproduced:
    """What agreed: `values` of the drawn tensors by name of the checkpoint, `touched` of how many, entries left out."""

    values: Mapping[str, Array]
    touched: int
    compared: int
    undecided: int


# --- what peft and transformers say ---


def changed_by_peft(base_model: Any, folder: Path, wanted: Mapping[str, Placed]) -> dict[str, Array]:
    """Tensors of the checkpoint after peft merged one adapter into the base, in fp64; `base_model` is of no use afterwards.

    Args:
        base_model: of transformers, fp32.
        folder: of the adapter.
        wanted: tensors by name of the checkpoint, and where the model has them.
    """
    import warnings

    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    parameters = {place.parameter for place in wanted.values()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about embeddings that nobody who merges can act on
        wrapped = PeftModel.from_pretrained(base_model, folder)
        for name, module in wrapped.named_modules():
            own = f"{name.removeprefix('base_model.model.')}."
            if isinstance(module, BaseTunerLayer) and any(name.startswith(own) for name in parameters):
                module.double()
        state = wrapped.merge_and_unload().state_dict()
    return tensors_of(state, wanted)


def tensors_of(state: Mapping[str, Any], wanted: Mapping[str, Placed]) -> dict[str, Array]:
    """The wanted tensors, cut out of a model's state, fp64."""
    changes = {}
    for name, place in wanted.items():
        whole = state[place.parameter].detach()
        part = whole if place.expert is None else whole[place.expert]
        if place.rows is not None:
            part = part[place.rows[0] : place.rows[1]]
        changes[name] = part.double().numpy().copy()
    return changes


def put_into(state: Mapping[str, Any], places: Mapping[str, Placed], values: Mapping[str, Array]) -> None:
    """Write tensors into the parameters of a model's state."""
    import torch

    for name, place in places.items():
        whole = state[place.parameter].detach()
        part = whole if place.expert is None else whole[place.expert]
        if place.rows is not None:
            part = part[place.rows[0] : place.rows[1]]
        part.copy_(torch.from_numpy(values[name]))


def drawn_tensors(
    touched: Sequence[str], shapes: Mapping[str, int], placed: Mapping[str, Placed], *, seed: int
) -> dict[str, Placed]:
    """Changed tensors in an order that only the seed decides, until `MAX_ENTRIES` are reached; one at least of each kind.

    Args:
        touched: names that an adapter changes.
        shapes: entries of each.
        placed: where the model has them.
        seed: of the draw.
    """
    order = [touched[at] for at in rank_by_hash(len(touched), seed=seed, purpose="second computation")]
    chosen: dict[str, Placed] = {}
    kinds: set[str] = set()
    entries = 0
    for name in order:
        kind = ".".join(name.split(".")[-2:])
        if kind in kinds and entries + shapes[name] > MAX_ENTRIES:
            continue
        kinds.add(kind)
        entries += shapes[name]
        chosen[name] = placed[name]
    return chosen


def places_in_model(names: ModelNames, touched: Sequence[str]) -> dict[str, Placed]:
    """Where the model has each changed tensor; a head that became a tensor of its own is a parameter of that name."""
    known = {name: place for name, place in names.placed.items() if place.refusal is None}
    return {name: known.get(name, Placed(name)) for name in touched}


# --- the comparison ---


def reproduce(
    algorithm: Algorithm,
    *,
    base: Mapping[str, Array],
    changed: Sequence[tuple[MergedPart, Mapping[str, Array]]],
    written: Mapping[str, Array],
    touched: int,
    seed: int,
) -> Reproduced:
    """Compare what was written, in fp32, with the definition; every mapping has the same tensors.

    Raises:
        MergeNotReproduced: an entry differs by more than rounding.
        MergeNotComparable: there is nothing to compare, or no entry that either computation decides.
    """
    if not written:
        raise MergeNotComparable("no tensor that its adapters change is one that peft changes under the same name")
    values: dict[str, Array] = {}
    compared = undecided = 0
    for name in written:
        parts = [(part, tensors[name]) for part, tensors in changed]
        expected = expected_by_definition(algorithm, base[name], parts, tensor=name, seed=seed)
        _require_equal(algorithm, name, expected, written[name])
        values[name] = np.where(expected.decided, expected.values, written[name])
        compared += int(expected.decided.sum())
        undecided += int(expected.decided.size - expected.decided.sum())
    if not compared:
        raise MergeNotComparable(
            "every entry hangs on the last bits of its numbers: the adapters change almost nothing"
        )
    return Reproduced(values, touched, compared, undecided)


def _require_equal(algorithm: Algorithm, name: str, expected: Expected, written: Array) -> None:
    off = np.abs(written - expected.values)
    allowed = 2 * expected.tolerance + ROUNDING * np.abs(expected.values)
    wrong = expected.decided & ~(off <= allowed)  # not-a-number is wrong as well
    if wrong.any():
        largest = float(off[wrong].max())
        raise MergeNotReproduced(algorithm, name, int(wrong.sum()), int(expected.decided.sum()), largest)


def require_best_approximation(exact: Array, result: Array, *, algorithm: str, tensor: str, rank: int | None) -> None:
    """Raise unless a low-rank result is as near to the exact sum as its rank allows (Eckart and Young), and equal without one.

    Raises:
        MergeNotReproduced: it is farther away.
    """
    error = float(np.linalg.norm(exact - result))
    values = np.linalg.svd(exact, compute_uv=False)
    tail = 0.0 if rank is None else float(np.linalg.norm(values[rank:]))
    if not error <= tail + RELATIVE * float(np.linalg.norm(values)):
        raise MergeNotReproduced(algorithm, tensor, exact.size, exact.size, error)


def untouched_but_changed(
    base: Mapping[str, Any], written: Mapping[str, Any], touched: frozenset[str]
) -> Iterator[str]:
    """Parameters that no adapter changes and that are not the base's own all the same."""
    import torch

    for name in base.keys() & written.keys() - touched:
        if base[name].shape != written[name].shape or not torch.equal(base[name], written[name]):
            yield name
