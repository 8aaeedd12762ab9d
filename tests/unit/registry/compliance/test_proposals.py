"""A legal answer counts under a key whose role may give it; typed by whoever trains it is a proposal, which decides nothing."""

from typing import Any, get_args

import pytest

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.answers import open_questions, unsigned_questions
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.fields import field_rules, leaves, leaves_of
from peft_registry.registry.compliance.proposals import proposals_in
from peft_registry.registry.compliance.record_licences import inherited_licence_flags
from peft_registry.registry.compliance.record_verdicts import high_risk_answers, verdicts_of
from peft_registry.registry.compliance.rule_files import deriving_by
from peft_registry.registry.compliance.verdicts.decision import NOBODY
from peft_registry.schemas.answers import AREA_ROLES, AnsweringRole
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared
from tests.builders.records import NOW, a_modification_record, a_profile
from tests.unit.registry.compliance.test_assessment import answered, values

LEGAL = {
    "gpai.placed_on_eu_market": "no",
    "high_risk.classification_before": "not_high_risk",
    "high_risk.classification_after": "not_high_risk",
    "identity.name_or_trademark_on_result": "no",
}
BY_TRAINER = {
    "asserted_by": "an invented lawyer",
    "gpai": {"placed_on_eu_market": "no"},
    "high_risk": {"classification_before": "not_high_risk", "classification_after": "not_high_risk"},
    "identity": {"name_or_trademark_on_result": "no"},
    "use": {"intended": "sums"},
}
BARE = a_modification_record()
TYPED = a_modification_record(facts=BY_TRAINER)
SIGNED = answered(TYPED, LEGAL, Digest.of(b"the statement of an officer"))[0]


def statuses(record: ModificationRecord) -> list[str]:
    return [verdict.status for verdict in verdicts_of(without_proposals(record)).both]


def test_what_is_typed_decides_no_status_and_what_is_signed_does() -> None:
    assert [verdict.status for verdict in verdicts_of(TYPED).both] == ["out_of_scope_now", "not_high_risk"]
    assert statuses(TYPED) == ["undetermined", "undetermined"] == statuses(BARE)
    assert not without_proposals(TYPED).gpai.verdict.known
    assert statuses(SIGNED) == ["out_of_scope_now", "not_high_risk"]
    assert without_proposals(SIGNED) is SIGNED


def test_what_a_record_derives_rests_on_signed_answers_alone() -> None:
    placed = {"gpai": {"placed_on_eu_market": "yes", "placing_date": "2026-10-01", "same_provider": "yes"}}
    typed = a_modification_record(facts=BY_TRAINER | placed)
    given = {f"gpai.{name}": answer for name, answer in placed["gpai"].items()}
    signed = answered(typed, given, Digest.of(b"the statement of an officer"))[0]
    assert typed.gpai.verdict == BARE.gpai.verdict and not typed.gpai.verdict.known
    assert typed.gpai.placing_date.value == "2026-10-01", "what was proposed is kept as it was proposed"
    assert not typed.retention.start_date.known and not typed.retention.until.known
    assert signed.gpai.verdict.value == "same_model_update"
    assert (signed.retention.start_date.value, signed.retention.until.value) == ("2026-10-01", "2036-10-01")


def test_records_of_the_edition_before_derived_from_what_was_typed_and_are_shown_without_it() -> None:
    with deriving_by("2026-12"):
        before = a_modification_record(facts=BY_TRAINER)
        dated = a_modification_record(facts=BY_TRAINER | {"gpai": {"placing_date": "2026-10-01"}})
    assert before.gpai.verdict.value == "out_of_scope_now"
    assert dated.retention.start_date.known
    assert not without_proposals(before).gpai.verdict.known
    assert not without_proposals(dated).retention.start_date.known


def test_a_proposal_is_open_is_asked_and_says_who_proposed_what() -> None:
    assert [leaf.path for leaf in proposals_in(TYPED)] == [path for path in values(TYPED) if path in LEGAL]
    reasons = {gap.field: str(gap.reason) for gap in completeness(TYPED).open if gap.field in LEGAL}
    assert reasons.keys() == LEGAL.keys()
    for path, answer in LEGAL.items():
        assert reasons[path].startswith(f"proposed is {answer}, as typed by an invented lawyer; nobody")
        assert str(values(without_proposals(TYPED))[path].reason) == reasons[path]
    assert {question.path for question in open_questions(TYPED)} >= LEGAL.keys()
    assert not {question.path for question in open_questions(SIGNED)} & LEGAL.keys()
    assert completeness(SIGNED).filled - completeness(TYPED).filled == len({*LEGAL, "gpai.verdict"})


def test_what_is_for_others_to_say_counts_as_it_is_stated() -> None:
    assert "use.intended" not in [gap.field for gap in completeness(TYPED).open]
    assert without_proposals(TYPED).use == TYPED.use


def test_that_something_is_not_applicable_is_a_proposal_too() -> None:
    facts = {
        "asserted_by": "ada",
        "high_risk": {"intended_purpose_before": {"not_applicable": "part_of_no_system_before"}},
    }
    record = a_modification_record(facts=facts)
    assert [leaf.path for leaf in proposals_in(record)] == ["high_risk.intended_purpose_before"]
    assert "high_risk.intended_purpose_before" in [gap.field for gap in completeness(record).open]


