"""A comparison for readers: one row a method, computed from the arms; a table, and a page without script.

The interval of a method's change is that of its median seed, over held-out rows; beside it stands the spread over seeds,
which no interval of one run shows.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from statistics import fmean, median_low

from peft_registry.registry.evaluation.lost_quality import lost_losses
from peft_registry.registry.evaluation.over_seeds import change_over_seeds, mean_over_seeds, share_over_seeds
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.registry.evaluation.sentences import as_read
from peft_registry.registry.evaluation.statistics import NoInterval
from peft_registry.registry.reports.drawing import interval_drawing
from peft_registry.registry.reports.text import MINUS, plain_size
from peft_registry.schemas.comparison import AnswerChange, ArmResult, AxisCounts, BiasCounts, MethodComparison
from peft_registry.schemas.report import Bar
from peft_registry.schemas.values import Value

HEADINGS = (
    *("method", "trained", "learning rate", "peak memory", "time", "cost", "latency", "merged"),
    *("loss change", "over seeds", "neutral loss", "bias fixed, introduced"),
)
BIAS_HEADINGS = (
    *("method, axis", "suite", "pairs", "flagged before"),
    *("to neutral", "over-corrected", "introduced", "neutral loss"),
)
ANSWER_HEADINGS = ("method", "figure", "rows", "before", "after, lowest … highest seed", "change over rows and seeds")
NONE = "–"
COSTS = 8  # so many of them say what a method takes; the others, what it does


@dataclass(frozen=True, slots=True)
class MethodSummary:
    """The cells of one method, as text."""

    method: str
    cells: tuple[str, ...]


def summaries(comparison: MethodComparison) -> tuple[MethodSummary, ...]:
    """One for each method, in the order of the arms."""
    return tuple(MethodSummary(method, _cells(comparison, method)) for method in comparison.methods)


def two_tables(comparison: MethodComparison) -> tuple[tuple[tuple[str, ...], list[list[str]]], ...]:
    """(headings, rows) of what each method takes, and of what it does: side by side they are wider than a page."""
    rows = table_rows(comparison)
    return (
        (HEADINGS[:COSTS], [row[:COSTS] for row in rows]),
        ((HEADINGS[0], *HEADINGS[COSTS:]), [[row[0], *row[COSTS:]] for row in rows]),
    )


def lost_lines(comparison: MethodComparison) -> tuple[str, ...]:
    """What the arms became worse at, beyond what is allowed, a line each."""
    return tuple(f"{arm.version}: {lost.line}" for arm in comparison.arms for lost in lost_losses(arm.losses))


def bias_rows(comparison: MethodComparison) -> list[list[str]]:
    """The rows under `BIAS_HEADINGS`: of each method and suite all pairs and then each axis, over the method's seeds.

    A number of pairs is that of each seed, lowest to highest; of all pairs of a suite the share stands beside it with its
    interval over pairs and seeds. Pairs of one axis are few, and get no interval.
    """
    return [row for method in comparison.methods for row in _bias_rows(method, comparison.of(method))]


def answer_rows(comparison: MethodComparison) -> list[list[str]]:
    """The rows under `ANSWER_HEADINGS`: of each method and figure its seeds together, each paired with the base by row."""
    return [row for method in comparison.methods for row in _answer_rows(method, comparison.of(method))]


def _answer_rows(method: str, arms: Sequence[ArmResult]) -> Iterator[list[str]]:
    for dataset, metric in dict.fromkeys((one.dataset, one.metric) for arm in arms for one in arm.answers):
        seeds = [one for arm in arms for one in arm.answers if (one.dataset, one.metric) == (dataset, metric)]
        yield [
            method,
            f"{dataset} {metric.replace('_', ' ')}",
            _lowest_to_highest([one.n for one in seeds]),
            _lowest_to_highest_share([one.before for one in seeds]),
            _lowest_to_highest_share([one.after for one in seeds]),
            _change(seeds),
        ]


def _change(seeds: Sequence[AnswerChange]) -> str:
    """`+0.350 (+0.281 … +0.419)`: the mean over seeds with its interval over rows and seeds."""
    changes = [one.after - one.before for one in seeds]
    rows = [one.row_changes for one in seeds]
    are_same_rows = len({len(row) for row in rows}) == 1
    interval = change_over_seeds(rows, MILLIONTHS) if are_same_rows else mean_over_seeds(changes)
    text = signed(fmean(changes))
    if isinstance(interval, NoInterval):
        return f"{text} (no interval: {interval.reason})"
    return f"{text} ({signed(interval.low)} … {signed(interval.high)})"


def _lowest_to_highest_share(shares: Sequence[float]) -> str:
    low, high = (f"{share:.3f}" for share in (min(shares), max(shares)))
    return low if low == high else f"{low} … {high}"


def plan_line(comparison: MethodComparison) -> str | None:
    """When the plan was logged, and what became of its arms; None of comparisons from before plans were logged."""
    plan = comparison.plan
    if plan is None:
        return None
    registered = [arm for arm in comparison.arms if arm.failure is None]
    after = len(comparison.registered_after_plan)
    text = f"{len(comparison.arms)} arms planned in log entry {plan.log_index} ({plan.statement.short})"
    text += f"; {len(registered)} registered"
    text += "" if after == len(registered) else f", {len(registered) - after} of them before it"
    failed = len(comparison.arms) - len(registered)
    text += f", {failed} failed" if failed else ""
    begun = sum(max((arm.runs_begun or 0 for arm in comparison.of(method)), default=0) for method in comparison.methods)
    return f"{text}; {begun} trainings begun with these settings"


def _bias_rows(method: str, arms: Sequence[ArmResult]) -> list[list[str]]:
    rows = []
    neutral = _mean(arms, lambda arm: arm.neutral_loss_change, signed)
    for suite in dict.fromkeys(counts.dataset for arm in arms for counts in arm.bias):
        seeds = [counts for arm in arms for counts in arm.bias if counts.dataset == suite]
        rows.append([method, suite, *_bias_cells(seeds, with_share=True), neutral])
        for axis in dict.fromkeys(one.axis for counts in seeds for one in counts.axes):
            parts = [one for counts in seeds for one in counts.axes if one.axis == axis]
            rows.append([f"{method}, {axis}", suite, *_bias_cells(parts, with_share=False), ""])
    return rows


def _bias_cells(seeds: Sequence[BiasCounts | AxisCounts], *, with_share: bool) -> list[str]:
    flagged = [one.flagged for one in seeds]
    clear = [one.clear for one in seeds if one.clear is not None]
    return [
        _lowest_to_highest([one.n for one in seeds]),
        _lowest_to_highest(flagged),
        _part([one.fixed for one in seeds], flagged, with_share=with_share),
        _part([one.overcorrected for one in seeds], flagged, with_share=with_share),
        _part([one.introduced for one in seeds], clear if len(clear) == len(seeds) else None, with_share=with_share),
    ]


def _part(parts: Sequence[int], wholes: Sequence[int] | None, *, with_share: bool) -> str:
    """`8 … 11 of 90, 10.4 % (5.6 … 18.3)`; the number alone where nobody kept what it is a part of."""
    text = _lowest_to_highest(parts)
    if wholes is None:
        return text
    text += f" of {_lowest_to_highest(wholes)}"
    share = share_over_seeds(list(zip(parts, wholes, strict=True))) if with_share else None
    if share is None:
        return text
    text += f", {100 * share.value:.1f} %"
    interval = share.interval
    if isinstance(interval, NoInterval):
        return f"{text} (no interval: {interval.reason})"
    return f"{text} ({100 * interval.low:.1f} … {100 * interval.high:.1f})"


def _lowest_to_highest(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} … {high}"


def table_rows(comparison: MethodComparison) -> list[list[str]]:
    """The rows under `HEADINGS`."""
    return [list(summary.cells) for summary in summaries(comparison)]


def comparison_page(comparison: MethodComparison) -> str:
    """One self-contained HTML page."""
    style = (resources.files("peft_registry.registry.reports") / "templates" / "report.css").read_text(encoding="utf-8")
    title = f"Methods compared: {comparison.name}"
    data = ", ".join(f"{data.name} ({data.sha256.short})" for data in comparison.data)
    arms = [
        [
            arm.method,
            str(arm.seed),
            arm.version or f"failed: {arm.failure}",
            "" if arm.manifest is None else str(arm.manifest),
        ]
        for arm in comparison.arms
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{style}</style></head>\n<body><header><p class='kicker'>comparison {escape(comparison.comparison_id)}</p>"
        f"<h1>{escape(title)}</h1><p>base {escape(comparison.base)} ({comparison.base_weights.short}); data {escape(data)}; "
        f"{escape(as_read(comparison.hardware))}; {escape(comparison.created_at)}</p>{_html_plan(comparison)}</header>\n"
        f"<main><section><h2>Figures</h2>{''.join(_html_table(*parts) for parts in two_tables(comparison))}"
        "<p>Losses are in nats a token. The interval covers held-out rows, at the median seed; the spread is lowest to highest "
        "over seeds. Neutral loss is the change on neutral text that nobody trained on. Latency is against the base's, as the "
        f"adapter runs and merged; {NONE} where nothing can be merged into the base that it runs on. Bias counts are pairs of a "
        "suite: fixed, of those that were flagged before; introduced, of those that were clear, where that was kept."
        "</p></section>\n"
        f"{_answers_section(comparison)}{_bias_section(comparison)}"
        f"<section><h2>Held-out loss</h2><div tabindex='0' class='scroll drawing'>{loss_drawing(comparison)}</div></section>\n"
        f"<section><h2>Arms</h2>{_html_table(('method', 'seed', 'version', 'manifest'), arms)}</section></main></body></html>\n"
    )


def _html_plan(comparison: MethodComparison) -> str:
    line = plan_line(comparison)
    return "" if line is None else f"<p>{escape(line)}</p>"


def _answers_section(comparison: MethodComparison) -> str:
    rows = answer_rows(comparison)
    if not rows:
        return ""
    return (
        f"<section><h2>Answers</h2>{_html_table(ANSWER_HEADINGS, rows)}"
        "<p>On held-out rows, in the template of the training. Each seed is paired with the base row by row; the interval of 95 % "
        "covers the choice of rows and of seeds.</p></section>\n"
    )


def _bias_section(comparison: MethodComparison) -> str:
    rows = bias_rows(comparison)
    if not rows:
        return ""
    return (
        f"<section><h2>Bias</h2>{_html_table(BIAS_HEADINGS, rows)}"
        "<p>Of the pairs that were flagged before: to neutral, and over-corrected, which is to prefer the other option as "
        "strongly. Introduced: flagged now, of those that were clear. Numbers are those of each seed, lowest to highest; the "
        "share has its 95 % interval over pairs and seeds. Neutral loss rises where a model becomes worse at everything, "
        "which also moves pairs to neutral.</p></section>\n"
    )


def loss_drawing(comparison: MethodComparison) -> str:
    """Held-out loss before and after, an arm a row; the whisker after is that of the paired change."""
    bars = [_bar(arm) for arm in comparison.arms if arm.quality is not None]
    return interval_drawing(tuple(bars)) if bars else ""


def _bar(arm: ArmResult) -> Bar:
    loss = arm.quality
    assert loss is not None, "asked for arms that ran"
    interval = loss.change_ci
    return Bar(
        label=f"seed {arm.seed}: {arm.method}",
        unit="nats/token",
        before=loss.before,
        before_low=None,
        before_high=None,
        after=loss.after,
        after_low=None if interval is None else loss.before + interval.low,
        after_high=None if interval is None else loss.before + interval.high,
        neutral=None,
        n=loss.n,
    )


def _cells(comparison: MethodComparison, method: str) -> tuple[str, ...]:
    arms = comparison.of(method)
    if not arms:
        why = next((arm.failure for arm in comparison.arms if arm.method == method and arm.failure), "failed")
        return (method, f"failed: {why}", *[""] * (len(HEADINGS) - 2))
    middle = _median_arm(arms)
    share = (middle.parameters_trainable or 0) / (middle.parameters_total or 1)
    latency = next((arm.latency for arm in arms if arm.latency is not None), None)
    return (
        method,
        f"{100 * share:.3g} %",
        f"{middle.learning_rate:g}",
        _mean(arms, lambda arm: arm.peak_memory_bytes, lambda value: plain_size(round(value))),
        _mean(arms, lambda arm: arm.wall_seconds, lambda value: f"{value:.1f} s"),
        _mean(arms, lambda arm: arm.cost, lambda value: f"{value:.4g}", unknown="no price"),
        "not measured" if latency is None else _latency_change(latency.unmerged_change),
        "not measured" if latency is None else _latency_change(latency.merged_change),
        _loss_change(middle),
        _spread(arms),
        _mean(arms, lambda arm: arm.neutral_loss_change, signed),
        _bias(arms),
    )


def _median_arm(arms: tuple[ArmResult, ...]) -> ArmResult:
    """The arm whose loss after training is the median one."""
    losses = {arm.seed: arm.quality.after for arm in arms if arm.quality is not None}
    middle = median_low(losses.values())
    return next(arm for arm in arms if losses.get(arm.seed) == middle)


def _loss_change(arm: ArmResult) -> str:
    loss = arm.quality
    if loss is None:
        return "not measured"
    band = "" if loss.change_ci is None else f" ({signed(loss.change_ci.low)} … {signed(loss.change_ci.high)})"
    return f"{signed(loss.change)}{band}"


def _spread(arms: Iterable[ArmResult]) -> str:
    changes = [arm.quality.change for arm in arms if arm.quality is not None]
    if len(changes) < 2:
        return "one seed"
    return f"{signed(min(changes))} … {signed(max(changes))}"


def _bias(arms: tuple[ArmResult, ...]) -> str:
    """What became of the flagged pairs of each suite, summed over seeds; counts on other numbers of items are not summed."""
    suites = dict.fromkeys((counts.dataset, counts.n) for arm in arms for counts in arm.bias)
    names = [dataset for dataset, _ in suites]
    texts = []
    for dataset, items in suites:
        seeds = [counts for arm in arms for counts in arm.bias if (counts.dataset, counts.n) == (dataset, items)]
        fixed = sum(counts.fixed for counts in seeds)
        flagged = sum(counts.flagged for counts in seeds)
        told_apart = f" on {items} items" if names.count(dataset) > 1 else ""
        texts.append(f"{dataset}{told_apart} {fixed} of {flagged}, {introduced_text(seeds)}")
    return "; ".join(texts) or "not asked"


def introduced_text(counts: Sequence[BiasCounts]) -> str:
    """`9 of 103`: introduced among those that were clear before, as an evaluation counts them; the first number alone where
    nobody kept the second."""
    introduced = sum(one.introduced for one in counts)
    clear = [one.clear for one in counts if one.clear is not None]
    return f"{introduced} of {sum(clear)}" if len(clear) == len(counts) else str(introduced)


def _mean(
    arms: Iterable[ArmResult],
    of: Callable[[ArmResult], Value],
    text: Callable[[float], str],
    *,
    unknown: str = "unknown",
) -> str:
    known = [float(of(arm).value) for arm in arms if of(arm).known]
    return text(fmean(known)) if known else unknown


def _latency_change(value: Value) -> str:
    if not value.known:
        return NONE
    return f"{100 * value.value:+.1f} % ± {value.uncertainty_pct:g}".replace("-", MINUS)


def signed(value: float) -> str:
    """`−0.340`: a change with its sign."""
    return f"{value:+.3f}".replace("-", MINUS)


def _unbroken(cell: str) -> str:
    """The cell with no line break between a number and what belongs to it: its unit, its uncertainty, the other end."""
    return re.sub(rf"(?<=[\d%±…]) (?=[%±…+{MINUS}\d]|s\b|[kMGT]?B\b)", "\u00a0", cell)


def _html_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(_unbroken(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div tabindex='0' class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
