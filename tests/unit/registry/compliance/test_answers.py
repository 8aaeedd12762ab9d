"""Answers of people: what is asked, what is known elsewhere, and the record that takes answers up."""

from datetime import date
from typing import Any

import pytest

from peft_registry.registry.compliance.answers import (
    SignedAnswers,
    as_answers,
    as_written,
    open_questions,
    problems_of_answers,
    superseding_with_answers,
    unanswerable,
    value_of_answer,
)
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.base_facts import facts_with_statement
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.declared import problems_of_declared
from peft_registry.registry.compliance.derivation import LaterBase, NextInputs, derive_next, facts_taken_up
from peft_registry.registry.compliance.fields import FormerOwner, field_rules
from peft_registry.registry.compliance.known_elsewhere import known_of_base, known_of_organisation
from peft_registry.registry.compliance.stated import FactNeedsSignature
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.answers import Answer, AnswersPredicate
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, Modifier
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.values import Value, declared, measured
from tests.builders.records import (
    a_base_input,
    a_base_record,
    a_modification_record,
    a_version,
    said_otherwise,
    some_base_facts,
)

NOW = "2026-11-24T12:00:00Z"
STATEMENT = Digest.of(b"the statement")
BASE_STATEMENT = Digest.of(b"the statement about the base")


def answered(record: ModificationRecord, answers: dict[str, Any], **over: Any) -> SignedAnswers:
    stated: dict[str, Any] = {
        "record_id": record.record_id,
        "record": record.canonical_digest(),
        "form": Digest.of(b"the form"),
        "answers": as_answers(answers),
        "person": "alex",
        "role": "officer",
        "nonce": "00",
    }
    return SignedAnswers(STATEMENT, AnswersPredicate(**stated | over), NOW)


def next_of(before: ModificationRecord, **values: Value) -> ModificationRecord:
    """What follows from a record alone, with other values by path."""
    version = a_version()
    inputs = NextInputs(before=before, name=version.name, manifest=version.manifest_digest)
    return with_values(derive_next(inputs, record_id="next", now=NOW), values)


def observed(profile: OrganisationProfile) -> Observations:
    """What the home had of its organisation."""
    return Observations(
        nonce="00", record_id="next", made_at=NOW, name=a_version().name, tool_version="0.1.0", profile=profile
    )


def problems(record: ModificationRecord, answers: dict[str, Any], role: Any = "officer") -> dict[str, str]:
    found = problems_of_answers(record, answers, role=role, version=a_version(), at=NOW)
    return {problem.path: problem.reason for problem in found}


def test_the_record_has_each_answer_with_its_statement_and_what_follows_from_it() -> None:
    before = a_modification_record()
    answers = {
        "gpai.placed_on_eu_market": True,
        "gpai.placing_date": "2026-11-20",
        "use.intended": {"unknown": "not yet decided upon"},
    }
    signed = answered(before, answers)
    record = superseding_with_answers(before, signed, version=a_version(), record_id="next", now=NOW)
    placed = record.gpai.placed_on_eu_market
    assert (placed.value, placed.evidence, placed.asserted_by, placed.asserted_at) == ("yes", (STATEMENT,), "alex", NOW)
    assert str(record.use.intended.reason) == "not yet decided upon (stated by alex)"
    assert record.retention.until.value == "2036-11-20"  # ten years after placing, Art. 18
    assert said_otherwise(record, before, signed) == []


NONE_LABELLED = {"data[0].labelling": {"not_applicable": "nothing_labelled"}}


def test_an_answer_that_there_is_none_closes_the_question_and_is_kept_until_somebody_answers() -> None:
    before = a_modification_record()
    signed = answered(before, NONE_LABELLED)
    record = superseding_with_answers(before, signed, version=a_version(), record_id="next", now=NOW)
    value = record.data[0].labelling
    assert (value.source, value.reason, value.evidence) == ("not_applicable", code("nothing_labelled"), (STATEMENT,))
    assert said_otherwise(record, before, signed) == []
    counts = [completeness(each) for each in (before, record)]
    assert [count.filled for count in counts] == [counts[0].filled] * 2, "it is not filled"
    assert len(counts[1].open) == len(counts[0].open) - 1
    assert counts[1].sentence.endswith(", 1 not applicable")
    assert "data[0].labelling" not in {question.path for question in open_questions(record)}
    # what a facts file says later does not take its place, and an answer does
    facts = {"asserted_by": "alex", "data": {"*": {"labelling": "by hand"}}}
    assert "data[0].labelling" not in facts_taken_up(record, facts, at=NOW)
    again = answered(record, {"data[0].labelling": "by hand"})
    later = superseding_with_answers(record, again, version=a_version(), record_id="later", now=NOW)
    assert later.data[0].labelling.value == "by hand"


