"""An artifact as it is presented for checking: a folder on disk, or a version assembled from the registry's own records.

Nothing here is trusted. Both kinds become one value, so that verification, pull and the MLflow plugin look at the same
thing in the same way.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.base_locations import base_location
from registry.database import catalog
from registry.home import Registry
from registry.intake.paths import scan_folder
from registry.storage.interface import ObjectStore
from schemas.errors import IntegrityBroken
from schemas.evaluation import EvaluationRecord
from schemas.identity import Digest
from schemas.manifest import CARD_NAME, EVIDENCE_NAME, FILE_NAME, SIGNATURE_NAME, Manifest
from schemas.statement import KEYS_FOLDER, PROOF_FILE, STATEMENTS_FILE, StoredStatement
from schemas.version import Version

SMALL_MAX_BYTES = 64 * 1024 * 1024


class FileAbsent(IntegrityBroken):
    reference = "file-absent"

    def __init__(self, name: str, label: str) -> None:
        super().__init__(
            what=f"{label} has no {name}",
            why="every registered artifact has one",
            fix="pull the version again; if it is a foreign folder, import it instead",
        )


@dataclass(frozen=True)
class Presented:
    """What is looked at: `files` maps every relative path to its bytes, to where they lie, or to None (recorded only)."""

    label: str
    files: Mapping[str, Path | bytes | None]

    def has(self, name: str) -> bool:
        return name in self.files

    def small(self, name: str) -> bytes:
        """The bytes of a small file.

        Raises:
            FileAbsent: it is not there.
        """
        from registry.files import read_file

        found = self.files.get(name)
        if found is None:
            raise FileAbsent(name, self.label)
        return found if isinstance(found, bytes) else read_file(found, max_bytes=SMALL_MAX_BYTES)


def present_folder(folder: Path) -> Presented:
    """A folder as it lies there. Links, devices and unsafe names are refused before anything is read.

    Raises:
        UnsafePath: the folder holds something that must not be followed or named.
        FolderMissing: there is no such folder.
    """
    found = scan_folder(folder, family="integrity")
    return Presented(str(folder), {file.path: folder / file.path for file in found})


def present_version(registry: Registry, version: Version, scratch: Path) -> Presented:
    """A registered version from the store. `scratch` is a private folder for objects that have no local path."""
    with registry.database.read() as tx:
        artifact = catalog.artifact(tx, manifest_digest=version.manifest_digest)
        statements = catalog.statements_of(tx, subject=version.manifest_digest)
    manifest_bytes = registry.store.read_bytes(version.manifest_digest)
    manifest = Manifest.model_validate_json(manifest_bytes)
    files: dict[str, Path | bytes | None] = {FILE_NAME: manifest_bytes}
    location = base_location(registry.folder, version.manifest_digest) if artifact.by_reference else None
    for entry in manifest.files:
        if artifact.by_reference:
            files[entry.path] = None if location is None else location / entry.path
        else:
            files[entry.path] = local_object(registry.store, entry.sha256, scratch)
    if artifact.signature_digest is not None:
        files[SIGNATURE_NAME] = registry.store.read_bytes(artifact.signature_digest)
    if artifact.card_digest is not None:
        files[CARD_NAME] = registry.store.read_bytes(artifact.card_digest)
    for name, data in evidence(registry, version, statements).items():
        files[f"{EVIDENCE_NAME}/{name}"] = data
    return Presented(version.label, files)


def evidence(registry: Registry, version: Version, statements: tuple[StoredStatement, ...]) -> dict[str, bytes]:
    """The files of `evidence/`: statements one a line in log order, the signers' public keys, item tables, the log proof."""
    from registry.publish import registration_proof

    files = {STATEMENTS_FILE: b"".join(stored.envelope + b"\n" for stored in statements)}
    for key_id in sorted({stored.key_id for stored in statements}):
        key = registry.trust.key(key_id)
        if key is not None:
            files[f"{KEYS_FOLDER}/{key_id[:16]}.pub"] = key.public_key_pem.encode()
    for stored in statements:
        if stored.kind == "bias-evaluation":
            items = EvaluationRecord.from_json(stored.statement.predicate).items
            files[items.file] = registry.store.read_bytes(items.sha256)
    proof = registration_proof(registry, version)
    if proof is not None:
        files[PROOF_FILE] = proof.encode()
    return files


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
