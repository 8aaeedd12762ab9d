"""What a verified folder says of its version, as a home says it of one that it has: for who reads records and has no registry.

Nothing is read that the checks have not looked at. What only a registry knows, such as what was made from it and which seeds were
begun since, a folder cannot say; what it says ends at its checkpoint.
"""

from contextlib import suppress
from dataclasses import dataclass

from peft_registry.registry.evaluation.staleness import composition_of, staleness
from peft_registry.registry.records.decisions import BoundEvidence, PersonsDecision, decisions_among
from peft_registry.registry.records.evaluations import newest_of_each
from peft_registry.registry.records.signed_records import Records, records_among
from peft_registry.registry.records.trusted_reading import TrustedReading
from peft_registry.registry.records.version_statements import VersionStatements, statements_of_version
from peft_registry.registry.transparency.completeness import EntryProof
from peft_registry.registry.verification.findings import Findings
from peft_registry.registry.verification.presented_inputs import inputs_here, presented_inputs
from peft_registry.schemas.base_model import BaseIdentity, BaseRecord
from peft_registry.schemas.errors import IntegrityBroken, NotChecked, NotFound
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import Lineage, LineageEdge, LineageNode
from peft_registry.schemas.manifest import CARD_NAME, EVIDENCE_NAME, Manifest
from peft_registry.schemas.statement import RegistrationPredicate, StoredStatement
from peft_registry.schemas.trained_templates import NoTemplate, Template, template_of_run
from peft_registry.schemas.version import Version


class NotRegistered(NotFound):
    reference = "folder-without-registration"
    what = "{folder} has no registration, and so no version that could be shown"
    why = "none of its statements registers it"
    fix = "pull the version from the registry that has it: `registry pull NAME:NUMBER FOLDER`"

    folder: str


class ItemsNotHere(NotChecked):
    what = "the item table {file} is not in {folder}"
    why = "a copy for others leaves it out where its evaluation is withheld"
    fix = "ask whoever handed the folder over for one with its evidence"

    file: str
    folder: str


class RecordWithheld(NotChecked):
    what = "the modification record of {label} is not in {folder}"
    why = "whoever handed it over keeps it: it holds figures and names that are not for everybody"
    fix = "read the documents that came with it, or ask them for the record"

    label: str
    folder: str


class FolderVersion(Version):
    """A version as a folder shows it: the number, and what is said by name and number, only where a proof gives it one."""

    is_numbered: bool = True

    @property
    def label(self) -> str:
        return f"{self.name}:{self.number}" if self.is_numbered else f"{self.name} ({self.manifest_digest.short})"


@dataclass(frozen=True)
class PresentedVersion:
    """A version that a folder shows.

    Attributes:
        version: with the aliases that the folder's checkpoint gives it.
        manifest: of its artifact.
        statements: all that are here about that, in the order of the log.
        said: what of them speaks of this version.
        records: the same as values.
        reading: by whose word it counts.
        findings: of the checks.
    """

    version: Version
    manifest: Manifest
    statements: tuple[StoredStatement, ...]
    said: VersionStatements
    records: Records
    reading: TrustedReading
    findings: Findings

    def require_record(self) -> None:
        """Raise where its record stays with whoever handed the folder over; a base has none.

        Raises:
            RecordWithheld: it does.
        """
        if self.said.record is None and self.manifest.kind != "base":
            raise RecordWithheld(self.version.label, self.findings.presented.label)

    def items(self, record: EvaluationRecord) -> bytes:
        """The item table of an evaluation.

        Raises:
            ItemsNotHere: it was left out.
        """
        from peft_registry.registry.verification.evaluations import items_in

        presented = self.findings.presented
        path = f"{EVIDENCE_NAME}/{record.items.file}"
        if not presented.has(path) or presented.digest(path) != record.items.sha256:
            raise ItemsNotHere(record.items.file, presented.label)
        return items_in(presented, record)

    def stale(self, record: EvaluationRecord) -> str:
        """Why an evaluation does not speak of the version; empty if it does, or if its base is not known here."""
        base = self._base_identity
        return "" if base is None else str(staleness(record, composition_of(self.manifest, base)) or "")

    @property
    def _base_identity(self) -> BaseIdentity | None:
        if self.manifest.base is not None:
            return self.manifest.base.identity
        return None if self.records.base is None else self.records.base.identity

    @property
    def bound_evidence(self) -> BoundEvidence:
        """The record of the version, and the evaluations that speak of it now."""
        newest = newest_of_each(self.records.evaluations)
        return BoundEvidence.of(self.records.modification, [record for record in newest if not self.stale(record)])

    @property
    def decisions(self) -> tuple[PersonsDecision, ...]:
        """What persons decided of it."""
        return decisions_among(self.records, self.bound_evidence, self.reading)

    @property
    def words_of_today(self) -> tuple[str, ...]:
        """What evaluations by earlier editions of the figures are called by the newest; of those whose items are here."""
        from peft_registry.registry.evaluation.judged_again import words_by_newest_edition

        words: list[str] = []
        for record in self.records.evaluations:
            with suppress(IntegrityBroken, NotChecked):  # the checks say what is wrong with it
                words += words_by_newest_edition(record, self.items(record))
        return tuple(dict.fromkeys(words))

    @property
    def template(self) -> Template:
        """The template that it was trained with; of a merge its parts recorded that, and they are elsewhere."""
        label = self.version.label
        if self.records.run is not None:
            return template_of_run(label, self.records.run)
        if self.records.merge is None:
            return NoTemplate(f"{label} was imported, and nobody recorded its training")
        return NoTemplate("the runs of what was merged are not in this folder")

    @property
    def lineage(self) -> Lineage:
        """What it was made from, as its manifest says; a folder knows nothing of what was made from it."""
        focus = self.version.manifest_digest
        own = LineageNode(digest=focus, kind=self.manifest.kind, label=self.version.label, registered=True)
        nodes: dict[Digest, LineageNode] = {}
        edges = []
        for parent in self.manifest.parents:
            nodes[parent.manifest] = LineageNode(
                digest=parent.manifest,
                kind="base" if parent.role == "base" else "unknown",
                label=self._names.get(parent.manifest, parent.manifest.short),
                registered=False,
                detail=f"named as {parent.role}",
            )
            edges.append(LineageEdge(source=parent.manifest, target=focus, role=parent.role))
        for data in self.manifest.data:
            nodes[data.sha256] = LineageNode(digest=data.sha256, kind="data", label=data.sha256.short, registered=False)
            edges.append(LineageEdge(source=data.sha256, target=focus, role="data"))
        return Lineage(focus=focus, nodes=(*nodes.values(), own), edges=tuple(edges))

    @property
    def _names(self) -> dict[Digest, str]:
        """The names of bases whose statements are here."""
        inputs = presented_inputs(self.findings).values()
        stated = (entry.statement for entry in inputs if entry.statement.kind == "base")
        names = {said.subject_digest: said.read_by(BaseRecord.from_json).name for said in stated}
        return {digest: name for digest, name in names.items() if name is not None}