@pytest.mark.parametrize("reason", ["own_data", "asked_only_where", "no_such_code"])
def test_a_reason_that_the_field_does_not_have_is_taken_up_by_no_record(reason: str) -> None:
    """Whoever signs past the form is refused, and nothing breaks on a word that no release knows."""
    record = a_modification_record()
    signed = answered(record, NONE_LABELLED)
    forged = signed.predicate.answers[0].revised(not_applicable=reason)
    said = SignedAnswers(STATEMENT, signed.predicate.revised(answers=(forged,)), NOW)
    assert list(unanswerable([record], said)) == [
        f"data[0].labelling: {reason} is not a reason for which it has no answer"
    ]
    assert value_of_answer(forged, said).source == "not_applicable"
    (problem,) = problems_of_declared("answers", said.predicate.to_json())
    assert problem.exit_code == 2


def test_answers_of_before_read_back_to_their_own_bytes() -> None:
    signed = answered(a_modification_record(), {"use.intended": "sums"})
    written = signed.predicate.to_json()
    assert set(written["answers"][0]) == {"path", "area", "value", "unknown"}
    assert (
        as_written(answered(a_modification_record(), NONE_LABELLED).predicate.answers[0])
        == NONE_LABELLED["data[0].labelling"]
    )


def test_what_the_profile_and_the_base_answer_is_not_asked_again() -> None:
    record = a_modification_record().revised(modifier=Modifier())
    profile = OrganisationProfile(
        legal_name=declared("Example GmbH", by="alex", at=NOW), country=declared("Germany", by="alex", at=NOW)
    )
    facts = some_base_facts(provider=declared("Example provider", by="alex", at=NOW))
    base = record.base[0].revised(provider=ModificationRecord(record_id="r", record_created_at=NOW).use.intended)
    record = record.revised(base=(base,))
    known = known_of_organisation(record, profile) | known_of_base(record, 0, facts, "officer")
    assert known["modifier.legal_name"].value == "Example GmbH"
    assert known["base[0].provider"].value == "Example provider"
    assert "modifier.country" not in known  # it is not a code of ISO 3166, and is asked
    asked = {question.path for question in open_questions(record, known)}
    assert "modifier.country" in asked
    assert not asked & known.keys()
    signed = answered(record, {"modifier.country": "DE"})
    after = superseding_with_answers(record, signed, version=a_version(), record_id="next", now=NOW, defaults=known)
    assert (after.modifier.legal_name.value, after.modifier.country.value) == ("Example GmbH", "DE")
    base = LaterBase(0, BASE_STATEMENT, facts, "officer")
    assert said_otherwise(after, record, signed, bases=(base,), observations=observed(profile)) == []
    assert said_otherwise(after, record, signed) != []


@pytest.mark.parametrize("flags", [[], None], ids=["read for flags before", "nobody had read the licence"])
def test_an_exclusion_that_is_declared_with_the_base_later_reaches_its_terms_and_the_status(flags: Any) -> None:
    stated = {"is_gpai": declared("yes", by="alex", at=NOW), "has_systemic_risk": declared("no", by="alex", at=NOW)}
    stated |= {} if flags is None else {"licence_flags": declared(flags, by="alex", at=NOW)}
    base = a_base_input(record=a_base_record(facts=some_base_facts(**stated)))
    record = a_modification_record(bases=(base,))
    facts = some_base_facts(**stated, eu_exclusion=declared("yes", by="alex", at=NOW))
    facts = facts_with_statement(facts, BASE_STATEMENT)
    known = known_of_base(record, 0, facts, "officer")
    given = {"gpai.placed_on_eu_market": "yes", "high_risk.classification_after": "not_high_risk"}
    signed = answered(record, given | {"modifier.role_claimed": "deployer"})
    after = superseding_with_answers(record, signed, version=a_version(), record_id="next", now=NOW, defaults=known)
    assert (after.upstream[0].eu_exclusion.value, after.upstream[0].eu_exclusion.source) == ("yes", "declared")
    assert after.gpai.verdict.value == "provider_of_original_model"
    assert said_otherwise(after, record, signed, bases=(LaterBase(0, BASE_STATEMENT, facts, "officer"),)) == []


