"""Adding a base model: identify its folder, write its manifest, register it by the one path.

By reference the bytes stay where they are (and are checked again before every use); `copy` and `link` bring them into the
store. Nothing here needs torch.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.compliance.base_facts import FactSigner, corrected_facts, facts_of_others
from peft_registry.registry.disk.hashing import bytes_told
from peft_registry.registry.exports.model_card import base_card
from peft_registry.registry.homes.base_locations import remember_base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import BaseFolder, identify_base
from peft_registry.registry.identity.manifests import WEIGHTS_SUFFIX
from peft_registry.registry.records.bases import base_named, base_named_first, required_base
from peft_registry.registry.records.stated_bases import StatedBase
from peft_registry.registry.use_cases.offered_results import require_no_result_folder, require_not_like_result
from peft_registry.registry.use_cases.register import BytesMode, NewArtifact, register_version
from peft_registry.registry.use_cases.statements import StatementContent, append_statement
from peft_registry.schemas.base_model import BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.errors import raise_any
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import CARD_NAME
from peft_registry.schemas.progress import Observe, Warned, ignore
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class AddedBase:
    """A registered base and the folder that was identified."""

    version: Version
    record: BaseRecord
    folder: Path
    statement: Digest  # that holds the record


def add_base(
    registry: Registry,
    folder: Path,
    *,
    name: str,
    origin: BaseOrigin,
    revision: str | None = None,
    facts: DeclaredFacts | None = None,
    mode: BytesMode = "reference",
    beside: Collection[str] = (),
    observe: Observe = ignore,
) -> AddedBase:
    """Register a base from a Hugging Face folder; `beside` are files in it that are not looked at.

    Raises:
        PickleRefused, CodeRefused, InputRefused: the folder holds pickle weights, code, links, or no weights.
        ResultAsBase: it is a result of this or of another registry, as it is or in other numbers.
        RecalledInOtherNumbers: it is a result that must not be used, in other numbers.
        FactOfAnother, SeveralProblems: it is registered, and somebody else declared something else of it.
        MalformedWeights, WeightsNotFinite: a header that lies; a value that is NaN or infinite.
    """
    require_no_result_folder(registry, folder, name)
    weights = sum(path.stat().st_size for path in folder.glob(f"*{WEIGHTS_SUFFIX}"))
    with bytes_told(observe, "hash", total=weights) as on_bytes:
        found = identify_base(
            folder, revision=revision, cache=registry.cache, require_finite=True, beside=beside, on_bytes=on_bytes
        )
    for text in require_not_like_result(registry, name, folder, found.manifest):
        observe(Warned("near-result", text))
    digest = found.manifest.canonical_digest()
    under_this_name = base_named(registry, digest, name, with_pending=True)
    # under another name a base begins with what people declared of it under the first
    known = under_this_name or base_named_first(registry, digest)
    stated = _corrected(registry, known, facts or DeclaredFacts())
    record = _record(found, name=name, origin=origin, facts=stated)
    artifact = _artifact(found, record, name=name, folder=folder, mode=mode)
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
    standing = required_base(registry, version)
    return AddedBase(version, standing.record, folder, standing.statement)


def _corrected(registry: Registry, known: StatedBase | None, stated: DeclaredFacts) -> DeclaredFacts:
    """What is declared of a base once these facts are, which may correct those of the same person.

    Raises:
        FactOfAnother, SeveralProblems: somebody else declared something else.
    """
    if known is None:
        return stated
    own = registry.trainer_key.public.key_id
    by = FactSigner.of(registry.trust.key(own), own)
    raise_any(facts_of_others(known.name, known.record.facts, stated, signers=known.signers, by=by))
    return corrected_facts(known.record.facts, stated, signers=known.signers, by=by)


def _record(found: BaseFolder, *, name: str, origin: BaseOrigin, facts: DeclaredFacts) -> BaseRecord:
    return BaseRecord(
        name=name,
        identity=found.identity,
        origin=origin,
        architecture=found.architecture,
        parameters_total=found.parameters_total,
        parameters_matmul=found.parameters_matmul,
        context_length=found.context_length,
        facts=facts,
    )


def _artifact(found: BaseFolder, record: BaseRecord, *, name: str, folder: Path, mode: BytesMode) -> NewArtifact:
    """A base with its record and its card, as it is registered."""
    card = base_card(name=name, record=record)
    return NewArtifact(
        name=name,
        source="base",
        manifest=found.manifest,
        folder=folder,
        card=card,
        statements=(
            StatementContent("base", record.to_json()),
            StatementContent("card", {"path": CARD_NAME, "sha256": str(Digest.of(card))}),
        ),
        mode=mode,
    )
