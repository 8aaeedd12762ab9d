"""Adding a base model: identify its folder, write its manifest, register it by the one path.

By reference the bytes stay where they are (and are checked again before every use); `copy` and `link` bring them into the
store. Nothing here needs torch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peft_registry.registry.exports.model_card import base_card
from peft_registry.registry.homes.base_locations import base_location, remember_base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import BaseFolder, identify_base
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.identity.weights import TensorDifference, diff_tensors
from peft_registry.registry.records.signed_records import signed_statements, stored_manifest
from peft_registry.registry.use_cases.register import NewArtifact, NewStatement, register_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.registry.verification.presented import local_object
from peft_registry.schemas.base_model import BaseIdentity, BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME, FileEntry, Manifest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Version


class WrongBase(IntegrityBroken):
    reference = "wrong-base"

    def __init__(
        self, folder: Path, part: str, pinned: object, found: object, difference: TensorDifference | None
    ) -> None:
        named = f"; the first tensor that differs: {difference}" if difference is not None else ""
        super().__init__(
            what=f"{folder} is not the base that was registered",
            why=f"its {part} is {found}, pinned is {pinned}{named}",
            fix="restore the base's files, or register these as a base of their own with `registry base add`",
        )


class BaseBytesMissing(NotChecked):
    reference = "base-bytes-missing"

    def __init__(self, label: str) -> None:
        super().__init__(
            what=f"the bytes of {label} are not on this machine",
            why="it was added by reference on another machine, or its folder has moved",
            fix="add it again here with `registry base add FOLDER`: equal bytes are the same version",
        )


class BaseRecordMissing(NotChecked):
    reference = "base-record-missing"

    def __init__(self, label: str) -> None:
        super().__init__(
            what=f"nothing is recorded about the base {label}",
            why="its version has no statement of kind base, which every base is registered with",
            fix="restore the home from a backup",
        )


@dataclass(frozen=True, slots=True)
class AddedBase:
    """A registered base and the folder that was identified."""

    version: Version
    record: BaseRecord
    folder: Path


def add_base(
    registry: Registry,
    folder: Path,
    *,
    name: str,
    origin: BaseOrigin,
    revision: str | None = None,
    facts: DeclaredFacts | None = None,
    mode: Literal["reference", "copy", "link"] = "reference",
    observe: Observe = ignore,
) -> AddedBase:
    """Register a base from a Hugging Face folder.

    Raises:
        PickleRefused, CodeRefused, InputRefused: the folder holds pickle weights, code, links, or no weights.
        MalformedSafetensors: a header that lies.
    """
    found = identify_base(folder, revision=revision, cache=registry.cache)
    manifest = base_manifest(found)
    recorded = _newest_record(registry, manifest.canonical_digest())
    record = BaseRecord(
        identity=found.identity,
        origin=origin,
        architecture=found.architecture,
        parameters_total=found.parameters_total,
        parameters_matmul=found.parameters_matmul,
        context_length=found.context_length,
        facts=_with_recorded(facts or DeclaredFacts(), recorded),
    )
    card = base_card(name=name, record=record)
    statements = (
        NewStatement("base", record.to_json()),
        NewStatement("card", {"path": CARD_NAME, "sha256": str(Digest.of(card))}),
    )
    artifact = NewArtifact(
        name=name,
        source="base",
        manifest=manifest,
        folder=folder,
        card=card,
        statements=statements,
        mode=mode,
    )
    version = register_version(registry, artifact, observe=observe)
    if mode == "reference":
        remember_base_location(registry.folder, version.manifest_digest, folder)
    if recorded is not None and recorded.facts != record.facts:
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="base",
            predicate=record.to_json(),
            signer=registry.trainer_key,
        )
    return AddedBase(version, base_record(registry, version), folder)


def base_manifest(found: BaseFolder) -> Manifest:
    """The manifest of a base: every file, every tensor."""
    return Manifest(
        kind="base",
        layout="model",
        files=tuple(FileEntry(path=one.path, size=one.size, sha256=one.sha256) for one in found.files),
        weights=found.weights,
        weights_digest=found.identity.weights,
    )


def base_record(registry: Registry, version: Version) -> BaseRecord:
    """What is recorded about a base.

    Raises:
        BaseRecordMissing: the version has no base statement.
    """
    record = _newest_record(registry, version.manifest_digest)
    if record is None:
        raise BaseRecordMissing(version.label)
    return record


def base_folder(
    registry: Registry, version: Version, scratch: Path, *, only: Callable[[FileEntry], bool] = lambda _: True
) -> Path:
    """A folder with the base's files: where it lies by reference, or assembled from the store under `scratch`.

    From the store come the files that are wanted (`only`): a question about the configuration needs no weights.

    Raises:
        BaseBytesMissing: neither is possible on this machine.
    """
    location = base_location(registry.folder, version.manifest_digest)
    if location is not None and location.is_dir():
        return location
    manifest = stored_manifest(registry, version.manifest_digest)
    folder = scratch / version.manifest_digest.hex
    for entry in filter(only, manifest.files):
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = local_object(registry.store, entry.sha256, scratch)
        if source is None:
            raise BaseBytesMissing(version.label)
        if not target.exists():
            registry.store.fetch(entry.sha256, target)
    return folder


def check_base_folder(registry: Registry, version: Version, folder: Path, identity: BaseIdentity) -> BaseFolder:
    """Identify the folder again and compare it with what is pinned, before anything is loaded from it.

    Raises:
        WrongBase: another identity; names the first tensor that differs.
    """
    try:
        found = identify_base(folder, revision=identity.revision, cache=registry.cache)
    except InputRefused as error:  # what intake would refuse is no longer the base that was taken in
        raise WrongBase(folder, "content", identity.weights, f"refused ({error})", None) from error
    for part in ("weights", "config", "tokenizer", "chat_template", "generation_config"):
        pinned, here = getattr(identity, part), getattr(found.identity, part)
        if pinned == here:
            continue
        difference = None
        if part == "weights":
            manifest = stored_manifest(registry, version.manifest_digest)
            difference = diff_tensors(listed_tensors(manifest.weights), listed_tensors(found.weights))
        raise WrongBase(folder, part, pinned, here, difference)
    return found


def _newest_record(registry: Registry, manifest: Digest) -> BaseRecord | None:
    said = (one for one in reversed(signed_statements(registry, manifest)) if one.kind == "base")
    newest = next(said, None)
    return None if newest is None else BaseRecord.from_json(newest.statement.predicate)


def _with_recorded(facts: DeclaredFacts, recorded: BaseRecord | None) -> DeclaredFacts:
    """The facts over those that are recorded: silence takes nothing back, and no file overrules what a person declared."""
    if recorded is None:
        return facts
    kept = {}
    for key in DeclaredFacts.model_fields:
        old, new = getattr(recorded.facts, key), getattr(facts, key)
        says_more = new.known and new.value != old.value and (new.source == "declared" or old.source != "declared")
        kept[key] = new if says_more else old
    return DeclaredFacts(**kept)