@pytest.mark.parametrize(
    ("answers", "path", "reason"),
    [
        ({"gpai.placing_date": "tomorrow"}, "gpai.placing_date", "'tomorrow' is not a day of the calendar"),
        ({"modifier.country": "ZZ"}, "modifier.country", "'ZZ' is not a country of ISO 3166"),
        ({"data[7].licence": "MIT"}, "data[7].licence", "the record has no such field"),
        ({"identity.kind": "merge"}, "identity.kind", "this tool records it itself"),
        (
            {"high_risk.intended_purpose_after": "sums"},
            "high_risk.intended_purpose_after",
            "newer records do not have it",
        ),
        ({"use.intended": None}, "use.intended", "it is empty"),
        ({"use.intended": {"unknown": "tbd"}}, "use.intended", "'tbd' answers nothing"),
        (
            {"use.intended": "a\u202eb"},
            "use.intended",
            "character 2 is an invisible control character (U+202E), which changes how",
        ),
        ({"gpai.verdict": "deployer"}, "gpai.verdict", "a verdict is drawn from recorded facts"),
        ({"approvals": ["yes"]}, "approvals", "an approval is given by the person who may give it"),
    ],
)
def test_what_is_no_answer_is_told_with_its_reason(answers: dict[str, Any], path: str, reason: str) -> None:
    assert problems(a_modification_record(), answers)[path].startswith(reason)


@pytest.mark.parametrize("path", ["high_risk.art5_screen", "high_risk.article25_case"])
def test_what_only_a_signature_states_stands_where_it_stood_before_and_nowhere_else(path: str) -> None:
    before = a_modification_record()
    stated = with_values(before, {path: measured("no", evidence=(STATEMENT,))})
    after = next_of(before, **{path: measured("no")})
    (line,) = [line for line in said_otherwise(after, before) if line.startswith(path)]
    assert line == f"{path}: its inputs give nothing, and the record says no"
    carried = next_of(stated)
    assert said_otherwise(carried, stated) == []
    assert list(problems_of_declared("modification", carried.to_json(), earlier=(stated.to_json(),))) == []
    (problem,) = problems_of_declared("modification", after.to_json(), earlier=(stated.to_json(),))
    assert isinstance(problem, FactNeedsSignature)


CLEARED = {"ba": "cleared", "bb": "cleared"}


def test_a_screen_for_prohibited_output_is_answered_under_a_signature_and_lifts_the_status_that_it_blocked() -> None:
    asked = a_modification_record()
    before = with_assessment(
        asked.revised(use=asked.use.revised(modalities=measured({"input": ["text"], "output": ["image"]})))
    )
    assert before.gpai.verdict.value == "blocked_art5"
    (question,) = [question for question in open_questions(before) if question.path == "high_risk.art5_screen"]
    # what is printed above the question in a form
    assert question.rule.description == "object with ba: cleared, blocked; bb: cleared, blocked; safeguards: text"
    assert problems(before, {"high_risk.art5_screen": CLEARED}) == {}
    for screen, status in ((CLEARED, None), (CLEARED | {"bb": "blocked"}, "blocked_art5")):
        signed = answered(before, {"high_risk.art5_screen": screen})
        assert list(problems_of_declared("answers", signed.predicate.to_json())) == []
        assert list(unanswerable([before], signed)) == []
        record = superseding_with_answers(before, signed, version=a_version(), record_id="next", now=NOW)
        value = record.high_risk.art5_screen
        assert (value.value, value.source, value.evidence) == (screen, "declared", (STATEMENT,))
        assert record.gpai.verdict.value == status
        assert said_otherwise(record, before, signed) == []
        assert list(problems_of_declared("modification", record.to_json(), earlier=(before.to_json(),))) == []


