"""What a first record takes over from others is recorded of them: of the same file, or of a parent."""

import pytest

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.derivation import differences
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.codes import code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.values import Value, declared
from tests.builders.records import (
    NOW,
    a_data_identity,
    a_digest,
    a_merge_modification,
    a_modification_record,
    a_run_record,
)

ANSWERS = a_digest("answers of a parent")


def a_parent(label: str, *, personal_data: str = "no", intended: str = "sums", is_parent: bool = True) -> Ancestor:
    data = (
        a_data_identity(name="own", sha256=a_digest(label)),
        a_data_identity(name="shared", sha256=a_digest("shared")),
    )
    run = a_run_record(run_id=label, data=data)
    facts = {
        "asserted_by": f"the data owner of {label}",
        "use": {"intended": intended},
        "data": {"own": {"labelling": "by hand"}, "shared": {"personal_data": personal_data}},
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


def otherwise(record: ModificationRecord, derived: ModificationRecord) -> list[str]:
    """The paths at which a record says something else than was derived."""
    return [difference.path for difference in differences(record, derived)]


def merged(*ancestors: Ancestor) -> ModificationRecord:
    return a_merge_modification(ancestors=ancestors or PARENTS)


def position_of(record: ModificationRecord, digest: Digest) -> int:
    return [section.digest.value for section in record.data].index(str(digest))


def test_a_merge_names_the_statements_that_say_what_it_inherits() -> None:
    record = merged()
    statements = tuple(parent.statement for parent in PARENTS if parent.statement)
    assert record.use.out_of_scope.evidence == (ANSWERS, *statements)
    assert record.use.intended.evidence == statements
    assert otherwise(record, merged()) == []


def test_a_merge_does_not_say_in_anothers_name_what_that_one_never_said() -> None:
    record = merged()
    shared = f"data[{position_of(record, a_digest('shared'))}].personal_data"
    value = record.data[position_of(record, a_digest("shared"))].personal_data
    for forged in (value.revised(value="yes"), value.revised(asserted_by="the regulator"), value.revised(unit="rows")):
        assert otherwise(with_values(record, {shared: forged}), record) == [shared]


def test_what_is_recorded_of_one_file_is_not_said_of_another() -> None:
    record = merged()
    of_a = record.data[position_of(record, a_digest("a"))].labelling
    of_b = record.data[position_of(record, a_digest("b"))].labelling
    of_both = record.data[position_of(record, a_digest("shared"))].labelling
    assert (of_a.asserted_by, of_b.asserted_by) == ("the data owner of a", "the data owner of b")
    assert not of_both.known
    other = f"data[{position_of(record, a_digest('shared'))}].labelling"
    assert otherwise(with_values(record, {other: of_a}), record) == [other]


def test_the_purpose_of_what_is_no_parent_is_not_inherited() -> None:
    stranger = a_parent("stranger", is_parent=False, intended="screening of applicants")
    record = merged(*PARENTS, stranger)
    assert record.use.intended.value == "sums"
    assert stranger.statement not in record.use.intended.evidence
    # the data of it went in all the same
    assert position_of(record, a_digest("stranger")) > 0


def test_parents_that_differ_leave_a_question_and_name_no_answer() -> None:
    other = a_parent("b", personal_data="yes", intended="letters")
    record = merged(PARENTS[0], other)
    assert not record.use.intended.known
    shared = record.data[position_of(record, a_digest("shared"))].personal_data
    assert shared.value != "no"


def test_what_is_not_applicable_of_each_parent_is_not_of_the_result_and_else_a_question() -> None:
    none = {"not_applicable": "licence_forbids_to_say"}
    parents = [a_parent(label, intended=none) for label in ("a", "b")]  # type: ignore[arg-type]  # as facts write it
    value = merged(*parents).use.intended
    assert (value.source, value.reason) == ("not_applicable", code("licence_forbids_to_say"))
    assert value.evidence == tuple(parent.statement for parent in parents)
    one = merged(parents[0], PARENTS[1]).use.intended
    assert not one.settled
    assert "the licence forbids to say" in str(one.reason)
    assert "sums" in str(one.reason)


def of_parents_that_say(path: str, value: object) -> Value:
    """What a merge has at a path where both of its parents state the same."""
    said = {path: declared(value, by="alex", at=NOW)}
    parents = [
        replaced(parent, record=with_values(parent.record, said))
        for parent in PARENTS
        if isinstance(parent.record, ModificationRecord)
    ]
    return next(leaf.value for leaf in leaves(merged(*parents)) if leaf.path == path)


def replaced(parent: Ancestor, **changes: object) -> Ancestor:
    return Ancestor(**(dict(parent) | changes))


@pytest.mark.parametrize("name", ["intended", "out_of_scope", "foreseeable_misuse", "acceptable_use_policy"])
def test_a_purpose_that_the_table_gives_to_children_is_theirs(name: str) -> None:
    assert field_rules().by_path()[f"use.{name}"].from_parents == "same"
    assert of_parents_that_say(f"use.{name}", "as both say").value == "as both say"


def test_what_the_table_gives_to_no_child_is_not_taken_over() -> None:
    assert field_rules().by_path()["use.max_output"].from_parents is None
    assert of_parents_that_say("use.max_output", 7).value != 7


def test_evidence_that_nobody_logged_vouches_for_nothing() -> None:
    record = merged()
    value = record.use.intended
    for evidence in ((*value.evidence, a_digest("nothing")), (a_digest("nothing"),), ()):
        forged = with_values(record, {"use.intended": value.revised(evidence=evidence)})
        assert otherwise(forged, record) == ["use.intended"]


@pytest.mark.parametrize("source", ["declared", "unknown"])
def test_a_training_of_a_base_has_taken_nothing_over(source: str) -> None:
    """Nobody can have answered a question of its record before there was one."""
    value = Value.from_json(
        {"value": "sums", "source": "declared", "asserted_by": "alex"}
        if source == "declared"
        else {"source": "unknown", "reason": "not decided (stated by alex)", "asserted_by": "alex"}
    )
    record = a_modification_record()
    assert not any(leaf.value.rests_on_statement for leaf in leaves(record))
    forged = with_values(record, {"use.intended": value.revised(evidence=(ANSWERS,))})
    assert otherwise(forged, record) == ["use.intended"]
