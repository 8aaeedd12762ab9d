"""The measures that claims are judged by: each reads stored results, and gives one figure with its interval and conditions.

`MEASURES` names them as a claims file does. A measure that has nothing to read, or whose figure would have no interval, says why.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from scipy.stats import chi2

from docs.measured.banking77 import Accuracy
from peft_registry.registry.evaluation.over_seeds import (
    mean_over_seeds,
    ratio_over_rows_and_seeds,
)
from peft_registry.registry.evaluation.statistics import NoInterval
from peft_registry.schemas.comparison import ArmResult, MethodComparison
from peft_registry.schemas.evaluation import Interval
from peft_registry.trainer.methods.learning_rates import FAR, rates_of

# the mean range of normal draws over their standard deviation, by their number: d2 of control charts (ASTM E2587, table 6)
_MEAN_RANGE = {3: 1.693, 4: 2.059, 5: 2.326, 6: 2.534, 7: 2.704, 8: 2.847, 9: 2.970, 10: 3.078}
_ESTIMATE_TOLERANCE = 0.15  # what the tests hold the estimate to


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured here: a value with its interval (equal ends for a count), and under which conditions.

    `takes` says what would make the interval narrower, `{times}` in it how many times as much of it.
    """

    value: float
    low: float
    high: float
    conditions: str
    takes: str = ""


class NotMeasured(Exception):
    """Why a measure has no figure."""


@dataclass(frozen=True, slots=True)
class Results:
    """The stored results, by the names that the claims use."""

    comparisons: Mapping[str, MethodComparison]
    estimates: Mapping[str, dict[str, Any]]
    accuracies: Mapping[str, tuple[Accuracy, ...]] = field(default_factory=dict)

    def arms(self, name: str, method: str) -> tuple[ArmResult, ...]:
        """The finished arms of a method.

        Raises:
            NotMeasured: there is none.
        """
        found = self.comparisons[name].of(method) if name in self.comparisons else ()
        if not found:
            raise NotMeasured(f"the kept comparison {name} has no finished arm of {method}")
        return found

    def where(self, name: str) -> str:
        """On which base and rows."""
        comparison = self.comparisons[name]
        rows = sum(part.rows for one in comparison.data for part in one.selections)
        names = ", ".join(one.name for one in comparison.data)
        return f"{comparison.base}, {rows} rows of {names}{self._left_out(comparison)}"

    @staticmethod
    def _left_out(comparison: MethodComparison) -> str:
        """Arms that failed, and seeds that nobody finished between the first and the last: a choice of runs would look so."""
        failed = sum(arm.failure is not None for arm in comparison.arms)
        seeds = {arm.seed for arm in comparison.arms if arm.failure is None}
        missing = sorted(set(range(min(seeds), max(seeds))) - seeds) if seeds else []
        said = f"; {failed} arm{' failed and is' if failed == 1 else 's failed and are'} not in it" if failed else ""
        return said + (f"; no seed {', '.join(map(str, missing))}" if missing else "")

    def estimate(self, name: str) -> dict[str, Any]:
        """What `registry estimate --output json` printed.

        Raises:
            NotMeasured: it is not kept.
        """
        if name not in self.estimates:
            raise NotMeasured(f"there is no kept estimate {name}")
        return self.estimates[name]


def _memory(results: Results, *, estimate: str) -> Figure:
    """Peak of training in GB, not below the floor; scoring before and after is not in it."""
    found = results.estimate(estimate)
    peak = max(found["moments"][one]["total"] for one in ("backward", "optimizer")) / 1e9
    floor = found["floor"]["bytes"] / 1e9
    low = max(floor, peak * (1 - _ESTIMATE_TOLERANCE))
    batch = found["batch"]
    return Figure(
        peak,
        low,
        peak * (1 + _ESTIMATE_TOLERANCE),
        f"estimate for {found['parameters']['base'] / 1e9:.2f} G parameters at {batch['rows']} × {batch['tokens']} tokens; "
        f"the weights alone are {floor:.1f} GB at {found['floor']['bits_a_weight']} bits, less is impossible",
        f"a training on a card, measured: the estimate is held to {100 * _ESTIMATE_TOLERANCE:g} %",
    )