@pytest.mark.parametrize("role", get_args(AnsweringRole))
def test_the_role_of_a_key_says_whether_it_answers_for_legal(role: AnsweringRole) -> None:
    may = [path for path in LEGAL if field_rules().by_path()[path].is_answered_by(role)]
    assert may == (list(LEGAL) if role in ("officer", "approver") else [])
    assert (role in AREA_ROLES["legal"]) is bool(may)


IN_A_FILE = {"facts": {"asserted_by": "alex", "modifier": {"role_claimed": "original_provider"}}}
IN_THE_PROFILE = {"profile": a_profile(role=declared("original_provider", by="alex", at=NOW))}
PLACED = {"gpai.placed_on_eu_market": "yes", "high_risk.classification_after": "not_high_risk"}


@pytest.mark.parametrize("typed", [IN_A_FILE, IN_THE_PROFILE], ids=["in a facts file", "in the profile"])
def test_a_role_that_was_typed_makes_nobody_the_provider_of_the_base(typed: dict[str, Any]) -> None:
    record, _ = answered(a_modification_record(**typed), PLACED)
    assert record.modifier.role_claimed.value == "original_provider", "what was proposed is kept as it was proposed"
    assert not record.gpai.same_provider.known and not record.gpai.verdict.known
    assert statuses(record)[0] == "undetermined"
    assert "modifier.role_claimed" in {question.path for question in open_questions(record)}
    signed, _ = answered(record, {"modifier.role_claimed": "original_provider"})
    assert (signed.gpai.same_provider.value, signed.gpai.verdict.value) == ("yes", "same_model_update")


def test_records_of_the_edition_before_derived_from_a_role_that_was_typed_and_are_shown_without_it() -> None:
    with deriving_by("2027-01"):
        before, _ = answered(a_modification_record(**IN_THE_PROFILE), PLACED)
    assert before.gpai.verdict.value == "same_model_update"
    shown = without_proposals(before)
    assert not shown.gpai.same_provider.known and not shown.gpai.verdict.known
    assert statuses(before)[0] == "undetermined"


def test_a_deployer_who_only_types_it_is_none_and_a_decision_of_persons_counts() -> None:
    system = {"high_risk.classification_before": "annex_iii_4", "high_risk.classification_after": "annex_iii_4"}
    facts = {"asserted_by": "alex", "modifier": {"role_claimed": "deployer"}}
    typed, _ = answered(a_modification_record(facts=facts), system | PLACED)
    decided = NOBODY.revised(system_provider=True)
    assert high_risk_answers(without_proposals(typed), decided).is_system_provider is True
    signed, _ = answered(typed, {"modifier.role_claimed": "deployer"})
    assert high_risk_answers(without_proposals(signed), decided).is_system_provider is False


def test_a_purpose_that_was_typed_does_not_say_that_the_purpose_of_before_is_unchanged() -> None:
    before = {"high_risk.intended_purpose_before": "sums"}
    typed, _ = answered(a_modification_record(facts={"asserted_by": "alex", "use": {"intended": "sums"}}), before)
    assert high_risk_answers(typed).is_purpose_changed is None
    signed, _ = answered(typed, {"use.intended": "sums"})
    assert high_risk_answers(signed).is_purpose_changed is False


def test_a_licence_of_data_that_was_typed_restricts_and_leaves_open_whether_it_is_all() -> None:
    def flags(record: ModificationRecord) -> set[str]:
        return set(inherited_licence_flags(record))

    def with_licence(licence: str) -> ModificationRecord:
        return a_modification_record(facts={"asserted_by": "alex", "data": {"*": {"licence": licence}}})

    of_bases = flags(BARE) - {"unknown"}
    assert flags(with_licence("CC-BY-NC-4.0")) >= {"non_commercial", "unknown"}
    assert flags(with_licence("MIT")) == of_bases | {"unknown"}
    signed, _ = answered(with_licence("MIT"), {"data[0].licence": "MIT", "base[0].licence_flags": []})
    assert "unknown" not in flags(signed)


def test_what_a_data_owner_or_the_modifier_has_not_signed_is_asked_of_them_with_who_typed_it() -> None:
    asked = {question.path: question for question in unsigned_questions(TYPED)}
    assert asked.keys() == {"use.intended", "modifier.legal_name", "modifier.country"}
    assert asked["use.intended"].area == "modifier"
    assert asked["use.intended"].reason == (
        "stated is sums, as typed by an invented lawyer; nobody who answers for modifier has signed it"
    )
    signed, _ = answered(TYPED, {"use.intended": "sums"})
    assert "use.intended" not in {question.path for question in unsigned_questions(signed)}


@pytest.mark.parametrize("edition", ["2026-12", "2027-02"])
def test_the_values_of_some_rules_are_those_among_all_of_a_record(edition: str) -> None:
    with deriving_by(edition):
        rules = sorted(field_rules().by_path())
        for record in (SIGNED, a_modification_record(facts=BY_TRAINER)):
            of_all = list(leaves(record))
            for asked in (rules, rules[::3], ["data[].licence", "base[].licence"], ["record_id"], []):
                expected = [leaf for leaf in of_all if leaf.rule in asked]
                assert list(leaves_of(record, frozenset(asked))) == expected
        assert expected == []
        assert len(of_all) > 200
