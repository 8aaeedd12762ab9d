"""Records that are held against each other, many at a time."""

import tracemalloc

from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import Correction, ModificationRecord
from peft_registry.schemas.statement import Statement, statement_about
from tests.builders.records import a_modification_record

RECORDS = 40
MOST_BYTES = 30_000  # kept of a record; as objects it takes more than ten times as many


def said(number: int, record: ModificationRecord) -> Statement:
    return statement_about(Digest.of(b"artifact %d" % number), "modification", record.to_json())


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


def test_a_record_is_found_as_it_was_said() -> None:
    record, checks = a_modification_record(), RecordChecks()
    statement = Digest.of(b"statement")
    checks.take(statement, said(0, record))
    for number in range(RECORDS):  # what comes after it has it packed
        recorded = checks.record_in(statement)
        assert recorded is not None
        assert (recorded.subject, recorded.record) == (Digest.of(b"artifact 0"), record)
        checks.take(Digest.of(b"statement %d" % number), said(number, record))
    assert checks.record_in(Digest.of(b"another")) is None


def test_a_record_that_supersedes_finds_the_one_of_its_own_artifact_alone() -> None:
    record, checks = a_modification_record(), RecordChecks()
    checks.take(Digest.of(b"statement"), said(0, record))
    next_record = record.revised(
        record_id="next",
        supersedes=record.record_id,
        correction=Correction.of_known(supersedes_digest=record.canonical_digest()),
    )
    assert not checks.check(Digest.of(b"artifact 0"), next_record).is_without_earlier
    assert checks.check(Digest.of(b"artifact 1"), next_record).is_without_earlier
