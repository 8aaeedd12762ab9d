"""Runs, logged models and versions as values that MLflow's entities are made from. Pure: no mlflow, no clock, no disk."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from peft_registry.registry.homes.run_logs import RunUnderWay
from peft_registry.registry.mlflow import identifiers, side_runs
from peft_registry.registry.mlflow.description import with_run_link
from peft_registry.registry.mlflow.figures import (
    MAX_TAG,
    DatasetUse,
    MetricPoint,
    Pairs,
    charted,
    cut,
    measured_points,
    milliseconds,
    settings_params,
)
from peft_registry.registry.mlflow.projection import (
    COMPARISON_TAG,
    EXTERNAL_TAG,
    NOTE_TAG,
    ListedProjection,
    Projection,
    RunProjection,
)
from peft_registry.registry.mlflow.side_runs import PARENT, SideRun
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.version import Version

PROBLEM_TAG = "registry.problem"
RUN_ID_TAG = "registry.run_id"
SIGNED_TAG = "registry.signed"
NOT_SIGNED = "not signed yet"
VERSIONS_TAG = "mlflow.modelVersions"  # by which the page of a logged model names its version


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run as MLflow shows it. Times in milliseconds; `end_ms` is None while it is under way.

    Attributes:
        run_id: MLflow's.
        project: whose experiment it stands in; None for that of versions without one.
        status: FINISHED, RUNNING, FAILED or KILLED.
        model_inputs: ids of the logged models that it took.
        model_output: id of the logged model that it made.
        label: of the version that it made; None for a run beside those of versions.
    """

    run_id: str
    project: str | None
    name: str
    user: str
    status: str
    start_ms: int
    end_ms: int | None
    tags: Pairs
    params: Pairs = ()
    metrics: tuple[MetricPoint, ...] = ()
    datasets: tuple[DatasetUse, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_output: str | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class ShownModel:
    """A logged model as MLflow shows it: what stands behind a version, with its small files; the weights are elsewhere."""

    model_id: str
    project: str | None
    name: str
    model_type: str
    run_id: str
    created_ms: int
    tags: Pairs
    metrics: tuple[MetricPoint, ...]
    label: str


@dataclass(frozen=True, slots=True)
class ShownVersion:
    """A registered version as MLflow shows it."""

    name: str
    number: int
    created_ms: int
    source: str
    run_id: str
    model_id: str
    tags: Pairs
    aliases: tuple[str, ...]
    user: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class ShownName:
    """A registered model, which is a name: what its newest version says, and where its aliases point."""

    name: str
    created_ms: int
    updated_ms: int
    newest: ShownVersion | None = None
    tags: Pairs = ()
    aliases: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RunPlace:
    """Where the run of a version stands: its id, the run that it stands below, and the logged models that it took."""

    run_id: str
    parent: str | None = None
    model_inputs: tuple[str, ...] = ()


def run_of_version(listed: ListedProjection, place: RunPlace) -> ShownRun:
    """The run that made a version."""
    version = listed.version
    return _run(version.label, listed.project, listed.run, place)


def run_in_full(projection: Projection, project: str | None, place: RunPlace) -> ShownRun:
    """The run that made a version with its note, as its own page shows it."""
    version = projection.version
    run = _run(f"{version.name}:{version.number}", project, projection.run, place)
    experiment = identifiers.experiment_id(project)
    tags = (
        (key, with_run_link(value, experiment, place.run_id) if key == NOTE_TAG else value) for key, value in run.tags
    )
    return replace(run, tags=tuple(tags))


def _run(label: str, project: str | None, run: RunProjection, place: RunPlace) -> ShownRun:
    tags = dict(run.tags) | ({} if place.parent is None else {PARENT: place.parent})
    return ShownRun(
        run_id=place.run_id,
        project=project,
        name=run.name,
        user=tags.get("mlflow.user", ""),
        status="FINISHED",
        start_ms=run.start_ms,
        end_ms=run.end_ms,
        tags=tuple(sorted(tags.items())),
        params=run.params,
        metrics=run.metrics,
        datasets=run.datasets,
        model_inputs=place.model_inputs,
        model_output=identifiers.model_id(label),
        label=label,
    )


def own_run_id(listed: ListedProjection) -> str | None:
    """The id that the run itself recorded."""
    return dict(listed.run.tags).get(RUN_ID_TAG)


def trial_runs(listed: ListedProjection, run_id: str) -> tuple[ShownRun, ...]:
    """A run for each seed that was tried, below that of the version."""
    label = listed.version.label
    seeds = side_runs.trial_runs(label, listed.run, run_id)
    return tuple(_beside(listed, trial, identifiers.trial_id(label, seed)) for seed, trial in seeds.items())


def comparison_run(comparison: str, arm: ListedProjection) -> ShownRun:
    """The run over the arms of a comparison, or over the tasks of a file."""
    return _beside(arm, side_runs.comparison_run(comparison), identifiers.comparison_id(comparison, arm.project))


def _beside(listed: ListedProjection, run: SideRun, run_id: str) -> ShownRun:
    """A run beside that of a version, which is of its time and its person."""
    return ShownRun(
        run_id=run_id,
        project=listed.project,
        name=run.name,
        user=dict(listed.run.tags).get("mlflow.user", ""),
        status="FINISHED",
        start_ms=listed.run.start_ms,
        end_ms=listed.run.end_ms,
        tags=tuple(sorted(run.tags.items())),
        params=tuple(run.params.items()),
        metrics=tuple(MetricPoint(key, value, 0, listed.run.end_ms) for key, value in run.metrics.items()),
    )


def run_under_way(run: RunUnderWay) -> ShownRun:
    """A run that is not registered: what its log says, which nobody signed. The registered run takes its place under its id."""
    begins = f"**Not signed yet.** This is what the log of the run {run.run_id[:12]} says on this machine"
    if run.state == "RUNNING":
        note = f"{begins}. `registry runs show {run.run_id[:12]} --follow` prints it too."
    else:
        note = f"{begins}: {run.sentence}. `registry runs list` names it; `registry train --resume` continues what left a state."
    tags = {
        NOTE_TAG: cut(note, MAX_TAG),
        SIGNED_TAG: NOT_SIGNED,
        "registry.signature": NOT_SIGNED,  # a column of the list of runs
        RUN_ID_TAG: run.run_id,
        "registry.method": cut(run.method, MAX_TAG),
        "registry.base": cut(run.base, MAX_TAG),
        "mlflow.source.type": "JOB",
        "mlflow.source.name": "registry train",
    }
    if run.comparison is not None:
        tags[COMPARISON_TAG] = cut(run.comparison, MAX_TAG)
    return ShownRun(
        run_id=run.run_id,
        project=run.project,
        name=cut(f"train {run.name}", MAX_TAG),
        user="",
        status=run.state,
        start_ms=milliseconds(run.started_at),
        end_ms=None if run.ended_at is None else round(run.ended_at * 1000),
        tags=tuple(sorted(tags.items())),
        params=settings_params(run.settings),
        metrics=charted(measured_points(run.points)),
    )


def unreadable_run(version: Version, project: str | None, error: KnownError) -> ShownRun:
    """In the place of the run of a version that is not what was signed: that it is not, and nothing that its rows say."""
    at = milliseconds(version.registered_at)
    return ShownRun(
        run_id=identifiers.derived_run_id(version.label),
        project=project,
        name=f"{version.label} cannot be shown",
        user="",
        status="FAILED",
        start_ms=at,
        end_ms=at,
        tags=tuple(sorted({"registry.id": version.label, PROBLEM_TAG: f"{error}", NOTE_TAG: _problem(error)}.items())),
        label=version.label,
    )


def model_of_version(listed: ListedProjection, place: RunPlace, *, model_type: str, name: str) -> ShownModel:
    """The logged model behind a version."""
    version = listed.version
    named = json.dumps([{"name": version.name, "version": version.number}])
    tags: Mapping[str, str] = {
        "registry.id": version.label,
        "registry.manifest": str(version.manifest_digest),
        EXTERNAL_TAG: "true",
        VERSIONS_TAG: named,
    }
    return ShownModel(
        model_id=identifiers.model_id(version.label),
        project=listed.project,
        name=name,
        model_type=model_type,
        run_id=place.run_id,
        created_ms=milliseconds(version.registered_at),
        tags=tuple(sorted(tags.items())),
        metrics=tuple(point for point in listed.run.metrics if point.final),
        label=version.label,
    )


def listed_version(listed: ListedProjection, place: RunPlace, *, source: str, tags: Pairs) -> ShownVersion:
    """A version as it is filtered by what its list tags say; its page has more."""
    version = listed.version
    return ShownVersion(
        name=version.name,
        number=version.number,
        created_ms=milliseconds(version.registered_at),
        source=source,
        run_id=place.run_id,
        model_id=identifiers.model_id(version.label),
        tags=tags,
        aliases=version.aliases,
        user=dict(listed.run.tags).get("mlflow.user", ""),
    )


def version_in_full(
    projection: Projection, *, registered_at: str, project: str | None, place: RunPlace
) -> ShownVersion:
    """A version with its description and all of its tags."""
    version = projection.version
    return ShownVersion(
        name=version.name,
        number=version.number,
        created_ms=milliseconds(registered_at),
        source=version.source,
        run_id=place.run_id,
        model_id=identifiers.model_id(f"{version.name}:{version.number}"),
        tags=version.tags,
        aliases=version.aliases,
        user=dict(projection.run.tags).get("mlflow.user", ""),
        description=with_run_link(version.description, identifiers.experiment_id(project), place.run_id),
    )


def unreadable_version(version: Version, error: KnownError) -> ShownVersion:
    """In the place of a version that is not what was signed: that it is not, and nothing that its rows say."""
    return ShownVersion(
        name=version.name,
        number=version.number,
        created_ms=milliseconds(version.registered_at),
        source="",
        run_id=identifiers.derived_run_id(version.label),
        model_id=identifiers.model_id(version.label),
        tags=((PROBLEM_TAG, f"{error}"),),
        aliases=(),
        user="",
        description=_problem(error),
    )


def _problem(error: KnownError) -> str:
    return f"**Not shown.** {error}. {error.fix}"
