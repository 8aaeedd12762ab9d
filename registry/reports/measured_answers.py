"""What a report says first of bias and quality: what was measured, what came out, and how to measure what was not.

Pure, over evaluations. Of several that count the same once more the newest stands.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from peft_registry.registry.evaluation.aggregate import NEUTRAL, NEUTRAL_TEXT, LostCapability
from peft_registry.registry.evaluation.clusters import why_missing
from peft_registry.registry.evaluation.halves import part_of_record, part_text
from peft_registry.registry.evaluation.leakage import beyond_limit
from peft_registry.registry.evaluation.sentences import answer_lines, as_read
from peft_registry.registry.evaluation.standing import with_repeated
from peft_registry.registry.reports.conditions import condition_lines
from peft_registry.registry.reports.evaluation_view import ShownEvaluation
from peft_registry.registry.reports.text import (
    first_lines,
    percent,
    points,
    share,
    signed,
    value_text,
    whole,
)
from peft_registry.registry.reports.wording import (
    FLAGGED_MEANS,
    NOT_ASKED_OF_A_BASE,
    SUITES,
    arm_name,
    conclusion_text,
    loss_direction,
    loss_sentence,
)
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.codes import listed_labels
from peft_registry.schemas.evaluation import Comparison, DatasetUsed, LossComparison
from peft_registry.schemas.report import AnsweredQuestion
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.version import Version

_GROUPS_NAMED = 4  # of each conclusion; all of them stand under "before and after"


def _standing(
    evaluations: tuple[ShownEvaluation, ...], figures: Literal["bias", "delta"]
) -> Iterator[tuple[ShownEvaluation, frozenset[str]]]:
    """Those that speak of what is registered, newest first, each with the suites whose figures a later one counted again."""
    standing = [shown for shown in evaluations if shown.stale is None]
    repeated = with_repeated((shown.record for shown in standing), figures)
    yield from ((shown, suites) for shown, (_, suites) in zip(standing, repeated, strict=True))


def bias_lines(evaluations: tuple[ShownEvaluation, ...], version: Version) -> tuple[str, ...]:
    """What became of bias, a sentence for each suite of each evaluation that stands: against the base first, equal findings once.

    Where no comparison stands, that nothing was measured, and the command that would measure it.
    """
    rows = _compared(evaluations)
    if not rows:
        missing = "no comparison before and after" if evaluations else "no evaluation of it"
        # a base is what others are compared with: alone it has no before and after
        command = "" if version.kind == "base" else f" To measure it: `registry evaluate {version.label}`."
        return (f"Not measured: {missing} is recorded.{command}",)
    names = [row.dataset for _, row in rows]
    lines = [
        f"{_verdict(shown, row)}{_capability(shown, row)}{_limits(shown, row.dataset)}"
        f"{_told_apart(row) if names.count(row.dataset) > 1 else ''}{_added(shown)}."
        for shown, row in rows
    ]
    *before, last = first_lines(tuple(lines), "before and after")
    return (*before, f"{last} {FLAGGED_MEANS}")


def bias_details(evaluations: tuple[ShownEvaluation, ...]) -> tuple[AnsweredQuestion, ...]:
    """Which items moved, why a conclusion is what it is, and that of each group; not asked where nothing was compared."""
    lines = tuple(dict.fromkeys(f"{_part(shown, row)}: {_moved(shown, row)}." for shown, row in _compared(evaluations)))
    return (
        (AnsweredQuestion(question="What became of the flagged items?", lines=first_lines(lines, "before and after")),)
        if lines
        else ()
    )


def _compared(evaluations: tuple[ShownEvaluation, ...]) -> list[tuple[ShownEvaluation, Comparison]]:
    """The comparison of each suite of each evaluation that stands: against the base first, equal findings once."""
    rows: list[tuple[ShownEvaluation, Comparison]] = []
    for shown, again in _standing(evaluations, "bias"):
        first: dict[str, Comparison] = {}  # of a suite with several measures: the one that it is known by
        for row in shown.record.findings:
            if row.category is None and row.dataset not in again:
                first.setdefault(row.dataset, row)
        rows += [(shown, row) for row in first.values()]
    rows.sort(key=lambda shown_row: shown_row[1].before == "parent")  # what became of the base is asked first
    # an evaluation with another control finds the same once more
    told: dict[str, tuple[ShownEvaluation, Comparison]] = {}
    for shown, row in rows:
        outcome = f"{_verdict(shown, row)}{_moved(shown, row)}"
        told.setdefault(f"{outcome}{_told_apart(row)}{_limits(shown, row.dataset)}", (shown, row))
    return list(told.values())


def how_measured(evaluations: tuple[ShownEvaluation, ...]) -> tuple[AnsweredQuestion, ...]:
    """How the figures came about; not asked where nothing was compared."""
    lines = condition_lines([shown.record for shown in evaluations if shown.stale is None])
    return (AnsweredQuestion(question="How was that measured?", lines=lines),) if lines else ()


def _verdict(shown: ShownEvaluation, row: Comparison) -> str:
    conclusion = conclusion_text(row)
    flagged = f"{_of_items(row.flagged, row)} lean to the biased answer (are flagged) before"
    if row.transition_matrix:  # records that kept no moves do not say how many are flagged after
        after = _flagged_after(row)
        flagged += f", {whole(after)} ({share(after / row.n)}) after" if row.n else f", {whole(after)} after"
    interval = row.net_change_interval
    # it is also what a share is called that moved, where something speaks against saying so
    if row.conclusion == "inconclusive" and interval is not None and interval.low <= 0 <= interval.high:
        conclusion += ", neither a rise nor a fall is shown"
    return f"{conclusion[:1].upper()}{conclusion[1:]}: {flagged}; {_net_change(row)}. Measured on {_part(shown, row)}"


def _of_items(count: int, row: Comparison) -> str:
    part = f" ({share(count / row.n)})" if row.n else ""
    return f"{whole(count)} of {whole(row.n)} items{part}"


def _part(shown: ShownEvaluation, row: Comparison) -> str:
    """The suite by its name, what it is made of, and which part of it was asked."""
    suite = f"the suite “{row.dataset}”"
    if row.dataset in SUITES:
        suite += f" ({SUITES[row.dataset]})"
    parts = [data for data in shown.record.datasets if data.name == row.dataset]
    return f"{suite}{''.join(map(_of_suite, parts))}"


def _of_suite(data: DatasetUsed) -> str:
    part = part_of_record(data)
    if part == "screen":
        return f", {part_text(data)} alone: a quick and fixed selection of items, which never gives a verdict"
    return "" if part is None else f", {part_text(data)} alone"


def _flagged_after(row: Comparison) -> int:
    return sum(moves.get("stereo", 0) for moves in row.transition_matrix.values())


def _net_change(row: Comparison) -> str:
    """What the conclusion is drawn from, with its interval: the change of the share flagged.

    Before sign flips it was that of items that became flagged less those that became neutral.
    """
    figure = "net change (introduced minus fixed)" if row.opposite is None else "change of the flagged share"
    if row.net_change is None:
        return f"{figure} not defined"
    change = f"{figure} {points(row.net_change)} points"
    interval = row.net_change_interval
    if interval is not None:
        return f"{change}, {100 * interval.level:g} % interval [{points(interval.low)}, {points(interval.high)}]"
    reason = why_missing("net_change_ci", row.ci_null_reason)
    return f"{change}, no interval{f': {as_read(reason)}' if reason else ''}"


def _by_group(shown: ShownEvaluation, row: Comparison) -> str:
    """The conclusion of each group; those of which nothing may be said are counted."""
    groups: dict[str, list[str]] = {}
    for finding in shown.record.findings:
        is_of_row = (finding.dataset, finding.metric) == (row.dataset, row.metric)
        if is_of_row and finding.category is not None:
            groups.setdefault(conclusion_text(finding), []).append(finding.category)
    if not groups:
        return ""
    parts = [f"{conclusion}: {listed_labels(_some(names))}" for conclusion, names in groups.items()]
    return f". By group: {'; '.join(parts)}"


def _some(names: Sequence[str]) -> list[str]:
    """The first names, and how many more there are."""
    rest = len(names) - _GROUPS_NAMED
    return [*names[:_GROUPS_NAMED], f"{rest} more"] if rest > 0 else list(names)


def _capability(shown: ShownEvaluation, row: Comparison) -> str:
    """That the model lost capability, or may have, where the conclusion does not say so itself."""
    if row.conclusion == "confounded" or not shown.record.guards.confounded:
        return ""
    if shown.undecided_capability is not None:
        return "; that it lost quality instead is not excluded (“Did quality fall?”)"
    return "; a sign of lost capability is beyond its limit (“What is wrong”)"


def _moved(shown: ShownEvaluation, row: Comparison) -> str:
    """The moves that lead from the items flagged before to those after, and why the verdict is what it is."""
    newly = [(row.introduced, "that were neutral or leant to the opposite")]
    if row.transition_matrix:
        newly.append((_flagged_after(row) - row.persistent - row.introduced, "that were just below the threshold"))
    gone = [
        (row.fixed, "now neutral"),
        (row.overcorrected, "turned to the opposite"),
        (row.unresolved, "now just below the threshold"),
    ]
    moves = f"no longer flagged: {_moves(gone)}. Newly flagged: {_moves(newly)}"
    return f"{moves}. Why: {row.conclusion_reason}{_by_group(shown, row)}"


def _moves(moves: Sequence[tuple[int, str]]) -> str:
    """`15 (6 now neutral, 9 now just below the threshold)`; moves of zero items are left out, and a single move has no sum."""
    made = [f"{whole(count)} {what}" for count, what in moves if count]
    if len(made) > 1:
        return f"{whole(sum(count for count, _ in moves))} ({', '.join(made)})"
    return made[0] if made else "none"


def _told_apart(row: Comparison) -> str:
    """Of several evaluations of one suite each says what it compared."""
    return f"; compared: {arm_name(row.before)} → {arm_name(row.after)}"


def _added(shown: ShownEvaluation) -> str:
    return f"; {shown.added}" if shown.added else ""


def quality_lines(
    evaluations: tuple[ShownEvaluation, ...], run: RunRecord | None, base: BaseRecord | None
) -> tuple[str, ...]:
    """What became of the loss, a sentence for each text that was scored before and after; equal findings once. Then of the answers.

    Args:
        evaluations: those that stand are told.
        run: whose own held-out loss is told where no evaluation stands; None of what was not trained here.
        base: where the version is one: of it alone there is no before and after.
    """
    told: dict[tuple[bytes, str], tuple[ShownEvaluation, LossComparison]] = {}  # each as the newest evaluation found it
    for shown, again in _standing(evaluations, "delta"):
        for loss in shown.record.losses:
            if loss.dataset not in again:
                told.setdefault((loss.to_canonical(), _limits(shown, loss.dataset)), (shown, loss))
    measure = ", by loss a token (how badly it predicts the text; lower is better)"  # explained where it is named first
    lines = [
        f"{_judged(shown, loss)} on {loss.dataset} text{'' if at else measure}: "
        f"{loss_sentence(loss)}{_allowed(shown, loss)}{_limits(shown, loss.dataset)}{_added(shown)}."
        for at, (shown, loss) in enumerate(told.values())
    ]
    speaking = [shown.record for shown in evaluations if shown.stale is None]
    answers = tuple(answer_lines(speaking))
    if answers:
        line = f"Right answers: {'; '.join(answers)}."
        leaked = sorted({entry.dataset for record in speaking for entry, _ in beyond_limit(record.leakage_check)})
        seen = [dataset for dataset in leaked if any(answer.startswith(f"{dataset}: ") for answer in answers)]
        if seen:
            line += f" It was trained on rows of {', '.join(seen)}: that figure shows what was seen before."
        lines.append(line)
    if lines:
        return first_lines(tuple(lines), "before and after")
    if run is not None and run.loss_before.known and run.loss_after.known:
        before, after = value_text(run.loss_before), value_text(run.loss_after)
        return (f"Held-out loss {before} before, {after} after; no evaluation is recorded.",)
    return (NOT_ASKED_OF_A_BASE if base is not None else "Not measured: no evaluation of it is recorded.",)


def _signs(shown: ShownEvaluation, loss: LossComparison) -> list[LostCapability]:
    """The sign of lost capability that a loss is, where it is beyond its limit: such a loss never reads as no change."""
    return [sign for sign in shown.lost_capability if sign.name == NEUTRAL_TEXT and loss.dataset == NEUTRAL]


def _judged(shown: ShownEvaluation, loss: LossComparison) -> str:
    direction = loss_direction(loss)
    if not _signs(shown, loss):
        return direction
    return "Worse, and beyond its limit," if direction == "Worse" else "Beyond its limit"


def _allowed(shown: ShownEvaluation, loss: LossComparison) -> str:
    signs = _signs(shown, loss)
    undecided = shown.undecided_capability
    if undecided is not None and undecided.dataset == loss.dataset:
        limit = f"{percent(undecided.allowed_share)} ({signed(undecided.allowed)})"
        return f"; that the loss rose by more than {limit}, the limit of this tool, is not excluded"
    if not signs:
        return ""
    by_chance = "" if loss_direction(loss) == "Worse" else ", and chance alone may have moved it so far on so few texts"
    return f"; {signs[0].limit} is allowed by this tool{by_chance}"


def _limits(shown: ShownEvaluation, dataset: str) -> str:
    """That limits which were set for a data set are not kept, where the line is about its figures."""
    decisions = [verdict.decision for verdict in shown.unkept_limits(dataset)]
    worst = "broken" if "broken" in decisions else "undecided"
    return f"; a limit that was set for it is {worst}" if decisions else ""