def _states(results: Results, *, estimate: str, bytes_a_parameter: dict[str, int]) -> Figure:
    """GB of what every trained parameter takes, at bytes that the claim's source counts; a training here is beside it."""
    found = results.estimate(estimate)
    count = found["parameters"]["trainable"]
    value = count * sum(bytes_a_parameter.values()) / 1e9
    parts = " + ".join(f"{size} of {name}" for name, size in bytes_a_parameter.items())
    here = _memory(results, estimate=estimate)
    return Figure(
        value,
        value,
        value,
        f"in 16 bits, as the source has it: {count / 1e9:.2f} G parameters × ({parts}) bytes, without activations; "
        f"`registry train` keeps all of it in 32 bits, estimated at {number_text(here.value)} GB",
    )


def _product(_: Results, *, factors: list[float], unit_divisor: float, formula: str) -> Figure:
    """Plain arithmetic."""
    value = math.prod(factors) / unit_divisor
    return Figure(value, value, value, formula)


def _needs(results: Results, *, estimate: str) -> Figure:
    """How often the limit would have to be there: peak over what fits."""
    found = results.estimate(estimate)
    ratio = found["peak_bytes"] / found["limits"]["vram"]
    spread = _ESTIMATE_TOLERANCE * ratio
    return Figure(ratio, ratio - spread, ratio + spread, f"{found['fit']['verdict']}: {found['fit']['why']}")


def _trained_share(results: Results, *, comparison: str, method: str) -> Figure:
    """Percent of the parameters of a base that was trained on."""
    arm = results.arms(comparison, method)[0]
    return _share(arm.parameters_trainable or 0, arm.parameters_total or 1, results.where(comparison))


def _trained_share_estimated(results: Results, *, estimate: str) -> Figure:
    """Percent of the parameters of a base that nobody has to have."""
    counts = results.estimate(estimate)["parameters"]
    total = counts["base"] + counts["trainable"]  # of an adapter: over all, itself among them, as for runs
    return _share(counts["trainable"], total, f"a base of {counts['base'] / 1e9:.1f} G parameters")


def _share(trained: int, total: int, where: str) -> Figure:
    share = 100 * trained / total
    return Figure(share, share, share, f"{trained:,} trained on {where}")


def _trained(results: Results, *, comparison: str, method: str) -> Figure:
    """The number of trained parameters."""
    arm = results.arms(comparison, method)[0]
    count = float(arm.parameters_trainable or 0)
    return Figure(count, count, count, f"{arm.version}: constant vectors, the same for every input")


def _gain_share(results: Results, *, comparison: str, method: str, against: str = "full") -> Figure:
    """Improvement of held-out loss in percent of another method's."""
    _same_start(results, comparison, (method, against))
    pairs = [
        _row_gains(results, comparison, seed, (method, against))
        for seed in _seeds(results, comparison, method, against)
    ]
    conditions = f"improvement of held-out loss, {method} over {against}; {results.where(comparison)}"
    return _row_ratio(pairs, conditions, f"{against} did not surely improve: it would take a task on which it does")


def _gap_closed(results: Results, *, comparison: str, method: str, low: str, high: str) -> Figure:
    """Percent of the gap between two methods' losses."""
    _same_start(results, comparison, (method, low, high))
    pairs = []
    for seed in _seeds(results, comparison, method, low, high):
        mine, bottom, top = _row_gains(results, comparison, seed, (method, low, high))
        pairs.append((_less(mine, bottom), _less(top, bottom)))
    return _row_ratio(
        pairs,
        results.where(comparison),
        f"no gap is surely there, {low} ends about where {high} does: it would take a task on which they differ",
    )


def _time(results: Results, *, comparison: str, method: str, against: str) -> Figure:
    """Percent more time for the same tokens, by seed."""
    mine = {one.seed: one.wall_seconds.value / one.tokens.value for one in results.arms(comparison, method)}
    other = {one.seed: one.wall_seconds.value / one.tokens.value for one in results.arms(comparison, against)}
    ratios = [100 * (mine[seed] / other[seed] - 1) for seed in mine.keys() & other.keys()]
    return _over_seeds(ratios, f"{results.where(comparison)}; {results.comparisons[comparison].hardware}")


def _latency(
    results: Results,
    *,
    comparison: str,
    method: str,
    merged: bool = False,
    against: str | None = None,
    control: str | None = None,
) -> Figure:
    """Percent more time for a request than the base, or than in another comparison. `full` has the base's own architecture:
    what its latency differs from zero by in `control` (the comparison itself, if not named) is noise, and widens the interval."""
    value, spread = _latency_value(results, comparison, method, merged=merged)
    conditions = f"{'merged' if merged else 'unmerged'}, {results.where(comparison)}"
    if against is not None:
        other = _latency_value(results, against, method, merged=merged)
        value, spread = (1 + value) / (1 + other[0]) - 1, spread + other[1]
        conditions = f"{comparison} against {against}, {conditions}"
    noise = _latency_value(results, control or comparison, "full", merged=False)
    spread += abs(noise[0]) + noise[1]
    takes = "{times} as many timed requests, or a machine with less noise"
    return Figure(100 * value, 100 * (value - spread), 100 * (value + spread), conditions, takes)


