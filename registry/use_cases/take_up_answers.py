"""Signed answers on their way into the record of a version: those that wait, and what the home knows besides."""

from typing import Any

from peft_registry.registry.compliance.known_elsewhere import known_of_base, known_of_organisation, taken_over_elsewhere
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.records.bases import bases_of_record
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.records.waiting_answers import waiting_answers
from peft_registry.registry.use_cases.supersede import supersede
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value
from peft_registry.schemas.version import Version


class FromElsewhere(Frozen):
    """A value that a record takes over besides the answers, and where it is stated."""

    path: str
    value: Any  # any JSON value; the field says which
    asserted_by: str | None
    statements: tuple[Digest, ...]  # about a base; none for a value of the organisation's profile

    @property
    def text(self) -> str:
        """`base[0].source_url: https://example.org/tiny (declared by sam, statement sha256:5f1d… about the base)`."""
        where = "the organisation's profile"
        if self.statements:
            named = ", ".join(str(statement) for statement in self.statements)
            where = f"stated by {self.asserted_by or 'its documents'}, statement {named} about the base"
        return f"{self.path}: {self.value} ({where})"


def complete_answers(registry: Registry, version: Version) -> SignedRecord | None:
    """The record that takes up every signed answer that waits; None where there are none.

    Whoever signed them elsewhere, or was stopped before the record was made, has answered all the same.
    """
    if not waiting_answers(version_statements(registry, version), version):
        return None
    made = supersede(registry, version)
    return None if made is None else made.current


def taken_over_by_newest(registry: Registry, version: Version) -> tuple[FromElsewhere, ...]:
    """What the newest record of a version took over besides answers; nothing of a record that supersedes none."""
    chain = version_statements(registry, version).chain
    newest = chain[-1].record if len(chain) > 1 else None
    return from_elsewhere(newest, chain[-2].record) if isinstance(newest, ModificationRecord) else ()


def from_elsewhere(record: ModificationRecord, before: RecordSections) -> tuple[FromElsewhere, ...]:
    """What a record took over besides answers, and the one that it supersedes has not."""
    return tuple(
        FromElsewhere(
            path=taken.path,
            value=taken.value.value,
            asserted_by=taken.value.asserted_by,
            statements=taken.statements,
        )
        for taken in taken_over_elsewhere(record, before)
    )


def known_at_home(registry: Registry, record: RecordSections, version: Version) -> dict[str, Value]:
    """What the home's profile and the bases that a record names answer, so that nobody is asked again."""
    known = known_of_organisation(record, read_profile(registry))
    for position, _, stated in bases_of_record(registry, version, record):
        known |= known_of_base(record, position, stated.facts, stated.role)
    return known
