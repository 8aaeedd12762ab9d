"""Sums over clusters of items, and the intervals taken from them."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

from peft_registry.registry.evaluation.intervals import (
    difference_interval,
    difference_interval_of_clusters,
    mean_interval,
    share_interval,
    share_interval_of_alike,
    share_interval_of_clusters,
)
from peft_registry.registry.evaluation.sign_flips import ClusterChanges, change_interval
from peft_registry.registry.evaluation.statistics import NoInterval, agresti_min, cluster_bootstrap, wilson
from peft_registry.schemas.codes import Code, Said, code
from peft_registry.schemas.evaluation import Interval, MissingIntervals, missing_by_name

Thing = TypeVar("Thing")
Kind = Literal["share", "difference", "mean"]
CLOSED_FORMS_FROM = 4  # from this edition of the figures on no interval is drawn
SIGN_FLIPS_FROM = 6  # from this one on changes are tested by sign flips, and their intervals invert that test
ALONE = code("items_are_clusters")
IN_CLUSTERS = NoInterval(code("items_share_clusters"))


@dataclass(frozen=True, slots=True)
class IntervalRule:
    """How intervals are computed: the level of confidence, and the edition of the figures.

    Editions before `CLOSED_FORMS_FROM` draw clusters: `seed` is of PCG64, `draws` the number of draws. Later ones need neither.
    """

    seed: int
    draws: int
    level: float
    edition: int

    @property
    def is_drawn(self) -> bool:
        return self.edition < CLOSED_FORMS_FROM

    @property
    def flips_signs(self) -> bool:
        return self.edition >= SIGN_FLIPS_FROM


@dataclass(frozen=True, slots=True)
class ClusterSums:
    """A ratio of two sums, and its parts by cluster. Numerators may be millionths; `unit` says so.

    `kind`: a share counts between nothing and `full` for an item, a difference between −`full` and `full`, of which `gains` are
    the positive numerators of a cluster; a mean has no such ends.
    """

    numerators: tuple[int, ...]
    denominators: tuple[int, ...]
    items: int
    unit: int
    kind: Kind = "mean"
    full: int = 1
    gains: tuple[int, ...] = ()

    @property
    def value(self) -> float | None:
        """Σnumerators / Σdenominators / unit; None if there is nothing to divide by."""
        whole = sum(self.denominators)
        return sum(self.numerators) / whole / self.unit if whole else None

    @property
    def is_clustered(self) -> bool:
        return len(self.numerators) < self.items

    def interval(self, rule: IntervalRule) -> Interval | NoInterval:
        """The interval over whole clusters; where every item is its own, that of independent items."""
        if rule.is_drawn:
            return cluster_bootstrap(
                self.numerators, self.denominators, seed=rule.seed, draws=rule.draws, level=rule.level, unit=self.unit
            )
        if not any(self.denominators):
            return NoInterval(code("no_items"))
        if self.kind == "mean":
            return _scaled(mean_interval(self.numerators, self.denominators, rule.level), 1 / self.unit)
        if self.kind == "share":
            interval = self._of_alike(rule.level) if rule.flips_signs else self._of_shares(rule.level)
            return _scaled(interval, self.full / self.unit)
        if rule.flips_signs:
            # the changes are the numerators themselves, which count in units of `full` already
            return _scaled(change_interval(self.changes, rule.level), 1 / self.unit)
        return _scaled(self._of_differences(rule.level), self.full / self.unit)

    @property
    def changes(self) -> ClusterChanges:
        """The same as changes, of clusters that have something to divide by."""
        kept = [(top, bottom) for top, bottom in zip(self.numerators, self.denominators, strict=True) if bottom]
        return ClusterChanges(tuple(top for top, _ in kept), tuple(bottom for _, bottom in kept))

    def interval_if_clustered(self, rule: IntervalRule) -> Interval | NoInterval:
        """As `interval`, where items share clusters; otherwise the closed form says all there is to say."""
        return self.interval(rule) if self.is_clustered else NoInterval(ALONE)

    def interval_if_independent(self, rule: IntervalRule) -> Interval | NoInterval:
        """The closed form for independent items. Editions that drew gave it for items in clusters as well."""
        if rule.is_drawn:
            return self._drawn_beside(rule.level)
        return IN_CLUSTERS if self.is_clustered else self.interval(rule)

    def _drawn_beside(self, level: float) -> Interval | NoInterval:
        items = sum(self.denominators)
        if self.kind == "share":
            return wilson(sum(self.numerators), items, level)
        return agresti_min(sum(self._losses), sum(self.gains), items, level)

    def _of_shares(self, level: float) -> Interval | NoInterval:
        hits = [numerator / self.full for numerator in self.numerators]
        if self.is_clustered:
            return share_interval_of_clusters(hits, self.denominators, level)
        return share_interval(sum(self.numerators) / self.full, sum(self.denominators), level)

    def _of_alike(self, level: float) -> Interval | NoInterval:
        if not self.is_clustered:
            return self._of_shares(level)
        hits = [numerator / self.full for numerator in self.numerators]
        return share_interval_of_alike(hits, self.denominators, level)

    def _of_differences(self, level: float) -> Interval | NoInterval:
        more = [gain / self.full for gain in self.gains]
        fewer = [loss / self.full for loss in self._losses]
        if self.is_clustered:
            return difference_interval_of_clusters(fewer, more, self.denominators, level)
        return difference_interval(sum(fewer), sum(more), sum(self.denominators), level)

    @property
    def _losses(self) -> tuple[int, ...]:
        return tuple(gain - whole for gain, whole in zip(self.gains, self.numerators, strict=True))


def _scaled(interval: Interval | NoInterval, factor: float) -> Interval | NoInterval:
    if isinstance(interval, NoInterval) or factor == 1:
        return interval
    return interval.revised(low=interval.low * factor, high=interval.high * factor)


def cluster_sums(
    things: Iterable[Thing],
    *,
    cluster: Callable[[Thing], Hashable],
    numerator: Callable[[Thing], int],
    denominator: Callable[[Thing], int] = lambda _: 1,
    unit: int = 1,
    kind: Kind = "mean",
    full: int = 1,
) -> ClusterSums:
    """The sums of each cluster. Clusters are in order of first appearance, so a sorted table gives one order."""
    sums: dict[Hashable, tuple[int, int, int]] = {}
    items = 0
    for thing in things:
        above, below, gained = sums.get(cluster(thing), (0, 0, 0))
        value = numerator(thing)
        sums[cluster(thing)] = (above + value, below + denominator(thing), gained + max(0, value))
        items += 1
    return ClusterSums(
        numerators=tuple(above for above, _, _ in sums.values()),
        denominators=tuple(below for _, below, _ in sums.values()),
        items=items,
        unit=unit,
        kind=kind,
        full=full,
        gains=tuple(gained for _, _, gained in sums.values()),
    )


def interval_or_none(interval: Interval | NoInterval) -> Interval | None:
    """The interval, for whoever has no use for the reason why there is none."""
    return interval if isinstance(interval, Interval) else None


def why_missing(name: str, missing: MissingIntervals | None) -> Said | None:
    """Why the interval that would decide is missing: that over clusters where items share them."""
    reasons = missing_by_name(missing)
    over_clusters = reasons.get(f"{name}_clustered", ALONE)
    return reasons.get(name) if over_clusters == ALONE else over_clusters


def missing_reasons(**found: Interval | NoInterval) -> dict[str, Code] | None:
    """Why each interval that is missing is, by name; None if none is."""
    return {name: interval.reason for name, interval in found.items() if isinstance(interval, NoInterval)} or None
