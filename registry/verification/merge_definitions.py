"""What each merge algorithm defines of one tensor, in fp64 and by numpy alone: for whoever checks a merge, with torch or without.

None of it is the code that merges, so that the two can disagree.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peft_registry.schemas.merge import Algorithm

ROUNDING = 2.0**-21  # of W in fp32, a few last places: what W' − W loses where a method gives W' itself
RELATIVE = 1e-5  # of the largest difference: products of factors in fp32

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MergedPart:
    """One adapter of the merge as it was asked for: its folder, the digest that seeds its random choice, its numbers."""

    folder: Path
    identity: str
    weight: float
    density: float


@dataclass(frozen=True, slots=True)
class Expected:
    """One tensor by definition: its values, how far fp32 may be from them, and which entries are compared."""

    values: Array
    tolerance: Array
    decided: NDArray[np.bool_]


def expected_by_definition(
    algorithm: Algorithm, base: Array, changed: Sequence[tuple[MergedPart, Array]], *, tensor: str, seed: int
) -> Expected:
    """W + Δ of one tensor (Ilharco et al. 2023; Yadav et al. 2023; Yu et al. 2023), each adapter's W'ᵢ given.

    `tensor` and `seed` draw what dare keeps.
    """
    differences = [values - base for _, values in changed]
    unsure = [RELATIVE * np.abs(difference).max(initial=0.0) + ROUNDING * np.abs(base) for difference in differences]
    decided = np.ones(base.shape, dtype=bool)
    kept = list(differences)
    for at, (part, _) in enumerate(changed):
        if algorithm == "ties":
            threshold = _smallest_kept(differences[at], part.density)
            magnitude = np.abs(differences[at])
            kept[at] = np.where(magnitude >= threshold, differences[at], 0.0)
            if part.density < 1:
                decided &= (np.abs(magnitude - threshold) > 2 * unsure[at]) | (magnitude == 0)
        elif algorithm != "linear":
            kept[at] = differences[at] * _drawn(part, differences[at].shape, tensor, seed) / part.density
            unsure[at] = unsure[at] / part.density
    votes = [part.weight * change for (part, _), change in zip(changed, kept, strict=True)]
    doubt: Array = np.sum(
        [abs(part.weight) * doubt_of_part for (part, _), doubt_of_part in zip(changed, unsure, strict=True)], axis=0
    )
    total: Array = np.sum(votes, axis=0)
    if algorithm in ("linear", "dare"):
        return Expected(base + total, doubt, decided)
    sizes = np.sum(
        [abs(part.weight) * _agrees(vote, total) for (part, _), vote in zip(changed, votes, strict=True)], axis=0
    )
    agreeing = np.sum([np.where(_agrees(vote, total), vote, 0.0) for vote in votes], axis=0)
    average = np.divide(agreeing, sizes, out=np.zeros_like(agreeing), where=sizes > 0)
    # votes that are themselves below the rounding of fp32 may count or not
    for vote, (part, _), off in zip(votes, changed, unsure, strict=True):
        decided &= (vote == 0) | (np.abs(vote) > 2 * abs(part.weight) * off)
    decided &= (np.abs(total) > 2 * doubt) | (sizes == 0)
    return Expected(base + average, np.max(unsure, axis=0), decided)


def _agrees(vote: Array, total: Array) -> NDArray[np.bool_]:
    agrees: NDArray[np.bool_] = vote * total > 0
    return agrees


def _smallest_kept(delta: Array, density: float) -> float:
    """The magnitude of the last entry that trimming keeps."""
    count = max(1, math.floor(density * delta.size))
    return float(np.partition(np.abs(delta).ravel(), delta.size - count)[delta.size - count])


def _drawn(part: MergedPart, shape: tuple[int, ...], tensor: str, seed: int) -> NDArray[np.bool_]:
    """Which entries dare keeps: half words of PCG64 below density · 2³², the lower half of each first."""
    count = math.prod(shape)
    if part.density >= 1:
        return np.ones(shape, dtype=bool)
    text = f"{seed}:dare:{part.identity}:{tensor}"
    start = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    words = np.random.PCG64(start).random_raw((count + 1) // 2)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1).ravel()[:count]
    return (halves < np.uint64(round(part.density * 2**32))).reshape(shape)
