"""An artifact as it is presented for checking: a folder on disk, or a version assembled from the registry's own records.

Nothing here is trusted. Both kinds become one value, so that verification, pull and the MLflow plugin look at the same
thing in the same way.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import StatKey, read_file
from peft_registry.registry.disk.hashing import copy_and_hash, hash_file, write_and_hash
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.intake.paths import UnsafePath, safe_relative_path, scan_folder
from peft_registry.registry.records.completeness_proofs import completeness_proof
from peft_registry.registry.records.record_inputs import FIRST_FIGURES
from peft_registry.registry.records.record_statements import stated_in
from peft_registry.registry.records.signed_records import (
    announced_in,
    announcement_of,
    announcement_of_figures,
    card_bytes,
)
from peft_registry.registry.records.snapshots import Snapshot, covered_by
from peft_registry.registry.records.views import view_of
from peft_registry.registry.storage.interface import ObjectMissing, ObjectStore
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.evaluation import EvaluationRecord, ItemTable
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME, EVIDENCE_NAME, FILE_NAME, SIGNATURE_NAME
from peft_registry.schemas.modification import ModificationPredicate
from peft_registry.schemas.statement import (
    COMPLETE_FILE,
    DECISIONS_FILE,
    INPUTS_FILE,
    KEYS_FOLDER,
    PREDICATE_TYPES,
    PROOF_FILE,
    STATEMENTS_FILE,
    StoredStatement,
    edition_proof_file,
)
from peft_registry.schemas.version import Version

Asked = TypeVar("Asked", Edition, int)  # an edition, or one of the figures
SMALL_MAX_BYTES = 64 * 1024 * 1024


class FileAbsent(IntegrityBroken):
    what = "{label} has no {name}"
    why = "every registered artifact has one"
    fix = "pull the version again; if it is a foreign folder, import it instead"

    name: str
    label: str


class NotAnArtifact(InputRefused):
    what = "{folder} is not a registered artifact"
    why = "it holds neither manifest.json nor model.sig nor evidence"
    fix = "name a version as NAME:NUMBER, or a folder that `registry pull` wrote"

    folder: Path


class EvidenceBroken(IntegrityBroken):
    what = "{path!a} is not what belongs there"
    why = "{reason}"
    fix = "pull the version again; keep this copy if it came from somebody else"

    path: str
    reason: str


@dataclass(frozen=True)
class Presented:
    """What is looked at.

    Attributes:
        label: how a person calls it.
        files: every relative path, with its bytes, with where they lie, or with None (recorded only).
        missing: the files whose object the store should have and has not; in `files` each has None.
    """

    label: str
    files: Mapping[str, Path | bytes | None]
    missing: Mapping[str, ObjectMissing] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return name in self.files

    def size(self, name: str) -> int:
        """How many bytes a file has; nothing of it is read.

        Raises:
            FileAbsent: it is not there.
        """
        content = self.files.get(name)
        if content is None:
            raise FileAbsent(name, self.label)
        return len(content) if isinstance(content, bytes) else StatKey.of_path(content).size

    def digest(self, name: str) -> Digest:
        """The SHA-256 of a file of any size.

        Raises:
            FileAbsent: it is not there.
        """
        content = self.files.get(name)
        if content is None:
            raise FileAbsent(name, self.label)
        return Digest.of(content) if isinstance(content, bytes) else hash_file(content).sha256

    def small(self, name: str) -> bytes:
        """The bytes of a small file.

        Raises:
            FileAbsent: it is not there.
        """
        content = self.files.get(name)
        if content is None:
            raise FileAbsent(name, self.label)
        return content if isinstance(content, bytes) else read_file(content, max_bytes=SMALL_MAX_BYTES)


def present_folder(folder: Path) -> Presented:
    """A folder as it lies there. Links, devices and unsafe names are refused before anything is read.

    Raises:
        UnsafePath: the folder holds something that must not be followed or named.
        FolderMissing: there is no such folder.
        NotAnArtifact: nothing in it was ever part of an artifact; without its manifest alone an artifact is broken.
    """
    if folder.is_dir() and not any((folder / name).exists() for name in (FILE_NAME, SIGNATURE_NAME, EVIDENCE_NAME)):
        raise NotAnArtifact(folder)
    files = scan_folder(folder, family="integrity")
    return Presented(str(folder), {file.path: folder / file.path for file in files})


def present_version(registry: Registry, version: Version, scratch: Path, *, known: Snapshot | None = None) -> Presented:
    """A registered version from the store.

    Args:
        registry: where it is registered.
        version: which.
        scratch: a private folder for objects that have no local path.
        known: the newest snapshot of the log, where the caller has checked it.

    Raises:
        ManifestMalformed, MalformedJson: the manifest is none, or lists paths that must not be written.
        EvidenceBroken: a statement names evidence under such a path, or is not what its kind says.
        ObjectMissing, ObjectCorrupt: the store lost or changed the manifest, the signature, the card or evidence.
    """
    with view_of(registry, known=known) as view:
        artifact = catalog.artifact(view.tx, manifest_digest=version.manifest_digest)
        newest = view.newest
        statements = view.statements(version.manifest_digest)
        complete = completeness_proof(view, version, statements)
    if newest is not None and complete is not None:
        statements = covered_by(newest, statements)  # those behind the checkpoint are pending and decide nothing
    manifest_bytes = registry.store.read_bytes(version.manifest_digest)
    manifest = read_manifest(manifest_bytes)
    files: dict[str, Path | bytes | None] = {FILE_NAME: manifest_bytes}
    missing: dict[str, ObjectMissing] = {}
    location = base_location(registry.folder, version.manifest_digest) if artifact.by_reference else None
    for entry in manifest.files:
        if artifact.by_reference:
            files[entry.path] = None if location is None else location / entry.path
        else:
            files[entry.path] = local_object(registry.store, entry.sha256, scratch)
            if files[entry.path] is None:
                missing[entry.path] = ObjectMissing(entry.sha256, registry.store.describe())
    if artifact.signature_digest is not None:
        files[SIGNATURE_NAME] = registry.store.read_bytes(artifact.signature_digest)
    card = card_bytes(registry, version, statements, artifact.card_digest)
    if card is not None:
        files[CARD_NAME] = card
    if complete is not None:
        files[f"{EVIDENCE_NAME}/{COMPLETE_FILE}"] = complete.encode()
    for name, data in evidence(registry, version, statements).items():
        files[f"{EVIDENCE_NAME}/{name}"] = data
    return Presented(version.label, files, missing)


def evidence(registry: Registry, version: Version, statements: tuple[StoredStatement, ...]) -> dict[str, bytes]:
    """The files of `evidence/`: statements one a line in log order, the signers' public keys, item tables, the log proof."""
    from peft_registry.registry.records.checkpoints import registration_proof

    files = {STATEMENTS_FILE: b"".join(stored.envelope + b"\n" for stored in statements)}
    files |= _signers_keys(registry, {stored.key_id for stored in statements})
    tables = [_item_table(stored) for stored in statements if stored.kind == "bias-evaluation"]
    proof = registration_proof(registry, version)
    if proof is not None:
        files[PROOF_FILE] = proof.encode()
    files |= _inputs(registry, statements)
    for table in tables:
        own = (STATEMENTS_FILE, PROOF_FILE, COMPLETE_FILE, DECISIONS_FILE, INPUTS_FILE)
        if table.file in own or table.file.startswith((f"{KEYS_FOLDER}/", "edition-")):
            raise EvidenceBroken(table.file, "an evaluation gives its item table a name that other evidence has")
        files[table.file] = registry.store.read_bytes(table.sha256)
    return files


