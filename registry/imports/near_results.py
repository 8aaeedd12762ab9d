"""How near what is offered lies to a result that is registered: the same but for a few numbers, near, or neither.

Tensors are compared one by one, those of an adapter as they are, those of a whole model by what they change in its base; of each
the share of elements that agree to 8 bits, and the sine of the angle between the two. Of each kind of tensor the median counts, and
all kinds have to agree: adapters that began with one seed share their first factors and nothing else, and one number that was made
huge moves one tensor alone. What was scaled is found by the angle. Not found is what was mixed with something else, or was given
another rank: that nothing is near shows nothing.
"""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.imports.relation import sampled_runs
from peft_registry.registry.imports.tensor_values import values_of
from peft_registry.registry.imports.weights_scan import THRESHOLDS
from peft_registry.registry.intake.safetensors import TensorSpan, read_open_header
from peft_registry.schemas.identity import Digest

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_Stored = tuple[OpenFile, TensorSpan]
_AGREE = 2.0**-8  # relative difference of two numbers that one rounding to bfloat16 can make of one


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the kind of tensor that agrees least: the median share of equal elements, and the median sine of the angle."""

    equal_share: float
    sine: float

    @property
    def verdict(self) -> Literal["the same", "near", "neither"]:
        """What is said of it, by the thresholds."""
        limits = _thresholds()
        if self.equal_share >= limits["same_equal_share_at_least"] or self.sine <= limits["same_sine_at_most"]:
            return "the same"
        return "near" if self.sine <= limits["near_sine_at_most"] else "neither"


@lru_cache(maxsize=1)
def _thresholds() -> Mapping[str, float]:
    limits: Mapping[str, float] = json.loads(THRESHOLDS.read_text())["result"]
    return limits


def agreement_of(
    offered: Sequence[Path], result: Sequence[Path], *, seed: Digest, base: Sequence[Path] | None = None
) -> Agreement | None:
    """How far two sets of safetensors files agree; None where a kind of tensor says nothing.

    Args:
        offered: files of what is offered.
        result: files of what is registered, with tensors of the same names and shapes.
        seed: of the sample of large tensors: the digest of what is offered.
        base: files of the base, for whole models: what is compared is what was changed in it.

    Raises:
        MalformedWeights, FileMissing, FileChanged, FileUnreadable: as `read_open_header`.
    """
    with ExitStack() as stack:
        offered_tensors = _tensors(stack, offered)
        result_tensors = _tensors(stack, result)
        own_base = None if base is None else _tensors(stack, base)
        kinds: dict[str, list[Agreement]] = {}
        for name in sorted(offered_tensors.keys() & result_tensors.keys()):
            if own_base is not None and name not in own_base:
                continue
            before = None if own_base is None else own_base[name]
            agreement = _agreement(offered_tensors[name], result_tensors[name], before, seed=f"{seed} {name}")
            if agreement is not None:
                kinds.setdefault("changed" if own_base is not None else _kind(name), []).append(agreement)
        if not kinds or (own_base is None and kinds.keys() != {_kind(name) for name in offered_tensors}):
            return None
    of_kinds = [
        Agreement(
            median(agreement.equal_share for agreement in agreements),
            median(agreement.sine for agreement in agreements),
        )
        for agreements in kinds.values()
    ]
    # a kind that is the same by its share may have any angle: one huge number is enough for that
    return max(of_kinds, key=lambda agreement: (_ORDER.index(agreement.verdict), agreement.sine))


_ORDER = ("the same", "near", "neither")


def _kind(name: str) -> str:
    """`lora_A`, `lora_B`, `ia3_l` …: the last part of a name that is not `weight`."""
    return name.removesuffix(".weight").rpartition(".")[2]


def _tensors(stack: ExitStack, files: Sequence[Path]) -> dict[str, _Stored]:
    tensors: dict[str, _Stored] = {}
    for path in files:
        file = stack.enter_context(reading(path))
        tensors |= {span.name: (file, span) for span in read_open_header(file, family="intake").tensors}
    return tensors


def _agreement(offered: _Stored, result: _Stored, base: _Stored | None, *, seed: str) -> Agreement | None:
    """None where the tensors cannot be compared, or the registered one is zero, or changes nothing."""
    import numpy as np

    count = min(_elements(stored) for stored in (offered, result, *(() if base is None else (base,))))
    runs = sampled_runs(count, most=int(_thresholds()["elements_of_a_tensor"]), seed=seed)
    offered_values = values_of(*offered, runs=runs)
    result_values = values_of(*result, runs=runs)
    if offered_values is None or result_values is None:
        return None
    if base is not None:
        before = values_of(*base, runs=runs)
        if before is None:
            return None
        offered_values = offered_values - before
        result_values = result_values - before
    nonzero = result_values != 0
    if not nonzero.any() or not np.isfinite(offered_values).all():
        return None
    equal = np.abs(offered_values - result_values)[nonzero] <= _AGREE * np.abs(result_values[nonzero])
    return Agreement(float(equal.mean()), _sine(offered_values, result_values))


def _elements(stored: _Stored) -> int:
    return math.prod(stored[1].shape)


def _sine(vector: "Array", reference: "Array") -> float:
    """The sine of the angle between two vectors; 1 where one of them is zero."""
    import numpy as np

    # scaled first: squares of the largest doubles are infinite
    largest = float(np.abs(vector).max())
    if largest == 0:
        return 1.0
    vector = vector / largest
    reference = reference / float(np.abs(reference).max())
    along = float(vector @ reference) / float(reference @ reference)
    rest = vector - along * reference  # what is left of it beside the other: exact where both are nearly one
    return float(np.sqrt((rest @ rest) / (vector @ vector)))