def _same_start(results: Results, comparison: str, methods: Iterable[str]) -> None:
    arms = [arm for method in methods for arm in results.arms(comparison, method) if arm.quality is not None]
    if len({(round(arm.quality.before, 3), arm.quality.n) for arm in arms if arm.quality is not None}) > 1:
        raise NotMeasured(
            "they start from another loss: a base in 4 bits, or held-out rows that chose no seed; it would take accuracy on a task"
        )


def _over_seeds(values: list[float], conditions: str) -> Figure:
    """The mean over seeds with Student's interval; too few seeds decide nothing."""
    if not values:
        raise NotMeasured("no seed has both methods")
    value = fmean(values)
    interval = _given(mean_over_seeds(values), value)
    return Figure(value, interval.low, interval.high, f"{conditions}; {len(values)} seeds", "{times} as many seeds")


def _given(interval: Interval | NoInterval, value: float) -> Interval:
    """The interval of a figure.

    Raises:
        NotMeasured: there is none, and the value alone decides nothing.
    """
    if isinstance(interval, NoInterval):
        raise NotMeasured(f"{number_text(value)}, and no interval: {interval.reason}")
    return interval


def _latency_value(results: Results, comparison: str, method: str, *, merged: bool) -> tuple[float, float]:
    for arm in results.arms(comparison, method):
        if arm.latency is not None:
            found = arm.latency.merged_change if merged else arm.latency.unmerged_change
            if found.known:
                return float(found.value), float(found.uncertainty_pct or 0) / 100
    raise NotMeasured(f"no latency of {method} was measured in {comparison}")


def _forgotten_less(results: Results, *, comparison: str, method: str, against: str = "full") -> Figure:
    """Percent less rise of the loss of neutral text than another method's, by seed."""
    mine = {one.seed: one.neutral_loss_change.value for one in results.arms(comparison, method)}
    other = {one.seed: one.neutral_loss_change.value for one in results.arms(comparison, against)}
    if any(value is None or value <= 0 for value in other.values()):
        raise NotMeasured(
            f"{against} forgot nothing that could be seen here: it would take a task that makes neutral text less likely"
        )
    shares = [100 * (1 - mine[seed] / other[seed]) for seed in mine.keys() & other.keys()]
    return _over_seeds(shares, f"neutral text, {results.where(comparison)}")


def _rate_ratio(_: Results, *, method: str, against: str = "full") -> Figure:
    """Best learning rate over another method's, lowest to highest base."""
    other = {one.base: one.best for one in rates_of(against)}
    ratios = [one.best / other[one.base] for one in rates_of(method) if one.base in other]
    if not ratios:
        raise NotMeasured("no sweep has both methods")
    mean = math.exp(fmean(math.log(one) for one in ratios))
    where = f"best of each sweep, on {', '.join(other)}; ends by half a decade, as far apart as rates were tried"
    return Figure(mean, min(ratios) / FAR, max(ratios) * FAR, where, "rates tried less than half a decade apart")


def _better_than(results: Results, *, comparison: str, method: str, others: list[str]) -> Figure:
    """Percent by which a method improves the held-out loss more than the best of others."""
    _same_start(results, comparison, (method, *others))
    pairs = []
    for seed in _seeds(results, comparison, method, *others):
        mine, *theirs = _row_gains(results, comparison, seed, (method, *others))
        best = max(theirs, key=sum)
        pairs.append((_less(mine, best), best))
    conditions = f"{method} over {', '.join(others)}; {results.where(comparison)}"
    return _row_ratio(pairs, conditions, f"none of {', '.join(others)} surely improved")


