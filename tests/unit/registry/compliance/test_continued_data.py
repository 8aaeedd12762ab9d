"""What the record of a run that continued from an adapter has of the data of that adapter: once each, facts, questions, roles."""

from typing import Any

import pytest

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.facts import FactUnknown, with_each_named
from peft_registry.registry.reports.text import value_text
from peft_registry.schemas.codes import code_in
from peft_registry.schemas.dataset import DataIdentity, RowSelection
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import declared
from tests.builders.records import (
    NOW,
    a_data_identity,
    a_digest,
    a_manifest,
    a_merge_modification,
    a_modification_record,
    a_run_record,
)


def a_file(name: str, **over: Any) -> DataIdentity:
    return a_data_identity(name=name, sha256=a_digest(name), **over)


SUMS, WORDS, RHYMES = a_file("sums.jsonl"), a_file("words.jsonl"), a_file("rhymes.jsonl")


def a_record(
    label: str, data: tuple[DataIdentity, ...], *start: Ancestor, facts: dict[str, dict[str, Any]] | None = None
) -> ModificationRecord:
    """Of a training on these data that continued from `start`, with what `facts` state of each file by name."""
    stated = {"asserted_by": f"the data owner of {label}", "data": facts} if facts else None
    return a_modification_record(
        record_id=label,
        name=label.rpartition(":")[0],
        manifest=a_manifest(weights_digest=a_digest(label)),
        run=a_run_record(run_id=label, data=data),
        ancestors=start,
        facts=stated,
    )


def a_training(
    label: str, data: tuple[DataIdentity, ...], *start: Ancestor, facts: dict[str, dict[str, Any]] | None = None
) -> Ancestor:
    manifest = a_digest(f"{label} manifest")
    return Ancestor(
        label=label,
        manifest=manifest,
        is_parent=True,
        run=a_run_record(run_id=label, data=data),
        record=a_record(label, data, *start, facts=facts),
        statement=a_digest(f"statement of {label}"),
        runs=frozenset({manifest}.union(*(ancestor.runs for ancestor in start))),
    )


def by_name(record: ModificationRecord) -> dict[str, Any]:
    return {str(section.name.value): section for section in record.data}


def test_a_chain_of_three_lists_the_data_of_all_three_once_each_with_whose_facts_they_are() -> None:
    first = a_training("a:1", (SUMS,), facts={"sums.jsonl": {"licence": "MIT"}})
    second = a_training("b:1", (WORDS,), first, facts={"words.jsonl": {"licence": "CC-BY-4.0"}})
    record = a_record("c:1", (RHYMES,), first, second, facts={"rhymes.jsonl": {"licence": "CC0-1.0"}})
    assert list(by_name(record)) == ["rhymes.jsonl", "sums.jsonl", "words.jsonl"]
    sums, words = by_name(record)["sums.jsonl"], by_name(record)["words.jsonl"]
    assert (sums.licence.value, sums.licence.evidence) == ("MIT", (a_digest("statement of a:1"),))
    assert (words.licence.value, words.licence.asserted_by) == ("CC-BY-4.0", "the data owner of b:1")
    assert (sums.epochs.value, words.epochs.value) == (1, 1), "what b:1 took over from a:1 is no use of its own"
    assert value_text(record.content.size_range) == "<1 B tokens"


def test_a_file_that_a_run_and_its_start_trained_on_is_there_once_under_the_name_of_the_run() -> None:
    first = a_training("a:1", (SUMS.revised(name="old.jsonl"),), facts={"old.jsonl": {"labelling": "by hand"}})
    record = a_record("b:1", (SUMS,), first, facts={"sums.jsonl": {"licence": "MIT"}})
    (data,) = record.data
    assert (data.name.value, data.licence.value, data.labelling.value) == ("sums.jsonl", "MIT", "by hand")
    assert data.epochs.value == 2
    assert str(data.epochs.method) == "passes of all runs: a:1 1, b 1"


def test_other_data_of_the_same_name_are_told_apart_and_the_run_keeps_its_name() -> None:
    first = a_training("a:1", (SUMS.revised(sha256=a_digest("other bytes")),))
    record = a_record("b:1", (SUMS,), first, facts={"sums.jsonl": {"licence": "MIT"}})
    assert list(by_name(record)) == ["sums.jsonl", "sums.jsonl of a:1"]
    assert [section.licence.value for section in record.data] == ["MIT", None]


def test_a_run_and_its_start_that_state_different_things_of_one_file_are_a_question() -> None:
    first = a_training("a:1", (SUMS,), facts={"sums.jsonl": {"licence": "MIT", "personal_data": "no"}})
    stated = {"licence": "CC-BY-4.0", "personal_data": "no"}
    second = a_training("b:1", (SUMS,), first, facts={"sums.jsonl": stated})
    assert second.record is not None
    (data,) = second.record.data
    assert str(data.licence.reason) == "the records of what went in differ: a:1 says MIT, b says CC-BY-4.0"
    assert (data.personal_data.value, data.personal_data.asserted_by) == ("no", "the data owner of b:1")
    gap = next(gap for gap in completeness(second.record).open if gap.field == "data[0].licence")
    assert gap.owner == "data owner"
    third = a_record("c:1", (RHYMES,), first, second)
    assert str(by_name(third)["sums.jsonl"].licence.reason) == str(data.licence.reason), "no later run settles it"


