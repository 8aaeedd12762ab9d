"""What a version's record says of several evaluations: none hides another, and each has its own plan and signer."""

from typing import Any

import pytest

from peft_registry.registry.compliance.recorded_evaluation import (
    NOT_REPEATED,
    EvaluationSignature,
    evaluation_section,
    with_later_evaluations,
)
from peft_registry.registry.records.evaluations import newest_of_each
from peft_registry.schemas.codes import code, in_words
from peft_registry.schemas.evaluation import ComparedTexts, EvaluationRecord, LeakageCheck, LeakedItems
from peft_registry.schemas.modification import Evaluation
from peft_registry.schemas.values import Value
from tests.builders.records import a_comparison, a_digest, a_result, an_arm, an_evaluation

LATER = "2026-11-25T09:00:00Z"
PLAN = {"sha256": str(a_digest("plan")), "plan": {}, "log_index": 12}


def a_later_evaluation(**over: Any) -> EvaluationRecord:
    """The same again, with another outcome and other figures."""
    fields: dict[str, Any] = {
        "created_at": LATER,
        "results": (a_result(value=0.5, k=120), a_result(arm="adapted", value=0.25, k=60)),
        "comparisons": (a_comparison(conclusion="better", conclusion_reason="fewer"),),
    }
    return an_evaluation(**(fields | over))


def data(**over: Any) -> dict[str, Any]:
    """The suite's data with other facts."""
    return {"datasets": tuple(used.revised(**over) for used in an_evaluation().datasets)}


def signature(evaluation: EvaluationRecord, person: str = "alex") -> EvaluationSignature:
    digest = evaluation.canonical_digest()
    return EvaluationSignature(
        statement=a_digest(f"statement {digest}"), evaluation=digest, key_id=person, person=person, at=LATER
    )


def joined(*evaluations: EvaluationRecord, before: Evaluation | None = None) -> Evaluation:
    first, *later = evaluations
    return with_later_evaluations(
        before or evaluation_section(first, None), later, [signature(evaluation) for evaluation in evaluations]
    )


def said(value: Value, key: str) -> list[Any]:
    return [row[key] for row in value.value if key in row]


