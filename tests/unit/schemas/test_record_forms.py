"""Three forms of the modification record and two of the log's events: each stays as it was, and a later one adds."""

import hashlib
import json
from typing import Any

import pytest
from pydantic import ValidationError

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import leaves, schema_paths
from peft_registry.registry.compliance.rule_files import deriving_by
from peft_registry.registry.compliance.superseding import in_third_form, with_values
from peft_registry.registry.records.snapshots import SnapshotMalformed, read_leaf
from peft_registry.schemas.answers import AREA_ROLES, AnswersPredicate
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogEvent, LogEventV2, event_about, event_of
from peft_registry.schemas.modification import (
    ASKED,
    SINCE_THIRD_FORM,
    UNTIL_SECOND_FORM,
    WRITTEN_WHERE_STATED,
    Documentation,
    ModificationPredicate,
    ModificationRecord,
    ModificationRecordV1,
    Product,
    RecordInput,
    RecordSections,
)
from peft_registry.schemas.statement import (
    KINDS,
    MODIFICATION_V1,
    MODIFICATION_V2,
    PREDICATE_TYPES,
    ROLE_KINDS,
    statement_about,
)
from peft_registry.schemas.values import Value, declared
from tests.builders.records import NOW, a_modification_record, modification_of

V3 = PREDICATE_TYPES["modification"]
ANSWERS = PREDICATE_TYPES["answers"]
# of the sorted JSON list of the paths that the first form had when it was last written
V1_PATHS = "ac0c01b303135f743b9274b276895128"


def a_record_of_the_first_form() -> ModificationRecordV1:
    return ModificationRecordV1(
        record_id="r",
        record_created_at=NOW,
        data_gaps=declared("none known", by="alex", at=NOW),
        kept_for_a_reader_to_come={"a": [1, 2.5]},
    )


def test_a_record_of_the_first_form_is_read_back_to_its_own_bytes():
    record = a_record_of_the_first_form()
    read = modification_of(MODIFICATION_V1, json.loads(record.to_canonical()))
    assert type(read) is ModificationRecordV1
    assert read.to_canonical() == record.to_canonical()
    assert b'"schema_version":"1"' in read.to_canonical()
    assert b"correction" not in read.to_canonical()


def test_the_second_form_has_none_of_the_fields_that_came_with_the_third():
    third = a_modification_record()
    second = third.revised(schema_version="2", product=Product(), documentation=Documentation())
    paths = {form: {leaf.path for leaf in leaves(record)} for form, record in (("2", second), ("3", third))}
    assert paths["3"] - paths["2"] == SINCE_THIRD_FORM
    assert paths["2"] - paths["3"] == UNTIL_SECOND_FORM
    assert b"points_coarse" not in second.to_canonical()
    assert modification_of(MODIFICATION_V2, json.loads(second.to_canonical())).to_canonical() == second.to_canonical()


@pytest.mark.parametrize("path", sorted(WRITTEN_WHERE_STATED))
def test_a_field_that_came_later_is_asked_and_is_in_no_bytes_until_somebody_states_it(path):
    record = a_modification_record()
    name = path.rpartition(".")[2].encode()
    assert name not in record.to_canonical()
    assert {leaf.path: leaf.value for leaf in leaves(record)}[path] == ASKED
    stated_later = with_values(record, {path: declared("2026-06-10", by="alex", at=NOW)})
    assert name in stated_later.to_canonical()
    assert ModificationRecord.from_json(json.loads(stated_later.to_canonical())) == stated_later
    with deriving_by("2026-12"):
        assert path not in {leaf.path for leaf in leaves(record)}, "no record of that edition has it"
    assert path in {leaf.path for leaf in leaves(record)}


@pytest.mark.parametrize("path", sorted(UNTIL_SECOND_FORM))
def test_a_field_that_the_third_form_does_not_have_is_refused_in_it_and_read_in_the_second(path):
    document = a_modification_record().to_json()
    holder, key = FieldPath.parse(path).place_in(document)
    assert key not in holder
    holder[key] = declared("sums", by="alex", at=NOW).to_json()
    with pytest.raises(ValidationError, match="third form"):
        modification_of(V3, stated(a_modification_record()) | {"record": document})
    second = modification_of(MODIFICATION_V2, document | {"schema_version": "2"})
    assert path in {leaf.path for leaf in leaves(second)}
    assert path not in {leaf.path for leaf in leaves(in_third_form(second))}


