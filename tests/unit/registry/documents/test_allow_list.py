"""What reaches a recipient: of records with a mark in each text, name and figure, nothing but what rows let them have."""

import json
import random
from itertools import count
from typing import Any

import pytest

from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.registry.compliance.importing import ImportedChange, build_import_modification
from peft_registry.registry.compliance.verdicts.decision import NOBODY
from peft_registry.registry.documents.dossier import make_dossier
from peft_registry.registry.documents.recipients import allowed_fields, form_of, recipients
from peft_registry.registry.documents.view import DocumentSource
from peft_registry.registry.records.attachments import Attachment
from peft_registry.schemas.codes import code
from peft_registry.schemas.modification import ModificationRecord
from tests.builders.imports import an_import_record
from tests.builders.records import (
    a_base_input,
    a_digest,
    a_manifest,
    a_merge_modification,
    a_modification_record,
    a_version,
)

RECIPIENTS = tuple(recipients().recipients)
# fields of which the law gives a recipient a coarser figure, or nothing
OF_THE_OFFICE_ALONE = {
    *("compute.param_update_flop", "compute.conservative_flop", "compute.cumulative_flop", "compute.hardware"),
    *("gpai.ratio", "product.params_total", "data[].n_points"),
}


ATTACHED = {
    "ai-office": {"instructions", "risk-file", "declaration", "monitoring-plan"},
    "national-authority": {"instructions", "risk-file", "declaration", "monitoring-plan"},
    "downstream": {"instructions"},
    "public": set(),
}


def marks() -> Any:
    """Marks that occur nowhere else, each with a number of nine digits that a page prints whole."""
    return (f"q{number}z" for number in count(100_000_001))


def an_import_modification() -> ModificationRecord:
    """Of an adapter that came as a folder, of which nobody here saw the training."""
    return build_import_modification(
        record_id="8e8f7a50-6f3c-4c56-9d4e-3a52a5a8a003",
        now="2026-11-24T12:00:00Z",
        name="helper",
        manifest=a_manifest(),
        imported_as=an_import_record(),
        base=a_base_input(),
        change=ImportedChange(added=48, base_untouched=True),
        tool_version="1",
    )


RECORDS = {
    "a fine-tune": a_modification_record,
    "a merge": a_merge_modification,
    "an import": an_import_modification,
}


