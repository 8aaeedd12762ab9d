"""Adding a base model: identify its folder, write its manifest, register it by the one path.

By reference the bytes stay where they are (and are checked again before every use); `copy` and `link` bring them into the
store. Nothing here needs torch.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peft_registry.registry.compliance.base_facts import FactSigner, corrected_facts, facts_of_others
from peft_registry.registry.database import catalog
from peft_registry.registry.disk.files import FileMissing, read_file
from peft_registry.registry.exports.model_card import base_card
from peft_registry.registry.homes.base_locations import remember_base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import BaseFolder, identify_base
from peft_registry.registry.identity.manifests import MANIFEST_MAX_BYTES, read_manifest
from peft_registry.registry.records.bases import base_named, base_named_first, base_record
from peft_registry.registry.use_cases.register import (
    NewArtifact,
    NewStatement,
    ResultAsBase,
    register_version,
    result_as_base,
)
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.base_model import BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, raise_any
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME, FILE_NAME, FileEntry, Manifest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Version


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
    beside: Collection[str] = (),
    observe: Observe = ignore,
) -> AddedBase:
    """Register a base from a Hugging Face folder; `beside` are files in it that are not looked at.

    Raises:
        PickleRefused, CodeRefused, InputRefused: the folder holds pickle weights, code, links, or no weights.
        ResultAsBase: it is a result of this or of another registry.
        FactOfAnother, SeveralProblems: it is registered, and somebody else declared something else of it.
        MalformedWeights, WeightsNotFinite: a header that lies; a value that is NaN or infinite.
    """
    _require_no_result(registry, folder, name)
    found = identify_base(folder, revision=revision, cache=registry.cache, require_finite=True, beside=beside)
    manifest = base_manifest(found)
    digest = manifest.canonical_digest()
    under_this_name = base_named(registry, digest, name, with_pending=True)
    # under another name a base begins with what people declared of it under the first
    known = under_this_name or base_named_first(registry, digest)
    stated = facts or DeclaredFacts()
    own = registry.trainer_key.public.key_id
    by = FactSigner.of(registry.trust.key(own), own)
    if known is not None:
        raise_any(facts_of_others(known.name, known.record.facts, stated, signers=known.signers, by=by))
        stated = corrected_facts(known.record.facts, stated, signers=known.signers, by=by)
    record = BaseRecord(
        name=name,
        identity=found.identity,
        origin=origin,
        architecture=found.architecture,
        parameters_total=found.parameters_total,
        parameters_matmul=found.parameters_matmul,
        context_length=found.context_length,
        facts=stated,
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
    if under_this_name is not None and under_this_name.record.facts != record.facts:
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
        data = read_file(folder / FILE_NAME, max_bytes=MANIFEST_MAX_BYTES)
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
        files=tuple(FileEntry(path=file.path, size=file.size, sha256=file.sha256) for file in found.files),
        weights=found.weights,
        weights_digest=found.identity.weights,
    )
