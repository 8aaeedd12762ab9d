"""Whether a change has a direction: one test by sign flips of whole clusters, and the interval that inverts it.

If nothing happened, before and after are exchangeable within a cluster: exchanging them turns the sign of what the items of the
cluster changed by. So the sum over clusters has the distribution of that sum under all signs, and no other assumption is made.
For counts that distribution is computed whole, and drawn where that would take too long. The interval holds the changes that the
test does not reject: its ends are order statistics of the change in random subsets of the clusters (Hartigan 1969). Pure; nothing
in here can be chosen by whoever asks.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from peft_registry.registry.evaluation.intervals import clopper_pearson
from peft_registry.registry.evaluation.statistics import NoInterval
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Interval

SIGN_FLIPS = code("sign_flips")
SUBSET_RATIOS = code("subset_ratios")
ALIKE = 0.2  # correlation of the changes of a cluster's items that is assumed where hardly anything changed
FEW_MOVED = code("few_clusters_moved", alike=ALIKE)
DRAWS = 10_000  # random subsets; of fewer than 14 clusters every subset is taken
_MOST_ENUMERATED = 13
_MOST_STEPS = 1 << 25  # of a whole distribution, a tenth of a second; all of BBQ moved at once takes half of them
_WORDS_AT_ONCE = (
    1 << 16
)  # of random bits, which take 4 MiB as bytes: whoever sends a table decides how many clusters it has

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClusterChanges:
    """What the items of each cluster changed by in sum, in whole units, and how many items it has; no cluster is empty."""

    changes: tuple[int, ...]
    items: tuple[int, ...]

    @property
    def value(self) -> float:
        """The change for an item."""
        return sum(self.changes) / sum(self.items)

    @property
    def moved(self) -> int:
        """How many clusters changed: the others say nothing about a direction."""
        return sum(change != 0 for change in self.changes)


def clusters_needed(alpha: float) -> int:
    """From how many moved clusters on the smallest two-sided p, 2^(1 − k), can be at most alpha: 6 at 0.05, 9 at 0.05 / 9."""
    return math.ceil(1 - math.log2(alpha))


def sign_flip_p(changes: Sequence[int]) -> float:
    """The two-sided p of a sum of changes among all its 2^k sums with other signs; 1 where nothing changed.

    A table that somebody sends may have any number of clusters: beyond a bound the sums are drawn, as for the interval.

    Args:
        changes: counts, one a cluster: entered less left.
    """
    moved = [change for change in changes if change]
    sizes = sorted(Counter(map(abs, moved)).items())
    if _steps(sizes) > _MOST_STEPS:
        return _drawn_p(moved)
    sums = np.ones(1)  # the share of each sum, from the least one to the greatest
    for size, clusters in sizes:
        sums = _with_more(sums, size, clusters)
    at = sum(changes) + sum(map(abs, changes))  # the place of the observed sum
    below = float(sums[: at + 1].sum())
    above = float(sums[at:].sum())
    return min(1.0, 2 * min(below, above))


def _steps(sizes: Sequence[tuple[int, int]]) -> int:
    """How many products the whole distribution takes."""
    steps = 0
    sums = 1
    for size, clusters in sizes:
        steps += sums * (clusters + 1)
        sums += 2 * size * clusters
    return steps


def _with_more(sums: _Floats, size: int, clusters: int) -> _Floats:
    """The shares of sums with so many more signs times one size: those are binomial, at every second multiple of the size."""
    from scipy.special import gammaln

    positive = np.arange(clusters + 1)
    logs = gammaln(clusters + 1) - gammaln(positive + 1) - gammaln(clusters - positive + 1) - clusters * math.log(2)
    shares = np.exp(logs)
    grown = np.zeros(len(sums) + 2 * size * clusters)
    if len(sums) < len(shares):
        for place, share in enumerate(sums):
            grown[place : place + 2 * size * clusters + 1 : 2 * size] += share * shares
    else:
        for place, share in enumerate(shares):
            grown[2 * size * place : 2 * size * place + len(sums)] += share * sums
    return grown


def _drawn_p(changes: Sequence[int]) -> float:
    """The p of random signs; the signs as they are count as one draw, so that no p is 0."""
    alike = sorted(Counter(changes).items())
    kinds = np.array([change for change, _ in alike], dtype=np.float64)
    of = ClusterChanges(tuple(changes), (1,) * len(changes))
    # signs are a subset twice less everything: the observed sum is that of all clusters
    sums = _random_subsets(of, [count for _, count in alike]) @ kinds
    below, above = ((side + 1) / (DRAWS + 1) for side in (np.sum(sums <= sum(changes)), np.sum(sums >= sum(changes))))
    return min(1.0, 2 * float(min(below, above)))


def change_interval(of: ClusterChanges, level: float = 0.95) -> Interval | NoInterval:
    """The changes of a share of items that the test does not reject.

    Where fewer clusters moved than the test needs, their spread says nothing about those that could have. Then the exact bounds of
    the shares that went up and down stand (Clopper and Pearson 1934), of as many independent items as there would be if those of a
    cluster were as alike as `ALIKE` says.
    """
    needed = clusters_needed(1 - level)
    clusters = len(of.changes)
    if clusters < needed:
        return NoInterval(code("too_few_clusters", clusters=clusters, needs=needed))
    if of.moved < needed:
        items = sum(of.items)
        effective = _independent(items, sum(count**2 for count in of.items) / items)
        up, down = (sum(max(0, sign * change) for change in of.changes) / items for sign in (1, -1))
        _, most_up = clopper_pearson(up * effective, effective, level)
        _, most_down = clopper_pearson(down * effective, effective, level)
        return Interval(method=FEW_MOVED, level=level, low=-most_down, high=most_up, clusters=clusters)
    ratios = np.sort(_subset_ratios(of))
    # a subset without any cluster is on both sides, hence one place less; of those that were drawn the same is asked
    place = max(math.floor((len(ratios) + 1) * (1 - level) / 2) - 1, 0)
    return Interval(
        method=SUBSET_RATIOS,
        level=level,
        low=float(ratios[place]),
        high=float(ratios[len(ratios) - 1 - place]),
        clusters=clusters,
    )


def highest_change(change: float, interval: Interval, items: int) -> float:
    """How far a share may have risen: the upper end of its interval, and no less than so many items can show of such a change.

    Where many clusters moved a little, the interval is narrower than where none did, because it says nothing of clusters that could
    have moved. Whoever holds a margin against it would refuse what changed nothing and let through what changed: so the exact bound
    of the change stands beside it (Clopper and Pearson 1934), as for an interval of few.

    Args:
        change: of the share of items, entered less left.
        interval: of that change.
        items: that were compared.
    """
    if not interval.clusters:
        return interval.high
    effective = _independent(items, items / interval.clusters)
    _, most = clopper_pearson(max(change, 0.0) * effective, effective, interval.level)
    return max(interval.high, most)


def _independent(items: int, typical: float) -> float:
    """How many independent items say as much as these, if those of a cluster are as alike as `ALIKE` says; `typical` is the size of
    the cluster of an item."""
    return items / (1 + (typical - 1) * ALIKE)


def _subset_ratios(of: ClusterChanges) -> _Floats:
    """The change for an item in subsets of the clusters: in all of them where they are few, else in random ones."""
    alike = sorted(Counter(zip(of.changes, of.items, strict=True)).items())
    kinds = [kind for kind, _ in alike]  # clusters with the same change and as many items
    counts = [count for _, count in alike]
    clusters = len(of.changes)
    if clusters <= _MOST_ENUMERATED:
        chosen = _every_subset(clusters, counts)
    else:
        chosen = _random_subsets(of, counts)
    changes, items = (chosen @ np.array(kinds, dtype=np.float64)).T
    ratios: _Floats = changes[items > 0] / items[items > 0]
    return ratios


def _every_subset(clusters: int, alike: Sequence[int]) -> _Floats:
    """A row for each subset but the empty one: how many clusters of each kind it has."""
    members = np.arange(1, 1 << clusters)[:, None] >> np.arange(clusters) & 1
    starts = np.cumsum([0, *alike[:-1]])
    return np.add.reduceat(members, starts, axis=1).astype(np.float64)


def _random_subsets(of: ClusterChanges, alike: Sequence[int]) -> _Floats:
    """The same of random subsets. The seed follows from the data; numpy promises never to change the raw bits of PCG64."""
    source = np.random.PCG64(int.from_bytes(sha256(repr((of.changes, of.items)).encode()).digest()[:8]))
    columns = []
    for count in alike:
        words = -(-count // 64)
        at_once = max(1, _WORDS_AT_ONCE // words)
        chosen = []
        for start in range(0, DRAWS, at_once):
            draws = min(at_once, DRAWS - start)
            raw = source.random_raw(draws * words).astype("<u8").reshape(draws, words)
            bits = np.unpackbits(raw.view(np.uint8), axis=1, bitorder="little", count=count)
            chosen.append(bits.sum(axis=1, dtype=np.int64))
        columns.append(np.concatenate(chosen))
    return np.stack(columns, axis=1).astype(np.float64)
