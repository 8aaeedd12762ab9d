"""An evaluation in a few lines for a terminal: whole data sets only, each figure with its interval or the reason for none."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peft_registry.registry.evaluation.extra_figures import recorded_measures
from peft_registry.schemas.codes import Said
from peft_registry.schemas.evaluation import (
    CONTROL_ARMS,
    Comparison,
    EvaluationRecord,
    LossComparison,
    Result,
    missing_by_name,
    task_named,
)

_LEFT_OUT = ("_flagged_rate", "_mean")
_ONE = re.compile(r"(?<![\d.,])1 (cluster|item|thread|row)s\b")


def as_read(reason: Said | None) -> str:
    """A recorded reason as a person reads it: `1 cluster`, where a record of before there were codes has `1 clusters`."""
    return "" if reason is None else _ONE.sub(r"1 \1", str(reason))


def compared_arms(record: EvaluationRecord) -> str:
    """`base → adapted`, `parent → merged`; one name where nothing is compared."""
    return " → ".join(_arms(record))


def result_rows(record: EvaluationRecord) -> Iterator[tuple[str, str, str]]:
    """Data set, figure and what it is: before, and after where there is one; then what changed, and what each comparison
    may say. Of the margins that are compared the share flagged and the mean are left to the record."""
    arms = _arms(record)
    by_figure: dict[tuple[str, str], dict[str, Result]] = {}
    for result in record.results:
        if result.category is None and result.arm in arms and not result.metric.endswith(_LEFT_OUT):
            by_figure.setdefault((result.dataset, result.metric), {})[result.arm] = result
    for (dataset, metric), results in by_figure.items():
        values = " → ".join(_value(results[arm]) for arm in arms if arm in results)
        yield dataset, metric, f"{values}  n={next(iter(results.values())).n}"
    for loss in record.losses:
        interval = loss.change_ci
        ends = (
            f" [{_signed(interval.low, 4)}, {_signed(interval.high, 4)}]"
            if interval
            else f" ({_no_change_interval(loss)})"
        )
        yield loss.dataset, "loss change", f"{_signed(loss.change, 4)}{ends}  n={loss.n}"
    for measure in recorded_measures(record):
        change = f"{_signed(measure['change'], 4)}{_ends_of(measure)}  n={measure['n']}"
        yield measure["dataset"], f"{measure['metric']} change", change
    for finding in record.findings:
        if finding.category is None:
            said = f"{finding.conclusion.replace('_', ' ')}: {as_read(finding.conclusion_reason)}"
            yield finding.dataset, finding.metric, said


def _arms(record: EvaluationRecord) -> list[str]:
    return [arm.name for arm in record.arms if arm.name not in CONTROL_ARMS]


def _value(result: Result) -> str:
    if result.value is None:
        return f"none ({as_read(result.null_reason)})"
    interval = result.ci_clustered or result.ci
    value = _below_zero(f"{result.value:.4f}")
    if interval is None:
        return f"{value}{_no_interval(result)}"
    return value + _below_zero(f" [{interval.low:.4f}, {interval.high:.4f}]")


def _no_interval(result: Result) -> str:
    """That too few clusters give none, ` (no interval: 8 clusters (…), needs 10)`; a figure that never has one says so itself."""
    missing = missing_by_name(result.ci_null_reason)
    reason = next((missing[name] for name in ("ci_clustered", "ci") if _is_of_too_few(missing.get(name))), None)
    return "" if reason is None else f" (no interval: {as_read(reason)})"


def _is_of_too_few(reason: Said | None) -> bool:
    if isinstance(reason, str):
        return ", needs " in reason  # as records say it that are of before there were codes
    return reason is not None and "needs" in reason.parameters


def _no_change_interval(loss: LossComparison) -> str:
    return f"no interval: {as_read(missing_by_name(loss.ci_null_reason).get('change_ci'))}"


def loss_line(loss: LossComparison) -> str:
    """A loss before and after, with the interval of its change."""
    interval = loss.change_ci
    missing = f"{_no_change_interval(loss)}, "
    band = f"95 % interval {_signed(interval.low)} … {_signed(interval.high)}, " if interval else missing
    return f"{loss.before:.3f} → {loss.after:.3f}  ({_signed(loss.change)}, {band}n={loss.n})"


def measure_line(measure: Mapping[str, Any]) -> str:
    """A share of right answers before and after, with the interval of its change; `measure` as it is recorded.

    Of a task it is named first, and its measure stands as the task calls it.
    """
    band = "no interval"
    if measure["low"] is not None:
        band = f"95 % interval {_signed(measure['low'])} … {_signed(measure['high'])}"
    task = task_named(measure["dataset"])
    name = measure["metric"].replace("_", " ") if task is None else f"{task} {measure['metric']}"
    figures = f"{measure['before']:.3f} → {measure['after']:.3f}"
    return f"{name} {figures}  ({_signed(measure['change'])}, {band}, n={measure['n']})"


def judged_measure_line(measure: Mapping[str, Any]) -> str:
    """The same for a terminal, and that it is inconclusive where the interval holds zero."""
    low, high = measure["low"], measure["high"]
    holds_zero = low is not None and high is not None and low <= 0 <= high
    return measure_line(measure) + (": inconclusive" if holds_zero else "")


def answer_lines(newest_first: Iterable[EvaluationRecord]) -> Iterator[str]:
    """The measures of rows that are no task's, each of the newest evaluation that has it, and which of them are inconclusive."""
    for measure in _newest_measures(newest_first):
        figures = [measure.get(name) for name in ("before", "after", "change", "n")]
        ends = [measure.get(name, "") for name in ("low", "high")]
        # the record may hold any JSON value here; a measure without numbers is left out
        is_readable = all(isinstance(one, int | float) for one in figures) and all(
            one is None or isinstance(one, int | float) for one in ends
        )
        if (
            is_readable
            and task_named(str(measure.get("dataset"))) is None
            and "dataset" in measure
            and "metric" in measure
        ):
            yield f"{measure['dataset']}: {judged_measure_line(measure)}"


