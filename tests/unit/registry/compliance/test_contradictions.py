"""What cannot be together in one record: told of facts and of answers before anything is signed, and shown where it is signed."""

import pytest

from peft_registry.registry.compliance.answers import problems_of_answers
from peft_registry.registry.compliance.contradictions import (
    FactContradicted,
    FactIncomplete,
    FactsOutOfOrder,
    contradictions,
)
from peft_registry.registry.compliance.facts import problems_of_facts
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.modification import BaseUsed
from peft_registry.schemas.values import declared, derived, measured
from tests.builders.records import NOW, a_modification_record, a_version

LICENCE_OK = "gpai.open_source_exemption.licence_ok"
PLAN = {
    "plan": "retraining on new sums each year",
    "plan_digest": f"sha256:{'ab' * 32}",
    "plan_date": "2026-01-10",
    "assessment_date": "2026-02-01",
    "within_bounds": "yes",
}


def problems(facts, flags=()):
    base = BaseUsed(name=measured("small-llama"), licence_flags=declared(list(flags), by="the publisher", at=NOW))
    return list(problems_of_facts({"asserted_by": "alex"} | facts, at=NOW, bases=[base], data=[]))


def answer_problems(answers, record=None):
    found = problems_of_answers(
        record or a_modification_record(), answers, role="officer", version=a_version(), at="2026-11-24T12:00:00Z"
    )
    return {problem.path: problem.reason for problem in found}


# --- mistake 19: a pre-determined change that is claimed after the fact ---


def claimed(**over):
    return {"high_risk": {"predetermined": {key: value for key, value in (PLAN | over).items() if value is not None}}}


def test_a_plan_that_is_older_than_the_assessment_and_the_placing_is_taken():
    assert problems(claimed() | {"gpai": {"placing_date": "2026-03-01"}}) == []
    assert problems(claimed(assessment_date="2026-01-10")) == [], "one day may be both"


@pytest.mark.parametrize(
    ("facts", "because"),
    [
        (claimed(plan_date="2026-02-02"), "after the initial conformity assessment"),
        (claimed(assessment_date="2026-11-20") | {"gpai": {"placing_date": "2026-03-01"}}, "before it is placed"),
        (claimed(plan_date="2027-05-01", assessment_date="2027-06-01"), "foresaw this change was made before it"),
        (claimed(expires="2026-01-09"), "before it expires"),
    ],
)
def test_a_pre_determined_change_is_not_claimed_after_the_fact(facts, because):
    found = problems(facts)
    assert found and all(isinstance(problem, FactsOutOfOrder) for problem in found)
    assert any(because in problem.why for problem in found)


def test_a_plan_later_than_the_placing_is_told_with_both_dates():
    facts = claimed(plan_date="2026-03-02", assessment_date="2026-03-02") | {"gpai": {"placing_date": "2026-03-01"}}
    told = {(problem.earlier, problem.later) for problem in problems(facts)}
    assert ("high_risk.predetermined.plan_date", "gpai.placing_date") in told


@pytest.mark.parametrize("missing", ["plan_digest", "plan_date", "assessment_date"])
def test_a_pre_determined_change_without_its_plan_and_dates_says_nothing(missing):
    (problem,) = problems(claimed(**{missing: None}))
    assert isinstance(problem, FactIncomplete)
    assert problem.missing == [f"high_risk.predetermined.{missing}"]


def test_a_late_plan_is_not_answered_either():
    told = answer_problems({"high_risk.predetermined": PLAN | {"plan_date": "2026-02-02"}})
    assert "after the initial conformity assessment" in told["high_risk.predetermined"]


# --- mistake 10: an exemption for open licences that the licence does not give ---


@pytest.mark.parametrize(
    "flag", ["non_commercial", "user_threshold", "eu_exclusion", "no_derivatives", "no_redistribution"]
)
def test_a_licence_with_such_a_term_is_not_declared_open(flag):
    facts = {"gpai": {"open_source_exemption": {"licence_ok": "yes"}}}
    (problem,) = problems(facts, flags=["share_alike", flag])
    assert isinstance(problem, FactContradicted)
    assert (problem.path, problem.against, problem.held) == (LICENCE_OK, "base.small-llama.licence_flags", flag)
    assert problem.exit_code == 2


def test_other_terms_and_a_no_stand_beside_it():
    assert problems({"gpai": {"open_source_exemption": {"licence_ok": "yes"}}}, flags=["share_alike"]) == []
    assert problems({"gpai": {"open_source_exemption": {"licence_ok": "no"}}}, flags=["non_commercial"]) == []


def test_the_answers_of_a_form_do_not_contradict_each_other_or_the_record():
    both = {LICENCE_OK: "yes", "base[0].licence_flags": ["user_threshold"]}
    assert "does not permit" in answer_problems(both)[LICENCE_OK]
    excluded = with_values(a_modification_record(), {"upstream[0].eu_exclusion": declared("yes", by="alex", at=NOW)})
    assert "excludes the Union" in answer_problems({LICENCE_OK: "yes"}, excluded)[LICENCE_OK]


def test_a_contradiction_that_is_signed_is_found_in_the_record():
    record = with_values(
        a_modification_record(),
        {
            LICENCE_OK: declared("yes", by="alex", at=NOW),
            "base[0].licence_flags": derived(["non_commercial"], method="the licence of the base"),
        },
    )
    (problem,) = contradictions(record)
    assert (problem.what, "does not permit" in problem.why) == (
        f"'{LICENCE_OK}' is yes, and 'base[0].licence_flags' is non_commercial",
        True,
    )
    assert list(contradictions(a_modification_record())) == []
