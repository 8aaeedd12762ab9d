"""Intervals in closed form that keep their level with few items, few clusters and rare events.

    a share of items                 Wilson 1927; Clopper and Pearson 1934 below five hits or misses
    a share over clusters            Korn and Graubard 1998: Clopper-Pearson of the effective number of items
    a paired difference of items     Agresti and Min 2005
    a paired difference over clusters  the two shares' Korn-Graubard intervals, squared and added (Zou and Donner 2008)
    a mean, over clusters or items   Student's t of the delete-one jackknife, widened for skewness (Hall 1992)

Variances over clusters are those of the delete-one-cluster jackknife; degrees of freedom are those of the effective number of
clusters, (Σn)² / Σn², less one. Pure, and nothing is drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peft_registry.registry.evaluation.statistics import NoInterval, agresti_min, normal_quantile, wilson
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Interval

# Below these numbers the coverage is measured to be too low, or what an interval says is no longer worth its width.
MIN_CLUSTERS_OF_A_SHARE = 10
MIN_CLUSTERS_OF_A_MEAN = 12  # effective ones
MIN_ITEMS_OF_A_DIFFERENCE = 10  # at 5 a change of 28 points is covered in 83 %
FEW = 5  # hits or misses: with fewer Wilson's lower end covers 84 % at worst
LARGE_CLUSTER = 16  # items: from here on a handful of clusters with hits does not show how alike the items of one are

CLOPPER_PEARSON = code("clopper_pearson")
KORN_GRAUBARD = code("korn_graubard")
SQUARE_AND_ADD = code("korn_graubard_difference")
SKEW_CORRECTED_T = code("skew_corrected_t")

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Shares:
    """Of each cluster the hits and the items, at least one item each."""

    hits: _Floats
    items: _Floats

    @property
    def value(self) -> float:
        return float(self.hits.sum() / self.items.sum())


def share_interval(hits: float, items: float, level: float = 0.95) -> Interval | NoInterval:
    """The interval of a share of independent items: Wilson's, or the exact one where hits or misses are few.

    `hits` may be fractional, as where an item counts half.
    """
    if items == 0:
        return NoInterval(code("no_items"))
    if min(hits, items - hits) >= FEW:
        return wilson(hits, items, level)
    low, high = clopper_pearson(hits, items, level)
    return Interval(method=CLOPPER_PEARSON, level=level, low=low, high=high)


def share_interval_of_clusters(
    hits: Sequence[float], items: Sequence[int], level: float = 0.95
) -> Interval | NoInterval:
    """The interval of Σhits / Σitems where the items of a cluster are alike.

    Args:
        hits: of each cluster; may be fractional.
        items: of each cluster; a cluster without any is left out.
        level: of confidence.
    """
    shares = _shares(hits, items)
    too_few = _too_few(shares.items, MIN_CLUSTERS_OF_A_SHARE)
    if too_few is not None:
        return too_few
    low, high = _korn_graubard(shares, level)
    return Interval(method=KORN_GRAUBARD, level=level, low=low, high=high, clusters=len(shares.items))


def share_interval_of_alike(hits: Sequence[float], items: Sequence[int], level: float = 0.95) -> Interval | NoInterval:
    """The interval of Σhits / Σitems where the items of a cluster are alike, since edition 6 of the figures.

    Clopper-Pearson's ends for as many independent items as vary as these do. Where hits, or misses, are in hardly any cluster,
    nothing shows how alike items are, and a cluster counts as one item: one hit more never narrows what none leaves open.
    """
    shares = _shares(hits, items)
    too_few = _too_few(shares.items, MIN_CLUSTERS_OF_A_SHARE)
    if too_few is not None:
        return too_few
    share = shares.value
    clusters = _effective(shares.items)
    with_hits = np.count_nonzero(shares.hits > 0)
    with_misses = np.count_nonzero(shares.hits < shares.items)
    variance = jackknife_variance(shares.hits, shares.items)
    independent = float(shares.items.sum())  # if the items of a cluster were not alike at all
    if min(with_hits, with_misses) < FEW:
        effective = clusters
    elif variance == 0:
        # every cluster has the same share: nothing in them is alike
        effective = independent
    else:
        effective = min(max(share * (1 - share) / variance, 1.0), independent)
    t = student(max(clusters - 1, 1.0), level)
    effective *= (normal_quantile(level) / t) ** 2
    low, high = clopper_pearson(share * effective, effective, level)
    return Interval(method=KORN_GRAUBARD, level=level, low=low, high=high, clusters=len(shares.items))


def difference_interval(fewer: float, more: float, items: float, level: float = 0.95) -> Interval | NoInterval:
    """The interval of (more − fewer) / items for independent items."""
    if items < MIN_ITEMS_OF_A_DIFFERENCE:
        return NoInterval(code("too_few_items", items=items, needs=MIN_ITEMS_OF_A_DIFFERENCE))
    return agresti_min(fewer, more, items, level)


def difference_interval_of_clusters(
    fewer: Sequence[float], more: Sequence[float], items: Sequence[int], level: float = 0.95
) -> Interval | NoInterval:
    """The interval of (Σmore − Σfewer) / Σitems where the items of a cluster are alike.

    Where one share is high in clusters in which the other is low, their errors add up: the jackknife's correlation counts where
    it is negative, and is taken as none where it would narrow the interval.

    Args:
        fewer: items of each cluster that count −1.
        more: items of each cluster that count +1; no item is in both.
        items: of each cluster; a cluster without any is left out.
        level: of confidence.
    """
    down = _shares(fewer, items)
    up = _shares(more, items)
    too_few = _too_few(up.items, MIN_CLUSTERS_OF_A_SHARE)
    if too_few is not None:
        return too_few
    down_low, down_high = _korn_graubard(down, level)
    up_low, up_high = _korn_graubard(up, level)
    together = min(0.0, _correlation(down, up))
    difference = up.value - down.value
    below = _added(up.value - up_low, down_high - down.value, together)
    above = _added(up_high - up.value, down.value - down_low, together)
    return Interval(
        method=SQUARE_AND_ADD,
        level=level,
        low=max(-1.0, difference - below),
        high=min(1.0, difference + above),
        clusters=len(up.items),
    )


def mean_interval(numerators: Sequence[int], denominators: Sequence[int], level: float = 0.95) -> Interval | NoInterval:
    """The interval of Σnumerators / Σdenominators over clusters, or over items that are clusters of their own.

    At either end the wider of Student's t and Hall's transformed t stands: the first is too short on the long side of skewed
    values, the second on the short side.
    """
    bottom = np.asarray(denominators, dtype=np.float64)
    kept = bottom > 0
    top = np.asarray(numerators, dtype=np.float64)[kept]
    bottom = bottom[kept]
    too_few = _too_few(bottom, MIN_CLUSTERS_OF_A_MEAN)
    if too_few is not None:
        return too_few
    clusters = _effective(bottom)
    # clusters of equal weight count in full, whatever the last bit says
    if round(clusters, 6) < MIN_CLUSTERS_OF_A_MEAN:
        # rounded down, because 11.999 that is shown as 12 would seem enough
        effective = math.floor(clusters * 100) / 100
        uneven = code("uneven_clusters", clusters=len(bottom), effective=effective, needs=MIN_CLUSTERS_OF_A_MEAN)
        return NoInterval(uneven)
    ratio = float(top.sum() / bottom.sum())
    error = math.sqrt(jackknife_variance(top, bottom))
    t = student(clusters - 1, level)
    skewness = ratio_skewness(top, bottom)
    low, high = (hall(end, skewness, len(top)) for end in (t, -t))
    return Interval(
        method=SKEW_CORRECTED_T,
        level=level,
        low=ratio - max(t, low) * error,
        high=ratio - min(-t, high) * error,
        clusters=len(top),
    )


def _too_few(items: _Floats, needed: int) -> NoInterval | None:
    if len(items) >= needed:
        return None
    return NoInterval(code("too_few_clusters", clusters=len(items), needs=needed))


def _shares(hits: Sequence[float], items: Sequence[int]) -> _Shares:
    below = np.asarray(items, dtype=np.float64)
    kept = below > 0
    return _Shares(np.asarray(hits, dtype=np.float64)[kept], below[kept])


def _korn_graubard(shares: _Shares, level: float) -> tuple[float, float]:
    """Clopper-Pearson's ends for as many independent items as vary as these do.

    Where nothing varies, nothing tells how alike items are, and a cluster counts as an item. There are never more effective items
    than items: a variance that is small by chance narrows nothing.
    """
    share = shares.value
    items = float(shares.items.sum())
    clusters = _effective(shares.items)
    variance = jackknife_variance(shares.hits, shares.items)
    effective = share * (1 - share) / variance if variance > 0 else clusters
    effective = min(max(effective, 1.0), items)
    t = student(_degrees_of_freedom(shares, clusters), level)
    effective *= (normal_quantile(level) / t) ** 2
    return clopper_pearson(share * effective, effective, level)


def _degrees_of_freedom(shares: _Shares, clusters: float) -> float:
    """Of the variance over clusters: fewer than clusters where only some have a hit, or a miss; the more so where they are large.

    Where none does, nothing is estimated, and none is taken off.
    """
    varying = float(min(np.count_nonzero(shares.hits > 0), np.count_nonzero(shares.hits < shares.items)))
    typical = float((shares.items**2).sum() / shares.items.sum())  # size of the cluster of an item
    if typical <= LARGE_CLUSTER:
        varying *= 2
    if varying == 0:
        varying = clusters
    return max(min(clusters, varying) - 1, 1.0)


def clopper_pearson(hits: float, items: float, level: float) -> tuple[float, float]:
    """The exact ends for `hits` of `items`, neither of which must be whole."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    misses = items - hits
    low = float(betaincinv(hits, misses + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - tail)) if misses > 0 else 1.0
    return low, high


