"""What cannot be together in one record: told of facts and of answers before anything is signed, and shown where it is signed."""

import pytest

from peft_registry.registry.compliance.answers import problems_of_answers
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.base_facts import declared_base_facts
from peft_registry.registry.compliance.base_terms import eu_exclusion_of, licence_flags_of
from peft_registry.registry.compliance.completeness import disqualifying_flags
from peft_registry.registry.compliance.contradictions import (
    FactContradicted,
    FactIncomplete,
    FactsOutOfOrder,
    contradictions,
    contradictions_with_run,
)
from peft_registry.registry.compliance.facts import problems_of_facts
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.modification import BaseUsed, UpstreamTerms
from peft_registry.schemas.values import declared, derived, measured, unknown
from tests.builders.records import (
    NOW,
    a_merge_modification,
    a_modification_record,
    a_version,
    signed_by_an_officer,
)

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


# --- an energy that cannot be ---

METER = {"energy.training_kwh": 5000.0, "energy.method": "wattmeter at the socket", "energy.boundary": "node"}


def test_energy_of_five_thousand_kwh_for_minutes_of_a_device_is_not_answered():
    told = answer_problems(METER)["energy.training_kwh"]
    assert "5000 kWh" in told and "10000 W" in told
    assert answer_problems(METER | {"energy.training_kwh": 0.5}) == {}


def test_energy_is_held_against_the_watts_that_somebody_declares():
    told = answer_problems(METER | {"energy.training_kwh": 3.0, "power.device_watts": 300})
    assert "'power.device_watts' is 300 W" in told["energy.training_kwh"]
    assert answer_problems(METER | {"energy.training_kwh": 1.0, "power.device_watts": 300}) == {}


def test_energy_that_no_hours_of_the_run_give_is_recorded_as_stated_and_told():
    facts = {"asserted_by": "x", "energy": {key.partition(".")[2]: value for key, value in METER.items()}}
    record = a_modification_record(facts=facts)
    assert record.energy.training_kwh.value == 5000.0
    (problem,) = contradictions_with_run(record)
    assert problem.held == "0.00325 days"


def test_energy_beside_no_sensor_is_not_answered():
    record = a_merge_modification(facts={"asserted_by": "x", "energy": {"missing_info": "no sensor"}})
    assert "no sensor" in answer_problems(METER, record)["energy.training_kwh"]


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


# --- answers that deny each other, in one statement and one after the other ---

EXCLUSION, FLAGS, LICENCE = "upstream[0].eu_exclusion", "base[0].licence_flags", "base[0].licence_id"
DENIED = {
    "exclusion beside its flag": ({EXCLUSION: "no"}, {FLAGS: ["eu_exclusion"]}),
    "special categories that are not personal": (
        {"data[0].personal_data": "no"},
        {"data[0].special_categories": "yes"},
    ),
    "systemic risk of what is not general": ({"base[0].is_gpai": "no"}, {"base[0].has_systemic_risk": "yes"}),
    "a day of a placing that was none": (
        {"gpai.placed_on_eu_market": "no"},
        {"gpai.placing_date": "2026-11-01"},
    ),
    "a way of a placing that was none": ({"gpai.placed_on_eu_market": "no"}, {"gpai.placing_channel": "the Hub"}),
    "a licence without its flag": ({LICENCE: "CC-BY-NC-4.0"}, {FLAGS: "none"}),
    "a licence without one of its flags": ({LICENCE: "CC-BY-NC-ND-4.0"}, {FLAGS: ["non_commercial"]}),
    "an open licence that is none": ({LICENCE: "CC-BY-ND-4.0"}, {LICENCE_OK: "yes"}),
}


def bare_record():
    """A record in which nothing is answered that these tests answer."""
    asked = (EXCLUSION, FLAGS, LICENCE, "base[0].is_gpai", "base[0].has_systemic_risk", "data[0].personal_data")
    asked += ("data[0].special_categories", "gpai.placed_on_eu_market", "gpai.placing_date", "gpai.placing_channel")
    return with_values(a_modification_record(), dict.fromkeys(asked, unknown("nobody has answered it")))


def recorded(record, answers):
    values = {path: declared([] if value == "none" else value, by="alex", at=NOW) for path, value in answers.items()}
    return with_assessment(with_values(record, values))


