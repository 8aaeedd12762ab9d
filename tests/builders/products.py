"""Results of trainings that never ran: an adapter of a few numbers with a run, an evaluation, a modification record and a card."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.registry.exports.model_card import model_card
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records import new_entries
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases import register, register_product
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.first_records import MadeResult, derive_record
from peft_registry.registry.use_cases.register import NewArtifact
from peft_registry.registry.use_cases.register_product import FinishedProduct, MeasuredEvaluation
from peft_registry.registry.use_cases.statements import append_statement, sign_statement
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.modification import ModificationRecordV1, RecordSections
from peft_registry.schemas.progress import ignore
from peft_registry.schemas.run import Compute
from peft_registry.schemas.statement import MODIFICATION_V1, MODIFICATION_V2, PREDICATE_TYPES, StatementKind
from peft_registry.schemas.version import Version
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import adapter_files, add_a_base, artifact_of
from tests.builders.made import an_input, artifact_of_product, with_statement
from tests.builders.records import a_profile, a_run_record

FACTS = {
    "asserted_by": "alex, data steward",
    "use": {"intended": "sums of two numbers", "out_of_scope": "anything else"},
    "data": {"*": {"personal_data": "no", "labelling": "by hand"}},
}


def a_product(
    registry: Registry, folder: Path, base: AddedBase, *, value: float = 0.5, **of_the_run: Any
) -> FinishedProduct:
    """What a training hands over. Equal `value` gives equal bytes, whatever the name, the run and the facts are."""
    return product_of(registry, adapter_files(folder, value=value), base, **of_the_run)


def product_of(
    registry: Registry,
    folder: Path,
    base: AddedBase,
    *,
    name: str = "sums",
    run_id: str = "run-1",
    facts: dict[str, Any] | None = None,
    compute: Compute | None = None,
    evaluated: tuple[EvaluationRecord, bytes] | None = None,
    config: dict[str, Any] | None = None,
    data: tuple[DataIdentity, ...] | None = None,
    **of_the_run: Any,
) -> FinishedProduct:
    """What a training hands over that left its adapter in a folder; `config` is what its training file says besides."""
    data = data or a_run_record().data
    manifest = artifact_of(folder, base, name=name).manifest.revised(data=data)
    run = a_run_record(
        run_id=run_id,
        base=manifest.base,
        weights_digest=manifest.weights_digest,
        config=a_run_record().config | (config or {}) | {"name": name},
        data=data,
        compute=compute or a_run_record().compute,
        **of_the_run,
    )
    evaluation, items = evaluated or a_recorded_evaluation()
    evaluation = evaluation.revised(created_at=registry.clock())
    result = MadeResult(
        name=name,
        record_id=run_id,
        manifest=manifest,
        production=run,
        base=an_input(base),
        evaluation=evaluation,
        profile=a_profile(),
        facts=facts,
        change=ChangeFigures(added=32, base_untouched=True),
    )
    made = derive_record(registry, result, key_id=registry.trainer_key.public.key_id)
    record = made.record
    card = model_card(
        name=name,
        manifest=manifest,
        run=run,
        base_name=base.version.name,
        base=base.record,
        evaluation=evaluation,
        record=record,
    )
    measured = (MeasuredEvaluation(evaluation, items),)
    return FinishedProduct(name, "train", folder, manifest, run, made.observations, record, made.as_of, card, measured)


def product_of_result(registry: Registry, folder: Path, result: MadeResult, *, card: bytes) -> FinishedProduct:
    """A result as a use case hands it over, with the record that is derived of it."""
    made = derive_record(registry, result, key_id=registry.trainer_key.public.key_id)
    return FinishedProduct(
        name=result.name,
        source="merge" if isinstance(result.production, MergeRecord) else "train",
        folder=folder,
        manifest=result.manifest,
        production=result.production,
        observations=made.observations,
        modification=made.record,
        as_of=made.as_of,
        card=card,
    )


def register_sums(registry: Registry, folder: Path) -> Version:
    """`sums` with its evaluation and its facts, registered as trained on a base of the home."""
    base = add_a_base(registry, folder / "base")
    return register_product.register_product(registry, a_product(registry, folder / "first", base, facts=FACTS)).version


def registered_unasked(
    registry: Registry, product: FinishedProduct, *, sign: Callable[[Registry], object] | None = None
) -> Version:
    """A product registered by whoever holds the home's keys and asks of no statement whether it may be signed.

    Args:
        registry: where it is registered.
        product: what is registered.
        sign: signs the checkpoint; None for one that asks nothing.
    """
    return artifact_registered_unasked(
        registry,
        artifact_of_product(product),
        sign=sign,
    )


def artifact_registered_unasked(
    registry: Registry, artifact: NewArtifact, *, sign: Callable[[Registry], object] | None = None
) -> Version:
    """The same of any artifact: signed, logged, and under a checkpoint."""
    manifest = artifact.manifest.to_canonical()
    digest = artifact.manifest.canonical_digest()
    register._store_files(registry, artifact, ignore)
    registry.store.put_bytes(manifest)
    signature = register._sign_listing(registry, artifact.manifest, digest)
    version = register._record(registry, artifact, digest, len(manifest), signature)
    (sign or sign_unasked)(registry)
    return version


def registered_before_editions(registry: Registry, artifact: NewArtifact, record: RecordSections) -> Version:
    """An artifact as an earlier release registered it, with a record in the first or the second form."""
    form = MODIFICATION_V1 if isinstance(record, ModificationRecordV1) else MODIFICATION_V2
    told = tuple(statement for statement in artifact.statements if statement.kind != "observations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PREDICATE_TYPES, "modification", form)
        return artifact_registered_unasked(
            registry, with_statement(replace(artifact, statements=told), record.to_json())
        )


def log_unasked(
    registry: Registry, subject: Digest, kind: StatementKind, said: dict[str, Any], *, signer: Signer, at: str
) -> Digest:
    """Log a statement as a program would that asks nothing, under a checkpoint that was signed likewise."""
    signed = sign_statement(subject, kind, said, signer)
    with registry.database.write() as tx:
        record_statement(tx, subject, signed, at=at)
    sign_unasked(registry)
    return signed.digest


def sign_unasked(registry: Registry) -> None:
    """Sign a checkpoint over whatever the records in the log say, as an earlier release would."""
    with unasked():
        publish_checkpoint(registry)


@contextmanager
def unasked() -> Iterator[None]:
    """Inside the block whoever signs a checkpoint asks nothing of records, evaluations and bases."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_entries.NewEntries, "_require_answered", lambda *_: None)
        patch.setattr(new_entries.NewEntries, "_require_of_a_base", lambda *_: None)
        yield


def say_evaluated(registry: Registry, version: Version, record: dict[str, Any], items: bytes) -> None:
    """Sign an evaluation with the trainer's key as another release would, whose figures this one may not know."""
    with unasked():
        append_statement(
            registry,
            subject=version.manifest_digest,
            kind="bias-evaluation",
            predicate=record,
            signer=registry.trainer_key,
            evidence=(items,),
        )