def jackknife_variance(top: _Floats, bottom: _Floats) -> float:
    """Of Σtop / Σbottom, leaving one cluster out at a time."""
    return _jackknife_covariance(top, top, bottom)


def _jackknife_covariance(one: _Floats, other: _Floats, bottom: _Floats) -> float:
    clusters = len(bottom)
    rest = bottom.sum() - bottom
    first = (one.sum() - one) / rest
    second = (other.sum() - other) / rest
    return float((clusters - 1) / clusters * np.sum((first - first.mean()) * (second - second.mean())))


def _correlation(down: _Shares, up: _Shares) -> float:
    variances = jackknife_variance(down.hits, down.items) * jackknife_variance(up.hits, up.items)
    if variances <= 0:
        return 0.0
    return max(-1.0, _jackknife_covariance(down.hits, up.hits, up.items) / math.sqrt(variances))


def _added(first: float, other: float, correlation: float) -> float:
    return math.sqrt(first**2 + other**2 - 2 * correlation * first * other)


def _effective(items: _Floats) -> float:
    """How many clusters of one size would weigh as evenly as these."""
    return float(items.sum() ** 2 / (items**2).sum())


def ratio_skewness(top: _Floats, bottom: _Floats) -> float:
    """Of what single clusters do to Σtop / Σbottom; none where all are equal."""
    influences = top - top.sum() / bottom.sum() * bottom
    spread = float(np.mean(influences**2))
    return float(np.mean(influences**3)) / spread**1.5 if spread > 0 else 0.0


def hall(quantile: float, skewness: float, clusters: int) -> float:
    """The quantile of the skewed statistic that belongs to one of the symmetric statistic: Hall's cubic, turned round."""
    slope = skewness / math.sqrt(clusters)
    if abs(slope) < 1e-6:
        return quantile
    return 3 / slope * (float(np.cbrt(1 + slope * (quantile - slope / 6))) - 1)


def student(degrees_of_freedom: float, level: float) -> float:
    """Where the middle `level` of Student's distribution ends, above."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees_of_freedom, (1 + level) / 2))
