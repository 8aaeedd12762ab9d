"""The bill of materials: what CycloneDX says of a version, for whom, and that its own schema takes it."""

import json
from typing import Any

import pytest

from peft_registry.registry.compliance.superseding import with_values
from peft_registry.registry.documents.dossier import make_dossier
from peft_registry.registry.documents.recipients import recipients
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared
from tests.builders.records import (
    NOW,
    a_base_identity,
    a_data_identity,
    a_modification_record,
    an_evaluation,
    signed_by_an_officer,
)
from tests.unit.registry.documents.test_allow_list import RECORDS, a_record_of_marks, source_of

HOSTILE = "<script>alert(1)</script>\u202efdp.exe=cmd()"
ANSWERED: dict[str, Any] = {
    "asserted_by": "sam",
    "product": {"licence": "apache-2.0"},
    "use": {"intended": "sums", "modalities": {"input": ["text"], "output": ["text", "image"]}},
    "limitations": {"known": ["long sums"]},
    "data": {"*": {"provenance_class": "private_third_party", "licence": "LicenseRef-house", "languages": ["en"]}},
}


def bill(record: ModificationRecord, recipient: str = "ai-office") -> dict[str, Any]:
    value: dict[str, Any] = json.loads(make_dossier(source_of(record), recipient, release="1").files["bom.cdx.json"])
    return value


def test_the_pedigree_the_data_and_the_figures_are_those_of_the_record() -> None:
    made = bill(signed_by_an_officer(a_modification_record(facts=ANSWERED)))
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.7")
    model = made["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "sums-tutor", "1")
    assert model["licenses"] == [{"expression": "Apache-2.0", "acknowledgement": "declared"}]
    (base,) = model["pedigree"]["ancestors"]
    assert base["hashes"] == [{"alg": "SHA-256", "content": a_base_identity().weights.hex}]
    assert base["licenses"][0]["expression"] == "Apache-2.0"
    data = next(part for part in made["components"] if part["type"] == "data")
    assert data["hashes"] == [{"alg": "SHA-256", "content": a_data_identity().sha256.hex}]
    assert model["modelCard"]["modelParameters"]["datasets"] == [{"ref": data["bom-ref"]}]
    figures = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    measured = {
        (f"{row.dataset} {row.metric}, {row.arm}", row.category, row.value, row.interval.low, row.interval.high)
        for row in an_evaluation().results
        if row.interval is not None
    }
    told = {
        (
            figure["type"],
            figure.get("slice"),
            float(figure["value"]),
            float(figure["confidenceInterval"]["lowerBound"]),
            float(figure["confidenceInterval"]["upperBound"]),
        )
        for figure in figures
        if not figure["type"].endswith(", change")
    }
    assert told == measured and len(measured) > 2
    assert {part["name"] for part in made["components"] if part["type"] == "library"} == {
        "peft",
        "torch",
        "transformers",
    }
    refs = {base["bom-ref"], *(part["bom-ref"] for part in made["components"])}
    assert set(made["dependencies"][0]["dependsOn"]) == refs


def test_a_name_that_would_run_somewhere_is_a_text_and_nothing_else() -> None:
    """Facts and answers refuse marks that reorder a text; what others signed may hold them."""
    hostile = declared(HOSTILE, by="sam", at=NOW)
    record = with_values(a_modification_record(), {"use.intended": hostile, "identity.result_name": hostile})
    model = bill(record)["metadata"]["component"]
    assert (model["name"], model["modelCard"]["considerations"]["useCases"]) == (HOSTILE, [HOSTILE])
    page = make_dossier(source_of(record), "public", release="1").files["cover.html"]
    assert b"=cmd()" in page and b"<script>" not in page and "\u202e".encode() not in page


def test_the_public_learns_no_name_no_digest_and_no_count_of_private_data() -> None:
    record = a_modification_record(facts=ANSWERED)
    data = next(part for part in bill(record, "public")["components"] if part["type"] == "data")
    told = {entry["name"].rpartition(":")[2]: entry["value"] for entry in data.pop("properties")}
    assert data == {
        "type": "data",
        "bom-ref": "data-1",
        "name": "data 1",
        "data": [{"type": "dataset", "name": "data 1"}],
    }
    assert told == {"provenance-class": "private_third_party", "modality": "text", "languages": "en"}
    text = json.dumps(bill(record, "public"))
    assert "sums.jsonl" not in text and "recalled" not in text and "Its use is stopped" in text


@pytest.mark.peers
def test_the_schema_of_cyclonedx_takes_the_bill_of_every_kind_of_record_for_every_recipient() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    validator = JsonStrictValidator(SchemaVersion.V1_7)
    records = [make() for make in RECORDS.values()]
    records += [a_record_of_marks(kind, 1, is_answered=True)[0] for kind in RECORDS]
    records.append(a_modification_record(facts=ANSWERED))
    for record in records:
        for recipient in recipients().recipients:
            files = make_dossier(source_of(record), recipient, release="1").files
            assert validator.validate_str(files["bom.cdx.json"].decode()) is None, recipient
    wrong = bill(records[0]) | {"bomFormat": "another"}
    assert validator.validate_str(json.dumps(wrong)) is not None, "it would say so"
