"""Both verdicts about one record: what it answers, the flags beside them, and the same record under other rules."""

import json

import pytest
from pydantic import ValidationError

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.record_verdicts import high_risk_answers, verdicts_by_each, verdicts_of
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided, with_decision
from peft_registry.registry.compliance.verdicts.rules import VerdictRules, shipped_rules, shipped_text
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared, measured
from tests.builders.records import NOW, a_modification_record


def said(value, unit=None):
    return declared(value, unit, by="alex (legal)", at=NOW)


def answered(record: ModificationRecord, **sections) -> ModificationRecord:
    """The record with these answers, by section and field, and what follows from them."""
    for section, answers in sections.items():
        of_section = getattr(record, section)
        record = record.revised(**{section: of_section.revised(**{key: said(value) for key, value in answers.items()})})
    return with_assessment(record)


def with_effects(record: ModificationRecord, text: str, **others: str) -> ModificationRecord:
    articles = {f"article_{number}": text for number in range(9, 16)} | others
    effects = record.high_risk.effect_on.revised(**{name: said(value) for name, value in articles.items()})
    return record.revised(high_risk=record.high_risk.revised(effect_on=effects))


RECORD = a_modification_record()
SYSTEM = {"classification_before": "annex_iii_3", "classification_after": "annex_iii_3"}


def test_a_purpose_that_makes_a_system_high_risk_is_a_case_of_article_25_1_c():
    record = answered(
        RECORD,
        high_risk={
            "classification_before": "not_high_risk",
            "classification_after": "annex_iii_3",
            "intended_purpose_before": "a tutor for sums",
            "intended_purpose_changed": "yes",
        },
        use={"intended": "marks of pupils"},
    )
    verdict = verdicts_of(record).high_risk
    assert (verdict.row, verdict.status, verdict.clause) == ("H6", "provider_25_1_c", "Arts. 6, 25(1)(c)")
    assert "2027-12-02" in verdict.applies_since
    assert "conformity assessment" in verdict.action


def test_the_status_for_the_model_is_the_one_that_the_record_states():
    verdict = verdicts_of(RECORD).gpai_modifier
    recorded = RECORD.gpai.verdict
    assert verdict.status == (recorded.value if recorded.known else "undetermined")
    if recorded.known:
        assert recorded.evidence == (verdict.inputs,)
    else:
        assert verdict.missing


@pytest.mark.parametrize(
    ("text", "affected", "unaffected"),
    [
        ("no: only the tone of answers", 0, 7),
        ("Yes: the error rate of a group rose", 7, 0),
        ("no", 0, 7),
        (" No. Only the tone of answers.", 0, 7),
        ("no - only the tone of answers", 0, 7),
        ("no\nonly the tone of answers", 0, 7),
        ("no idea", 0, 0),
        ("No assessment was made", 0, 0),
        ("no-one looked", 0, 0),
        ("no doubt it is", 0, 0),
        ("yes, the error rate of a group rose", 7, 0),
        ("none that we know of", 0, 0),
        ("nothing was looked at", 0, 0),
        ("unknown", 0, 0),
    ],
)
def test_only_an_answer_that_begins_with_yes_or_no_says_so(text, affected, unaffected):
    effects = high_risk_answers(with_effects(RECORD, text)).effects
    assert (len(effects.affected), len(effects.unaffected)) == (affected, unaffected)


def test_no_effect_is_not_believed_beside_a_measured_harm():
    calm = answered(
        with_effects(RECORD, "no: only the tone"),
        high_risk=SYSTEM | {"intended_purpose_changed": "no", "foreseen_in_initial_assessment": "no"},
        identity={"name_or_trademark_on_result": "no"},
    )
    calm = calm.revised(evaluation=calm.evaluation.revised(bias=measured([], method="none")))
    assert verdicts_of(calm).high_risk.row == "H9"
    row = {"suite": "house", "slice": "gender", "conclusion": "worse"}
    harmed = calm.revised(evaluation=calm.evaluation.revised(bias=measured([row], method="as evaluated")))
    verdict = verdicts_of(harmed).high_risk
    assert verdict.row is None
    assert verdict.reasons == ("the evaluation of house, group gender says worse (Arts. 10, 15)",)
    unmarked = answered(calm, high_risk={"art50_marking_preserved": "no"})
    assert "Art. 50(2)" in verdicts_of(unmarked).high_risk.reasons[0]


