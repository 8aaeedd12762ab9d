"""Intervals and tests for rates and paired changes, in closed form, numpy and the standard library.

Sources: Wilson 1927; McNemar 1947 (continuity-corrected χ² and exact binomial); Holm 1979; Agresti & Min 2005; the
percentile bootstrap over clusters. Sums are of whole numbers and random numbers come raw from PCG64, whose stream numpy
promises never to change, so another machine and another year give the same figures.
An interval that cannot be given is a value with its reason.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import Interval

DEFAULT_DRAWS = 2000  # percentile bootstrap; 10,000 where the last digit is quoted
MIN_CLUSTERS = 10  # fewer clusters say too little about clusters not seen
MIN_DISCORDANT = 6  # at 5 the smallest two-sided exact p is 0.0625
EXACT_BELOW = 25  # discordant items; from here on the corrected χ² is used
MAX_EMPTY_DRAWS = 0.05  # share of draws that may lack a denominator
WILSON = code("wilson")
AGRESTI_MIN = code("agresti_min")
MCNEMAR_EXACT = code("mcnemar_exact")
MCNEMAR_CORRECTED = code("mcnemar_chi2_corrected")
_INDICES_AT_ONCE = 1 << 21  # 16 MiB of indices


@dataclass(frozen=True, slots=True)
class NoInterval:
    """There is no interval, because …"""

    reason: Code


@dataclass(frozen=True, slots=True)
class McNemar:
    """The result of a McNemar test; `p` is None with a reason when no result below 0.05 is possible."""

    name: Code
    p: float | None
    null_reason: Code | None = None


def wilson(k: float, n: float, level: float = 0.95) -> Interval | NoInterval:
    """Wilson's score interval for k of n; treats items as independent."""
    if n == 0:
        return NoInterval(code("no_items"))
    z = normal_quantile(level)
    p = k / n
    scale = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else centre - half
    high = 1.0 if k == n else centre + half
    return Interval(method=WILSON, level=level, low=low, high=high)


def agresti_min(b: float, c: float, n: float, level: float = 0.95) -> Interval | NoInterval:
    """Interval for the paired difference (c − b)/n, with ½ added to each of the four cells.

    Args:
        b: items that were flagged and are clear now.
        c: items that were clear and are flagged now.
        n: all items.
        level: of confidence.
    """
    if n == 0:
        return NoInterval(code("no_items"))
    total = n + 2
    difference = (c - b) / total
    error = math.sqrt((b + c + 1) - (c - b) ** 2 / total) / total
    half = normal_quantile(level) * error
    return Interval(method=AGRESTI_MIN, level=level, low=max(-1.0, difference - half), high=min(1.0, difference + half))


def mcnemar(b: int, c: int) -> McNemar:
    """McNemar's two-sided test on discordant counts: not testable below 6, exact below 25, corrected χ² from there."""
    if b + c < MIN_DISCORDANT:
        return McNemar(MCNEMAR_EXACT, None, code("not_testable", discordant=b + c, needs=MIN_DISCORDANT))
    if b + c < EXACT_BELOW:
        return McNemar(MCNEMAR_EXACT, mcnemar_exact(b, c))
    return McNemar(MCNEMAR_CORRECTED, mcnemar_corrected(b, c))


def mcnemar_exact(b: int, c: int) -> float:
    """min(1, 2·P[Bin(b+c, ½) ≤ min(b, c)]), from whole numbers."""
    n = b + c
    tail: int = sum(math.comb(n, i) for i in range(min(b, c) + 1))
    return min(1.0, float(Fraction(2 * tail, 1 << n)))


def mcnemar_mid_p(b: int, c: int) -> float | None:
    """The exact p less the probability of the observed split (Fagerland et al. 2013: less conservative); None below 6.

    Where b = c the exact p is cut at 1, and half of that probability is taken from it.
    """
    n = b + c
    if n < MIN_DISCORDANT:
        return None
    observed = float(Fraction(math.comb(n, min(b, c)), 1 << n))
    if b == c:
        return 1.0 - observed / 2
    return mcnemar_exact(b, c) - observed


def mcnemar_corrected(b: int, c: int) -> float:
    """The upper tail of χ² with one degree of freedom at (|b−c|−1)²/(b+c); b + c > 0."""
    statistic = max(0, abs(b - c) - 1) ** 2 / (b + c)
    return math.erfc(math.sqrt(statistic / 2))


