"""`register_product`: what happens to a result once its folder is written, whatever made it.

Training, merging and importing differ in how a folder comes about. From here on they are one: statements in their order,
the look at what is registered already, what was measured now of a version that has its records, and `register_version`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peft_registry.registry.compliance.derivation import (
    facts_not_taken_up,
    facts_taken_up,
    inputs_observed,
)
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.facts import FACTS_NAMED
from peft_registry.registry.compliance.making import Production
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.provenance import import_provenance, merge_provenance, provenance_predicate
from peft_registry.registry.records.signed_records import records_of, version_statements
from peft_registry.registry.storage.interface import CopyMode
from peft_registry.registry.use_cases.announce_edition import require_announced
from peft_registry.registry.use_cases.register import NewArtifact, complete_registration, register_version
from peft_registry.registry.use_cases.statements import StatementContent, append_statement
from peft_registry.registry.use_cases.supersede import supersede, supersede_with_evaluations
from peft_registry.schemas.errors import listed
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import InputKind, ModificationPredicate, ModificationRecord, RecordInput
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.progress import Observe, Said, Warned, ignore
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import CardPredicate, statement_about
from peft_registry.schemas.values import Timestamp
from peft_registry.schemas.version import Version

_LABELS_NAMED = 5  # in one sentence


@dataclass(frozen=True, slots=True)
class MeasuredEvaluation:
    """An evaluation of a result, and the bytes of the item table that its record binds by digest."""

    record: EvaluationRecord
    items: bytes


@dataclass(frozen=True, slots=True)
class FinishedProduct:
    """A result in its folder, with everything that is to be said about it.

    Attributes:
        name: that it is registered under.
        source: the command that made it.
        folder: holds every file of the manifest.
        manifest: of the folder.
        production: how it was made, or how it came in: the record of the run, of the merge or of the import.
        observations: what was seen while it was made, and nothing else that is signed holds.
        modification: what follows from all of it: what was changed, by whom, on which base.
        as_of: how many entries of the log were covered when it was derived.
        card: bytes of the model card.
        evaluations: the first one speaks for the version; the others compare it with what it was made from.
        kept: objects that a record binds by digest and that never leave the store, such as hashes of what was trained on.
        mode: whether the store copies the files or shares their blocks; `link` where the folder is removed afterwards.
    """

    name: str
    source: Literal["train", "merge", "import"]
    folder: Path
    manifest: Manifest
    production: RunRecord | MergeRecord | ImportRecord
    observations: Observations
    modification: ModificationRecord
    as_of: int
    card: bytes
    evaluations: tuple[MeasuredEvaluation, ...] = ()
    kept: tuple[bytes, ...] = ()
    mode: CopyMode = "copy"


@dataclass(frozen=True, slots=True)
class Registered:
    """The version of a product; `was_there` where an equal result had its records before."""

    version: Version
    was_there: bool


@dataclass(frozen=True, slots=True)
class Repetition:
    """What is said anew of a result that is registered: its project, the facts that people declare, and when."""

    project: str | None
    facts: dict[str, Any] | None
    made_at: Timestamp

    @classmethod
    def of(cls, product: FinishedProduct) -> "Repetition":
        """That of a product whose equal is registered."""
        seen = product.observations
        return cls(product.production.project, seen.facts, seen.made_at)


def signer_of(registry: Registry, key_id: str) -> str:
    """The person whom the trust file names for a key, else the beginning of its id."""
    return registry.trust.person_of(key_id) or key_id[:12]


def register_product(registry: Registry, product: FinishedProduct, *, observe: Observe = ignore) -> Registered:
    """Sign and register a result with its records; a version that has its records already keeps them, and gets what is new.

    Raises:
        EditionNotAnnounced: nobody whose role may has announced the edition by which it was derived.
        KnownError: as `register_version` and `append_statement`.
    """
    require_announced(registry)
    was_there = _is_registered(registry, product)
    artifact = NewArtifact(
        name=product.name,
        source=product.source,
        manifest=product.manifest,
        folder=product.folder,
        card=product.card,
        statements=_statements(product),
        evidence=(*(evaluation.items for evaluation in product.evaluations), *product.kept),
        mode=product.mode,
    )
    version = register_version(registry, artifact, observe=observe)
    _tell_of_same_bytes(registry, version, observe)
    if was_there:
        _append_measured(registry, product, version)
        _repeat(registry, version, Repetition.of(product), observe)
    return Registered(version, was_there)


def register_again(registry: Registry, version: Version, repetition: Repetition, *, observe: Observe = ignore) -> None:
    """Do for a version that is there what `register_product` would do for an equal result, which nobody has to make for it.

    Raises:
        EditionNotAnnounced: nobody whose role may has announced the edition by which a record would be derived.
        KnownError: as `supersede`, and as `publish_checkpoint`.
    """
    require_announced(registry)
    complete_registration(registry, version, observe)
    _tell_of_same_bytes(registry, version, observe)
    _repeat(registry, version, repetition, observe)


def _repeat(registry: Registry, version: Version, repetition: Repetition, observe: Observe) -> None:
    _tell_of_kept_project(registry, repetition.project, version, observe)
    _record_new_facts(registry, repetition, version, observe)


def _is_registered(registry: Registry, product: FinishedProduct) -> bool:
    digest = product.manifest.canonical_digest()
    with registry.database.read() as tx:
        return catalog.idempotent_version(tx, name=product.name, manifest_digest=digest) is not None


def _tell_of_same_bytes(registry: Registry, version: Version, observe: Observe) -> None:
    """Name the versions that have the same bytes: who trains with another seed, or on other rows, would not expect any."""
    with registry.database.read() as tx:  # a word for the reader, that decides nothing
        same = [other.label for other in catalog.version_by_digest(tx, version.manifest_digest) if other != version]
    if same:
        observe(Said("bytes", f"the same bytes as {listed(same, most=_LABELS_NAMED)}"))


def _tell_of_kept_project(registry: Registry, named: str | None, version: Version, observe: Observe) -> None:
    """Say that a version keeps the project that it was registered with, where an equal result names another."""
    recorded = records_of(registry, version).project
    if named is not None and named != recorded:
        kept = "none" if recorded is None else recorded
        observe(Warned("project-not-recorded", f"{version.label} was registered before, and its project stays {kept}"))


def _statements(product: FinishedProduct) -> tuple[StatementContent, ...]:
    """In the order in which they are signed and logged: what a record follows from before it; of a kind, the last one speaks."""
    evaluations = [
        StatementContent("bias-evaluation", evaluation.record.to_json()) for evaluation in reversed(product.evaluations)
    ]
    return (
        StatementContent("provenance", _provenance(product.production)),
        *evaluations,
        StatementContent("observations", product.observations.to_json()),
        StatementContent("modification", modification_statement(product).to_json()),
        StatementContent("card", CardPredicate(sha256=Digest.of(product.card)).to_json()),
    )


def _provenance(production: Production) -> dict[str, Any]:
    if isinstance(production, RunRecord):
        return provenance_predicate(production)
    return import_provenance(production) if isinstance(production, ImportRecord) else merge_provenance(production)


def modification_statement(product: FinishedProduct) -> ModificationPredicate:
    """The record of a product with the edition that derived it and the statements that it follows from."""
    subject = product.manifest.canonical_digest()
    own: list[tuple[InputKind, dict[str, Any]]] = [("provenance", _provenance(product.production))]
    if product.evaluations:
        own.append(("bias-evaluation", product.evaluations[0].record.to_json()))
    own.append(("observations", product.observations.to_json()))
    inputs = [
        RecordInput(kind=kind, digest=statement_about(subject, kind, predicate).canonical_digest(), about=subject)
        for kind, predicate in own
    ]
    return ModificationPredicate(
        edition=editions().newest,
        as_of=product.as_of,
        inputs=(*inputs, *inputs_observed(product.observations)),
        record=product.modification,
    )


def _append_measured(registry: Registry, product: FinishedProduct, version: Version) -> None:
    """What was measured now of a version that has its records already, and the record that has it too.

    A merge is evaluated where somebody asked for it, which may be the first time. A run always is: equal weights, scored on
    equal rows, would only repeat what its version says already.
    """
    if not isinstance(product.production, MergeRecord):
        return
    for evaluation in reversed(product.evaluations):
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="bias-evaluation",
            predicate=evaluation.record.to_json(),
            signer=registry.trainer_key,
            evidence=(evaluation.items,),
        )
    supersede_with_evaluations(registry, version)


def _record_new_facts(registry: Registry, repetition: Repetition, version: Version, observe: Observe) -> None:
    """What people declared now and the record of the equal result does not say: a record that supersedes it says it.

    What the record measured, somebody answered under a signature or somebody else declared stands; such a fact is named and not
    dropped in silence.
    """
    facts, now = repetition.facts, repetition.made_at
    recorded = version_statements(registry, version).newest
    if recorded is None or facts is None:
        return
    taken = facts_taken_up(recorded.record, facts, at=now)
    current = supersede(registry, version, facts=facts) if taken else None
    if current is not None:
        observe(Said("record", f"{_named(tuple(taken))} added to the record of {version.label}, which is superseded"))
    left = facts_not_taken_up((recorded if current is None else current.current).record, facts, at=now)
    if left:
        observe(
            Warned(
                "facts-not-recorded",
                f"the record of {version.label} says otherwise, as measured, as somebody answered and signed or as somebody else "
                f"declared: {_named(left)}",
            )
        )


def _named(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - FACTS_NAMED} more" if len(paths) > FACTS_NAMED else ""
    return ", ".join(paths[:FACTS_NAMED]) + more