PLAN = {
    "plan": "retraining each year",
    "plan_digest": "sha256:" + "5" * 64,
    "plan_date": "2025-01-10",
    "assessment_date": "2025-03-01",
    "within_bounds": "yes",
}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"within_bounds": "no"}, False),
        ({"plan_date": "2025-03-02"}, False),
        ({"plan_date": None}, False),
        ({"plan_digest": None}, False),
        ({"expires": "2026-01-01"}, False),
        ({"expires": NOW[:10]}, True),
        ({"expires": "2040-01-01"}, True),
    ],
    ids=str,
)
def test_a_pre_determined_change_was_planned_before_the_assessment_and_stays_in_its_bounds(changes, holds):
    plan = {key: value for key, value in (PLAN | changes).items() if value is not None}
    record = answered(
        RECORD, high_risk=SYSTEM | {"predetermined": plan}, identity={"name_or_trademark_on_result": "no"}
    )
    assert high_risk_answers(record).is_within_plan is holds
    assert (verdicts_of(record).high_risk.row == "H3") is holds


def flags_of(record: ModificationRecord) -> list[str]:
    return [flag.flag for flag in verdicts_of(record).flags]


def test_flags_say_what_holds_beside_a_status():
    assert "F6" not in flags_of(RECORD)
    placed = answered(
        RECORD,
        high_risk=SYSTEM,
        gpai={"placed_on_eu_market": "yes", "placing_date": "2026-11-01"},
        modifier={"country": "US"},
    )
    assert {"F6", "H11"} <= set(flags_of(placed))
    over = placed.revised(compute=placed.compute.revised(conservative_flop=measured(2e25, "FLOP", method="counted")))
    over = with_assessment(over)
    assert "F3" in flags_of(over)


def changed_rules(**values) -> VerdictRules:
    text = json.loads(shipped_text())
    for threshold in text["thresholds"]:
        threshold["value"] = values.get(threshold["name"], threshold["value"])
    return VerdictRules.model_validate(text | {"version": "tried"})


def a_known_record(original_flop: float = 1e22) -> ModificationRecord:
    """Everything that the status for the model depends on is answered: a small change of a general-purpose base, G13."""
    known = answered(
        RECORD,
        gpai={"placed_on_eu_market": "yes", "same_provider": "no"},
        use={"modalities": {"input": ["text"], "output": ["text"]}},
    )
    base = known.base[0].revised(
        is_gpai=said("yes"),
        has_systemic_risk=said("no"),
        training_compute_flop=said(original_flop, "FLOP"),
        licence_flags=said([]),
    )
    changes = known.gpai.qualitative_change
    none = changes.revised(generality=said("none"), capabilities=said("none"), systemic_risk=said("none"))
    known = known.revised(base=(base,), gpai=known.gpai.revised(qualitative_change=none))
    known = known.revised(upstream=tuple(terms.revised(eu_exclusion=said("no")) for terms in known.upstream))
    return with_assessment(known)


def test_another_rule_set_tells_another_status_of_the_same_answers():
    known = a_known_record()
    now = verdicts_of(known).gpai_modifier
    assert now.row == "G13", now.missing
    tried = verdicts_of(known, changed_rules(one_third=1e-12))
    assert tried.gpai_modifier.row == "G9"
    assert tried.gpai_modifier.inputs == now.inputs
    assert "tried" in tried.notice and "not legal advice" in tried.notice


def test_several_rule_sets_tell_of_a_record_what_each_tells_alone():
    known, tried = a_known_record(), changed_rules(one_third=1e-12)
    decided = Decided(qualitative_change=True, of_model=("qualitative-change: yes",))
    alone = [verdicts_of(known, rules, decided).both for rules in (shipped_rules(), tried)]
    assert list(verdicts_by_each(known, (shipped_rules(), tried), decided)) == alone
    assert alone[0] != alone[1]


OWN_FLOP = RECORD.compute.conservative_flop.number
CONDITIONS = ("claimed", "licence_ok", "no_monetisation", "weights_public", "architecture_public", "usage_public")


def under_an_open_licence(record: ModificationRecord, **stated: str) -> ModificationRecord:
    conditions = {name: said("yes") for name in CONDITIONS} | {name: said(value) for name, value in stated.items()}
    exemption = record.gpai.open_source_exemption.revised(**conditions)
    return record.revised(gpai=record.gpai.revised(open_source_exemption=exemption))


