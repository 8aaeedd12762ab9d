"""What a first record takes over from others is recorded of them: of the same file, or of a parent."""

from collections.abc import Iterable

import pytest

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.inherited_values import InheritedCheck, RecordedBefore, check_inherited
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Parent
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import Value
from tests.builders.records import (
    a_data_identity,
    a_digest,
    a_manifest,
    a_merge_modification,
    a_modification_record,
    a_run_record,
)

ANSWERS = a_digest("answers of a parent")


def a_parent(label: str, *, personal_data: str = "no", labelling: str = "by hand", is_parent: bool = True) -> Ancestor:
    data = (
        a_data_identity(name="own", sha256=a_digest(label)),
        a_data_identity(name="shared", sha256=a_digest("shared")),
    )
    run = a_run_record(run_id=label, data=data)
    facts = {
        "asserted_by": f"the data owner of {label}",
        "use": {"intended": "sums"},
        "data": {"own": {"labelling": labelling}, "shared": {"personal_data": personal_data}},
    }
    record = a_modification_record(record_id=label, name=label, run=run, facts=facts)
    answered = record.use.out_of_scope.revised(
        value="letters", source="declared", reason=None, asserted_by="alex", evidence=(ANSWERS,)
    )
    manifest = a_digest(f"{label} manifest")
    return Ancestor(
        label=label,
        manifest=manifest,
        is_parent=is_parent,
        run=run,
        record=with_values(record, {"use.out_of_scope": answered}),
        statement=a_digest(f"statement of {label}"),
        runs=frozenset({manifest}),
    )


PARENTS = (a_parent("a"), a_parent("b"))
MERGED = a_manifest(parents=tuple(Parent(role="adapter", manifest=parent.manifest) for parent in PARENTS))


def check(record: ModificationRecord, ancestors: Iterable[Ancestor] = PARENTS) -> InheritedCheck:
    recorded = {
        ancestor.statement: RecordedBefore(ancestor.manifest, ancestor.record)
        for ancestor in ancestors
        if ancestor.record is not None
    }
    return check_inherited(record, MERGED, recorded.get)


def merged() -> ModificationRecord:
    return a_merge_modification(ancestors=PARENTS)


def position_of(record: ModificationRecord, digest: Digest) -> int:
    return [section.digest.value for section in record.data].index(str(digest))


def test_what_a_merge_inherits_is_recorded_of_what_went_in() -> None:
    record = merged()
    assert record.use.out_of_scope.evidence == (ANSWERS, *(parent.statement for parent in PARENTS if parent.statement))
    assert check(record) == InheritedCheck((), ())


def test_each_statement_that_a_record_names_is_looked_up_once() -> None:
    asked: list[Digest] = []
    check_inherited(merged(), MERGED, asked.append)  # type: ignore[func-returns-value]  # finds nothing
    assert ANSWERS in asked
    assert len(asked) == len(set(asked))


def test_a_merge_does_not_say_in_anothers_name_what_that_one_never_said() -> None:
    record = merged()
    shared = f"data[{position_of(record, a_digest('shared'))}].personal_data"
    value = record.data[position_of(record, a_digest("shared"))].personal_data
    for forged in (value.revised(value="yes"), value.revised(asserted_by="the regulator"), value.revised(unit="rows")):
        told = check(with_values(record, {shared: forged}))
        assert told.wrong == (f"{shared}: no record that it names says so of what it was made from",)


def test_what_is_recorded_of_one_file_is_not_said_of_another() -> None:
    record = merged()
    labelling = record.data[position_of(record, a_digest("a"))].labelling
    other = f"data[{position_of(record, a_digest('shared'))}].labelling"
    assert check(with_values(record, {other: labelling})).wrong != ()


def test_the_purpose_of_what_is_no_parent_is_not_inherited() -> None:
    stranger = a_parent("stranger")
    value = merged().use.intended.revised(asserted_by="the data owner of stranger", evidence=(stranger.statement,))
    record = with_values(merged(), {"use.intended": value})
    assert check(record, (*PARENTS, stranger)).wrong == (
        "use.intended: no record that it names says so of what it was made from",
    )


def test_evidence_that_nobody_logged_is_not_seen_and_vouches_for_nothing() -> None:
    value = merged().use.intended
    made_up = value.revised(evidence=(*value.evidence, a_digest("nothing")))
    assert check(with_values(merged(), {"use.intended": made_up})).unseen != ()
    assert check(with_values(merged(), {"use.intended": value.revised(evidence=(a_digest("nothing"),))})).unseen != ()


@pytest.mark.parametrize("source", ["declared", "unknown"])
def test_a_training_of_a_base_has_taken_nothing_over(source: str) -> None:
    """Nobody can have answered a question of its record before there was one."""
    value = Value.from_json(
        {"value": "sums", "source": "declared", "asserted_by": "alex"}
        if source == "declared"
        else {"source": "unknown", "reason": "not decided (stated by alex)", "asserted_by": "alex"}
    )
    record = with_values(a_modification_record(), {"use.intended": value.revised(evidence=(ANSWERS,))})
    told = check_inherited(record, a_manifest(), {}.get)
    assert told.wrong == ("use.intended: it was made from nothing of which anybody could have said it",)
    assert check_inherited(a_modification_record(), a_manifest(), {}.get) == InheritedCheck((), ())
