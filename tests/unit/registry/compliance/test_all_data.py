"""What a record says of all files of data together: a union that follows from the files, and never a "no" that nobody stated."""

import json
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.all_data import all_data
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.schemas.modification import UNTIL_SECOND_FORM, AllData, DataUsed, ModificationRecord
from peft_registry.schemas.statement import MODIFICATION_V2
from peft_registry.schemas.values import declared, derived, measured, unknown
from tests.builders.records import NOW, a_data_identity, a_digest, a_modification_record, a_run_record, modification_of

OF_ALL = tuple(name for name in AllData.model_fields if f"all_data.{name}" not in UNTIL_SECOND_FORM)
KEPT = Path(__file__).parents[3] / "compat" / "modification-v2.json"


def a_file(name: str, *, tokens: int | None = 1000, rows: int = 10, **stated: Any) -> DataUsed:
    return DataUsed(
        name=measured(name),
        modality=measured("text"),
        n_points=measured(rows, "rows"),
        n_tokens=unknown("no tokenizer") if tokens is None else measured(tokens, "tokens"),
        **{key: declared(value, by="alex", at=NOW) for key, value in stated.items()},
    )


def test_files_with_different_answers_are_a_union_and_a_sum() -> None:
    whole = all_data(
        [
            a_file("sums", licence="MIT", languages=["en"], provenance_class="licensed"),
            a_file(
                "words",
                rows=30,
                tokens=3000,
                licence="CC-BY-4.0",
                languages=["fr", "en"],
                provenance_class="synthetic_public",
            ),
        ]
    )
    assert (whole.n_points.value, whole.n_tokens.value) == (40, 4000)
    assert whole.licences.value == ["CC-BY-4.0", "MIT"]
    assert whole.languages.value == ["en", "fr"]
    assert str(whole.languages.method) == "of any of the files: sums en, words fr + en"
    assert whole.modalities.value == ["text"]
    assert whole.synthetic_pct.value == 75.0
    assert {kind for kind, answer in whole.provenance.value.items() if answer == "yes"} == {
        "licensed",
        "synthetic_public",
    }
    assert set(whole.provenance.value) == set(field_rules().by_path()["data[].provenance_class"].values)
    assert {getattr(whole, name).source for name in OF_ALL} - {"unknown"} == {"derived"}


def test_what_is_not_stated_of_one_file_is_never_no_of_all() -> None:
    stated = {"licence": "MIT", "languages": ["en"], "provenance_class": "licensed"}
    whole = all_data([a_file("sums", **stated), a_file("words")])
    for value in (whole.licences, whole.languages, whole.synthetic_pct):
        assert not value.known
        assert "words (nobody has answered it)" in str(value.reason)
    assert "sums MIT" in str(whole.licences.reason)
    assert set(whole.provenance.value.values()) == {"yes", "not stated"}
    assert str(whole.provenance.method) == "from the class of each file; not stated of words"
    assert not all_data([a_file("sums")]).provenance.known


def test_a_contradiction_about_one_file_leaves_the_union_open_with_both_sides() -> None:
    conflict = unknown("the records of what went in differ: a:1 says MIT, b:1 says CC-BY-4.0")
    whole = all_data([a_file("sums", licence="MIT"), a_file("words").revised(licence=conflict)])
    assert "words (the records of what went in differ: a:1 says MIT, b:1 says CC-BY-4.0); sums MIT" in str(
        whole.licences.reason
    )


def test_rows_of_two_files_with_equal_counts_are_both_counted() -> None:
    data = tuple(a_data_identity(name=name, sha256=a_digest(name)) for name in ("a.jsonl", "b.jsonl"))
    record = a_modification_record(run=a_run_record(data=data))
    assert record.all_data.n_points.value == 2 * record.data[0].n_points.value == 400
    assert str(record.all_data.n_points.method) == "the sum over the files, each once: a.jsonl 200, b.jsonl 200"


def test_a_lower_bound_of_one_file_is_one_of_all() -> None:
    bound = a_file("words").revised(n_points=derived(30, "rows", method="at least: the most that one run used"))
    assert str(all_data([a_file("sums"), bound]).n_points.method).startswith("at least: ")


def test_tokens_that_nobody_counted_leave_the_share_to_the_rows() -> None:
    files = [
        a_file("sums", rows=10, tokens=None, provenance_class="licensed"),
        a_file("words", rows=30, provenance_class="synthetic_private"),
    ]
    whole = all_data(files)
    assert not whole.n_tokens.known
    assert (whole.synthetic_pct.value, str(whole.synthetic_pct.method)) == (
        75.0,
        "rows of the synthetic files / those of all files",
    )


def test_without_data_nothing_is_said_of_them() -> None:
    whole = all_data([])
    assert {str(getattr(whole, name).reason) for name in OF_ALL} == {"not derived: no data are recorded"}


def test_a_record_of_the_second_form_that_was_signed_without_this_section_reads_back_to_its_own_bytes() -> None:
    signed = KEPT.read_bytes()
    document = json.loads(signed)
    assert "all_data" not in document
    record = modification_of(MODIFICATION_V2, document)
    assert record.to_canonical() == signed
    assert isinstance(record, ModificationRecord)
    assert record.revised(data_gaps=unknown("asked")).to_json().keys() == document.keys()
    superseding = with_assessment(record)
    assert superseding.all_data.n_points.value == 200
    assert ModificationRecord.from_json(superseding.to_json()).to_canonical() == superseding.to_canonical()