def with_method_compute(record: ModificationRecord, flop: float) -> ModificationRecord:
    """The same modification, whose own updates took this much."""
    return record.revised(compute=record.compute.revised(param_update_flop=measured(flop, "FLOP", method="counted")))


def of_unknown_base_compute(record: ModificationRecord) -> ModificationRecord:
    base = record.base[0].revised(training_compute_flop=RECORD.base[0].training_compute_flop)
    return record.revised(base=(base,))


def with_compute(record: ModificationRecord, flop: float) -> ModificationRecord:
    counted = record.compute.revised(conservative_flop=measured(flop, "FLOP", method="counted"))
    return with_assessment(record.revised(compute=counted))


SMALL = a_known_record()
PROVIDER = a_known_record(OWN_FLOP)  # as much as the base took: over a third of it
PLACED_EARLY = {"placed_on_eu_market": "yes", "placing_date": "2026-11-01"}


@pytest.mark.parametrize(
    ("record", "flag", "is_raised"),
    [
        (under_an_open_licence(SMALL), "F1", True),
        (under_an_open_licence(SMALL, no_monetisation="no"), "F1", False),
        (SMALL, "F1", False),
        (answered(PROVIDER, modifier={"country": "US"}), "F2", True),
        (answered(PROVIDER, modifier={"country": "DE"}), "F2", False),
        (PROVIDER, "F2", False),  # nobody has said where they are
        (answered(SMALL, modifier={"country": "US"}), "F2", False),  # not a provider
        (under_an_open_licence(answered(PROVIDER, modifier={"country": "US"})), "F2", False),
        (with_compute(a_known_record(9e24), 2e24), "F3", True),
        (a_known_record(9e24), "F3", False),
        (of_unknown_base_compute(SMALL), "F4", True),
        (answered(of_unknown_base_compute(SMALL), gpai={"estimate_attempt": "asked its provider"}), "F4", False),
        (SMALL, "F4", False),
        (with_method_compute(PROVIDER, OWN_FLOP / 4), "F5", True),
        (with_method_compute(PROVIDER, OWN_FLOP / 2), "F5", False),
        (with_method_compute(SMALL, OWN_FLOP / 4), "F5", False),
        (answered(SMALL, high_risk=SYSTEM), "F6", True),
        (answered(SMALL, high_risk=SYSTEM, gpai={"placed_on_eu_market": "no"}), "F6", False),
        (answered(SMALL, high_risk={"classification_after": "no_system"}), "F6", False),
        (answered(SMALL, high_risk=SYSTEM, gpai=PLACED_EARLY), "H11", True),
        # the day on which the model was placed is not that of the system
        (answered(SMALL, high_risk=SYSTEM, gpai=PLACED_EARLY | {"placing_date": "2029-01-01"}), "H11", True),
        (answered(SMALL, high_risk={"classification_after": "annex_i"}), "H11", True),
        (answered(SMALL, high_risk={"classification_after": "annex_i_b"}), "H11", False),
        (answered(SMALL, high_risk={"classification_after": "not_high_risk"}, gpai=PLACED_EARLY), "H11", False),
    ],
    ids=lambda value: str(value) if not isinstance(value, ModificationRecord) else "",
)  # fmt: skip
def test_each_flag_is_raised_where_it_should_be_and_nowhere_else(record, flag, is_raised):
    raised = {shown.flag: shown for shown in verdicts_of(record).flags}
    assert (flag in raised) is is_raised
    assert all(shown.because and shown.effect and shown.clause for shown in raised.values())


