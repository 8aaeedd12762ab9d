"""Adding a base model: identify its folder, write its manifest, register it by the one path.

By reference the bytes stay where they are (and are checked again before every use); `copy` and `link` bring them into the
store. Nothing here needs torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import FileMissing, read_file
from peft_registry.registry.exports.model_card import base_card
from peft_registry.registry.homes.base_locations import remember_base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import BaseFolder, identify_base
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.records.bases import base_record, newest_base_record
from peft_registry.registry.use_cases.register import (
    NewArtifact,
    NewStatement,
    ResultAsBase,
    register_version,
    result_as_base,
)
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.base_model import BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME, FILE_NAME, FileEntry, Manifest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Version

_MANIFEST_MAX_BYTES = 64 * 1024 * 1024  # as verification reads of one


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
        ResultAsBase: it is a result of this or of another registry.
        MalformedWeights, WeightsNotFinite: a header that lies; a value that is NaN or infinite.
    """
    _require_no_result(registry, folder, name)
    found = identify_base(folder, revision=revision, cache=registry.cache, require_finite=True)
    manifest = base_manifest(found)
    recorded = newest_base_record(registry, manifest.canonical_digest())
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


def _require_no_result(registry: Registry, folder: Path, name: str) -> None:
    """Raise where a folder lists itself as something else than a base: it was pulled from a registry, this one or another.

    A manifest of another tool, or none, says nothing; the weights decide then.
    """
    try:
        data = read_file(folder / FILE_NAME, max_bytes=_MANIFEST_MAX_BYTES)
        manifest = read_manifest(data)
    except (FileMissing, InputRefused, IntegrityBroken):
        return
    if manifest.kind == "base":
        return
    with registry.database.read() as tx:
        known = catalog.version_by_digest(tx, Digest.of(data))
    if known:
        raise result_as_base(name, known[0])
    raise ResultAsBase(
        name,
        f"its {FILE_NAME} says that it was pulled from a registry, where it is registered as {manifest.kind}",
        "use it where it is registered, or add the base that it was made from",
    )


def base_manifest(found: BaseFolder) -> Manifest:
    """The manifest of a base: every file, every tensor."""
    return Manifest(
        kind="base",
        layout="model",
        files=tuple(FileEntry(path=one.path, size=one.size, sha256=one.sha256) for one in found.files),
        weights=found.weights,
        weights_digest=found.identity.weights,
    )


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
