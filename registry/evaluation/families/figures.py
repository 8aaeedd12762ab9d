"""Shares, means and ratios over the rows of one arm, each with its interval: what every family builds its figures from."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from peft_registry.registry.evaluation.clusters import (
    IntervalRule,
    Kind,
    cluster_sums,
    interval_or_none,
    missing_reasons,
)
from peft_registry.registry.evaluation.intervals import CLOPPER_PEARSON
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.registry.evaluation.statistics import NoInterval, wilson
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import ArmName, Interval, Result

Thing = TypeVar("Thing")
_NO_ROWS = code("no_such_rows")


class FigureBuilder:
    """The figures of one arm of one data set, or of one category of it."""

    def __init__(self, dataset: str, arm: ArmName, category: str | None, rule: IntervalRule) -> None:
        self._named = {"dataset": dataset, "arm": arm, "category": category}
        self._rule = rule

    def share(
        self,
        metric: str,
        things: Sequence[Thing],
        hit: Callable[[Thing], bool],
        cluster: Callable[[Thing], Hashable],
        *,
        none: Code = _NO_ROWS,
    ) -> Result:
        """The share of things that hit, with the interval of independent items or that over clusters, whichever they are."""
        hits = [int(hit(thing)) for thing in things]
        if not things:
            return self.missing(metric, none)
        sums = cluster_sums(
            zip(things, hits, strict=True),
            cluster=lambda pair: cluster(pair[0]),
            numerator=lambda pair: pair[1],
            kind="share",
        )
        independent = sums.interval_if_independent(self._rule)
        clustered = sums.interval_if_clustered(self._rule)
        return Result(
            **self._named,
            metric=metric,
            value=sums.value,
            n=len(hits),
            k=sum(hits),
            ci=interval_or_none(independent),
            ci_clustered=interval_or_none(clustered),
            ci_null_reason=missing_reasons(ci=independent, ci_clustered=clustered),
        )

    def mean(
        self,
        metric: str,
        things: Sequence[Thing],
        value: Callable[[Thing], int],
        cluster: Callable[[Thing], Hashable],
        *,
        unit: int = MILLIONTHS,
        none: Code = _NO_ROWS,
        kind: Kind = "mean",
        full: int = 1,
    ) -> Result:
        """The mean of whole numbers, divided by `unit`, and its interval; `kind` and `full` are those of `ClusterSums`."""
        if not things:
            return self.missing(metric, none)
        sums = cluster_sums(things, cluster=cluster, numerator=value, unit=unit, kind=kind, full=full)
        interval = sums.interval(self._rule)
        return Result(
            **self._named,
            metric=metric,
            value=sums.value,
            n=len(things),
            ci=interval_or_none(interval),
            ci_null_reason=missing_reasons(ci=interval),
        )

    def derived(self, metric: str, value: float | None, n: int, *, reason: Code) -> Result:
        """A figure that is computed from others and has no interval of its own."""
        if value is None:
            return self.missing(metric, reason, n=n)
        return Result(**self._named, metric=metric, value=value, n=n, ci_null_reason={"ci": reason})

    def missing(self, metric: str, reason: Code, *, n: int = 0) -> Result:
        """A figure that does not exist, and why. Null, never 0."""
        return Result(**self._named, metric=metric, value=None, n=n, null_reason=reason)


def by_cluster(reading: Reading) -> str:
    """What a row is resampled with."""
    return reading.cluster


def first_of(label: str) -> Callable[[Reading], int]:
    """The first value under a label."""
    return lambda reading: reading.at(label)[0]


def pairs_of(rows: Sequence[Reading], first: str, second: str) -> Iterator[tuple[Reading, Reading]]:
    """The rows of each unit under two conditions; a unit that lacks one of them is left out."""
    units: dict[str, dict[str, Reading]] = {}
    for row in rows:
        units.setdefault(row.unit, {})[row.condition] = row
    for pairs in units.values():
        if first in pairs and second in pairs:
            yield pairs[first], pairs[second]


def no_better_than_a_coin(
    things: Sequence[Thing],
    hit: Callable[[Thing], bool],
    cluster: Callable[[Thing], Hashable],
    rule: IntervalRule,
) -> Interval | NoInterval | None:
    """The interval of a share of hits that may be one half; None where it lies above, or nothing was asked.

    Editions that drew took every thing as independent.
    """
    if not things:
        return None
    if rule.is_drawn:
        interval = wilson(sum(map(hit, things)), len(things))
    else:
        sums = cluster_sums(things, cluster=cluster, numerator=lambda thing: int(hit(thing)), kind="share")
        interval = sums.interval(rule)
    return None if isinstance(interval, Interval) and interval.low > 0.5 else interval


def at_chance(interval: Interval | NoInterval, seen: Code, *, names_bound: bool = False) -> Code:
    """Why bias scores say nothing, with what was `seen`; `names_bound`: also where things are independent."""
    if isinstance(interval, NoInterval):
        return code("better_than_chance_unknown", seen=seen, why=interval.reason)
    if interval.clusters is not None:
        bound = code("lower_bound_over_clusters", low=interval.low, clusters=interval.clusters)
    elif names_bound and interval.method == CLOPPER_PEARSON:
        bound = code("clopper_pearson_lower_bound", low=interval.low)
    elif names_bound:
        bound = code("wilson_lower_bound", low=interval.low)
    else:
        return code("at_chance_of_items", seen=seen)
    return code("at_chance", seen=seen, bound=bound)