def pearson(points: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's correlation; None for fewer than three points or where one side does not vary."""
    if len(points) < 3:
        return None
    mean_x = math.fsum(x for x, _ in points) / len(points)
    mean_y = math.fsum(y for _, y in points) / len(points)
    covariance = math.fsum((x - mean_x) * (y - mean_y) for x, y in points)
    variances = math.fsum((x - mean_x) ** 2 for x, _ in points) * math.fsum((y - mean_y) ** 2 for _, y in points)
    if variances > 0:
        return covariance / math.sqrt(variances)
    return None  # one side does not vary


def spearman(points: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None as for `pearson`."""
    ranks_x = _ranks([x for x, _ in points])
    ranks_y = _ranks([y for _, y in points])
    return pearson(list(zip(ranks_x, ranks_y, strict=True)))


def _ranks(values: Sequence[float]) -> list[float]:
    positions: dict[float, list[int]] = {}  # of equal values: their mean is the rank of each
    for position, value in enumerate(sorted(values)):
        positions.setdefault(value, []).append(position)
    return [sum(positions[value]) / len(positions[value]) for value in values]


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p-values, in the order given; each is at least the raw one."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        # stepping down: no adjusted p may be smaller than that of a smaller raw p
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return tuple(adjusted)


def cluster_bootstrap(
    numerators: Sequence[int],
    denominators: Sequence[int],
    *,
    seed: int,
    draws: int = DEFAULT_DRAWS,
    level: float = 0.95,
    unit: int = 1,
) -> Interval | NoInterval:
    """Percentile interval of Σnumerators / Σdenominators / unit when whole clusters are drawn with replacement.

    A paired change is the same thing: its numerator is after minus before, so each draw serves both arms.

    Args:
        numerators: one whole number a cluster.
        denominators: one whole number a cluster; a draw in which they add up to nothing, or less, is empty.
        seed: of PCG64.
        draws: bootstrap replicates.
        level: of confidence.
        unit: what one whole unit of a numerator is divided by (1,000,000 for millionths).
    """
    top = np.asarray(numerators, dtype=np.int64)
    bottom = np.asarray(denominators, dtype=np.int64)
    useful = int(np.count_nonzero(bottom))
    if useful < MIN_CLUSTERS:
        return NoInterval(code("too_few_clusters", clusters=useful, needs=MIN_CLUSTERS))
    ratios = _draw_ratios(top, bottom, seed=seed, draws=draws)
    if len(ratios) < draws * (1 - MAX_EMPTY_DRAWS):
        return NoInterval(code("draws_without_denominator", empty=draws - len(ratios), draws=draws))
    ratios.sort()
    tail = (1 - level) / 2
    return Interval(
        method=code("cluster_bootstrap", draws=draws),
        level=level,
        low=_quantile_of(ratios, tail) / unit,
        high=_quantile_of(ratios, 1 - tail) / unit,
        clusters=len(top),
    )


def _draw_ratios(top: NDArray[np.int64], bottom: NDArray[np.int64], *, seed: int, draws: int) -> NDArray[np.float64]:
    # Generator.integers may change between numpy versions, the raw stream of a bit generator may not. The upper 32 bits,
    # scaled to the number of clusters, are uniform to within clusters / 2^32.
    source = np.random.PCG64(seed)
    clusters = len(top)
    rows_at_once = max(1, _INDICES_AT_ONCE // clusters)
    parts: list[NDArray[np.float64]] = []
    for start in range(0, draws, rows_at_once):
        rows = min(rows_at_once, draws - start)
        raw = source.random_raw(rows * clusters).reshape(rows, clusters)  # a row is a draw
        chosen = ((raw >> np.uint64(32)) * np.uint64(clusters) >> np.uint64(32)).astype(np.int64)
        numerator = top[chosen].sum(axis=1)  # (rows,)
        denominator = bottom[chosen].sum(axis=1)
        kept = denominator > 0  # a draw without a denominator has no ratio; the caller counts how many were lost
        parts.append(numerator[kept] / denominator[kept])
    return np.concatenate(parts)


def _quantile_of(ordered: NDArray[np.float64], share: float) -> float:
    """Linear between the two neighbouring order statistics (Hyndman and Fan's type 7)."""
    position = (len(ordered) - 1) * share
    index = min(int(position), len(ordered) - 2)  # the last position has no right neighbour
    low = float(ordered[index])
    high = float(ordered[index + 1])
    return low + (position - index) * (high - low)


def normal_quantile(level: float) -> float:
    """Where the middle `level` of a standard normal ends, above."""
    return NormalDist().inv_cdf((1 + level) / 2)
