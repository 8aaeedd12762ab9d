"""The dossier of a version for one recipient: documents that the allow-list cuts, and what shows that they are true.

Nothing is logged: who was handed what is between the two. A recipient who may see the record gets the artifact with all its
evidence; any other gets it as everybody does.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import write_new
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.disk.release import tool_version
from peft_registry.registry.documents.dossier import (
    SIGNER_FILE,
    SOURCES_FOLDER,
    STATEMENT_FILE,
    VERIFY_FILE,
    make_dossier,
    policies_named,
    policy_file,
    verify_text,
)
from peft_registry.registry.documents.listed_files import files_to_list
from peft_registry.registry.documents.recipients import recipients
from peft_registry.registry.documents.sources import document_source
from peft_registry.registry.documents.view import RecipientDocument
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.decisions import decided_by, decisions_of
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stops import recalls_and_others, use_stops
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.trusted_reading import TrustedReading
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.trust import key_status, require_ok
from peft_registry.registry.use_cases.cut_copy import require_may_get, write_for
from peft_registry.registry.use_cases.pull import new_folder, verified_copy
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.registry.verification.presented import Presented, present_version
from peft_registry.registry.verification.with_base import ARTIFACT_FOLDER, DOSSIER_FILE
from peft_registry.schemas.hand_over import DocumentPredicate, HandedFile, RecipientName
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME, EVIDENCE_NAME, FILE_NAME, SIGNATURE_NAME
from peft_registry.schemas.statement import PREDICATE_TYPES
from peft_registry.schemas.version import Version

_READABLE = 0o644


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A dossier that was written, and who signed its documents: None for nobody."""

    version: Version
    index: DocumentPredicate
    documents: tuple[RecipientDocument, ...]
    files: int
    signed_by: str | None


def hand_over(
    registry: Registry,
    version: Version,
    recipient: RecipientName,
    destination: Path,
    *,
    signer: Signer | None = None,
    with_base: bool = False,
) -> HandedOver:
    """Write the dossier of a version for a recipient to `destination`, a new folder.

    Args:
        registry: where it is registered.
        version: which; not a base.
        recipient: who gets it.
        destination: the folder.
        signer: whose key signs the documents; None leaves them unsigned, and no audit verifies them then.
        with_base: the weights of its base and of what it was merged from too, so that a merge can be made again.

    Raises:
        NoRecord: it has none, as a base.
        VersionStopped, StopsUnknown: it is not given to whom it would be given for use; authorities get it all the same.
        PathInFiles: it is for everybody, and a file of it names a path of somebody's machine.
        KeyLacksRole, UnlistedKey, RevokedKey, ExpiredKey: the signer may not sign documents.
        DestinationTaken, PullRefused, PullUnverified, ObjectMissing, BytesElsewhere, DiskFull, NotWritable: as `pull_version`.
    """
    require_may_get(registry, version, recipient)
    records = records_of(registry, version)
    recalls, others = recalls_and_others(use_stops(registry, version.manifest_digest, label=version.label))
    stops = (*recalls, *(f"must not be {stop.act.forbidden}: {stop.text}" for stop in others))
    reading = TrustedReading(registry.trust, covered_size(registry), registry.clock())
    decided = decided_by(decisions_of(registry, version, records))
    source = document_source(version, records, decided, reading, stops=stops)
    dossier = make_dossier(source, recipient, release=tool_version())
    if signer is not None:
        _require_may_sign(registry, signer)
    with new_folder(destination) as part:
        _write(part, dossier.files)
        _write(part, {file.file: registry.store.read_bytes(file.sha256) for file in dossier.documents[0].attachments})
        (part / ARTIFACT_FOLDER).mkdir()
        write_for(registry, version, recipient, part / ARTIFACT_FOLDER)
        if recipients().recipients[recipient].evidence == "whole":
            _write(part, _policies(registry, policies_named(records.statements)))
            _write_sources(registry, version, part, with_base=with_base)
        text = verify_text(
            dossier.index, label=version.label, manifest=version.manifest_digest, signed=signer is not None
        )
        _write(part, {VERIFY_FILE: text} | ({} if signer is None else {SIGNER_FILE: signer.public.pem}))
        index = dossier.index.revised(files=tuple(_beside(part, dossier.files)))
        _write(part, {DOSSIER_FILE: index.to_canonical()})
        if signer is not None:
            signed = sign_statement(version.manifest_digest, "document", index.to_json(), signer)
            _write(part, {STATEMENT_FILE: signed.line + b"\n"})
        files = sum(path.is_file() for path in part.rglob("*"))
    signed_by = None if signer is None else registry.trust.person_of(signer.public.key_id)
    return HandedOver(version, index, dossier.documents, files, signed_by)


def _require_may_sign(registry: Registry, signer: Signer) -> None:
    """Raise unless the trust file lets a key sign documents now."""
    status = key_status(
        registry.trust,
        signer.public.key_id,
        predicate_type=PREDICATE_TYPES["document"],
        signed_at_proven=None,
        now=registry.clock(),
    )
    require_ok(status)


def _beside(part: Path, documents: Mapping[str, bytes]) -> Iterator[HandedFile]:
    """Every file but the documents and weights, by its path."""
    for path in sorted(files_to_list(part) - documents.keys()):
        yield HandedFile(path=path, sha256=hash_file(part / path).sha256)


def _policies(registry: Registry, named: Iterable[Digest]) -> Mapping[str, bytes]:
    """The bytes of each policy that the store has."""
    return {policy_file(digest): registry.store.read_bytes(digest) for digest in named if registry.store.has(digest)}


def _write_sources(registry: Registry, version: Version, part: Path, *, with_base: bool) -> None:
    """What it was made from: each parent under the name that it was registered as first."""
    manifest = stored_manifest(registry, version.manifest_digest)
    for parent in dict.fromkeys(entry.manifest for entry in manifest.parents):
        versions = versions_of_artifact(registry, parent)
        if not versions:
            continue  # recorded by its digest alone: nobody registered it here
        source = versions[0]
        folder = part / SOURCES_FOLDER / f"{source.name}-{source.number}"
        folder.mkdir(parents=True)
        if with_base:
            verified_copy(registry, source, folder, look_for_base=False)
        else:
            _write_presented(_without_files(present_version(registry, source, part.parent)), folder)


def _without_files(presented: Presented) -> Presented:
    """An artifact's manifest, signature, card and evidence, without the files that the manifest lists."""
    kept = {
        name: content
        for name, content in presented.files.items()
        if name in (FILE_NAME, SIGNATURE_NAME, CARD_NAME) or name.startswith(f"{EVIDENCE_NAME}/")
    }
    return Presented(presented.label, kept)


def _write_presented(presented: Presented, folder: Path) -> None:
    _write(folder, {name: content for name, content in presented.files.items() if isinstance(content, bytes)})


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_new(target, data, mode=_READABLE)
