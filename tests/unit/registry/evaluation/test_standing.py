"""Which of several evaluations of one version stand: a later one hides nothing but what it counted again."""

from peft_registry.registry.evaluation.standing import standing_findings, standing_losses, worst_first
from peft_registry.schemas.evaluation import EvaluationRecord
from tests.builders.records import a_comparison, an_evaluation


def on_rows(rows: int, conclusion: str) -> EvaluationRecord:
    record = an_evaluation(comparisons=(a_comparison(n=rows, conclusion=conclusion),))
    used = tuple(dataset.revised(rows_used=rows) for dataset in record.datasets)
    return record.revised(datasets=used, created_at=f"2026-11-25T10:00:{rows % 60:02}Z")


def test_a_later_evaluation_on_fewer_rows_hides_no_worse_one() -> None:
    worse, better = on_rows(240, "worse"), on_rows(16, "better")
    findings = standing_findings((better, worse))
    assert [(finding.n, finding.conclusion) for finding in findings] == [(240, "worse"), (16, "better")]
    assert [finding.conclusion for finding in worst_first(reversed(findings))] == ["worse", "better"]


def test_the_same_rows_counted_again_stand_once() -> None:
    first, again = on_rows(240, "worse"), on_rows(240, "inconclusive")
    assert [finding.conclusion for finding in standing_findings((again, first))] == ["inconclusive"]


def test_a_later_evaluation_without_losses_takes_no_loss_away() -> None:
    first = on_rows(240, "worse")
    assert first.losses
    assert standing_losses((on_rows(16, "better").revised(losses=()), first)) == first.losses