def test_an_answer_to_that_question_holds_for_what_comes_after() -> None:
    first = a_training("a:1", (SUMS,), facts={"sums.jsonl": {"licence": "MIT"}})
    second = a_training("b:1", (SUMS,), first, facts={"sums.jsonl": {"licence": "CC-BY-4.0"}})
    assert second.record is not None
    answer = declared("CC0-1.0", by="a lawyer", at=NOW).revised(evidence=(a_digest("answers"),))
    data = (second.record.data[0].revised(licence=answer),)
    answered = second.revised(record=second.record.revised(data=data))
    licence = by_name(a_record("c:1", (RHYMES,), first, answered))["sums.jsonl"].licence
    assert (licence.value, licence.asserted_by) == ("CC0-1.0", "a lawyer")
    other = a_training("d:1", (SUMS,), facts={"sums.jsonl": {"licence": "GPL-3.0-only"}})
    merged = a_merge_modification(ancestors=(first, answered, other))
    assert "d:1 says GPL-3.0-only" in str(by_name(merged)["sums.jsonl"].licence.reason)


def test_a_correction_of_the_start_replaces_what_a_continued_run_took_over_from_it() -> None:
    first = a_training("a:1", (SUMS,), facts={"sums.jsonl": {"licence": "MIT"}})
    second = a_training("b:1", (SUMS,), first)
    assert second.record is not None
    assert second.record.data[0].licence.value == "MIT"
    corrected = first.revised(
        record=a_record("a:1", (SUMS,), facts={"sums.jsonl": {"licence": "GPL-3.0-only"}}),
        statement=a_digest("later statement of a:1"),
        earlier_statements=(first.statement,),
    )
    merged = a_merge_modification(ancestors=(corrected, second))
    assert by_name(merged)["sums.jsonl"].licence.value == "GPL-3.0-only"


def test_a_start_of_which_nothing_is_recorded_is_data_that_nobody_knows() -> None:
    manifest = a_digest("imported manifest")
    imported = Ancestor(label="x:1", manifest=manifest, is_parent=True, runs=frozenset({manifest}))
    record = a_record("b:1", (SUMS,), imported)
    unrecorded = by_name(record)["data of x:1"]
    assert str(unrecorded.personal_data.reason) == "nothing is recorded of what x:1 was trained on"
    assert not record.compute.conservative_flop.known
    assert "data[1].digest" in {gap.field for gap in completeness(record).open}


def test_rows_that_the_start_trained_on_and_the_run_held_out_are_a_question_and_a_limitation() -> None:
    rows = {"rule": "all rows", "rows": 200, "rows_sha256": a_digest("all"), "tokens": 23_700}
    first = a_training("a:1", (a_file("sums.jsonl", selections=(RowSelection(split="train", **rows),)),))
    record = a_record(
        "b:1", (WORDS, a_file("sums.jsonl", selections=(RowSelection(split="validation", **rows),))), first
    )
    text = "sums.jsonl: a:1 trained on it, b held it out"
    assert text in str(record.data_gaps.reason)
    assert any(text in str(code_in(limit)) for limit in record.evaluation.limitations.value)


def test_facts_name_inherited_data_and_what_is_said_of_each_is_said_of_the_files_of_the_run() -> None:
    first = a_training("a:1", (SUMS,))
    facts = {"asserted_by": "x", "data": {"*": {"personal_data": "no"}, "sums.jsonl": {"licence": "MIT"}}}
    named = with_each_named(facts, ["words.jsonl"])
    record = a_record("b:1", (WORDS,), first, facts=named["data"])
    sums, words = by_name(record)["sums.jsonl"], by_name(record)["words.jsonl"]
    assert (sums.licence.value, sums.personal_data.known) == ("MIT", False)
    assert words.personal_data.value == "no"
    with pytest.raises(FactUnknown):
        a_record("b:1", (WORDS,), first, facts={"rhymes.jsonl": {"licence": "MIT"}})


def test_what_is_said_of_one_file_wins_over_what_is_said_of_each() -> None:
    each = {"licence": "MIT", "art4a": {"deletion": "after a year", "no_transfer": "none"}}
    facts = {"data": {"*": each, "a": {"licence": "CC0-1.0", "art4a": {"deletion": "at once"}}}}
    assert with_each_named(facts, ["a", "b"])["data"] == {
        "a": {"licence": "CC0-1.0", "art4a": {"deletion": "at once", "no_transfer": "none"}},
        "b": each,
    }
    assert with_each_named({"use": {}}, ["a"]) == {"use": {}}
