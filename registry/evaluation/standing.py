"""Which figures of several evaluations of one version stand, and which of their conclusions is the worst. Pure.

Figures give way only to those of a later evaluation that scored the same rows of the same data with the same arms: one on
fewer rows, or on others, hides none.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

from peft_registry.registry.compliance.recorded_evaluation import ScoredFigures, scored_by
from peft_registry.schemas.evaluation import Comparison, Conclusion, EvaluationRecord, LossComparison

WORST_FIRST: tuple[Conclusion, ...] = (
    "worse",
    "turned_over",
    "opposite_more_often",
    "confounded",  # it may have got worse, and what was measured cannot show it
    "changed",
    "inconclusive",
    "not_testable",
    "not_informative",
    "unchanged",
    "better",
)


def with_repeated(
    newest_first: Iterable[EvaluationRecord], figures: Literal["metrics", "bias", "delta"]
) -> Iterator[tuple[EvaluationRecord, frozenset[str]]]:
    """Each evaluation in the order given, with the suites whose figures of that kind a later one counted again."""
    seen: set[ScoredFigures] = set()
    for record in newest_first:
        scored = {suite for suite in scored_by(record) if suite.figures == figures}
        yield record, frozenset(suite.suite for suite in scored & seen)
        seen |= scored


def standing_findings(newest_first: Iterable[EvaluationRecord]) -> tuple[Comparison, ...]:
    """The comparisons over whole data sets that stand, in the order in which they were recorded."""
    standing = [
        [finding for finding in record.findings if finding.category is None and finding.dataset not in repeated]
        for record, repeated in with_repeated(newest_first, "bias")
    ]
    return tuple(finding for findings in reversed(standing) for finding in findings)


def standing_losses(newest_first: Iterable[EvaluationRecord]) -> tuple[LossComparison, ...]:
    """The losses that stand, each once, in the order in which they were recorded."""
    standing = [
        [loss for loss in record.losses if loss.dataset not in repeated]
        for record, repeated in with_repeated(newest_first, "delta")
    ]
    recorded: list[LossComparison] = []
    for losses in reversed(standing):
        recorded += [loss for loss in losses if loss not in recorded]
    return tuple(recorded)


def worst_first(findings: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Sorted by what they conclude; of equal conclusions that of most items first."""
    return tuple(sorted(findings, key=lambda finding: (WORST_FIRST.index(finding.conclusion), -finding.n)))
