"""What an organisation demands of figures, and whether an evaluation keeps to it: decided by the interval, never by the point.

    held       the whole interval lies within the limits
    broken     the whole interval lies beyond one of them
    undecided  it crosses a limit, there is no interval, or the figure says nothing: the model was trained on what it is asked, is
               at chance, keeps within the limit by lost capability, or was only screened

A limit on the change of a figure that is better when lower (`net_change`, upper end only) is a test of non-inferiority; with
`per_group` it is asked of each group of the data set as well, and holds only where all of them hold. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from peft_registry.registry.evaluation.aggregate import NEUTRAL, EvaluationFigures, StatisticsPlan
from peft_registry.registry.evaluation.clusters import ALONE, why_missing
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.schemas.codes import Code, Said, code
from peft_registry.schemas.errors import NotChecked, Refused
from peft_registry.schemas.evaluation import (
    CONTROL_ARMS,
    LIMITS,
    Comparison,
    Decision,
    EvaluationRecord,
    Interval,
    Limit,
    LimitVerdict,
    LossComparison,
    MissingIntervals,
    Result,
    missing_by_name,
)

Better = Literal["lower", "higher"]
# what a comparison of two arms gives besides its counts: name, and which way is better (None: towards 0)
COMPARED: Mapping[str, Better | None] = {
    "fix_rate": "higher",
    "introduction_rate": "lower",
    "net_change": "lower",
    "mean_margin_change": None,
}
_ENDS = {"fix_rate": (0.0, 1.0), "introduction_rate": (0.0, 1.0), "net_change": (-1.0, 1.0)}
LOSS_CHANGE = "loss_change"


def _others(count: int) -> str:
    return f", and {count} more" if count else ""


class LimitBroken(Refused):
    what = "{label} breaks the limit of {figure}{others}"
    why = "{found}, and {allowed} is allowed"
    fix = "train it otherwise, or let whoever set the limit decide anew: the evaluation is recorded with its verdicts"

    label: str
    figure: str
    found: str
    allowed: str
    more: int

    @property
    def others(self) -> str:
        return _others(self.more)


class LimitUndecided(NotChecked):
    what = "{label} leaves the limit of {figure} undecided{others}"
    why = "{found}; {allowed} is allowed"
    fix = (
        "an interval that crosses the limit gets narrower with more items; too few clusters for an interval need the whole suite "
        "(without --half and --limit) or one with more templates; a model at chance can be judged by no limit. The evaluation is "
        "recorded with its verdicts"
    )

    label: str
    figure: str
    found: str
    allowed: str
    more: int

    @property
    def others(self) -> str:
        return _others(self.more)


@dataclass(frozen=True, slots=True)
class KnownFigure:
    """A figure that an evaluation will give: where it is neutral, which way is better, and its least and greatest value; None where
    there is no such thing."""

    neutral: float | None = None
    better: Better | None = None
    ends: tuple[float | None, float | None] = (None, None)


def compared_figures(measures: Sequence[str]) -> dict[str, KnownFigure]:
    """The figures of a comparison on each measure, by the name that a limit gives them."""
    return {
        _name_of(measure, figure): KnownFigure(None if better else 0.0, better, _ENDS.get(figure, (None, None)))
        for measure in measures
        for figure, better in COMPARED.items()
    }


def judge(limits: Sequence[Limit], figures: EvaluationFigures, plan: StatisticsPlan) -> tuple[LimitVerdict, ...]:
    """The verdict on each limit, in their order; of a limit per group that on the whole first."""
    arms = {result.arm for result in figures.results}
    arm = plan.after if plan.after in arms else plan.before
    silent = {
        **figures.noisy,
        **figures.silent,
        **plan.screens,
        **({NEUTRAL: plan.leaked.guard} if plan.leaked.guard is not None else {}),
    }
    return tuple(verdict for limit in limits for verdict in _judged(limit, figures, arm, silent.get(limit.dataset)))


def limits_of(record: EvaluationRecord) -> tuple[Limit, ...]:
    """The limits that an evaluation states; none where it states none, or nothing that can be read."""
    return tuple(Limit.from_json(limit) for limit in _stated(record, "limits"))


def verdicts_of(record: EvaluationRecord) -> tuple[LimitVerdict, ...]:
    """The verdicts that an evaluation states."""
    return tuple(LimitVerdict.from_json(verdict) for verdict in _stated(record, "verdicts"))


def readable_verdicts(record: EvaluationRecord) -> tuple[LimitVerdict, ...]:
    """The verdicts that an evaluation states; none where they cannot be read, which a re-check says."""
    try:
        return verdicts_of(record)
    except ValidationError:
        return ()


def verdict_lines(record: EvaluationRecord) -> Iterator[str]:
    """A line for each verdict that can be read, and one that says whether its limits were set beforehand."""
    verdicts = readable_verdicts(record)
    for verdict in verdicts:
        yield verdict_line(verdict)
    if verdicts:
        datasets = ", ".join(dict.fromkeys(verdict.dataset for verdict in verdicts))
        why = not_planned(record)
        planned = "planned: the limits stand in the log before the first score"
        yield f"{datasets}: {planned if why is None else f'not planned: {why}'}"


def not_planned(record: EvaluationRecord) -> Said | None:
    """Why the limits of an evaluation were not set before its items were first scored; None where they were."""
    stated = record.extra.get(LIMITS)
    why = stated.get("not_planned") if isinstance(stated, dict) else None
    try:
        return Code.from_json(why) if isinstance(why, dict) else why
    except ValidationError:
        return str(why)  # whatever it is: it does not say that they were


def verdict_line(verdict: LimitVerdict) -> str:
    """Of which figure it is, what is allowed, what was decided and why."""
    return f"{limit_name(verdict)}: {verdict.decision}: {as_read(verdict.reason)}"


def limit_name(verdict: LimitVerdict) -> str:
    """`house.net_change, age at most 0.02`."""
    group = "" if verdict.category is None else f", {verdict.category}"
    return f"{verdict.dataset}.{verdict.figure}{group} {verdict.range}"


def unkept_lines(record: EvaluationRecord) -> Iterator[str]:
    """The limits that are not held, those that are broken first; those of one reason in one line."""
    alike: dict[tuple[Decision, str], list[str]] = {}
    for decision in ("broken", "undecided"):
        for verdict in readable_verdicts(record):
            if verdict.decision == decision:
                alike.setdefault((verdict.decision, as_read(verdict.reason)), []).append(limit_name(verdict))
    for (decision, reason), names in alike.items():
        subject = "A limit is" if len(names) == 1 else f"{len(names)} limits are"
        yield f"{subject} {decision}: {'; '.join(names)}: {reason}."


def require_held(evaluations: Sequence[tuple[str, EvaluationRecord]]) -> None:
    """Raise unless every limit of every evaluation, named by its version, is kept.

    Raises:
        LimitBroken: one is broken.
        LimitUndecided: none is broken, and one is undecided.
    """
    verdicts = [(label, verdict) for label, record in evaluations for verdict in verdicts_of(record)]
    for decision, problem in (("broken", LimitBroken), ("undecided", LimitUndecided)):
        matches = [(label, verdict) for label, verdict in verdicts if verdict.decision == decision]
        if matches:
            label, verdict = matches[0]
            name = f"{verdict.dataset}.{verdict.figure}" + (
                "" if verdict.category is None else f" ({verdict.category})"
            )
            raise problem(label, name, as_read(verdict.reason), verdict.range, len(matches) - 1)


def _stated(record: EvaluationRecord, part: str) -> Sequence[Any]:
    stated = record.extra.get(LIMITS)
    values = stated.get(part) if isinstance(stated, dict) else None
    return values if isinstance(values, list | tuple) else ()


def _judged(limit: Limit, figures: EvaluationFigures, arm: str, silent: Code | None) -> Iterator[LimitVerdict]:
    if silent is not None:
        yield _undecided(limit, None, None, silent)
        return
    groups = list(_groups(limit, figures)) if limit.per_group else []
    for category in (None, *groups):
        yield _verdict(limit, category, figures, arm)
    if limit.per_group and not groups:
        yield _undecided(limit, None, None, code("no_groups"))


def _groups(limit: Limit, figures: EvaluationFigures) -> Iterator[str]:
    rows: list[Result | Comparison] = [*figures.results, *figures.comparisons]
    yield from sorted({row.category for row in rows if row.dataset == limit.dataset and row.category is not None})


def _verdict(limit: Limit, category: str | None, figures: EvaluationFigures, arm: str) -> LimitVerdict:
    found = next(_values(limit, category, figures, arm), None)
    if found is None:
        return _undecided(limit, category, None, code("figure_not_given"))
    value, interval, why = found
    if interval is None and why is None:
        return _undecided(limit, category, value, code("no_interval_defined"))
    if interval is None:
        return _undecided(limit, category, value, code("no_interval", why=why))
    assert value is not None, "what has an interval has a value"
    low = interval.low
    high = interval.high
    below = limit.lo is not None and low < limit.lo
    above = limit.hi is not None and high > limit.hi
    beyond = (limit.lo is not None and high < limit.lo) or (limit.hi is not None and low > limit.hi)
    decision: Decision = "held"
    if below or above:
        decision = "undecided"
    if beyond:
        decision = "broken"
    # a loss of capability explains a small bias, and not a small loss
    is_of_texts = limit.dataset in {loss.dataset for loss in figures.losses}
    if decision == "held" and figures.guards.confounded and not is_of_texts:
        return _undecided(limit, category, value, code("within_by_lost_capability"))
    return LimitVerdict(
        dataset=limit.dataset,
        figure=limit.figure,
        category=category,
        lo=limit.lo,
        hi=limit.hi,
        value=value,
        low=low,
        high=high,
        decision=decision,
        reason=_where(decision, value, interval),
    )


def _where(decision: Decision, value: float, interval: Interval) -> Code:
    """The reason for a decision: the position of the interval relative to the limit."""
    percent = 100 * interval.level
    match decision:
        case "held":
            return code("lies_within", value=value, percent=percent, low=interval.low, high=interval.high)
        case "broken":
            return code("lies_beyond", value=value, percent=percent, low=interval.low, high=interval.high)
        case "undecided":
            return code("crosses_a_limit", value=value, percent=percent, low=interval.low, high=interval.high)


def _undecided(limit: Limit, category: str | None, value: float | None, reason: Code) -> LimitVerdict:
    return LimitVerdict(
        dataset=limit.dataset,
        figure=limit.figure,
        category=category,
        lo=limit.lo,
        hi=limit.hi,
        value=value,
        low=None,
        high=None,
        decision="undecided",
        reason=reason,
    )


_Found = tuple[float | None, Interval | None, Said | None]  # value, deciding interval, why there is none


def _values(limit: Limit, category: str | None, figures: EvaluationFigures, arm: str) -> Iterator[_Found]:
    for result in figures.results:
        if (result.dataset, result.metric, result.category, result.arm) == (limit.dataset, limit.figure, category, arm):
            interval = _deciding("ci", result.ci, result.ci_clustered, result.ci_null_reason)
            yield result.value, interval, result.null_reason or why_missing("ci", result.ci_null_reason)
    for comparison in figures.comparisons:
        if (
            comparison.dataset == limit.dataset
            and comparison.category == category
            and comparison.after not in CONTROL_ARMS
        ):
            yield from _of_comparison(limit, comparison)
    for loss in figures.losses if category is None else ():
        if (loss.dataset, LOSS_CHANGE) == (limit.dataset, limit.figure):
            yield _of_loss(loss)


def _of_comparison(limit: Limit, comparison: Comparison) -> Iterator[_Found]:
    for figure in COMPARED:
        if _name_of(comparison.metric, figure) == limit.figure:
            name = f"{figure}_ci"
            clustered: Interval | None = getattr(comparison, f"{name}_clustered", None)
            yield (
                getattr(comparison, figure),
                _deciding(name, getattr(comparison, name), clustered, comparison.ci_null_reason),
                why_missing(name, comparison.ci_null_reason),
            )


def _of_loss(loss: LossComparison) -> _Found:
    return loss.change, loss.change_ci, why_missing("change_ci", loss.ci_null_reason)


def _deciding(
    name: str, closed: Interval | None, clustered: Interval | None, missing: MissingIntervals | None
) -> Interval | None:
    """The interval that may decide: that over clusters where items share them, and no other in its place."""
    if clustered is not None:
        return clustered
    why_not = missing_by_name(missing).get(f"{name}_clustered", ALONE)
    return closed if why_not == ALONE else None


def _name_of(measure: str, figure: str) -> str:
    return figure if measure == "margin" else f"{measure}_{figure}"
