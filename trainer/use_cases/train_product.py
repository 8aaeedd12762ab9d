"""What is registered of a run: the manifest of its folder, the modification record and the card, put together as one product.

All of it follows from values that are handed in; only the folder of the artifact and the files of the base are read.
"""

from typing import TYPE_CHECKING, Any

from peft_registry.registry.compliance.facts import with_each_named
from peft_registry.registry.compliance.modification import ChangeFigures
from peft_registry.registry.exports.model_card import model_card
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.identity.scans import scans_of
from peft_registry.registry.use_cases.first_records import DerivedRecord, MadeResult
from peft_registry.registry.use_cases.register_product import FinishedProduct, MeasuredEvaluation
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import config_identity
from peft_registry.schemas.dataset import DataIdentity
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.manifest import Kind, Layout, Manifest, Parent
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_points import RunPoints
from peft_registry.schemas.run_samples import RunSamples
from peft_registry.trainer.methods import optimizer_name
from peft_registry.trainer.use_cases.train_plan import TrainingPlan
from peft_registry.trainer.use_cases.train_run import TrainingRun

if TYPE_CHECKING:
    from peft_registry.trainer.runs.before_after import EvaluatedRun
    from peft_registry.trainer.training.train_adapter import Trained

_KINDS: dict[Layout, Kind] = {"peft": "adapter", "model": "model", "bundle": "bundle"}


def manifest_of_run(run: TrainingRun, data: tuple[DataIdentity, ...]) -> Manifest:
    """The manifest of what was written to the run's artifact.

    Args:
        run: that wrote it.
        data: what it was trained on and held out.
    """
    layout = run.plan.method.layout
    return manifest_of_folder(
        run.artifact,
        kind=_KINDS[layout],
        layout=layout,
        method=run.config.method,
        base=run.base_reference,
        data=data,
        config_sha256=canonical_digest(config_identity(run.config)),
        parents=(
            Parent(role="base", manifest=run.base.version.manifest_digest),
            *(() if run.start is None else (Parent(role="start", manifest=run.start.manifest_digest),)),
        ),
    )


def change_of_run(run: TrainingRun) -> ChangeFigures:
    """What the files that a run has just written change in the base as it is stored.

    Raises:
        BaseChanged: a file of the base is not what was compared.
    """
    from peft_registry.trainer.merge.change_figures import figures_of_adapter, figures_of_model

    if run.plan.method.trains_base_weights:
        figures = figures_of_model(run.base.folder, run.artifact)
    else:
        is_quantized = run.config.quantization is not None
        figures = figures_of_adapter(run.base.folder, run.artifact, is_quantized=is_quantized)
    run.base.require_unchanged()
    return figures


def facts_of_run(plan: TrainingPlan, record: RunRecord) -> dict[str, Any] | None:  # the JSON value of the facts file
    """What people declare of this run; None where its file names no facts."""
    facts = plan.facts
    if facts is None or plan.start is None:
        return facts
    # `*` means each file of this run, and not those that the starting adapter was trained on
    return with_each_named(facts, [data.name for data in record.data])


def result_of_run(
    run: TrainingRun,
    manifest: Manifest,
    record: RunRecord,
    *,
    evaluation: EvaluationRecord,
    change: ChangeFigures,
    profile: OrganisationProfile,
    facts: dict[str, Any] | None,
) -> MadeResult:
    """A run as its modification record follows from it.

    Args:
        run: what was asked, on which base.
        manifest: of the result.
        record: what was measured while it was trained.
        evaluation: what was measured before and after.
        change: what the result changes in its base.
        profile: of the organisation.
        facts: what people declare, as `facts_of_run`.
    """
    start = run.start
    return MadeResult(
        name=run.config.name,
        record_id=run.kept.run_id,
        manifest=manifest,
        production=record,
        base=run.base.as_input(parent_records=() if start is None else (str(start.manifest_digest),)),
        parents=() if start is None else (start,),
        evaluation=evaluation,
        profile=profile,
        facts=facts,
        change=change,
        optimiser=optimizer_name(run.config),
        scans=scans_of(run.artifact),
    )


def product_of_run(
    run: TrainingRun,
    manifest: Manifest,
    record: RunRecord,
    derived: DerivedRecord,
    evaluated: "EvaluatedRun",
    *,
    kept: tuple[bytes, ...],
) -> FinishedProduct:
    """A result with all that is said about it, ready to be signed and registered.

    `kept` are the objects that the record of the run binds by digest, as `kept_objects`.
    """
    card = model_card(
        name=run.config.name,
        manifest=manifest,
        run=record,
        base_name=run.base.version.name,
        base=run.base.record,
        evaluation=evaluated.record,
        record=derived.record,
    )
    return FinishedProduct(
        name=run.config.name,
        source="train",
        folder=run.artifact,
        manifest=manifest,
        production=record,
        observations=derived.observations,
        modification=derived.record,
        as_of=derived.as_of,
        card=card,
        evaluations=(MeasuredEvaluation(evaluated.record, evaluated.items),),
        kept=kept,
    )


def kept_objects(
    texts: bytes, trained: "Trained", points: RunPoints | None, samples: RunSamples | None
) -> tuple[bytes, ...]:
    """The objects that the record of a run binds by digest: hashes of its texts, how busy the machine was, points and samples."""
    system = trained.result.system
    documents = [document for document in (system, points, samples) if document is not None]
    return (texts, *(document.to_canonical() for document in documents))
