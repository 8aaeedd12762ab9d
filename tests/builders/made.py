"""What is signed of an artifact that nobody trained: a run or a merge, what was observed, and the record that follows from both."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.derivation import derive_first, derive_next
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.making import Production
from peft_registry.registry.compliance.recorded_result import BaseInput, Signing
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.first_record_checks import first_inputs
from peft_registry.registry.records.logged_statements import signer_of
from peft_registry.registry.records.next_record_checks import next_inputs
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import (
    elsewhere,
    record_checks,
    record_to_supersede,
    version_statements,
)
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.use_cases import register_product
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.first_records import DerivedRecord, MadeResult, derived_from
from peft_registry.registry.use_cases.register import NewArtifact
from peft_registry.registry.use_cases.register_product import FinishedProduct
from peft_registry.registry.use_cases.statements import StatementContent
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference, Manifest
from peft_registry.schemas.merge import MergeIngredient, MergeRecord
from peft_registry.schemas.modification import InputKind, ModificationPredicate, ModificationRecord, RecordInput
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import statement_about
from peft_registry.schemas.version import Version
from tests.builders.records import a_merge_record, a_run_record

LONG_AGO = "2020-01-01T00:00:00Z"  # before any clock of a test: no record is made after it is registered


def an_input(base: AddedBase, **over: Any) -> BaseInput:
    """A registered base as a record takes it."""
    fields: dict[str, Any] = {
        "name": base.version.name,
        "record": base.record,
        "number": base.version.number,
        "manifest": base.version.manifest_digest,
        "statement": base.statement,
    }
    return BaseInput(**(fields | over))


def a_run_of(manifest: Manifest, **over: Any) -> RunRecord:
    """A run that made what a manifest lists."""
    fields: dict[str, Any] = {
        "method": manifest.method or "full",
        "base": manifest.base,
        "data": manifest.data,
        "weights_digest": manifest.weights_digest,
        "started_at": LONG_AGO,
        "finished_at": LONG_AGO,
    }
    return a_run_record(**(fields | over))


def a_merge_of(manifest: Manifest, sources: Sequence[Version], **over: Any) -> MergeRecord:
    """A merge that made what a manifest lists."""
    parts = tuple(
        MergeIngredient(
            label=source.label,
            manifest=source.manifest_digest,
            weights_digest=source.weights_digest,
            method=source.method or "lora",
            weight=1 / len(sources),
            density=1.0,
        )
        for source in sources
    )
    fields: dict[str, Any] = {
        "base": manifest.base,
        "ingredients": parts,
        "weights_digest": manifest.weights_digest,
        "started_at": LONG_AGO,
        "finished_at": LONG_AGO,
    }
    return a_merge_record(**(fields | over))


def derived(
    name: str,
    manifest: Manifest,
    production: Production,
    base: AddedBase,
    *,
    at: str = LONG_AGO,
    ancestors: Sequence[Ancestor] = (),
    signing: Signing | None = None,
    as_of: int = 0,
    **over: Any,
) -> DerivedRecord:
    """The record that follows from a production; `over` are further arguments of `MadeResult`."""
    fields: dict[str, Any] = {
        "name": name,
        "record_id": f"record of {name}",
        "manifest": manifest,
        "production": production,
        "base": an_input(base),
    }
    result = MadeResult(**(fields | over))
    return derived_from(result, result.base, ancestors, signing, nonce="00", now=at, as_of=as_of)


def made_artifact(
    name: str, folder: Path, manifest: Manifest, production: Production, made: DerivedRecord, card: bytes
) -> NewArtifact:
    """A folder with all that is signed of it, as `register_product` puts it together."""
    product = FinishedProduct(
        name=name,
        source="merge" if isinstance(production, MergeRecord) else "train",
        folder=folder,
        manifest=manifest,
        production=production,
        observations=made.observations,
        modification=made.record,
        as_of=made.as_of,
        card=card,
    )
    return artifact_of_product(product)


def trained_artifact(name: str, folder: Path, manifest: Manifest, base: AddedBase, card: bytes) -> NewArtifact:
    """A folder as a run made it on a base, with all that is signed of it."""
    run = a_run_of(manifest)
    return made_artifact(name, folder, manifest, run, derived(name, manifest, run, base), card)


def artifact_of_product(product: FinishedProduct) -> NewArtifact:
    """What `register_product` registers."""
    return NewArtifact(
        name=product.name,
        source=product.source,
        manifest=product.manifest,
        folder=product.folder,
        card=product.card,
        statements=register_product._statements(product),
        evidence=tuple(evaluation.items for evaluation in product.evaluations),
    )


def reference_of(base: AddedBase) -> BaseReference:
    """A registered base as a manifest names it."""
    return BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest)


def registered_base(registry: Registry, name: str, folder: Path = Path()) -> AddedBase:
    """A base that was added before; its files are in a folder that only who reads them needs to name."""
    version = version_named(registry, name)
    stated = required_base(registry, version)
    return AddedBase(version, stated.record, folder, stated.statement)


def with_record(artifact: NewArtifact, change: Callable[[ModificationRecord], ModificationRecord]) -> NewArtifact:
    """An artifact whose record says something else than follows from what is signed with it."""
    return with_statement(artifact, restated(record_in(artifact), change))


def with_statement(artifact: NewArtifact, predicate: dict[str, Any]) -> NewArtifact:
    """An artifact with another statement of its record."""
    return replace(
        artifact,
        statements=tuple(
            replace(statement, predicate=predicate) if statement.kind == "modification" else statement
            for statement in artifact.statements
        ),
    )


def restated(predicate: dict[str, Any], change: Callable[[ModificationRecord], ModificationRecord]) -> dict[str, Any]:
    """The predicate of a record with another record in it, of the same inputs."""
    stated = ModificationPredicate.from_json(predicate)
    return stated.revised(record=change(stated.record)).to_json()


def with_observations(artifact: NewArtifact, change: Callable[[Observations], Observations]) -> NewArtifact:
    """An artifact of which something else was observed; its record names those observations, and says what it said."""
    digest = artifact.manifest.canonical_digest()
    before = next(statement for statement in artifact.statements if statement.kind == "observations")
    after = replace(before, predicate=change(Observations.from_json(before.predicate)).to_json())
    said, says = (
        statement_about(digest, "observations", each.predicate).canonical_digest() for each in (before, after)
    )

    def named(statement: StatementContent) -> StatementContent:
        if statement.kind != "modification":
            return after if statement is before else statement
        stated = ModificationPredicate.from_json(statement.predicate)
        inputs = tuple(each.revised(digest=says) if each.digest == said else each for each in stated.inputs)
        return replace(statement, predicate=stated.revised(inputs=inputs).to_json())

    return replace(artifact, statements=tuple(map(named, artifact.statements)))


def record_in(artifact: NewArtifact) -> dict[str, Any]:
    """The predicate of the statement that holds an artifact's record."""
    return next(statement.predicate for statement in artifact.statements if statement.kind == "modification")


