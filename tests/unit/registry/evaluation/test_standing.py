"""Which of several evaluations of one version stand: a later one hides nothing but what it counted again."""

import pytest

from peft_registry.registry.evaluation.standing import standing_findings, standing_losses, worst_first
from peft_registry.schemas.evaluation import PLAN, ComparedTexts, EvaluationRecord, LeakageCheck, LeakedItems
from peft_registry.schemas.identity import Digest
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


FOUND = LeakageCheck(
    method="runs",
    hits=160,
    dataset_digest=Digest.of(b""),
    trainings=(ComparedTexts(training="mine:1", status="compared", hashes=Digest.of(b"texts")),),
    datasets=(LeakedItems(dataset="house", kind="suite", items=160, hits=160),),
    limit=0.1,
)
LOST = FOUND.revised(
    hits=0,
    trainings=(ComparedTexts(training="mine:1", status="unknown", reason="the store has lost the hashes"),),
    datasets=(LeakedItems(dataset="house", kind="suite", items=160, hits=0),),
)


def by_policy(record: EvaluationRecord) -> EvaluationRecord:
    return record.revised(protocol=record.protocol.revised(policy_sha256=Digest.of(b"a band of 1000 nats")))


def by_another_guard(record: EvaluationRecord) -> EvaluationRecord:
    return record.revised(
        extra={**record.extra, PLAN: {"plan": {"guard_text": {"sha256": "of easy words", "rows": 10}}}}
    )


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        pytest.param(lambda one: one, by_policy, id="a dead band in which nothing is flagged"),
        pytest.param(lambda one: one, by_another_guard, id="a guard text that never gets worse"),
        pytest.param(
            lambda one: one.revised(leakage_check=FOUND),
            lambda one: one.revised(leakage_check=LOST),
            id="after the hashes of what it was trained on were deleted",
        ),
    ],
)
def test_an_evaluation_under_other_conditions_hides_no_worse_one(earlier, later) -> None:
    first, again = earlier(on_rows(240, "worse")), later(on_rows(240, "inconclusive"))
    assert [finding.conclusion for finding in standing_findings((again, first))] == ["worse", "inconclusive"]
    assert [finding.conclusion for finding in standing_findings((later(first), later(first)))] == ["worse"]