OTHERS = {
    "fewer rows": data(rows_used=10, selection="10 rows, seed 7"),
    "as many other rows": data(selection_ids_sha256=a_digest("other rows")),
    "other data": data(sha256=a_digest("another file")),
    "other arms": {"arms": (an_arm("base"), an_arm("adapted"), an_arm("placebo"))},
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_later_evaluation_of_something_else_hides_no_earlier_one(case: str) -> None:
    first, later = an_evaluation(), a_later_evaluation(**OTHERS[case])
    section = joined(first, later)
    assert said(section.runs, "suite") == ["house", "house"]
    assert set(said(section.bias, "conclusion")) == {"inconclusive", "better"}
    assert len(section.metrics.value) == len(first.results) + len(later.results)
    for rows in (section.metrics, section.bias, section.delta):
        assert {row["evaluation"] for row in rows.value} == {str(one.canonical_digest()) for one in (first, later)}
    assert newest_of_each((first, later)) == (later, first)


def test_the_same_scored_again_stands_in_place_of_the_earlier_figures() -> None:
    first, later = an_evaluation(), a_later_evaluation()
    section = joined(first, later)
    assert said(section.runs, "finished_at") == [LATER]
    assert said(section.bias, "conclusion") == ["better"]
    assert newest_of_each((first, later)) == (later,)


def test_of_three_evaluations_the_same_scored_again_replaces_its_own_alone() -> None:
    smaller = a_later_evaluation(**OTHERS["fewer rows"])
    again = a_later_evaluation(comparisons=(a_comparison(conclusion="worse", conclusion_reason="more"),))
    section = joined(an_evaluation(), smaller, again)
    assert sorted(said(section.bias, "conclusion")) == ["better", "worse"]
    assert newest_of_each((an_evaluation(), smaller, again)) == (again, smaller)


def test_a_later_evaluation_without_a_comparison_takes_none_away() -> None:
    first, later = an_evaluation(), a_later_evaluation(comparisons=())
    section = joined(first, later)
    assert said(section.bias, "conclusion") == ["inconclusive"]
    assert len(section.runs.value) == 2
    assert newest_of_each((first, later)) == (later, first)


def without_names(section: Evaluation) -> Evaluation:
    """As an earlier version of this tool recorded it."""
    new = ("evaluation", "plan", "selection_ids_sha256")

    def row(recorded: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in recorded.items() if key not in new}

    lists = {name: getattr(section, name) for name in ("runs", "metrics", "delta", "bias")}
    return section.revised(
        **{name: value.revised(value=[row(recorded) for recorded in value.value]) for name, value in lists.items()}
    )


@pytest.mark.parametrize(
    ("over", "conclusions"), [({}, ["better"]), (OTHERS["fewer rows"], ["inconclusive", "better"])]
)
def test_rows_of_an_earlier_version_of_the_tool_give_way_to_the_same_alone(
    over: dict[str, Any], conclusions: list[str]
) -> None:
    before = without_names(evaluation_section(an_evaluation(), None))
    section = joined(an_evaluation(), a_later_evaluation(**over), before=before)
    assert said(section.bias, "conclusion") == conclusions


# --- plans and signers ---


def test_a_later_plan_does_not_stand_over_earlier_figures() -> None:
    section = joined(an_evaluation(), a_later_evaluation(**OTHERS["fewer rows"], extra={"plan": PLAN}))
    assert [row.get("plan", {}).get("sha256") for row in section.runs.value] == [None, PLAN["sha256"]]
    assert section.plan_digest.value == PLAN["sha256"]
    assert "no plan was fixed before an evaluation of house" in str(section.plan_digest.method)


def test_an_earlier_plan_stays_that_of_its_own_figures() -> None:
    first = an_evaluation(extra={"plan": PLAN})
    section = joined(first, a_later_evaluation(**OTHERS["other data"]))
    assert [row.get("plan", {}).get("sha256") for row in section.runs.value] == [PLAN["sha256"], None]
    assert "no plan was fixed before an evaluation of house" in str(section.plan_digest.method)
    unnamed = without_names(evaluation_section(first, None))
    assert joined(first, a_later_evaluation(**OTHERS["other data"]), before=unnamed).plan_digest == section.plan_digest


def test_two_plans_are_both_named() -> None:
    other = {"sha256": str(a_digest("another plan")), "plan": {}}
    section = joined(
        an_evaluation(extra={"plan": PLAN}), a_later_evaluation(**data(rows_used=9), extra={"plan": other})
    )
    assert section.plan_digest.value == [PLAN["sha256"], other["sha256"]]


def test_without_any_plan_there_is_none() -> None:
    section = joined(an_evaluation(), a_later_evaluation(**OTHERS["fewer rows"]))
    assert "followed no plan" in str(section.plan_digest.reason)


def test_each_evaluation_has_its_signer() -> None:
    first, later = an_evaluation(), a_later_evaluation(**OTHERS["fewer rows"])
    section = with_later_evaluations(
        evaluation_section(first, None), [later], [signature(first, "lab-1"), signature(later, "sam")]
    )
    signed = {row["evaluation"]: row["person"] for row in section.signed_by.value}
    assert signed == {str(first.canonical_digest()): "lab-1", str(later.canonical_digest()): "sam"}


# --- records of before there were codes ---


def a_check(hits: int) -> LeakageCheck:
    return LeakageCheck(
        method=code("runs_of_words", share=0.5, words=8),
        hits=hits,
        dataset_digest=a_digest("house"),
        trainings=(ComparedTexts(training="mine:1", status="unknown", reason=code("no_hashes_kept")),),
        datasets=(LeakedItems(dataset="house", kind="suite", items=240, hits=hits),),
        limit=0.1,
    )


@pytest.mark.parametrize(("hits", "conclusions"), [(3, ["better"]), (4, ["inconclusive", "better"])])
def test_what_was_trained_on_is_the_same_whether_text_or_codes_say_it(hits: int, conclusions: list[str]) -> None:
    first = an_evaluation(leakage_check=a_check(3))
    section = evaluation_section(first, None)
    (row,) = section.runs.value
    assert in_words(row["trained_on"]) == "house: 3 of 240; mine:1: unknown"
    worded = section.revised(runs=section.runs.revised(value=[row | {"trained_on": in_words(row["trained_on"])}]))
    later = a_later_evaluation(leakage_check=a_check(hits))
    for before in (section, worded):
        assert said(joined(first, later, before=before).bias, "conclusion") == conclusions


@pytest.mark.parametrize("form", ["code", "text"])
def test_an_evaluation_of_the_merged_model_ends_what_was_said_of_its_ingredients(form: str) -> None:
    limit = NOT_REPEATED.to_json() if form == "code" else str(NOT_REPEATED)
    section = evaluation_section(an_evaluation(), None)
    before = section.revised(limitations=section.limitations.revised(value=[limit, "something else"]))
    assert said_first(joined(an_evaluation(), a_later_evaluation(), before=before).limitations) == "something else"


def said_first(value: Value) -> object:
    return in_words(value.value)[0]
