"""Intervals of figures over several trainings: seeds are a sample, and so are the items or rows that every one of them is asked.

Both move a figure. So its variance is that of leaving out one row in all seeds plus that of leaving out one seed with all its rows
(Cameron, Gelbach and Miller 2011, without the term that is taken off: what rows do in single seeds counts twice). The degrees of
freedom are Satterthwaite's, and those of the seeds alone where the seeds' part is the larger: of three seeds that part is often far
too small by chance, and Satterthwaite's number then far too large. The range from the lowest to the highest seed is not an
interval: of two seeds it holds the mean of all seeds every other time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from peft_registry.registry.evaluation.intervals import (
    clopper_pearson,
    hall,
    jackknife_variance,
    ratio_skewness,
    student,
)
from peft_registry.registry.evaluation.sign_flips import FEW_MOVED, clusters_needed
from peft_registry.registry.evaluation.statistics import NoInterval, normal_quantile
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Interval

MIN_SEEDS = 3  # with two Student's t stretches a spread 13-fold
MIN_ITEMS = 10
MIN_ROWS = 50  # below, rows with a long tail are covered in 86 %, however the interval is widened
STUDENT = code("student_over_seeds")
ROWS_AND_SEEDS = code("jackknife_over_rows_and_seeds")
ITEMS_AND_SEEDS = code("korn_graubard_over_items_and_seeds")

_Part = tuple[float, float]  # a variance and its degrees of freedom


@dataclass(frozen=True, slots=True)
class ShareOverSeeds:
    """A share of items, its interval or why there is none, and the lowest and highest of the trainings' own shares."""

    value: float
    interval: Interval | NoInterval
    lowest: float
    highest: float


def share_over_seeds(counts: Sequence[tuple[int, int]], level: float = 0.95) -> ShareOverSeeds | None:
    """(hits, asked) of each seed, over all of them; None where nothing was asked.

    Every seed is asked the same items, and the most that one was asked are how many there are.
    """
    kept = [(part, whole) for part, whole in counts if whole]
    if not kept:
        return None
    hits, asked = (np.asarray(side, dtype=np.float64) for side in zip(*kept, strict=True))
    shares = hits / asked
    interval = _share_interval(hits, asked, float(asked.max()), level)
    return ShareOverSeeds(float(hits.sum() / asked.sum()), interval, float(shares.min()), float(shares.max()))


def mean_over_seeds(values: Sequence[float], level: float = 0.95) -> Interval | NoInterval:
    """Student's interval of the mean of one figure a seed."""
    if len(values) < MIN_SEEDS:
        return _too_few(len(values))
    half = student(len(values) - 1, level) * math.sqrt(float(np.var(values, ddof=1)) / len(values))
    middle = fmean(values)
    return Interval(method=STUDENT, level=level, low=middle - half, high=middle + half)


def ratio_over_rows_and_seeds(
    tops: Sequence[Sequence[int]], bottoms: Sequence[Sequence[int]], level: float = 0.95
) -> Interval | NoInterval:
    """Of Σtops / Σbottoms; a sequence a seed, all of them over the same rows in one order."""
    if len(tops) < MIN_SEEDS:
        return _too_few(len(tops))
    top, bottom = np.asarray(tops, dtype=np.float64), np.asarray(bottoms, dtype=np.float64)  # (seeds, rows)
    if top.shape[1] < MIN_ROWS:
        return NoInterval(code("too_few_rows", rows=top.shape[1], needs=MIN_ROWS))
    seeds, rows = top.shape
    of_rows = jackknife_variance(top.sum(0), bottom.sum(0)), rows - 1
    of_seeds = jackknife_variance(top.sum(1), bottom.sum(1)), seeds - 1
    variance = of_rows[0] + of_seeds[0]
    # third moments add up as variances do; that of so few seeds is not estimated, and counts as none
    skewness = ratio_skewness(top.sum(0), bottom.sum(0)) * (of_rows[0] / variance) ** 1.5 if variance > 0 else 0.0
    t = student(_degrees_of_freedom(of_rows, of_seeds), level)
    low, high = (hall(end, skewness, rows) for end in (t, -t))
    ratio = float(top.sum() / bottom.sum())
    error = math.sqrt(variance)
    return Interval(
        method=ROWS_AND_SEEDS,
        level=level,
        low=ratio - max(t, low) * error,
        high=ratio - min(-t, high) * error,
    )


def change_over_seeds(changes: Sequence[Sequence[int]], full: int, level: float = 0.95) -> Interval | NoInterval:
    """Of the mean of changes; a sequence a seed, all of them over the same rows in one order, in units of which `full` are one.

    Where fewer rows changed than a test of changes needs, their spread says nothing about those that could have. Then of answers
    that are right or wrong the exact ends of the shares that went up and down stand, and other figures have no interval.
    """
    needed = clusters_needed(1 - level)
    moved = sum(any(row) for row in zip(*changes, strict=True))
    if moved >= needed:
        return ratio_over_rows_and_seeds(changes, [(full,) * len(seed) for seed in changes], level)
    if any(abs(change) not in (0, full) for seed in changes for change in seed):
        return NoInterval(code("too_few_clusters", clusters=moved, needs=needed))
    up, down = (share_over_seeds([(seed.count(sign * full), len(seed)) for seed in changes], level) for sign in (1, -1))
    if up is None or down is None:
        return NoInterval(code("no_items"))
    if isinstance(up.interval, NoInterval) or isinstance(down.interval, NoInterval):
        return up.interval
    return Interval(
        method=FEW_MOVED, level=level, low=-down.interval.high, high=up.interval.high, clusters=len(changes)
    )


def _share_interval(
    hits: NDArray[np.float64], asked: NDArray[np.float64], items: float, level: float
) -> Interval | NoInterval:
    """Clopper-Pearson's ends for as many independent items as vary as these do: Korn and Graubard 1998."""
    seeds = len(hits)
    if seeds < MIN_SEEDS:
        return _too_few(seeds)
    if items < MIN_ITEMS:
        return NoInterval(code("too_few_items", items=items, needs=MIN_ITEMS))
    share = float(hits.sum() / asked.sum())
    of_items = share * (1 - share) / items, items - 1
    of_seeds = jackknife_variance(hits, asked), seeds - 1
    variance = of_items[0] + of_seeds[0]
    effective, freedom = items, items - 1  # where every item is hit, or none
    if variance > 0:
        effective = share * (1 - share) / variance
        freedom = _degrees_of_freedom(of_items, of_seeds)
    effective *= (normal_quantile(level) / student(max(freedom, 1.0), level)) ** 2
    low, high = clopper_pearson(share * effective, effective, level)
    return Interval(method=ITEMS_AND_SEEDS, level=level, low=low, high=high, clusters=seeds)


def _degrees_of_freedom(of_items: _Part, of_seeds: _Part) -> float:
    """Of the sum of both variances."""
    parts = (of_items, of_seeds)
    whole = sum(variance for variance, _ in parts)
    if whole == 0 or of_seeds[0] >= of_items[0]:
        return of_seeds[1]
    return whole**2 / sum(variance**2 / freedom for variance, freedom in parts)


def _too_few(seeds: int) -> NoInterval:
    return NoInterval(code("too_few_seeds", seeds=seeds, needs=MIN_SEEDS))
