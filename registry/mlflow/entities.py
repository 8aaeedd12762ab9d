"""MLflow's entities from our values. Values in, entities out; nothing is read here."""

from collections.abc import Iterable

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    ExperimentTag,
    InputTag,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunTag,
)
from mlflow.entities.lifecycle_stage import LifecycleStage
from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelAlias,
    RegisteredModelTag,
)

from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.figures import DatasetUse, MetricPoint
from peft_registry.registry.mlflow.projection import NOTE_TAG, PROJECT_TAG
from peft_registry.registry.mlflow.shown_runs import (
    NOT_SIGNED,
    SIGNED_TAG,
    ShownModel,
    ShownName,
    ShownRun,
    ShownVersion,
)

DATASET_CONTEXT = "mlflow.data.context"  # what a data set was used for


def experiment_entity(project: str | None, *, artifact_root: str, newest_ms: int, is_signed: bool) -> Experiment:
    """The experiment of a project; its times are those of its newest version.

    `is_signed` says whether a signed version names the project, and not the log of a run alone.
    """
    versions = "the versions of the registry" if project is None else f"the versions of the project {project}"
    unsigned = (
        f"A run with the tag `{SIGNED_TAG}` is under way on this machine, or was stopped there, and is not signed yet."
    )
    signed = f"Runs behind {versions}, as they are signed. `registry verify` checks each. {unsigned}"
    tags = {
        NOTE_TAG: signed if is_signed else f"**Not signed yet.** No version names the project {project}. {unsigned}",
        "mlflow.experimentKind": "custom_model_development",
    } | ({} if project is None else {PROJECT_TAG: project})
    if not is_signed:
        tags[SIGNED_TAG] = NOT_SIGNED
    experiment_id = identifiers.experiment_id(project)
    return Experiment(
        experiment_id,
        identifiers.experiment_name(project),
        f"{artifact_root}/{experiment_id}",
        LifecycleStage.ACTIVE,
        tags=[ExperimentTag(key, value) for key, value in tags.items()],
        creation_time=newest_ms,
        last_update_time=newest_ms,
    )


def run_entity(run: ShownRun, *, artifact_root: str) -> Run:
    """A run; of each metric the value of its last step."""
    experiment_id = identifiers.experiment_id(run.project)
    info = RunInfo(
        run_id=run.run_id,
        experiment_id=experiment_id,
        user_id=run.user,
        status=run.status,
        start_time=run.start_ms,
        end_time=run.end_ms,
        lifecycle_stage=LifecycleStage.ACTIVE,
        artifact_uri=f"{artifact_root}/{experiment_id}/{run.run_id}/artifacts",
        run_name=run.name,
    )
    last = {point.key: point for point in sorted(run.metrics, key=lambda point: (point.step, point.at_ms))}
    data = RunData(
        metrics=[
            metric_entity(point, run.run_id, run.model_output if point.final else None) for point in last.values()
        ],
        params=[Param(key, value) for key, value in run.params],
        tags=[RunTag(key, value) for key, value in run.tags],
    )
    outputs = [] if run.model_output is None else [LoggedModelOutput(run.model_output, _last_step(run.metrics))]
    return Run(
        info,
        data,
        RunInputs(
            dataset_inputs=[dataset_entity(use) for use in run.datasets],
            model_inputs=[LoggedModelInput(model_id) for model_id in run.model_inputs],
        ),
        RunOutputs(model_outputs=outputs),
    )


def points_of_run(points: Iterable[MetricPoint], run_id: str) -> list[Metric]:
    """The points of a metric of a run, by step."""
    return [metric_entity(point, run_id, None) for point in sorted(points, key=lambda point: (point.step, point.at_ms))]


def metric_entity(point: MetricPoint, run_id: str, model_id: str | None) -> Metric:
    """A point of a metric; None where it is not also one of the logged model."""
    name, digest = point.dataset or (None, None)
    return Metric(
        point.key,
        point.value,
        point.at_ms,
        point.step,
        model_id=model_id,
        dataset_name=name,
        dataset_digest=digest,
        run_id=run_id,
    )


def _last_step(points: Iterable[MetricPoint]) -> int:
    return max((point.step for point in points), default=0)


def dataset_entity(use: DatasetUse) -> DatasetInput:
    """A data set that a run used, and what for."""
    dataset = Dataset(use.name, use.digest, source_type="registry", source=use.source, profile=use.profile)
    return DatasetInput(dataset, tags=[InputTag(DATASET_CONTEXT, use.context)])


def model_entity(model: ShownModel, *, artifact_root: str) -> LoggedModel:
    """A logged model with the figures that were measured of it."""
    experiment_id = identifiers.experiment_id(model.project)
    return LoggedModel(
        experiment_id=experiment_id,
        model_id=model.model_id,
        name=model.name,
        artifact_location=f"{artifact_root}/{experiment_id}/models/{model.model_id}/artifacts",
        creation_timestamp=model.created_ms,
        last_updated_timestamp=model.created_ms,
        model_type=model.model_type,
        source_run_id=model.run_id,
        status=LoggedModelStatus.READY,
        tags=dict(model.tags),
        params={},
        metrics=[metric_entity(point, model.run_id, model.model_id) for point in model.metrics],
    )


def version_entity(version: ShownVersion) -> ModelVersion:
    """A registered version."""
    return ModelVersion(
        name=version.name,
        version=version.number,  # a number, as in MLflow's own store, whose filters and orders compare it
        creation_timestamp=version.created_ms,
        last_updated_timestamp=version.created_ms,
        description=version.description,
        user_id=version.user,
        current_stage="None",
        source=version.source,
        run_id=version.run_id,
        tags=[ModelVersionTag(key, value) for key, value in version.tags],
        aliases=list(version.aliases),
        model_id=version.model_id,
    )


def name_entity(name: ShownName) -> RegisteredModel:
    """A registered model."""
    return RegisteredModel(
        name=name.name,
        creation_timestamp=name.created_ms,
        last_updated_timestamp=name.updated_ms,
        description="",
        latest_versions=[] if name.newest is None else [version_entity(name.newest)],
        tags=[RegisteredModelTag(key, value) for key, value in name.tags],
        aliases=[RegisteredModelAlias(alias, f"{number}") for alias, number in name.aliases],
    )
