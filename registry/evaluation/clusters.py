"""Sums over clusters of items, and the intervals taken from them."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from peft_registry.registry.evaluation.statistics import NoInterval, cluster_bootstrap
from peft_registry.schemas.evaluation import Interval

Thing = TypeVar("Thing")


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are resampled: the seed of PCG64, the number of draws, the level of confidence."""

    seed: int
    draws: int
    level: float


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """A ratio of two sums, and its parts by cluster. Numerators may be millionths; `unit` says so."""

    numerators: tuple[int, ...]
    denominators: tuple[int, ...]
    items: int
    unit: int

    @property
    def value(self) -> float | None:
        """Σnumerators / Σdenominators / unit; None if there is nothing to divide by."""
        whole = sum(self.denominators)
        return sum(self.numerators) / whole / self.unit if whole else None

    @property
    def is_clustered(self) -> bool:
        return len(self.numerators) < self.items

    def interval(self, how: Bootstrap) -> Interval | NoInterval:
        """The bootstrap interval over whole clusters."""
        return cluster_bootstrap(
            self.numerators, self.denominators, seed=how.seed, draws=how.draws, level=how.level, unit=self.unit
        )

    def interval_if_clustered(self, how: Bootstrap) -> Interval | NoInterval:
        """As `interval`, where items share clusters; otherwise the closed form says all there is to say."""
        return self.interval(how) if self.is_clustered else NoInterval("every item is its own cluster")


def cluster_sums(
    things: Iterable[Thing],
    *,
    cluster: Callable[[Thing], Hashable],
    numerator: Callable[[Thing], int],
    denominator: Callable[[Thing], int] = lambda _: 1,
    unit: int = 1,
) -> ClusterSums:
    """The sums of each cluster. Clusters are in order of first appearance, so a sorted table gives one order."""
    sums: dict[Hashable, tuple[int, int]] = {}
    items = 0
    for thing in things:
        above, below = sums.get(cluster(thing), (0, 0))
        sums[cluster(thing)] = (above + numerator(thing), below + denominator(thing))
        items += 1
    return ClusterSums(
        numerators=tuple(above for above, _ in sums.values()),
        denominators=tuple(below for _, below in sums.values()),
        items=items,
        unit=unit,
    )


def interval_or_none(found: Interval | NoInterval) -> Interval | None:
    return found if isinstance(found, Interval) else None


def missing_reasons(**found: Interval | NoInterval) -> str | None:
    """`name: reason` of each interval that is missing, joined; None if none is."""
    reasons = [f"{name}: {one.reason}" for name, one in found.items() if isinstance(one, NoInterval)]
    return "; ".join(reasons) or None