@pytest.mark.parametrize("case", DENIED)
def test_answers_that_deny_each_other_are_refused_together_and_across_records_in_either_order(case):
    first, second = DENIED[case]
    assert answer_problems(first | second, bare_record())
    for earlier, later in ((first, second), (second, first)):
        assert answer_problems(earlier, bare_record()) == {}
        assert set(answer_problems(later, recorded(bare_record(), earlier))) == set(later)


@pytest.mark.parametrize("case", DENIED)
def test_whoever_answers_the_denied_field_again_may_correct_it(case):
    first, second = DENIED[case]
    (path,) = first
    again = {path: "MIT" if path == LICENCE else "yes"}
    if LICENCE_OK in second:  # it follows from the licence, and nobody answers it while that is closed
        assert answer_problems(second, recorded(bare_record(), again)) == {}
    else:
        assert answer_problems(second | again, recorded(bare_record(), first)) == {}


@pytest.mark.parametrize("after", ["ranks applicants for jobs", "answers requests"])
def test_a_purpose_that_differs_from_the_one_before_is_not_said_to_be_the_same(after):
    purpose = "high_risk.intended_purpose_"
    stated = {f"{purpose}before": "answers requests", "use.intended": after, f"{purpose}changed": "no"}
    problems_found = answer_problems(stated, bare_record())
    assert bool(problems_found) == (after != "answers requests")
    assert all("another purpose is a change of it" in problem for problem in problems_found.values())


def test_facts_that_deny_each_other_are_refused_before_a_run():
    placed = problems({"gpai": {"placed_on_eu_market": "no", "placing_date": "2026-11-01"}})
    risk = problems({"base": {"*": {"is_gpai": "no", "has_systemic_risk": "yes"}}})
    excluded = problems({"upstream": {"small-llama": {"eu_exclusion": "no"}}}, flags=["eu_exclusion"])
    for found in (placed, risk, excluded):
        assert [type(problem) for problem in found] == [FactContradicted]


@pytest.mark.parametrize(
    ("facts", "path", "against"),
    [
        ({"eu_exclusion": "no", "licence_flags": ["eu_exclusion"]}, "eu_exclusion", "licence_flags"),
        ({"is_gpai": "no", "has_systemic_risk": "yes"}, "has_systemic_risk", "is_gpai"),
        ({"licence": "CC-BY-NC-4.0", "licence_flags": "none"}, "licence_flags", "licence"),
    ],
)
def test_base_facts_that_deny_each_other_are_refused(facts, path, against):
    with pytest.raises(FactContradicted) as refused:
        declared_base_facts({"asserted_by": "alex"} | facts, at=NOW)
    assert (refused.value.path, refused.value.against) == (path, against)


def test_the_flags_of_one_base_say_nothing_of_the_terms_of_another():
    record = bare_record()
    other = record.base[0].revised(name=measured("another"), licence_flags=declared(["eu_exclusion"], by="a", at=NOW))
    terms = UpstreamTerms(name=record.base[0].name, eu_exclusion=declared("no", by="a", at=NOW))
    assert list(contradictions(record.revised(base=(record.base[0], other), upstream=(terms,)))) == []


def test_a_licence_that_implies_such_a_term_ends_the_exemption():
    assert disqualifying_flags(recorded(bare_record(), {LICENCE: "CC-BY-NC-4.0"})) == ("non_commercial",)


# --- a list that says that it may be incomplete ---


@pytest.mark.parametrize(
    ("flags", "exclusion"),
    [(["unknown"], None), (["unknown", "non_commercial"], None), (["eu_exclusion", "unknown"], "yes"), ([], "no")],
)
def test_a_list_of_flags_that_holds_unknown_decides_only_what_it_lists(flags, exclusion):
    facts = declared_base_facts({"asserted_by": "alex", "licence_flags": flags}, at=NOW)
    assert (licence_flags_of(facts).value, eu_exclusion_of(facts).value) == (flags, exclusion)
    assert recorded(bare_record(), {FLAGS: flags}).upstream[0].eu_exclusion.value == exclusion


def test_a_flag_that_excludes_the_union_counts_in_the_status_beside_an_answer_that_denies_it():
    stated = {EXCLUSION: "no", FLAGS: ["eu_exclusion"], "gpai.placed_on_eu_market": "yes", "gpai.same_provider": "no"}
    record = recorded(bare_record(), stated | {"high_risk.classification_after": "not_high_risk"})
    status = signed_by_an_officer(record).gpai.verdict
    assert status.value == "provider_of_original_model"
    assert "row G4" in str(status.method)