def test_one_purpose_is_asked_and_the_answer_of_a_record_of_before_is_carried_over():
    document = a_modification_record().to_json() | {"schema_version": "2"}
    document["high_risk"]["intended_purpose_after"] = declared("marks of pupils", by="legal", at=NOW).to_json()
    second = ModificationRecord.from_json(document)
    assert in_third_form(second).use.intended == declared("marks of pupils", by="legal", at=NOW)
    other = second.revised(use=second.use.revised(intended=declared("sums", by="alex", at=NOW)))
    assert in_third_form(other).use.intended.value == "sums", "what is stated of the result itself stands"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"source": "not_applicable"}, "gives a reason"),
        ({"source": "not_applicable", "value": 1, "reason": {"code": "own_data"}}, "is null"),
        ({"source": "not_applicable", "reason": "because"}, "is a code"),
        ({"source": "declared"}, "with a reason"),
    ],
)
def test_a_value_that_does_not_apply_has_a_code_and_no_value(value, why):
    with pytest.raises(ValidationError, match=why):
        Value.from_json(value)


def test_the_sections_of_the_first_form_get_no_new_fields():
    """Their defaults would be written into every record that is read back, and its digest would be another."""
    paths = json.dumps(sorted(schema_paths(ModificationRecordV1))).encode()
    assert hashlib.sha256(paths).hexdigest()[:32] == V1_PATHS


EDITION = Edition(name="2026-12", digest=Digest.of(b"an edition"))


def stated(record: RecordSections, **over: object) -> dict[str, Any]:
    """What a statement of the third form says."""
    fields: dict[str, Any] = {"edition": EDITION.to_json(), "as_of": 7, "inputs": [], "record": record.to_json()}
    return fields | over


@pytest.mark.parametrize(
    ("predicate_type", "document"),
    [
        (MODIFICATION_V1, ModificationRecord(record_id="r", record_created_at=NOW).to_json()),
        (MODIFICATION_V2, ModificationRecordV1(record_id="r", record_created_at=NOW).to_json()),
        (V3, stated(ModificationRecordV1(record_id="r", record_created_at=NOW))),
    ],
)
def test_a_record_under_the_type_of_another_form_is_refused(predicate_type, document):
    with pytest.raises(ValidationError, match="schema_version"):
        modification_of(predicate_type, document)


def test_a_record_without_its_statement_is_not_of_the_third_form():
    record = ModificationRecord(record_id="r", record_created_at=NOW)
    with pytest.raises(ValidationError, match="edition"):
        modification_of(V3, record.to_json())


def test_all_forms_are_one_kind_and_the_third_is_written():
    assert {KINDS[MODIFICATION_V1], KINDS[MODIFICATION_V2], KINDS[V3]} == {"modification"}
    record = ModificationRecord(record_id="r", record_created_at=NOW)
    statement = statement_about(Digest.of(b"m"), "modification", stated(record))
    assert (statement.predicate_type, statement.kind, statement.logged_kind) == (V3, "modification", "modification")
    assert modification_of(V3, statement.predicate) == record


def test_a_statement_of_the_third_form_is_read_back_to_its_own_bytes():
    about = Digest.of(b"m")
    later = a_modification_record().to_json() | {"kept_for_a_reader_to_come": {"a": [1, 2.5]}}
    record = ModificationRecord.from_json(later)
    named = RecordInput(kind="provenance", digest=Digest.of(b"run"), about=about)
    statement = ModificationPredicate(edition=EDITION, as_of=7, inputs=(named,), record=record)
    read = ModificationPredicate.from_json(json.loads(statement.to_canonical()))
    assert read.to_canonical() == statement.to_canonical()
    assert read.inputs_of("provenance", about) == (Digest.of(b"run"),)
    assert read.inputs_of("provenance", Digest.of(b"another")) == ()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "latest",
        "2026",
        "2026-13",
        "2026-12.0",
        "2026-12.100",
        "2026-12\n",
        "../../etc/passwd",
        "/etc/passwd",
        "2026-12/../2027-01",
        "2" * 2**20,
    ],
    ids=lambda name: repr(name[:20]),
)
def test_an_edition_is_named_by_its_month(name):
    """A path, or a megabyte, is the name of none: nothing looks for a file of that name."""
    with pytest.raises(ValidationError) as refused:
        modification_of(V3, stated(a_modification_record(), edition=EDITION.to_json() | {"name": name}))
    assert len(first_problem(refused.value)) < 200
    assert first_problem(refused.value).startswith("edition.name: ")


