"""Signed answers that wait for a record to take them up. Nothing is written."""

from typing import Any

from peft_registry.registry.compliance.answers import SignedAnswers, problems_of_answers, superseding_with_answers
from peft_registry.registry.records.version_statements import VersionStatements
from peft_registry.schemas.answers import Answer, AnswersPredicate
from peft_registry.schemas.version import Version


def waiting_answers(said: VersionStatements, version: Version) -> tuple[SignedAnswers, ...]:
    """Signed answers to the newest record of a version, pending or not, that the next record takes up; in the order of the log.

    Of two people who answer the same question the first holds. What cannot stand beside the answers before it, such as dates out of
    order, is left out; it stays in the log as answers that no record takes up.
    """
    newest = said.newest
    if newest is None:
        return ()
    waiting: tuple[SignedAnswers, ...] = ()
    answered: set[str] = set()
    record = newest.record
    for stored in said.statements:
        # what is not in the log yet has no time, and decides nothing
        if stored.kind != "answers" or stored.digest not in said.answers or stored.appended_at is None:
            continue
        predicate = AnswersPredicate.from_json(stored.statement.predicate)
        answers = {answer.path: _as_written(answer) for answer in predicate.answers}
        if predicate.record != newest.digest or not answered.isdisjoint(answers):
            continue
        at = stored.appended_at
        if not any(problems_of_answers(record, answers, role=predicate.role, version=version, at=at)):
            waiting = (*waiting, SignedAnswers(stored.digest, predicate, at))
            answered |= answers.keys()
            record = superseding_with_answers(newest.record, *waiting, version=version, record_id="tried", now=at)
    return waiting


def _as_written(answer: Answer) -> Any:  # any JSON value
    return answer.value if answer.unknown is None else {"unknown": answer.unknown}
