"""Signed answers that wait for a record to take them up. Nothing is written."""

from collections.abc import Sequence

from peft_registry.registry.compliance.answers import (
    SignedAnswers,
    as_written,
    changed_since,
    problems_of_answers,
    superseding_with_answers,
)
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.version_statements import VersionStatements
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.version import Version


def waiting_answers(said: VersionStatements, version: Version) -> tuple[SignedAnswers, ...]:
    """Signed answers that the next record of a version takes up, in the order of the log.

    They are to its newest record, pending or not, or to one before that since which every answered value stayed the same. Of two
    people who answer the same question the first holds. What cannot stand beside the answers before it, such as dates out of order,
    is left out; it stays in the log as answers that no record takes up.
    """
    newest = said.newest
    if newest is None:
        return ()
    waiting: tuple[SignedAnswers, ...] = ()
    taken_up = {digest for link in said.chain for digest in answers_taken_up(link.record)}
    answered: set[str] = set()
    record = newest.record
    for stored in said.statements:
        # what is not in the log yet has no time, and decides nothing
        if stored.kind != "answers" or stored.digest not in said.answers or stored.appended_at is None:
            continue
        if stored.digest in taken_up:
            continue
        predicate = stored.statement.read_by(AnswersPredicate.from_json)
        answers = {answer.path: as_written(answer) for answer in predicate.answers}
        if not answered.isdisjoint(answers):
            continue
        since = records_since(said.chain, predicate.record)
        if not since or changed_since(answers, since):
            continue
        at = stored.appended_at
        if not any(problems_of_answers(record, answers, role=predicate.role, version=version, at=at)):
            waiting = (*waiting, SignedAnswers(stored.digest, predicate, at))
            answered |= answers.keys()
            record = superseding_with_answers(newest.record, *waiting, version=version, record_id="tried", now=at)
    return waiting


def records_since(chain: Sequence[SignedRecord], seen: Digest) -> tuple[RecordSections, ...]:
    """The record that somebody answered and those that superseded it since; empty where it is none of these."""
    position = next((place for place, link in enumerate(chain) if link.digest == seen), len(chain))
    return tuple(link.record for link in chain[position:])


def answers_taken_up(record: RecordSections) -> tuple[Digest, ...]:
    """The statements of answers that a record takes up."""
    return record.correction.answers if isinstance(record, ModificationRecord) else ()