def presented_version(findings: Findings) -> PresentedVersion:
    """The version that a folder shows, once all checks were made and none of them failed.

    Raises:
        NotRegistered: no statement registers it.
        RecordUnreadable, RecordContradicted: its record is not one, or does not follow from what is here.
    """
    manifest = findings.need_manifest()
    assert findings.manifest_digest is not None, "the manifest was read"
    own, registration = _registration(findings)
    entries = _entries(findings)
    statements = _stored(findings, entries)
    listed = findings.listed
    covered = listed.proof.index + 1 if listed is not None else _covered_by_entry(findings)
    reading = TrustedReading(findings.trust, covered, findings.context.now)
    stored = next(entry for entry in statements if entry.digest == own)
    base = manifest.base
    places = () if listed is None else listed.stated.versions
    number = next((place.number for place in places if place.entry == stored.log_index), None)
    aliases = () if listed is None else listed.stated.aliases
    version = FolderVersion(
        name=registration.name,
        number=number or 1,
        is_numbered=number is not None,
        manifest_digest=findings.manifest_digest,
        kind=manifest.kind,
        layout=manifest.layout,
        method=manifest.method,
        weights_digest=manifest.weights_digest,
        base_manifest=base.manifest if base else None,
        base_weights=base.identity.weights if base else None,
        size_bytes=sum(entry.size for entry in manifest.files),
        key_id=stored.key_id,
        registered_at=stored.appended_at or "",
        log_index=stored.log_index or 0,
        aliases=tuple(place.alias for place in aliases if place.name == registration.name),
        origin=manifest.origin,
    )
    said = statements_of_version(
        version,
        statements,
        may_say=reading.may_say,
        covered=reading.covered,
        known=inputs_here(findings),
        signer_of=reading.entry_signer,
    )
    card = findings.presented.small(CARD_NAME) if findings.presented.has(CARD_NAME) else None
    records = records_among(version, manifest, statements, said, reading, card=card)
    return PresentedVersion(version, manifest, statements, said, records, reading, findings)


def _registration(findings: Findings) -> tuple[Digest, RegistrationPredicate]:
    """The registration that the folder's proof is of, else the only one that is here."""
    logged = findings.logged
    named = None if logged is None else findings.registrations.get(logged.event.statement)
    if logged is not None and named is not None:
        return logged.event.statement, named
    for digest, registration in findings.registrations.items():
        return digest, registration
    raise NotRegistered(findings.presented.label)


def _entries(findings: Findings) -> dict[Digest, EntryProof]:
    listed = findings.listed
    return {} if listed is None else {entry.leaf.statement: entry for entry in listed.stated.entries}


def _stored(findings: Findings, entries: dict[Digest, EntryProof]) -> tuple[StoredStatement, ...]:
    """The statements that count, in the order of the log; one that nothing dates stands where its line does, and is pending."""
    logged = findings.logged
    envelopes = {read.digest: read.envelope.render() for read in findings.presented_statements}
    stored = []
    for statement, digest in findings.statements:
        entry = entries.get(digest)
        index = None if entry is None else entry.index
        at = None if entry is None else entry.leaf.at
        if entry is None and logged is not None and logged.event.statement == digest:
            index, at = logged.proof.index, logged.event.at
        elif entry is None and statement.kind == "registration":
            index = 0  # no checkpoint covers it, and the version is shown as it was registered
        stored.append(
            StoredStatement(
                digest=digest,
                kind=statement.kind,
                statement=statement,
                key_id=findings.signers[digest].key_id,
                envelope=envelopes[digest],
                log_index=index,
                appended_at=at,
            )
        )
    # a registration covers what it names, and stands behind that
    last = max((entry.log_index or 0 for entry in stored), default=0)
    return tuple(
        sorted(
            stored,
            key=lambda entry: (
                last if entry.log_index is None else entry.log_index,
                entry.kind == "registration",
            ),
        )
    )


def _covered_by_entry(findings: Findings) -> int:
    """How many entries the proof of the registration covers; none without one."""
    return 0 if findings.logged is None else findings.logged.proof.index + 1