def _row_ratio(pairs: Sequence[Sequence[tuple[int, ...]]], conditions: str, why_not: str) -> Figure:
    """Percent of one sum over held-out rows in another, a pair of them a seed, with an interval over rows and seeds. A row counts
    in both sums, so that what makes it hard for both methods falls out.

    Raises:
        NotMeasured: too few seeds or rows; `why_not` where the sum to divide by may be nothing.
    """
    if not pairs:
        raise NotMeasured("no seed has both methods")
    tops, bottoms = [mine for mine, _ in pairs], [other for _, other in pairs]
    whole = sum(map(sum, bottoms))
    if whole <= 0:
        raise NotMeasured(why_not)
    share = 100 * sum(map(sum, tops)) / whole
    divisor = _given(ratio_over_rows_and_seeds(bottoms, [[1] * len(one) for one in bottoms]), share)
    if divisor.low <= 0:
        raise NotMeasured(why_not)
    interval = _given(ratio_over_rows_and_seeds(tops, bottoms), share)
    return Figure(
        share,
        100 * interval.low,
        100 * interval.high,
        f"{conditions}; {len(pairs)} seeds, {len(pairs[0][0])} held-out rows",
        "{times} as many rows and seeds",
    )


def _row_gains(results: Results, comparison: str, seed: int, methods: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """Of each method, by how much each held-out row became more likely, in the same order of rows."""
    arms = [arm for method in methods for arm in results.arms(comparison, method) if arm.seed == seed]
    return tuple(arm.row_gains for arm in arms)


def _less(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(mine - its for mine, its in zip(one, other, strict=True))


def _seeds(results: Results, comparison: str, *methods: str) -> tuple[int, ...]:
    """The seeds that every one of the methods has."""
    found = [{arm.seed for arm in results.arms(comparison, method)} for method in methods]
    return tuple(sorted(set.intersection(*found)))


def _swing(results: Results, *, accuracy: str, method: str, against: str) -> Figure:
    """Percentage points between the best and the worst of as many seeds as were tried, as wide as they are on average.

    That is the standard deviation over seeds times the mean range of so many normal draws; its interval is that of the deviation.
    Every seed answers the same rows, so that what the rows do is not in it. Trainings that leave a model no better than it was
    taught nothing, and how far they lie apart is not what the claim means.

    Raises:
        NotMeasured: there are too few seeds of a method, or one of the methods has not learned the task.
    """
    for name in (method, against):
        _require_learned(results, accuracy, name)
    mine, other = _shares(results, accuracy, method), _shares(results, accuracy, against)
    value, low, high = _mean_range(mine)
    where = f"{len(mine)} seeds, from {min(mine):.3g} to {max(mine):.3g} %"
    theirs = f"{against} {max(other) - min(other):.2g} points, from {min(other):.3g} to {max(other):.3g} %"
    return Figure(value, low, high, f"{where}; {theirs}; {results.accuracies[accuracy][0].rows} rows", "more seeds")


def _shares(results: Results, accuracy: str, method: str) -> list[float]:
    """Percent of the rows that each seed of a method got right.

    Raises:
        NotMeasured: there are too few.
    """
    found = [100 * one.right / one.rows for one in results.accuracies.get(accuracy, ()) if one.method == method]
    if len(found) not in _MEAN_RANGE:
        raise NotMeasured(f"{len(found)} seeds of {method} are measured; it takes `docs/measured/banking77.py`")
    return found


def _require_learned(results: Results, accuracy: str, method: str) -> None:
    """Raise NotMeasured unless a method's mean accuracy is above that of the untrained base."""
    mean = fmean(_shares(results, accuracy, method))
    before = fmean(100 * one.base / one.rows for one in results.accuracies[accuracy] if one.method == method)
    if mean <= before:
        raise NotMeasured(
            f"{method} learned nothing: {mean:.3g} % are right on average after training, and {before:.3g} % before; "
            "it would take trainings after which the model is better than the untrained base"
        )


def _mean_range(shares: Sequence[float]) -> tuple[float, float, float]:
    """The mean range of so many seeds, and its ends."""
    freedom = len(shares) - 1
    wide = _MEAN_RANGE[len(shares)] * stdev(shares)
    low, high = (wide * math.sqrt(freedom / chi2.ppf(share, freedom)) for share in (0.975, 0.025))
    return wide, float(low), float(high)


MEASURES: Mapping[str, Callable[..., Figure]] = {
    "memory": _memory,
    "states": _states,
    "product": _product,
    "needs": _needs,
    "trained_share": _trained_share,
    "trained_share_estimated": _trained_share_estimated,
    "trained": _trained,
    "gain_share": _gain_share,
    "gap_closed": _gap_closed,
    "time": _time,
    "latency": _latency,
    "forgotten_less": _forgotten_less,
    "rate_ratio": _rate_ratio,
    "better_than": _better_than,
    "swing": _swing,
}


def number_text(value: float) -> str:
    """Three significant digits; whole from a thousand on."""
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