def _inputs(registry: Registry, statements: tuple[StoredStatement, ...]) -> dict[str, bytes]:
    """The statements about others that the records among these follow from.

    And with their proofs the announcements of the editions of these records, and of those to which figures of evaluations belong.
    """
    files: dict[str, bytes] = {}
    stated = [record for stored in statements if (record := _stated(stored)) is not None]
    here = {stored.digest for stored in statements}
    named = dict.fromkeys(entry.digest for record in stated for entry in record.inputs if entry.digest not in here)
    with registry.database.read() as tx:
        stored = catalog.statements_with(tx, named)
    lines = [stored[digest].envelope for digest in named if digest in stored]
    named_editions = {record.edition.name: record.edition for record in stated}.values()
    announced = [
        *(_announced(registry, edition, announcement_of) for edition in named_editions),
        *(_announced(registry, figures, announcement_of_figures) for figures in _later_figures(statements)),
    ]
    for announcement in announced:
        # two drafts of one name have one proof: that of the record's
        if announcement is not None and announcement.path not in files:
            lines.append(announcement.envelope)
            files[announcement.path] = announcement.proof
    if lines:
        files[INPUTS_FILE] = b"".join(line + b"\n" for line in lines)
    return files


class _Announcement(NamedTuple):
    """A signed announcement of an edition, with the proof that it was logged and the name of its file under `evidence/`."""

    envelope: bytes
    path: str
    proof: bytes