def test_a_modifier_outside_the_union_is_told_so_only_as_a_provider():
    verdicts = verdicts_of(answered(PROVIDER, modifier={"country": "US"}))
    assert verdicts.gpai_modifier.row == "G9"
    (flag,) = (flag for flag in verdicts.flags if flag.flag == "F2")
    assert flag.because == "the status is that of a provider, and the modifier is established in US"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rules: rules["thresholds"].pop(),
        lambda rules: rules["thresholds"][0].update(value="1/0"),
        lambda rules: rules["thresholds"][0].update(value=0),
        lambda rules: rules["thresholds"][0].update(value="a third"),
        lambda rules: rules["thresholds"][0].update(source=""),
        lambda rules: rules["thresholds"][0].update(source="   "),
        lambda rules: rules["thresholds"][0].pop("clause"),
        lambda rules: rules["thresholds"][1].update(value=100),
        lambda rules: rules["rows"].append(rules["rows"][0]),
        lambda rules: rules["rows"].pop(3),
        lambda rules: rules.update(extra=1),
        lambda rules: rules["flags"].pop(),
        lambda rules: rules["thresholds"][0].update(value="1e9999999"),
        lambda rules: rules["thresholds"][0].update(value="1e-400"),
        lambda rules: rules["thresholds"][0].update(value="9" * 30 + "/1"),
        lambda rules: rules["thresholds"][0].update(value=True),
        lambda rules: rules["thresholds"][2].update(value=10**400),
        lambda rules: rules.update(version=f"{rules['version']}\u200b"),
        lambda rules: rules.update(version=f"{rules['version']} "),
        lambda rules: rules["rows"][3].update(applies="whenever"),
    ],
    ids=range(20),
)
def test_a_rule_file_that_is_not_whole_is_refused(spoil):
    rules = json.loads(shipped_text())
    spoil(rules)
    with pytest.raises(ValidationError):
        VerdictRules.model_validate(rules)


def test_a_rule_file_that_says_it_is_legal_advice_does_not_speak_for_the_tool():
    bold = shipped_rules().revised(version="ours", notice="Confirmed by counsel: it holds in every court.")
    notice = verdicts_of(RECORD, bold).notice
    assert notice.startswith(shipped_rules().notice) and "not legal advice" in notice and bold.notice in notice
    assert verdicts_of(RECORD).notice.count("not legal advice") == 1


def test_the_shipped_rules_name_a_clause_and_a_document_for_everything():
    rules = shipped_rules()
    for item in (*rules.thresholds, *rules.rows, *rules.flags):
        assert item.clause and item.source in ("GL", "AI Act")


@pytest.mark.parametrize(
    ("recorded", "decided", "both"),
    [
        (None, None, None),
        (None, True, True),
        (None, False, False),
        (False, None, False),
        (False, True, True),
        (False, False, False),
        (True, None, True),
        (True, False, True),
        (True, True, True),
    ],
)
def test_a_decision_answers_what_is_open_and_takes_back_no_recorded_yes(recorded, decided, both):
    assert with_decision(recorded, decided) is both


def test_a_decision_is_told_of_the_table_that_it_is_about_alone():
    decided = Decided(purpose=True, of_model=("of the model",), of_system=("of the system",))
    verdicts = verdicts_of(answered(RECORD, high_risk=SYSTEM), decided=decided)
    assert verdicts.high_risk.reasons[-1] == "of the system"
    assert verdicts.gpai_modifier.reasons == ("of the model",)


def test_the_exit_of_article_6_3_rests_on_the_decision_that_it_is_documented():
    exempt = {"classification_before": "not_high_risk", "classification_after": "art6_3_exempt", "profiling": "no"}
    record = answered(RECORD, high_risk=exempt)
    assert verdicts_of(record).high_risk.row is None
    assert verdicts_of(record, decided=Decided(article_6_3=True)).high_risk.row == "H7"
    assert verdicts_of(record, decided=Decided(article_6_3=False)).high_risk.row is None
    profiled = answered(RECORD, high_risk=exempt | {"profiling": "yes"})
    assert verdicts_of(profiled, decided=Decided(article_6_3=True)).high_risk.row is None


def test_a_deployer_is_not_made_the_provider_of_the_system_by_a_decision():
    deployer = answered(RECORD, modifier={"role_claimed": "deployer"}, high_risk=SYSTEM)
    decided = Decided(system_provider=True)
    assert high_risk_answers(deployer, decided).is_system_provider is False
    assert high_risk_answers(answered(RECORD, high_risk=SYSTEM), decided).is_system_provider is True


def test_no_decision_stands_for_an_attempt_to_estimate_the_compute_of_the_base():
    """GL J64: a fixed threshold stands in only after a recorded attempt, whatever persons decided."""
    everything = Decided(
        qualitative_change=False, purpose=False, substantial_modification=False, article_6_3=True, system_provider=True
    )
    before, after = verdicts_of(RECORD), verdicts_of(RECORD, decided=everything)
    wants = "the training compute of the base, or what was tried to estimate it"
    assert (wants in before.gpai_modifier.missing) is (wants in after.gpai_modifier.missing)
    assert [flag.flag for flag in before.flags] == [flag.flag for flag in after.flags]


def test_without_decisions_the_inputs_are_what_they_were():
    assert verdicts_of(RECORD, decided=NOBODY) == verdicts_of(RECORD)
