"""Signed answers on their way into the record of a version: those that wait, and what the home knows besides."""

from collections.abc import Sequence
from typing import Any

from peft_registry.registry.compliance.answers import SignedAnswers, superseding_with_answers
from peft_registry.registry.compliance.known_elsewhere import known_of_base, known_of_organisation, taken_over_elsewhere
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import read_profile
from peft_registry.registry.records.bases import base_named
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.signed_records import version_statements
from peft_registry.registry.records.stated_bases import StatedBase
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.waiting_answers import waiting_answers
from peft_registry.registry.use_cases.supersede import supersede_record
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, RecordSections
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

    def build(before: SignedRecord) -> ModificationRecord:
        # read anew: somebody else may have made a record since
        waiting = waiting_answers(version_statements(registry, version), version)
        return record_with_answers(registry, before, waiting, version)

    return supersede_record(registry, version, build)


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
        defaults=known_at_home(registry, before.record, version),
    )


def known_at_home(registry: Registry, record: RecordSections, version: Version) -> dict[str, Value]:
    """What the home's profile and the bases that a record names answer, so that nobody is asked again."""
    known = known_of_organisation(record, read_profile(registry))
    for position, used in enumerate(record.base):
        stated = base_of_record(registry, version, used)
        if stated is not None:
            known |= known_of_base(record, position, stated.facts, stated.role)
    return known


def base_of_record(registry: Registry, version: Version, used: BaseUsed) -> StatedBase | None:
    """What is recorded of a base under the name that a record has for it; None where it is not registered here so.

    The signed manifest of the version says which base that is. A row of the catalogue, or equal weights that somebody added under
    another name, do not.
    """
    for manifest in _bases_of(registry, version):
        if str(stored_manifest(registry, manifest).weights_digest) == used.tensor_digest.value:
            stated = base_named(registry, manifest, str(used.name.value))
            if stated is not None:
                return stated
    return None


def _bases_of(registry: Registry, version: Version) -> tuple[Digest, ...]:
    """The manifests of the bases that a version was made from, as far as the store has them."""
    manifest = stored_manifest(registry, version.manifest_digest)
    bases = [parent.manifest for parent in manifest.parents if parent.role == "base"]
    return tuple(digest for digest in bases if registry.store.has(digest))