@pytest.mark.parametrize(
    ("over", "where"),
    [
        ({"as_of": -1}, "as_of"),
        ({"as_of": "all"}, "as_of"),
        ({"inputs": [{"kind": "hearsay", "digest": str(Digest.of(b"x")), "about": str(Digest.of(b"y"))}]}, "inputs"),
        ({"inputs": [{"kind": "base", "digest": "x", "about": str(Digest.of(b"y"))}]}, "inputs"),
        ({"inputs": None}, "inputs"),
        ({"edition": None}, "edition"),
        ({"edition": {"name": "2026-12"}}, "edition.digest"),
    ],
)
def test_a_statement_of_the_third_form_that_says_something_else_is_told_in_one_sentence(over, where):
    with pytest.raises(ValidationError) as refused:
        modification_of(V3, stated(a_modification_record(), **over))
    assert first_problem(refused.value).startswith(where)


def an_event(predicate_type: str) -> LogEvent | LogEventV2:
    return event_about(Digest.of(b"a"), Digest.of(b"b"), predicate_type=predicate_type, key="0" * 64, at=NOW)


LATER_KINDS = ("answers", "gate", "observations", "edition", "rejection", "document", "attachment", "verifications")


@pytest.mark.parametrize("kind", [kind for kind in PREDICATE_TYPES if kind not in LATER_KINDS])
def test_a_kind_of_the_first_form_keeps_its_leaf(kind):
    event = an_event(PREDICATE_TYPES[kind])
    assert event.to_json() == {
        "schema": "urn:peft-registry:log-event:v1",
        "kind": kind,
        "subject": str(Digest.of(b"a")),
        "statement": str(Digest.of(b"b")),
        "key": "0" * 64,
        "at": NOW,
    }


def test_a_later_type_is_logged_by_its_own_name():
    event = an_event(ANSWERS)
    assert (event.to_json()["schema"], event.kind, event.says) == (
        "urn:peft-registry:log-event:v2",
        ANSWERS,
        "answers",
    )
    assert read_leaf(event.to_canonical()) == event
    assert event_of(event.to_json()) == event


def test_a_type_that_nobody_knows_yet_is_an_event_all_the_same():
    event = an_event("urn:peft-registry:incident:v1")
    assert read_leaf(event.to_canonical()) == event
    assert event.says is None


@pytest.mark.parametrize(
    "kind", ["modification", MODIFICATION_V1, MODIFICATION_V2, V3, "https://slsa.dev/provenance/v1", "urn:other:a:v1"]
)
def test_no_event_has_two_forms(kind):
    """Else one statement could stand in the log as two different leaves."""
    leaf = an_event(ANSWERS).to_json() | {"kind": kind}
    with pytest.raises(SnapshotMalformed):
        read_leaf(json.dumps(leaf, sort_keys=True, separators=(",", ":")).encode())


def test_the_first_form_has_no_kind_called_answers():
    with pytest.raises(ValidationError):
        event_of(an_event(PREDICATE_TYPES["card"]).to_json() | {"kind": "answers"})


def some_answers(**over: object) -> dict[str, object]:
    answer = {"path": "use.intended", "area": "modifier", "value": "sums"}
    fields = {"record_id": "r", "record": str(Digest.of(b"r")), "form": str(Digest.of(b"f")), "answers": [answer]}
    return fields | {"person": "alex", "role": "officer", "nonce": "00"} | over


def test_answers_are_read_back_to_their_own_bytes():
    answers = AnswersPredicate.from_json(some_answers())
    assert AnswersPredicate.from_json(json.loads(answers.to_canonical())).to_canonical() == answers.to_canonical()


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([], "at least 1"),
        ([{"path": "use.intended", "area": "modifier"}], "a value, or the reason"),
        ([{"path": "use.intended", "area": "modifier", "value": "a", "unknown": "b"}], "a value, or the reason"),
        ([{"path": "a", "area": "legal", "value": "a"}, {"path": "a", "area": "legal", "value": "b"}], "answered once"),
        ([{"path": "change.modules", "area": "tool", "value": "a"}], "area"),
    ],
)
def test_answers_that_say_nothing_or_two_things_are_refused(answers, why):
    with pytest.raises(ValidationError, match=why):
        AnswersPredicate.from_json(some_answers(answers=answers))


