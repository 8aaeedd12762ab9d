"""Signed answers on their way into the record of a version: those that wait, and what the home knows besides."""

from collections.abc import Sequence

from peft_registry.registry.compliance.answers import (
    SignedAnswers,
    known_elsewhere,
    superseding_with_answers,
)
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.records.bases import newest_base_record
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.records.version_statements import SignedRecord
from peft_registry.registry.records.waiting_answers import waiting_answers
from peft_registry.registry.use_cases.supersede import supersede_record
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, RecordSections
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version


def complete_answers(registry: Registry, version: Version) -> SignedRecord | None:
    """The record that takes up every signed answer that waits; None where there are none.

    Whoever signed them elsewhere, or was stopped before the record was made, has answered all the same.
    """
    if not waiting_answers(version_statements(registry, version), version):
        return None

    def build(before: SignedRecord) -> ModificationRecord:
        # read anew: somebody else may have made a record since
        waiting = waiting_answers(version_statements(registry, version), version)
        return record_with_answers(registry, before, waiting, version)

    return supersede_record(registry, version, build)


def record_with_answers(
    registry: Registry, before: SignedRecord, signed: Sequence[SignedAnswers], version: Version
) -> ModificationRecord:
    """The record that takes answers up, with what is known at home of what nobody answered."""
    return superseding_with_answers(
        before.record,
        *signed,
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