def task_lines(newest_first: Iterable[EvaluationRecord]) -> Iterator[str]:
    """The measures of tasks, each of the newest evaluation that has it, with the interval of its change."""
    for measure in _newest_measures(newest_first):
        if task_named(str(measure.get("dataset"))) is not None:
            yield measure_line(measure)


def _newest_measures(newest_first: Iterable[EvaluationRecord]) -> Iterator[Mapping[str, Any]]:
    seen: set[tuple[str, str]] = set()
    for record in newest_first:
        for measure in recorded_measures(record):
            key = (str(measure.get("dataset")), str(measure.get("metric")))
            if key not in seen:
                seen.add(key)
                yield measure


def _ends_of(measure: Mapping[str, Any]) -> str:
    low, high = measure.get("low"), measure.get("high")
    return " (no interval)" if low is None or high is None else f" [{_signed(low, 4)}, {_signed(high, 4)}]"


def comparison_line(comparison: Comparison) -> str:
    """A comparison in one line: counts, and what may be said."""
    after = ""  # records that kept no moves do not say how many are flagged after
    if comparison.transition_matrix:
        after = f" → {sum(moves.get('stereo', 0) for moves in comparison.transition_matrix.values())}"
    counts = f"flagged {comparison.flagged}{after} of {comparison.n}; {_moves(comparison)}"
    name = (
        comparison.dataset
        if comparison.metric == "margin"
        else f"{comparison.dataset} {comparison.metric.replace('_', ' ')}"
    )
    return f"{name}: {counts}: {comparison.conclusion.replace('_', ' ')}"


def _moves(comparison: Comparison) -> str:
    test, opposite = comparison.test, comparison.opposite
    if test is None or opposite is None:
        fixed = f"fixed {comparison.fixed}, introduced {comparison.introduced}"
        return f"{fixed}, over-corrected {comparison.overcorrected}"
    return f"left {test.b}, entered {test.c}; opposite {_signed(opposite.entered - opposite.left, 0)}"


def _signed(value: float, decimals: int = 3) -> str:
    return _below_zero(f"{round(value, decimals) + 0.0:+.{decimals}f}")  # a zero has no sign below zero


def _below_zero(numbers: str) -> str:
    return numbers.replace("-", "−")
