"""Records that are held against each other, many at a time."""

import tracemalloc

import pytest

from peft_registry.registry.compliance.derivation import NextInputs, derive_next
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationPredicate, ModificationRecord, RecordInput
from peft_registry.schemas.statement import Statement, statement_about
from tests.builders.records import NOW, a_modification_record

RECORDS = 40
MOST_BYTES = 30_000  # kept of a record; as objects it takes more than ten times as many


def said(number: int, record: ModificationRecord, *named: RecordInput) -> Statement:
    stated = ModificationPredicate(edition=editions().newest, as_of=0, inputs=named, record=record)
    return statement_about(artifact(number), "modification", stated.to_json())


def artifact(number: int) -> Digest:
    return Digest.of(b"artifact %d" % number)


def test_a_log_with_many_records_is_held_in_little_memory() -> None:
    """Each further record: what was worked out of the last few stays as objects, however many there are."""
    record, checks = a_modification_record(), RecordChecks()
    checks.take(Digest.of(b"first"), said(2 * RECORDS, record))
    kept = []
    tracemalloc.start()
    for begin in (0, RECORDS):
        for number in range(begin, begin + RECORDS):
            checks.take(Digest.of(b"statement %d" % number), said(number, record))
        kept.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    few, many = kept
    assert (many - few) / RECORDS < MOST_BYTES


@pytest.mark.parametrize("others", [0, RECORDS])
@pytest.mark.parametrize("about", [0, 1])
def test_a_record_that_supersedes_finds_the_one_of_its_own_artifact_as_it_was_said(others: int, about: int) -> None:
    """However many were said since; what comes after a record has it packed."""
    record, checks = a_modification_record(), RecordChecks()
    statement = Digest.of(b"the first record")
    checks.take(statement, said(0, record))
    for number in range(others):
        checks.take(Digest.of(b"statement %d" % number), said(2 + number, record))
    inputs = NextInputs(before=record, name="sums", manifest=artifact(about))
    following = derive_next(inputs, record_id="next", now=NOW)
    named = RecordInput(kind="modification", digest=statement, about=artifact(about))
    check = checks.take(Digest.of(b"the next"), said(about, following, named))
    assert check is not None
    assert check.wrong == ()
    own = () if about == 0 else (f"nobody logged the modification {statement.short} that it names",)
    assert check.lacking == own