def following_from(
    registry: Registry, product: FinishedProduct, change: Callable[[Observations], Observations], **over: Any
) -> FinishedProduct:
    """A product of which somebody says to have observed something else, with the record that would follow from that.

    `over` are further fields of the product that are said otherwise.
    """
    forged = replace(product, observations=change(product.observations), **over)
    checks = RecordChecks(elsewhere(registry))
    inputs = first_inputs(checks.statements, forged.manifest, forged.production, forged.observations, None)
    evaluation = forged.evaluations[0].record if forged.evaluations else None
    return replace(forged, modification=derive_first(replace(inputs, evaluation=evaluation)))


def following(
    registry: Registry, version: Version, *named: RecordInput, together: Sequence[SignedStatement] = ()
) -> ModificationPredicate:
    """What would be signed in place of a version's newest record, if it followed from that and from what is named besides.

    Args:
        registry: open.
        version: that the record is of.
        named: statements that nobody is asked about.
        together: statements that are signed and not logged yet.
    """
    before = record_to_supersede(version_statements(registry, version), version)
    checks = record_checks(registry, version.manifest_digest)
    for signed in together:
        key = registry.trust.key(signed.key_id)
        checks.take(signed.digest, signed.statement, signer_of(key, at=registry.clock(), index=None))
    inputs = (an_input_of(version, "modification", before.statement.digest), *named)
    record = derive_next(
        next_inputs(checks.statements, version.manifest_digest, before.record, inputs, name=version.name),
        record_id="forged",
        now=registry.clock(),
    )
    return ModificationPredicate(edition=editions().newest, as_of=covered_size(registry), inputs=inputs, record=record)


def an_input_of(version: Version, kind: InputKind, statement: Digest) -> RecordInput:
    """A statement about a version's artifact as a record names it."""
    return RecordInput(kind=kind, digest=statement, about=version.manifest_digest)