@pytest.mark.parametrize(
    ("role", "area"), [("trainer", "legal"), ("evaluator", "data owner"), ("approver", "engineer")]
)
def test_a_role_answers_for_its_areas_and_no_other(role, area):
    answer = {"path": "use.intended", "area": area, "value": "sums"}
    with pytest.raises(ValidationError, match=f"{role} does not answer for {area}"):
        AnswersPredicate.from_json(some_answers(role=role, answers=[answer]))


def test_every_role_that_answers_for_an_area_may_sign_answers():
    assert {role for roles in AREA_ROLES.values() for role in roles} == {
        role for role, kinds in ROLE_KINDS.items() if "answers" in kinds
    }


def test_what_is_open_for_a_usual_reason_is_shared_and_says_the_same() -> None:
    read = [modification_of(V3, stated(a_modification_record(), as_of=entries)) for entries in (1, 2)]
    assert read[0] is not read[1]
    assert read[0].risk.register_ref is read[1].oversight.stop
    each_alone = ModificationRecord.model_validate(a_modification_record().to_json())
    assert read[0] == each_alone
    assert read[0].to_canonical() == each_alone.to_canonical()
    assert read[0].risk.register_ref.model_fields_set == each_alone.risk.register_ref.model_fields_set


def test_a_statement_that_is_read_again_is_the_same_value_whatever_became_of_the_json() -> None:
    document = stated(a_modification_record()) | {"later": {"rows": [1]}}
    text = json.dumps(document)
    read = ModificationPredicate.from_json(document)
    document["later"]["rows"].append(2)
    assert ModificationPredicate.from_json(json.loads(text)) is read
    assert read.model_extra == {"later": {"rows": [1]}}
    assert ModificationPredicate.from_json(document).model_extra == {"later": {"rows": [1, 2]}}


def test_the_digest_of_a_record_is_of_what_it_says_though_it_is_computed_once() -> None:
    record = a_modification_record()
    assert record.canonical_digest() is record.canonical_digest()
    for changed in (record.revised(record_id="other"), record.model_copy(update={"record_id": "other"})):
        assert changed.canonical_digest() == Digest.of(changed.to_canonical()) != record.canonical_digest()
    unasked = ModificationRecord.from_json(record.to_json())
    assert unasked == record and unasked.to_canonical() == record.to_canonical()


@pytest.mark.parametrize(
    "said",
    [
        {"asserted_by": "anna"},
        {"evidence": [str(Digest.of(b"answers"))]},
        {"note": "a field that this release does not know"},
        {"reason": "nobody has answered it yet"},
    ],
)
def test_what_is_open_otherwise_keeps_what_it_says(said: dict[str, Any]) -> None:
    document = a_modification_record().to_json()
    document["risk"]["register_ref"] |= said
    document["note"] = document["risk"]["residual_risk"]  # a section that this release does not know
    read = modification_of(V3, stated(a_modification_record()) | {"record": document})
    assert read.to_json() == document
    assert type((read.model_extra or {})["note"]) is dict


@pytest.mark.parametrize(
    "value", [None, 1, [], "open", {"reason": []}, {"source": "unknown", "reason": {"nobody": "has answered it"}}]
)
@pytest.mark.parametrize("place", ["risk", "register_ref", "base"])
def test_what_is_no_section_or_value_is_told_as_where_nothing_is_shared(place: str, value: object) -> None:
    document = a_modification_record().to_json()
    holder = document["risk"] if place == "register_ref" else document
    holder[place] = value
    try:
        alone: ModificationRecord | str = ModificationRecord.model_validate(document)
    except ValidationError as error:
        alone = first_problem(error)
    of_second_form = document | {"schema_version": "2"}
    of_third_form = stated(a_modification_record()) | {"record": document}
    if isinstance(alone, str):
        for form, said, prefix in ((MODIFICATION_V2, of_second_form, ""), (V3, of_third_form, "record.")):
            with pytest.raises(ValidationError) as refused:
                modification_of(form, said)
            assert first_problem(refused.value) == f"{prefix}{alone}"
    else:
        assert modification_of(V3, of_third_form) == alone
        assert modification_of(MODIFICATION_V2, of_second_form) == alone.revised(schema_version="2")