def marked(leaf: Leaf, new: Any, chance: random.Random, *, is_answered: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """A value with a mark in each part, as JSON, and what each mark is: the field, one of its members, who said it, or how."""
    rule = field_rules().by_path()[leaf.rule]
    means: dict[str, str] = {}

    def mark(what: str) -> str:
        text = next(new)
        means[text] = what
        return text

    said: dict[str, Any] = {"asserted_by": mark("person"), "asserted_at": "2026-11-24T12:00:00Z"}
    if is_answered:  # under a signature: what anybody typed is only proposed, and no document has it
        said["evidence"] = [str(a_digest("answers"))]
    if rule.not_applicable and chance.random() < 0.1:
        reason = code(chance.choice(rule.not_applicable)).to_json()
        return {"value": None, "unit": None, "source": "not_applicable", "reason": reason} | said, means
    if chance.random() < 0.15:
        return {"value": None, "source": "unknown", "reason": mark("reason")}, means
    value: Any = mark(leaf.rule)
    if rule.members:
        value = {member: mark(f"{leaf.rule}.{member}") for member in rule.members}
    elif rule.type == "object":
        value = {"path": f"/home/{mark(leaf.rule)}/x"}
    elif rule.type == "choice":
        value = chance.choice(rule.values)
        means = {text: what for text, what in means.items() if what == "person"}
    elif rule.type == "number":
        value = int(value[1:-1])
        means = {text if what != leaf.rule else text[1:-1]: what for text, what in means.items()}
    elif rule.type == "list":
        value = [value, mark(leaf.rule)]
    return {"value": value, "source": "declared", "method": mark("method")} | said, means


def a_record_of_marks(kind: str, seed: int, *, is_answered: bool) -> tuple[ModificationRecord, dict[str, str]]:
    """A record in which every value is marked, and what each mark is."""
    chance, new = random.Random(seed), marks()
    document = RECORDS[kind]().to_json()
    means: dict[str, str] = {}
    for leaf in leaves(ModificationRecord.from_json(document)):
        if leaf.rule not in field_rules().by_path():
            continue
        section, key = FieldPath.parse(leaf.path).place_in(document)
        value, marked_as = marked(leaf, new, chance, is_answered=is_answered)
        section[key] = section[key] | value
        means |= marked_as
    return ModificationRecord.from_json(document), means


def source_of(record: ModificationRecord) -> DocumentSource:
    return DocumentSource(
        version=a_version(),
        record=record,
        digest=a_digest("record"),
        statement=a_digest("statement"),
        edition=None,
        as_of="2026-11-24T12:00:00Z",
        decided=NOBODY,
        stops=("recalled by q1z because q2z",),
        attachments=tuple(
            Attachment(
                kind, f"{kind} q3z.pdf", a_digest(kind), 1, a_digest(f"{kind} said"), "key", "2026-11-24T12:00:00Z"
            )
            for kind in (*recipients().attachments, "of a later release")
        ),
    )


@pytest.mark.parametrize(("kind", "is_answered"), [(kind, is_answered) for kind in RECORDS for is_answered in (0, 1)])
def test_of_a_record_of_marks_a_recipient_sees_none_that_no_row_gives_them(kind: str, is_answered: int) -> None:
    record, means = a_record_of_marks(kind, is_answered, is_answered=bool(is_answered))
    assert len(means) > 200
    seen_by: dict[str, set[str]] = {}
    for name in RECIPIENTS:
        dossier = make_dossier(source_of(record), name, release="1")
        allowed = allowed_fields(name) | ({"person"} if recipients().recipients[name].persons else set())
        text = "\n".join(data.decode() for data in dossier.files.values())
        seen = {mark for mark in means if mark in text}
        # a row that names an object gives it whole
        outside = {
            what
            for what in (means[mark] for mark in seen)
            if what not in allowed and what.rpartition(".")[0] not in allowed
        }
        assert not outside, (name, sorted(outside))
        seen_by[name] = {means[mark] for mark in seen}
        assert ("q2z" in text) == recipients().recipients[name].persons
        attached = {kind for kind in (*recipients().attachments, "of a later release") if f"{kind} q3z" in text}
        assert attached == ATTACHED[name]
    assert {"compute.conservative_flop", "person"} & seen_by["ai-office"], "the marks are where they would be seen"
    assert "modifier.legal_name" in seen_by["public"] or record.modifier.legal_name.value is None


@pytest.mark.parametrize("name", ["national-authority", "downstream", "public"])
def test_a_figure_that_the_form_gives_the_office_alone_is_no_row_of_others(name: str) -> None:
    if name == "national-authority":  # Annex IV asks for them of a high-risk system, whoever looks at it
        rows = [row for form in ("cover", "mdf", "pst") for row in form_of(form).rows]
        theirs = {field for row in rows if "nca" in row.recipients for field in (*row.fields, *row.beside)}
    else:
        theirs = set(allowed_fields(name))
    assert not theirs & OF_THE_OFFICE_ALONE
    if name != "national-authority":
        persons = {"identity.acting_person", "evaluation.signed_by", "approvals"}
        assert not [
            field for field in theirs if field in persons or field.startswith(("compute.", "energy.", "gpai.ratio"))
        ]


def test_the_public_is_told_no_person_no_reason_of_a_recall_and_no_name_of_private_data() -> None:
    record = a_modification_record(
        facts={
            "asserted_by": "sam the steward",
            "use": {"intended": "sums"},
            "data": {"*": {"provenance_class": "private_third_party", "domain": "ledgers"}},
        }
    )
    files = make_dossier(source_of(record), "public", release="1").files
    text = b"\n".join(files.values()).decode()
    name = str(record.data[0].name.value)
    assert name and name not in text, "the summary asks for names of public data"
    assert "ledgers" in text, "and for a description of private data"
    assert "sam the steward" not in text and "q1z" not in text and "q2z" not in text
    assert "Its use is stopped" in text
    authority = b"\n".join(make_dossier(source_of(record), "ai-office", release="1").files.values()).decode()
    assert "sam the steward" in authority and "q2z" in authority and name in authority


def test_the_data_of_a_document_hold_codes_and_no_sentence_of_ours() -> None:
    dossier = make_dossier(source_of(a_modification_record()), "ai-office", release="1")
    value = json.loads(dossier.files["mdf.json"])
    ours = {row.title for row in form_of("mdf").rows} | {row.content for row in form_of("mdf").rows}
    texts = {text for text in _texts(value) if len(text) > 12}
    assert not texts & ours
    energy = next(row for row in value["rows"] if row["row"] == "43")
    assert all(isinstance(entry["value"], dict | list | str) for entry in energy["values"])


def _texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(_texts, value.values())) if value else set()
    if isinstance(value, list):
        return set().union(*map(_texts, value)) if value else set()
    return {value} if isinstance(value, str) else set()
