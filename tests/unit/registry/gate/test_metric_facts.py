"""What a gate reads of an evaluation's figures: value and change with their intervals, and why a figure shows nothing."""

from typing import Any

import pytest

from peft_registry.registry.gate.facts import FigureWithInterval, MetricFact
from peft_registry.registry.use_cases.gate_facts import _metrics
from peft_registry.schemas.evaluation import DatasetUsed, EvaluationRecord, LeakageCheck, LeakedItems
from tests.builders.records import a_digest, a_result, an_evaluation, an_interval

ROWS = 100
MEASURE = {"before": 0.4, "after": 0.5, "change": 0.1, "low": 0.02, "high": 0.18, "n": ROWS}


def figures_of(dataset: str, *, measure: dict[str, Any] | None = None, **over: Any) -> EvaluationRecord:
    """An evaluation of answers with one figure in both arms."""
    used = DatasetUsed(
        name=dataset, version="1", licence="not declared", file="rows.jsonl", sha256=a_digest(dataset),
        rows_total=ROWS, rows_used=ROWS,
    )  # fmt: skip
    results = tuple(
        a_result(
            dataset=dataset,
            metric="acc",
            arm=arm,
            value=value,
            n=ROWS,
            k=None,
            ci=an_interval(value - 0.1, value + 0.1),
        )
        for arm, value in (("base", 0.4), ("adapted", 0.5))
    )
    measures = [] if measure is None else [measure | {"dataset": dataset, "metric": "acc"}]
    extra = {"further": {"measures": measures}} | over.pop("extra", {})
    return an_evaluation(datasets=(used,), results=results, comparisons=(), extra=extra, **over)


def fact_of(record: EvaluationRecord) -> MetricFact:
    (fact,) = _metrics(None, record, record)
    return fact


def test_the_figure_is_that_of_the_arm_after_and_the_change_is_paired() -> None:
    fact = fact_of(figures_of("answers-own", measure=MEASURE))
    assert (fact.metric, fact.before, fact.rows) == ("answers-own.acc", "base", ROWS)
    assert fact.figure == FigureWithInterval(value=0.5, low=0.4, high=0.6)
    assert fact.change == FigureWithInterval(value=0.1, low=0.02, high=0.18)
    assert fact_of(figures_of("answers-own")).change is None


def test_of_a_task_it_is_known_how_it_was_asked_and_which_way_is_better() -> None:
    stated = {"task": "gsm8k", "examples": {"count": 5}, "measures": {"acc": "lower"}}
    fact = fact_of(figures_of("task-gsm8k", measure=MEASURE, extra={"tasks": {"task-gsm8k": stated}}))
    assert (fact.examples, fact.lower_is_better) == (5, True)
    odd = {"task": "gsm8k", "examples": [5], "measures": "lower"}
    fact = fact_of(figures_of("task-gsm8k", measure=MEASURE, extra={"tasks": {"task-gsm8k": odd}}))
    assert (fact.examples, fact.lower_is_better) == (None, False)


@pytest.mark.parametrize(("dataset", "is_known"), [("held-out-classes", False), ("task-gsm8k", True)])
def test_an_interval_that_is_narrower_than_one_row_weighs_opens_nothing(dataset: str, is_known: bool) -> None:
    """Edition 6 of the figures counts few changed answers in millionths; those of tasks in whole answers."""
    narrow = MEASURE | {"change": -0.03, "low": -0.000001, "high": 0.000001}
    change = fact_of(figures_of(dataset, measure=narrow)).change
    assert change is not None and (change.low is not None) is is_known


@pytest.mark.parametrize(("hits", "is_silent"), [(10, False), (11, True)])
def test_more_than_a_tenth_of_the_rows_in_the_training_shows_what_was_remembered(hits: int, is_silent: bool) -> None:
    leaked = LeakedItems(dataset="answers-own", kind="answers", items=ROWS, hits=hits)
    check = LeakageCheck(method="words", hits=hits, dataset_digest=a_digest("rows"), datasets=(leaked,), limit=0.1)
    fact = fact_of(figures_of("answers-own", measure=MEASURE, leakage_check=check))
    assert (fact.silent is not None) is is_silent


@pytest.mark.parametrize("odd", [{"change": "much"}, {"low": None, "high": None}, {"n": "many"}, {"low": True}])
def test_a_measure_of_another_form_breaks_nothing(odd: dict[str, Any]) -> None:
    fact = fact_of(figures_of("answers-own", measure=MEASURE | odd))
    assert fact.change is None or fact.change.low is None or odd == {"n": "many"}
