"""Signed answers on their way into the record of a version: those that wait, and what the home knows besides."""

from typing import Any

from peft_registry.registry.compliance.answers import (
    SignedAnswers,
    known_elsewhere,
    problems_of_answers,
    superseding_with_answers,
)
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.records.bases import newest_base_record
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.records.version_statements import SignedRecord
from peft_registry.registry.use_cases.supersede import supersede_record
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, RecordSections
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version


def complete_answers(registry: Registry, version: Version) -> SignedRecord | None:
    """Build the record from signed answers to the current one that no record has taken up; None where there are none.

    Whoever signed them elsewhere, or was stopped before the record was made, has answered all the same.
    """
    said = version_statements(registry, version)
    if said.record is None:
        return None
    for stored in said.statements:
        if stored.kind != "answers":
            continue
        predicate = AnswersPredicate.from_json(stored.statement.predicate)
        signed = SignedAnswers(stored.digest, predicate, stored.appended_at or registry.clock())
        answers = {answer.path: _as_written(answer.value, answer.unknown) for answer in predicate.answers}
        is_open = predicate.record == said.record.digest and stored.digest in said.answers
        if not is_open or any(
            problems_of_answers(said.record.record, answers, role=predicate.role, version=version, at=signed.at)
        ):
            continue
        return _complete(registry, version, signed)
    return None


def _complete(registry: Registry, version: Version, signed: SignedAnswers) -> SignedRecord | None:
    def build(before: SignedRecord) -> ModificationRecord:
        return record_with_answers(registry, before, signed, version)

    return supersede_record(registry, version, build)


def _as_written(value: Any, reason: str | None) -> Any:  # any JSON value
    return value if reason is None else {"unknown": reason}


def record_with_answers(
    registry: Registry, before: SignedRecord, signed: SignedAnswers, version: Version
) -> ModificationRecord:
    return superseding_with_answers(
        before.record,
        signed,
        version=version,
        record_id=registry.nonce(),
        now=registry.clock(),
        defaults=known_at_home(registry, before.record),
    )


def known_at_home(registry: Registry, record: RecordSections) -> dict[str, Value]:
    """What the home's profile and the newest record of each base answer, so that nobody is asked again."""
    return known_elsewhere(record, read_profile(registry), [_facts_of(registry, base) for base in record.base])


def _facts_of(registry: Registry, base: BaseUsed) -> DeclaredFacts | None:
    """What is declared about a base that is registered here; None for another."""
    try:
        weights = Digest.parse(str(base.tensor_digest.value))
    except MalformedDigest:
        return None
    with registry.database.read() as tx:
        version = catalog.base_by_weights(tx, weights)
    newest = None if version is None else newest_base_record(registry, version.manifest_digest)
    return None if newest is None else newest.facts