@pytest.mark.parametrize(
    ("answers", "role", "reason"),
    [
        ({"high_risk.art5_screen": {"ba": "cleared"}}, "officer", "high_risk.art5_screen"),
        ({"high_risk.art5_screen": {"ba": "maybe", "bb": "cleared"}}, "officer", "'maybe'"),
        ({"high_risk.art5_screen": CLEARED}, "trainer", "legal owes it"),
        ({"high_risk.article25_case": "d"}, "officer", "'d'"),
        ({"high_risk.article25_case": "c", "high_risk.intended_purpose_changed": "no"}, "officer", "Art. 25(1)(c)"),
        ({"high_risk.article25_case": "a", "identity.name_or_trademark_on_result": "no"}, "officer", "Art. 25(1)(a)"),
    ],
)
def test_a_screen_or_a_case_of_art_25_that_is_none_is_refused(answers: dict[str, Any], role: Any, reason: str) -> None:
    assert reason in " ".join(problems(a_modification_record(), answers, role).values())


def test_a_stated_case_of_art_25_asks_for_the_handover() -> None:
    before = a_modification_record()
    classified = answered(before, {"high_risk.classification_after": "annex_iii_4", "high_risk.article25_case": "b"})
    record = superseding_with_answers(before, classified, version=a_version(), record_id="next", now=NOW)
    assert "high_risk.handover_pack_ref" in {gap.field for gap in completeness(record).open}
    none = answered(before, {"high_risk.classification_after": "annex_iii_4", "high_risk.article25_case": "none"})
    record = superseding_with_answers(before, none, version=a_version(), record_id="next", now=NOW)
    assert "high_risk.handover_pack_ref" not in {gap.field for gap in completeness(record).open}


def test_dates_out_of_order_are_no_answers() -> None:
    told = problems(
        a_modification_record(), {"data[0].acquired_from": "2026-05-01", "data[0].acquired_to": "2026-04-01"}
    )
    assert "an acquisition begins before it ends" in told["data[0].acquired_from"]


def test_an_answer_of_the_wrong_form_hides_no_contradiction_between_the_others() -> None:
    answers = {
        "modifier.country": "ZZ",
        "gpai.placed_on_eu_market": "no",
        "gpai.placing_date": "2026-11-01",
        "data[0].acquired_from": "2026-05-01",
        "data[0].acquired_to": "2026-13-45",
    }
    told = problems(a_modification_record().revised(modifier=Modifier()), answers)
    assert told.keys() == {"modifier.country", "gpai.placed_on_eu_market", "data[0].acquired_to"}
    assert "neither a day nor a month" in told["data[0].acquired_to"]


def test_a_role_answers_for_its_areas_alone() -> None:
    answers = {"use.intended": "sums", "method.assumptions": "none"}
    assert list(problems(a_modification_record(), answers, role="trainer")) == ["use.intended"]
    assert list(problems(a_modification_record(), answers, role="approver")) == ["method.assumptions"]


def test_what_a_merge_took_over_from_its_parents_stands_beside_answers() -> None:
    taken_over = declared("sums", by="sam", at=NOW).revised(evidence=(Digest.of(b"a parent's record"),))
    first = a_modification_record()
    first = first.revised(use=first.use.revised(intended=taken_over))
    signed = answered(first, {"modifier.country": "DE"})
    after = superseding_with_answers(first, signed, version=a_version(), record_id="next", now=NOW)
    assert said_otherwise(after, first, signed) == []
    other = after.revised(use=after.use.revised(intended=taken_over.revised(value="anything")))
    assert said_otherwise(other, first, signed) == ["use.intended: its inputs give sums, and the record says anything"]


