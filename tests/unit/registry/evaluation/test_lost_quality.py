"""What a model became worse at beyond its limit: the neutral text, held-out rows and right answers; noise accuses nobody."""

from dataclasses import replace
from math import exp

import pytest

from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.lost_quality import lost_quality
from peft_registry.registry.records.facets import evaluation_facets
from peft_registry.schemas.evaluation import EvaluationRecord, LossComparison
from peft_registry.schemas.facets import Facet
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table, answered, loss_items


def names(record: EvaluationRecord) -> list[str]:
    return [lost.name for lost in lost_quality(record)]


def test_a_loss_on_neutral_text_beyond_its_limit_is_said_with_its_perplexity() -> None:
    """112 → 252, which was `inconclusive` and nothing else."""
    record, _ = a_recorded_evaluation(a_table(neutral=(4.7185, 5.5294)))
    (lost,) = lost_quality(record)
    assert lost.line.startswith("loss on neutral text ")
    before, after = record.guards.neutral_loss_before, record.guards.neutral_loss_after
    assert before is not None and after is not None
    assert f"(perplexity {exp(before):.4g} → {exp(after):.4g}), at most 1.05 times as much" in lost.line


def test_what_got_better_or_stayed_is_not_lost() -> None:
    assert names(a_recorded_evaluation()[0]) == []


def test_a_held_out_loss_that_rose_is_lost() -> None:
    table = [row for row in a_table() if row.dataset != "held-out"]
    record, _ = a_recorded_evaluation([*table, *loss_items(2.0, "base"), *loss_items(2.5, "adapted")])
    assert names(record) == ["loss on held-out"]


@pytest.mark.parametrize(("low", "lost"), [(0.09, False), (0.11, True), (None, True)])
def test_an_interval_that_reaches_below_the_limit_accuses_nobody(low: float | None, lost: bool) -> None:
    record, _ = a_recorded_evaluation()
    interval = record.comparisons[0].net_change_interval
    assert interval is not None
    ci = None if low is None else interval.revised(low=low, high=0.9)
    worse = LossComparison(dataset="held-out", before=2.0, after=2.4, change=0.4, change_ci=ci, n=12)
    assert bool(lost_quality(record.revised(losses=(worse,)))) is lost


@pytest.mark.parametrize(("right", "lost"), [(50, []), (49, []), (10, ["exact_match on answers-q"])])
def test_right_answers_that_fell_beyond_the_limit_are_lost(right: int, lost: list[str]) -> None:
    table = [*a_table(), *answered(50, "base"), *answered(right, "adapted")]
    record, _ = a_recorded_evaluation(table, replace(PLAN, figures=FIGURES))
    assert names(record) == lost


@pytest.mark.parametrize(
    ("metric", "stated", "right", "lost"),
    [
        ("acc", "higher", 10, ["acc on sums"]),
        ("exact_match.strict-match", "higher", 10, ["exact_match.strict-match on sums"]),
        ("acc", "higher", 47, []),  # 0.05 less, by an interval that holds the limit
        ("acc", "lower", 10, []),
        ("acc", None, 10, []),
        ("bleu", "higher", 10, []),  # its scale is not known
    ],
)
def test_a_benchmark_whose_right_answers_fell_beyond_the_limit_is_lost(
    metric: str, stated: str | None, right: int, lost: list[str]
) -> None:
    before = answered(50, "base", dataset="task-sums", metric=metric)
    after = answered(right, "adapted", dataset="task-sums", metric=metric)
    record, _ = a_recorded_evaluation([*a_table(), *before, *after], replace(PLAN, figures=FIGURES))
    measures = {} if stated is None else {metric: stated}
    said = record.revised(extra=record.extra | {"tasks": {"task-sums": {"measures": measures}}})
    assert names(said) == lost
    assert (Facet("quality", "lost") in evaluation_facets([said])) is bool(lost)


def test_whoever_signed_an_evaluation_of_an_earlier_edition_does_not_choose_what_is_lost() -> None:
    plan = replace(PLAN, figures=5, neutral_loss_ratio=100.0)
    record, _ = a_recorded_evaluation(a_table(neutral=(4.7185, 5.5294)), plan)
    assert record.guards.confounded is False
    assert names(record) == ["loss on neutral text"]
