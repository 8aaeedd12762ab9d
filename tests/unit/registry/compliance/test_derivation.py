"""Records that are derived again and compared: what differs is told by its place, and what is the same is not."""

from collections.abc import Callable

import pytest
from pydantic import ValidationError

from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.derivation import (
    RELATIVE_BOUND,
    NextInputs,
    as_derivable,
    derive_next,
    differences,
    facts_taken_up,
    readable_sections,
)
from peft_registry.registry.compliance.superseding import with_values
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.values import declared, derived, measured
from tests.builders.records import NOW, a_modification_record, a_version

RECORD = a_modification_record(facts={"asserted_by": "alex", "use": {"intended": "sums"}})


def told(record: ModificationRecord, other: ModificationRecord = RECORD) -> list[str]:
    return [difference.sentence for difference in differences(record, other)]


def test_equal_records_differ_in_nothing() -> None:
    assert told(RECORD) == []
    assert told(ModificationRecord.from_json(RECORD.to_json())) == []


@pytest.mark.parametrize(
    ("factor", "is_the_same"),
    [(1 + RELATIVE_BOUND / 10, True), (1 - RELATIVE_BOUND / 10, True), (1 + 10 * RELATIVE_BOUND, False), (0.0, False)],
)
def test_numbers_are_compared_as_numbers_within_the_bound(factor: float, is_the_same: bool) -> None:
    flop = RECORD.compute.conservative_flop
    scaled = with_values(RECORD, {"compute.conservative_flop": flop.revised(value=flop.value * factor)})
    assert (told(scaled) == []) is is_the_same


Change = Callable[[ModificationRecord], ModificationRecord]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda record: with_values(record, {"use.intended": declared("letters", by="alex", at=NOW)}),
            "use.intended: its inputs give sums, and the record says letters",
        ),
        (
            lambda record: record.revised(data=()),
            "data: its inputs give 1 entry, and the record says 0 entries",
        ),
        (
            lambda record: with_values(
                record, {"security.digests": measured(record.security.digests.value | {"weights": "another"})}
            ),
            "security.digests.weights: its inputs give {digest}, and the record says another",
        ),
        (
            lambda record: with_values(record, {"risk.register_ref": measured("x" * 1000)}),
            f"risk.register_ref: its inputs give nothing, and the record says {'x' * 80}…",
        ),
    ],
    ids=["a value", "a list", "a place in a table", "a long text"],
)
def test_what_differs_is_told_by_its_path_with_both(change: Change, sentence: str) -> None:
    digest = str(RECORD.security.digests.value["weights"])[:80]
    assert sentence.replace("{digest}", digest) in told(change(RECORD))


def test_what_is_besides_a_value_is_told_where_the_value_is_the_same() -> None:
    intended = RECORD.use.intended
    (line,) = told(with_values(RECORD, {"use.intended": intended.revised(asserted_by="the regulator")}))
    assert line == (
        "use.intended: its inputs give {'asserted_by': 'alex'}, and the record says {'asserted_by': 'the regulator'}"
    )


def test_a_table_is_told_by_the_place_that_differs() -> None:
    """Its beginning is the same in both, and would say nothing."""
    rows = [{"run": number, "flop": 1.0} for number in range(50)]
    one = with_values(RECORD, {"compute.inputs": derived(rows, method="counted")})
    other = with_values(RECORD, {"compute.inputs": derived([*rows[:-1], rows[-1] | {"flop": 2.0}], method="counted")})
    assert told(one, other) == ["compute.inputs[49].flop: its inputs give 2.0, and the record says 1.0"]


def test_what_a_later_release_wrote_besides_is_told() -> None:
    later = ModificationRecord.from_json(RECORD.to_json() | {"approved_by": "the authority"})
    assert told(later) == ["approved_by: its inputs give nothing, and the record says the authority"]


# --- sections that cannot be derived here ---


def test_a_section_of_which_the_inputs_are_not_here_is_held_to_nothing_and_the_others_are() -> None:
    record = with_assessment(
        with_values(RECORD, {"base[0].provider": declared("another", by="x", at=NOW), "peft.rank": measured(1)})
    )
    compared = as_derivable(record, RECORD, ("base",))
    assert [line.partition(":")[0] for line in told(record, compared)] == ["peft.rank"]
    assert as_derivable(record, RECORD, ()) == RECORD


def test_of_a_record_of_a_later_release_the_sections_that_it_shares_are_read() -> None:
    document = RECORD.to_json() | {"compute": {"conservative_flop": "much"}, "provenance_of_tensors": {"a": [1]}}
    read = ModificationRecord.from_json(readable_sections(document))
    assert (read.record_id, read.use.intended) == (RECORD.record_id, RECORD.use.intended)
    assert read.compute == ModificationRecord(record_id="r", record_created_at=NOW).compute
    for unreadable in (None, [], "a record", {}, {"record_id": 7}):
        with pytest.raises(ValidationError):
            ModificationRecord.from_json(readable_sections(unreadable))


# --- the next record ---


def next_of(before: ModificationRecord, **over: object) -> ModificationRecord:
    version = a_version()
    inputs = NextInputs(before=before, name=version.name, manifest=version.manifest_digest, **over)  # type: ignore[arg-type]
    return derive_next(inputs, record_id="next", now=NOW)


def facts(author: str, **stated: object) -> Observations:
    said = {"asserted_by": author, "use": stated}
    return Observations(nonce="00", record_id="r", made_at=NOW, name="sums", tool_version="0.1.0", facts=said)


def test_a_record_that_nothing_was_said_since_says_what_the_one_before_it_said() -> None:
    after = next_of(RECORD)
    changed = {line.partition(":")[0].partition(".")[0] for line in told(after)}
    assert changed <= {"record_id", "supersedes", "correction", "identity"}
    assert (after.supersedes, after.correction.supersedes_digest) == (RECORD.record_id, RECORD.canonical_digest())


def test_a_declaration_replaces_what_is_open_and_what_its_author_declared() -> None:
    for author, intended in {"alex": "letters", "somebody else": "sums"}.items():
        seen = facts(author, intended="letters", out_of_scope="numbers")
        assert seen.facts is not None
        taken = facts_taken_up(RECORD, seen.facts, at=NOW)
        after = next_of(RECORD, observations=seen)
        assert after.use.intended.value == intended
        assert ("use.intended" in taken) is (author == "alex")
        assert after.use.out_of_scope.value == "numbers"
        assert after.use.out_of_scope.asserted_by == author


def test_the_inputs_alone_say_what_the_next_record_is() -> None:
    """Whoever derives it, and whenever: the id and the time come from whoever signs it."""
    seen = facts("alex", intended="letters")
    once, again = (next_of(RECORD, observations=seen) for _ in range(2))
    assert once.to_canonical() == again.to_canonical()