def test_the_day_of_placing_is_asked_and_not_the_days_of_retention_that_follow_from_it() -> None:
    before = a_modification_record()
    placed = superseding_with_answers(
        before,
        answered(before, {"gpai.placed_on_eu_market": True}),
        version=a_version(),
        record_id="placed",
        now=NOW,
    )
    asked = {question.path for question in open_questions(placed)}
    assert "gpai.placing_date" in asked
    assert not asked & {"retention.start_date", "retention.until"}
    assert {"retention.start_date", "retention.until"} <= {gap.field for gap in completeness(placed).open}
    later = answered(placed, {"gpai.placing_date": "2026-11-20", "retention.until": "2046-11-20"})
    record = superseding_with_answers(placed, later, version=a_version(), record_id="next", now=NOW)
    assert (record.retention.start_date.value, record.retention.until.value) == ("2026-11-20", "2046-11-20")
    assert problems(placed, {"gpai.placing_date": "2026-11-20", "retention.until": "2046-11-20"}) == {}


# --- when it was answered, and whose the field was then ---


def test_the_time_of_an_answer_is_that_at_which_the_log_had_it() -> None:
    before = a_modification_record()
    signed = answered(before, {"use.intended": "sums"})
    for at in ("2026-11-24T11:59:59Z", NOW, "2026-11-24T12:00:01Z"):
        dated = SignedAnswers(STATEMENT, signed.predicate, at)
        record = superseding_with_answers(before, dated, version=a_version(), record_id="next", now=NOW)
        assert (said_otherwise(record, before, signed) == []) == (at == NOW)


def test_a_kept_answer_is_judged_by_the_owner_that_its_field_had_then() -> None:
    before = a_modification_record()
    signed = answered(before, {"use.intended": "sums"})
    fields = tuple(
        rule.revised(owner="engineer") if rule.path == "use.intended" else rule for rule in field_rules().fields
    )
    moved = field_rules().revised(fields=fields)
    why = "use.intended: answered for modifier, and it is not theirs to answer"
    assert list(unanswerable((before,), signed)) == []
    assert list(unanswerable((before,), signed, moved)) == [why]
    for until, wrong in {date(2026, 11, 24): [why], date(2026, 11, 25): []}.items():
        dated = moved.revised(former_owners=(FormerOwner(path="use.intended", owner="modifier", until=until),))
        assert list(unanswerable((before,), signed, dated)) == wrong
        # a folder of an earlier release proves no time of single entries
        untimed = SignedAnswers(STATEMENT, signed.predicate, None)
        assert list(unanswerable((before,), untimed, dated)) == []


def test_answers_to_what_changed_meanwhile_are_not_taken_up() -> None:
    first = a_modification_record()
    signed = answered(first, {"use.intended": "sums"})
    declared_since = next_of(first, **{"use.out_of_scope": declared("letters", by="sam", at=NOW)})
    assert list(unanswerable((declared_since, first), signed)) == []
    changed = next_of(first, **{"use.intended": declared("letters", by="sam", at=NOW)})
    assert list(unanswerable((changed, first), signed)) == [
        "use.intended: it changed after alex saw it, in a record between"
    ]
    (line,) = unanswerable((changed,), signed)
    assert line.endswith("which is not the one that is superseded")


def test_an_answer_takes_the_place_of_nothing_that_was_measured() -> None:
    before = a_modification_record()
    for path, why in {
        "compute.conservative_flop": "it follows from how it was made, and no answer takes its place",
        "compute.hardware": "this tool measured it, and no answer takes its place",
        "compute.cumulative_flop": "it is not theirs to answer",
        "approvals": "the record has no such field",
        "evaluation.signed_by": "it is not theirs to answer",
        "data[7].licence": "the record has no such field",
    }.items():
        answer = Answer(path=path, area="engineer", value=1)
        predicate = answered(before, {"use.intended": "sums"}).predicate.revised(answers=(answer,))
        (line,) = unanswerable((before,), SignedAnswers(STATEMENT, predicate, NOW))
        assert line.startswith(f"{path}: ")
        assert line.endswith(why)


def test_every_former_owner_is_of_a_field_and_no_two_until_the_same_day() -> None:
    rules = field_rules()
    former = [(owner.path, owner.until) for owner in rules.former_owners]
    assert len(set(former)) == len(former)
    assert {path for path, _ in former} <= rules.by_path().keys()