def _announced(
    registry: Registry, asked: Asked, find: Callable[[Registry, Asked], StoredStatement | None]
) -> _Announcement | None:
    """The announcement of an edition, or of figures, that `find` gives; None where it was not logged, or is pending."""
    from peft_registry.registry.records.checkpoints import entry_proof

    def read() -> _Announcement | None:
        announcement = find(registry, asked)
        said = None if announcement is None else announced_in(announcement.statement)
        if announcement is None or said is None:
            return None
        proof = entry_proof(registry, announcement.log_index or 0)
        path = edition_proof_file(said.edition.name)
        return None if proof is None else _Announcement(announcement.envelope, path, proof.encode())

    with view_of(registry) as view:  # most neighbours in a block of `reading` are of one edition
        return view.once(f"announcement of {asked!r}", read)


def _later_figures(statements: tuple[StoredStatement, ...]) -> set[int]:
    """The editions of figures among these that not every release with editions of records computes."""
    editions = {_evaluation(stored).figures_edition for stored in statements if stored.kind == "bias-evaluation"}
    return {edition for edition in editions if edition > FIRST_FIGURES}


def _stated(stored: StoredStatement) -> ModificationPredicate | None:
    """The predicate of a statement that holds a record; None for a record from before editions, and for a malformed one.

    A check of its own names what is malformed.
    """
    if stored.statement.predicate_type != PREDICATE_TYPES["modification"]:
        return None
    try:
        return stated_in(stored.statement)
    except ValidationError:
        return None


def _signers_keys(registry: Registry, key_ids: set[str]) -> dict[str, bytes]:
    try:
        trust = registry.trust
    except (NotChecked, IntegrityBroken):  # whoever checks trust says so; here it only means that no key can be shown
        return {}
    listed = [key for key in trust.keys if key.key_id in key_ids]
    return {f"{KEYS_FOLDER}/{key.key_id[:16]}.pub": key.public_key_pem.encode() for key in listed}


def _evaluation(stored: StoredStatement) -> EvaluationRecord:
    try:
        return stored.statement.read_by(EvaluationRecord.from_json)
    except ValidationError as error:
        what = f"statement {stored.digest.short}"
        raise EvidenceBroken(what, "it is not an evaluation, though its kind says so") from error


def _item_table(stored: StoredStatement) -> ItemTable:
    table = _evaluation(stored).items
    try:
        safe_relative_path(table.file)
    except UnsafePath as error:
        what = f"statement {stored.digest.short}"
        raise EvidenceBroken(what, f"it names its item table {table.file[:200]!a}: {error.why}") from error
    return table


def local_object(store: ObjectStore, digest: Digest, scratch: Path) -> Path | None:
    """Where an object's bytes can be read on this machine, None if the store has lost them."""
    if not store.has(digest):
        return None
    path = store.local_path(digest)
    if path is not None:
        return path
    destination = scratch / digest.hex
    if not destination.exists():
        store.fetch(digest, destination)
    return destination


class BytesElsewhere(NotChecked):
    what = "the bytes of {label} are not in this registry"
    why = "it was added by reference, and {path} is no longer where it was"
    fix = "add the base again from where it is now, or with --store copy"

    label: str
    path: str


def write_presented(presented: Presented, folder: Path) -> None:
    """Write what is presented into an empty folder; large files are hashed on the way by whoever verifies them next.

    Raises:
        ObjectMissing: the store lost a file.
        BytesElsewhere: a file of a base that was added by reference is not where it was.
    """
    for name, content in sorted(presented.files.items()):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            write_and_hash([content], target, mode=0o644)
        elif content is not None and content.is_file():
            copy_and_hash(content, target, mode=0o644)
        elif name in presented.missing:
            raise presented.missing[name]
        else:
            raise BytesElsewhere(presented.label, name)
