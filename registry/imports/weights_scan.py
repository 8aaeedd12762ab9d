"""What the weights of an adapter show a reader: an update that is zero, and updates far from those of its other modules.

Weights are read through numpy, a module at a time. NaN and infinity are refused where the weights are hashed. None of this finds
behaviour that somebody planted: a backdoor has ordinary weights.
"""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.imports.tensor_values import values_of
from peft_registry.registry.intake.safetensors import TensorSpan, read_open_header
from peft_registry.schemas.imports import Finding

THRESHOLDS = Path(__file__).with_name("thresholds.json")
_B_OF_A = (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"))


@dataclass(frozen=True, slots=True)
class _Update:
    """The Frobenius norm of B·A of one module, without its scale, which is the same for all of them."""

    module: str
    norm: float


def scan_weights(path: Path) -> tuple[Finding, ...]:
    """What the low-rank factors in a safetensors file show; nothing for a method that has none.

    Raises:
        MalformedWeights, FileChanged, FileUnreadable: as `read_open_header`.
    """
    with reading(path) as file:
        header = read_open_header(file, family="intake")
        spans = {span.name: span for span in header.tensors}
        updates = [
            _Update(name, norm)
            for name, first, second in factor_pairs(spans)
            if (norm := _norm_of_product(file, first, second)) is not None
        ]
    if not updates:
        return ()
    return (*_zero(updates), *_outliers(updates))


def factor_pairs(spans: Mapping[str, TensorSpan]) -> list[tuple[str, TensorSpan, TensorSpan]]:
    """The low-rank factors A and B among the tensors of an adapter, with the name of the module that they are of."""
    pairs = []
    for name, span in spans.items():
        for first, second in _B_OF_A:
            other = spans.get(name.replace(f".{first}", f".{second}"))
            if f".{first}" in name and other is not None and other is not span:
                pairs.append((name.partition(f".{first}")[0], span, other))
    return pairs


def _norm_of_product(file: OpenFile, first: TensorSpan, second: TensorSpan) -> float | None:
    """‖B·A‖ from the two small Gram matrices: tr(BᵀB·AAᵀ). None for types and shapes that numpy does not hold."""
    if len(first.shape) != 2 or len(second.shape) != 2 or first.shape[0] != second.shape[1]:
        return None
    flat_a = values_of(file, first)
    flat_b = values_of(file, second)
    if flat_a is None or flat_b is None:
        return None
    import numpy as np

    # scaled first: squares of the largest doubles are infinite
    scales = [float(np.abs(flat).max(initial=0.0)) or 1.0 for flat in (flat_a, flat_b)]
    a = flat_a.reshape(first.shape) / scales[0]
    b = flat_b.reshape(second.shape) / scales[1]
    square = float(((b.T @ b) * (a @ a.T)).sum())
    norm = math.sqrt(max(square, 0.0)) * scales[0] * scales[1]
    return min(norm, sys.float_info.max)


def _zero(updates: list[_Update]) -> tuple[Finding, ...]:
    zero = [update.module for update in updates if update.norm == 0]
    if not zero:
        return ()
    if len(zero) == len(updates):
        text = "every update is zero: with this adapter the base answers as it does without"
        return (Finding(kind="zero-update", text=text),)
    text = f"{len(zero)} of {len(updates)} updates are zero, so that these modules are as in the base"
    return (Finding(kind="zero-update", text=text, place=zero[0]),)


def _outliers(updates: list[_Update]) -> tuple[Finding, ...]:
    norms = [update.norm for update in updates if update.norm > 0]
    if len(norms) < 2:
        return ()
    most = float(json.loads(THRESHOLDS.read_text())["update_norm_over_median"])
    middle = median(norms)
    far = [update for update in updates if update.norm > most * middle]
    return tuple(
        Finding(
            kind="norm-outlier",
            text=f"the update has {update.norm / middle:.3g} times the norm of the median of all modules",
            place=update.module,
        )
        for update in sorted(far, key=lambda update: -update.norm)[:5]
    )
