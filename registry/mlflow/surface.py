"""The calls to MLflow that the mirror needs, each repeatable.

MLflow has no upsert: it chooses run id, model id and version number. So each `ensure_…` looks for what an interrupted sync
left behind (the tags `registry.id` and `registry.manifest`) before it creates anything.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from peft_registry.registry.mlflow.comparing import Difference, ShownModel, ShownRun, ShownVersion
from peft_registry.registry.mlflow.description import with_run_link
from peft_registry.registry.mlflow.own_files import create_store, delete_metrics, digests_below, write_files
from peft_registry.registry.mlflow.own_store import NewVersion, OwnStore, new_ids
from peft_registry.registry.mlflow.projection import (
    COMPARISON_TAG,
    EXPERIMENT,
    FORM_TAG,
    PROJECT_TAG,
    SOURCE_PREFIX,
    TRIAL_TAG,
    ArtifactFile,
    Projection,
)
from peft_registry.registry.mlflow.refusals import DriftFound, EntryRefused, refusals
from peft_registry.registry.mlflow.route import (
    ARTIFACT_SCHEME,
    MirrorRoute,
    MirrorUnavailable,
    MlflowMissing,
)
from peft_registry.registry.mlflow.side_runs import (
    PARENT,
    PARENT_OF_RUN,
    TRIAL,
    SideRun,
    comparison_run,
    differences_of_place,
    differences_of_trials,
    trial_runs,
)
from peft_registry.schemas.identity import Digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Experiment, Metric, Run

_CONTEXT = "mlflow.data.context"  # what a data set was used for
_NOTE = "mlflow.note.content"
_VERSIONS = "mlflow.modelVersions"


def open_surface(route: MirrorRoute) -> "Surface":
    """MLflow at the end of the route; a store is created when it is not there.

    Raises:
        MlflowMissing: it is not installed.
        MirrorUnavailable: it does not answer, or its database has another version.
        DiskFull, NotWritable: the folder of the store cannot be made.
    """
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise MlflowMissing(str(error)) from error
    if route.artifact_root is not None:
        create_store(route, route.artifact_root)
    surface = Surface(MlflowClient(tracking_uri=route.uri, registry_uri=route.uri), route)
    surface.check_reachable()
    return surface


@dataclass(frozen=True, slots=True)
class MarkedExperiment:
    """An experiment, which one it is, and our mark in it."""

    name: str
    identity: str
    mark: str | None


class Surface:
    """MLflow as the mirror writes it. Methods raise `EntryRefused` for what MLflow refuses, `DriftFound` for what is not ours.

    All of them raise `MirrorFull` where there is no room.
    """

    def __init__(self, client: "MlflowClient", route: MirrorRoute) -> None:
        self._client = client
        self._route = route
        self._experiments: dict[str, Experiment] = {}
        self._known_comparisons: dict[tuple[str, str], str] = {}  # experiment, comparison → the run over its arms

    def close(self) -> None:
        """Close what was opened besides MLflow's client."""
        if "_own" in self.__dict__:
            self._own.close()

    @cached_property
    def _own(self) -> OwnStore:
        return OwnStore(self._route)

    def check_reachable(self) -> None:
        """Raise MirrorUnavailable unless MLflow answers.

        Raises:
            MirrorUnavailable: it does not answer.
        """
        try:
            with refusals():
                self._client.search_experiments(max_results=1)
        except EntryRefused as error:
            raise MirrorUnavailable(self._route.described, str(error)) from error

    @property
    def where(self) -> str:
        """MLflow's place, for people."""
        return self._route.described

    def marked_experiment(self, name: str, tag: str) -> MarkedExperiment:
        """Which experiment has a name: its number in MLflow and when it was made, and the mark in it; made where there is none."""
        with refusals():
            experiment = self._experiment(name)
        identity = f"{experiment.experiment_id} of {experiment.creation_time}"
        return MarkedExperiment(name, identity, experiment.tags.get(tag))

    def mark_experiment(self, name: str, tag: str, mark: str) -> None:
        """Leave a mark in an experiment in the place of the one before."""
        with refusals():
            self._client.set_experiment_tag(self._experiment(name).experiment_id, tag, mark)

    def ensure_run(self, projection: Projection, known: str | None) -> str:
        """The id of the version's run, created when it is not there."""
        with refusals():
            experiment = self._experiment(projection.experiment).experiment_id
            if known is not None and self._run_is_there(known):
                return known
            left = self._client.search_runs([experiment], _ours(projection), max_results=1)
            if left:
                return str(left[0].info.run_id)
            run = self._client.create_run(
                experiment, start_time=projection.run.start_ms, run_name=projection.run.name, tags=_identity(projection)
            )
            return str(run.info.run_id)

    def ensure_model(self, projection: Projection, run_id: str, known: str | None) -> str:
        """The id of the logged model, with its small files."""
        with refusals():
            model_id = known or self._find_model(projection) or self._create_model(projection, run_id)
            model = self._client.get_logged_model(model_id)
            self._write(model.artifact_location, projection.version.artifacts, model_id=model_id)
            # MLflow's server leaves this mark, by which the page of a model names its version; its client alone does not
            named = json.dumps([{"name": projection.version.name, "version": projection.version.number}])
            if self._route.kind == "store" and model.tags.get(_VERSIONS) != named:
                self._client.set_logged_model_tags(model_id, {_VERSIONS: named})
            if known is not None and (changed := _identity(projection).items() - model.tags.items()):
                self._client.set_logged_model_tags(model_id, dict(changed))
            if str(model.status) != "READY":
                self._client.finalize_logged_model(model_id, "READY")
            return model_id

    def can_write_together(self, projection: Projection) -> bool:
        """Whether a version that was never copied can be written with others at once: into the home's own store, as most can."""
        if self._route.kind != "store":
            return False
        with refusals():
            location = self._experiment(projection.experiment).artifact_location
        return urlsplit(location).scheme == ARTIFACT_SCHEME and self._own.can_write(projection)

    def planned(self, projection: Projection, *, parent_models: tuple[str, ...], parent_run: str | None) -> NewVersion:
        """A version to be written with others, its files already where MLflow's server will look for them.

        Args:
            projection: what to show.
            parent_models: the logged models that the run took.
            parent_run: the run that it continues, where that is remembered; else it is looked for.
        """
        with refusals():
            experiment = self._experiment(projection.experiment)
            if (over := comparison_run(projection)) is not None:
                key = (experiment.experiment_id, over.tags[COMPARISON_TAG])
                if key not in self._known_comparisons:
                    self._known_comparisons[key] = self._ensure_comparison(key[0], over, projection.run.start_ms)
                parent_run = self._known_comparisons[key]
        if over is None and projection.continues is None:
            parent_run = None
        elif parent_run is None:
            parent_run = self._own.run_of(experiment.experiment_id, str(projection.continues))
        run_id, model_id = new_ids()
        run_location = f"{experiment.artifact_location}/{run_id}/artifacts"
        model_location = f"{experiment.artifact_location}/models/{model_id}/artifacts"
        with refusals():
            digests = self._write(run_location, projection.run.artifacts)
            self._write(model_location, projection.version.artifacts)
        return NewVersion(
            projection=projection,
            experiment=experiment.experiment_id,
            run_id=run_id,
            model_id=model_id,
            run_location=run_location,
            model_location=model_location,
            digests=digests,
            run_tags=self.run_tags(projection, run_id),
            description=self.description(projection, run_id),
            parent_models=parent_models,
            parent_run=parent_run,
        )

    def write_together(self, versions: Sequence[NewVersion]) -> tuple[Digest | None, ...]:
        """Write versions in one transaction; a digest over the rows of each, None for those of which nothing is left."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            written = self._own.write(versions, int(time.time() * 1000))
        except SQLAlchemyError:  # each by itself, and MLflow's client says what is wrong
            written = (None,) * len(versions)
        self.remove_files([version for version, rows in zip(versions, written, strict=True) if rows is None])
        return written

    def remove_files(self, versions: Iterable[NewVersion]) -> None:
        """Remove the files of versions that were planned and not written."""
        for version in versions:
            assert self._route.artifact_root is not None, "only in the home's own store versions are planned"
            for location in (version.run_location, version.model_location):
                folder = (self._route.artifact_root / urlsplit(location).path.lstrip("/")).parent
                shutil.rmtree(folder, ignore_errors=True)

    def fill_run(
        self,
        projection: Projection,
        *,
        run_id: str,
        model_id: str,
        parent_models: tuple[str, ...],
        written: Mapping[str, str],
    ) -> dict[str, str]:
        """Write everything that the run shows; what is there already is written again or left.

        Returns the SHA-256 of each file that was written, by path.

        Args:
            projection: what to show.
            run_id: the run.
            model_id: the logged model that the run made.
            parent_models: the logged models that the run took.
            written: the identity of each file that this run has already, by path; such a file is not made again.
        """
        from mlflow.entities import LoggedModelInput, LoggedModelOutput, Param, RunTag

        with refusals():
            run = self._client.get_run(run_id)
            tags = [RunTag(key, value) for key, value in self.run_tags(projection, run_id).items()]
            params = [Param(key, value) for key, value in projection.run.params]
            self._take_away_earlier_form(run, projection)
            self._client.log_batch(run_id, metrics=_new_metrics(projection, run, model_id), params=params, tags=tags)
            if (over := comparison_run(projection)) is not None:
                parent = self._ensure_comparison(run.info.experiment_id, over, projection.run.start_ms)
                self._client.set_tag(run_id, PARENT, parent)
            elif earlier := self._runs_of(run.info.experiment_id, projection.continues):
                self._client.set_tag(run_id, PARENT, earlier[0])
            self._log_trials(projection, run_id, run.info.experiment_id)
            self._log_datasets(projection, run_id)
            known_inputs = {model.model_id for model in (run.inputs.model_inputs if run.inputs else ())}
            if missing := [parent for parent in parent_models if parent not in known_inputs]:
                self._client.log_inputs(run_id, models=[LoggedModelInput(model_id=parent) for parent in missing])
            known_outputs = {model.model_id for model in (run.outputs.model_outputs if run.outputs else ())}
            if model_id not in known_outputs:
                step = max((point.step for point in projection.run.metrics), default=0)
                self._client.log_outputs(run_id, [LoggedModelOutput(model_id=model_id, step=step)])
            files = tuple(
                file for file in projection.run.artifacts if written.get(file.path) != str(file.content.identity)
            )
            digests = self._write(run.info.artifact_uri, files, run_id=run_id) if files else {}
            if run.info.status != "FINISHED":
                self._client.set_terminated(run_id, "FINISHED", end_time=projection.run.end_ms)
            if run.info.run_name != projection.run.name:
                self._client.update_run(run_id, name=projection.run.name)
            return digests

    def _runs_of(self, experiment: str, manifest: Digest | None) -> tuple[str, ...]:
        """The runs that made an artifact."""
        if manifest is None:
            return ()
        return tuple(
            str(run.info.run_id)
            for run in self._client.search_runs([experiment], f"tags.`registry.manifest` = '{manifest}'")
        )

    def _log_trials(self, projection: Projection, run_id: str, experiment: str) -> None:
        """A run for each seed that was tried, below that of the version; what is there is left."""
        trials = trial_runs(projection, run_id)
        if not trials:
            return
        known = {run.tags[TRIAL_TAG] for run in self._trials_below(experiment, run_id)}
        for seed, trial in trials.items():
            if seed not in known:
                self._create_side_run(experiment, trial, projection.run.start_ms, projection.run.end_ms)

    def _trials_below(self, experiment: str, run_id: str) -> tuple[SideRun, ...]:
        below = self._client.search_runs([experiment], f"tags.`{PARENT}` = '{run_id}'")
        return tuple(_side_run(run) for run in below if TRIAL_TAG in run.data.tags)

    def _create_side_run(self, experiment: str, side_run: SideRun, start: int, end: int) -> str:
        run = self._client.create_run(experiment, start_time=start, run_name=side_run.name, tags=dict(side_run.tags))
        run_id = str(run.info.run_id)
        for key, value in side_run.params.items():
            self._client.log_param(run_id, key, value)
        for key, number in side_run.metrics.items():
            self._client.log_metric(run_id, key, number, timestamp=end)
        self._client.set_terminated(run_id, "FINISHED", end_time=end)
        return run_id

    def side_differences(self, projection: Projection, run_id: str, shown: ShownRun | None) -> Iterator[Difference]:
        """What in the runs beside that of a version, and in where it stands, is not as it was written."""
        if shown is None or shown.is_deleted:
            return
        with refusals():
            experiment = self._experiment(projection.experiment).experiment_id
            trials = self._trials_below(experiment, run_id)
            expected = comparison_run(projection)
            over = () if expected is None else self._comparisons(experiment, expected.tags[COMPARISON_TAG])
            earlier = self._runs_of(experiment, projection.continues)
        if shown.experiment != experiment:
            yield Difference("experiment of the run", "", experiment, shown.experiment)
        yield from differences_of_trials(trial_runs(projection, run_id), trials)
        yield from differences_of_place(expected, over, earlier=earlier, parent=shown.tags.get(PARENT))

    def _delete_trials(self, run_id: str, seed: str) -> None:
        """Take away the runs of a seed, which is then written anew: MLflow lets nobody edit what they hold."""
        experiment = self._client.get_run(run_id).info.experiment_id
        for trial in self._trials_below(experiment, run_id):
            if trial.tags[TRIAL_TAG] == seed and trial.run_id is not None:
                self._client.delete_run(trial.run_id)

    def _take_away_earlier_form(self, run: "Run", projection: Projection) -> None:
        """Take away the tags, and in the home's own store the metrics, that an earlier release wrote and this one does not.

        MLflow has no call that takes a metric away. On a server of others they stay, and `registry mirror check` names them.
        """
        tags, run_id = run.data.tags, run.info.run_id
        kept = dict(projection.run.tags)
        if tags.get(FORM_TAG) == kept.get(FORM_TAG):
            return
        for key in tags.keys() - kept.keys():
            if key.startswith("registry."):
                self._client.delete_tag(run_id, key)
        unknown = run.data.metrics.keys() - {point.key for point in projection.run.metrics}
        if unknown and self._route.kind == "store":
            delete_metrics(self._route.uri, run_id, unknown)

    def run_tags(self, projection: Projection, run_id: str) -> dict[str, str]:
        """The tags that a run is written with, with those by which it is found again."""
        note = self.description(projection, run_id)
        tags = {key: note if key == _NOTE else value for key, value in projection.run.tags}
        return _identity(projection) | tags

    def shown_version(self, name: str, number: int) -> ShownVersion | None:
        """A registered version as it is now; None where it is gone."""
        from mlflow.exceptions import MlflowException

        with refusals():
            try:
                version = self._client.get_model_version(name, str(number))
                # MLflow's database has a second column for it, and loads from that; no other call shows it
                loads_from = self._client.get_model_version_download_uri(name, str(number))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
        aliases = frozenset(version.aliases)
        return ShownVersion(
            version.source, loads_from, version.run_id, version.tags, version.description or "", aliases
        )

    def numbers_of(self, name: str) -> tuple[int, ...]:
        """The numbers of all versions that MLflow has under a name."""
        numbers: list[int] = []
        token = None
        with refusals():
            while True:
                page = self._client.search_model_versions(f"name = '{name}'", max_results=1_000, page_token=token)
                numbers += [int(version.version) for version in page]
                token = page.token
                if not token:
                    return tuple(sorted(numbers))

    def shown_run(self, run_id: str) -> ShownRun | None:
        """A run as it is now, with every point of its metrics and the digests of its files; None where it is gone."""
        from mlflow.exceptions import MlflowException

        with refusals():
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
            metrics = {
                key: [(point.step, point.value) for point in self._client.get_metric_history(run_id, key)]
                for key in run.data.metrics
            }
            files = self._files(run_id, run.info.artifact_uri)
        return ShownRun(
            run.data.tags,
            run.data.params,
            metrics,
            files,
            frozenset(model.model_id for model in (run.outputs.model_outputs if run.outputs else ())),
            is_deleted=run.info.lifecycle_stage != "active",
            experiment=str(run.info.experiment_id),
            name=str(run.info.run_name or ""),
            status=str(run.info.status),
            datasets=frozenset(_dataset(entry) for entry in (run.inputs.dataset_inputs if run.inputs else ())),
        )

    def shown_model(self, model_id: str) -> ShownModel | None:
        """A logged model as it is now, with the digests of its files; None where it is gone."""
        from mlflow.exceptions import MlflowException

        with refusals():
            try:
                model = self._client.get_logged_model(model_id)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise
            metrics = frozenset((point.key, point.value) for point in model.metrics or ())
            return ShownModel(model.tags, self._model_files(model.artifact_location), metrics)

    def model_tags(self, projection: Projection) -> dict[str, str]:
        """The tags of ours that a logged model is written with."""
        return _identity(projection)

    def take_away(self, name: str, number: int, run_id: str, added: Iterable[Difference]) -> None:
        """Take away what somebody added: tags of ours and aliases of a version, tags of its run, and changed runs of seeds."""
        with refusals():
            for difference in added:
                if difference.kind == "tag":
                    self._client.delete_model_version_tag(name, str(number), difference.key)
                elif difference.kind == "run tag":
                    self._client.delete_tag(run_id, difference.key)
                elif difference.kind == PARENT_OF_RUN:
                    self._client.delete_tag(run_id, PARENT)
                elif difference.kind == TRIAL:
                    self._delete_trials(run_id, difference.key)
                elif difference.kind == "model tag":
                    for model in self._client.get_run(run_id).outputs.model_outputs:
                        self._client.delete_logged_model_tag(model.model_id, difference.key)
                elif difference.kind == "tag of the name":
                    self._client.delete_registered_model_tag(name, difference.key)
                elif difference.kind == "alias":
                    self._client.delete_registered_model_alias(name, difference.key)

    def _model_files(self, location: str) -> dict[str, str]:
        from mlflow.artifacts import download_artifacts

        root, parts = self._route.artifact_root, urlsplit(location)
        if root is not None and parts.scheme == ARTIFACT_SCHEME:
            return digests_below(root / parts.path.lstrip("/"))
        with tempfile.TemporaryDirectory(prefix="registry-mirror-") as folder:
            return digests_below(Path(download_artifacts(location, dst_path=folder, tracking_uri=self._route.uri)))

    def _files(self, run_id: str, location: str) -> dict[str, str]:
        root, parts = self._route.artifact_root, urlsplit(location)
        if root is not None and parts.scheme == ARTIFACT_SCHEME:
            return digests_below(root / parts.path.lstrip("/"))
        with tempfile.TemporaryDirectory(prefix="registry-mirror-") as folder:
            return digests_below(Path(self._client.download_artifacts(run_id, "", folder)))

    def holds_version(self, name: str, number: int) -> bool:
        """True when MLflow has this version and it is one of ours."""
        shown = self._version(name, number)
        return shown is not None and shown[0].startswith(SOURCE_PREFIX) and shown[1] == f"{name}:{number}"

    def has_own_number(self, projection: Projection) -> bool:
        """Whether an interrupted sync made this version already; asked before anything is written for it.

        Raises:
            DriftFound: its number is that of somebody else's version, or MLflow is further than we are.
        """
        version = projection.version
        shown = self._version(version.name, version.number)
        if shown is not None:
            if shown[0] != version.source:
                raise DriftFound(f"version {version.number} of {version.name} in MLflow has the source {shown[0]!r}")
            return True
        with refusals():
            newest = self._newest(version.name)
        if newest >= version.number:
            raise DriftFound(f"{version.name} has a version {newest} in MLflow before {version.name}:{version.number}")
        return False

    def ensure_version(self, projection: Projection, *, run_id: str, model_id: str, is_there: bool) -> None:
        """Create the registered version, unless it is there; MLflow must give it our number."""
        if is_there:
            self.refresh_version(projection, run_id=run_id)
            return
        with refusals():
            self._create_version(projection, run_id=run_id, model_id=model_id)
            self._refresh_name(projection)

    def refresh_version(self, projection: Projection, *, run_id: str) -> None:
        """Write tags and description of a version that is there."""
        version = projection.version
        shown = self._version(version.name, version.number)
        if shown is None:
            raise DriftFound(f"{version.name}:{version.number} was mirrored and is gone from MLflow")
        if shown[0] != version.source:
            raise DriftFound(f"{version.name}:{version.number} now has the source {shown[0]!r} in MLflow")
        with refusals():
            current = self._client.get_model_version(version.name, str(version.number))
            for key, value in version.tags:
                if current.tags.get(key) != value:
                    self._client.set_model_version_tag(version.name, str(version.number), key, value)
            for key in current.tags.keys() - dict(version.tags).keys():
                if key.startswith("registry."):
                    self._client.delete_model_version_tag(version.name, str(version.number), key)
            description = self.description(projection, run_id)
            if current.description != description:
                self._client.update_model_version(version.name, str(version.number), description)
            self._refresh_name(projection)

    def shown_name_tags(self, name: str) -> dict[str, str]:
        """The tags of a registered model; none where it is gone."""
        with refusals():
            models = self._client.search_registered_models(f"name = '{name}'", max_results=1)
        return dict(models[0].tags) if models else {}

    def _refresh_name(self, projection: Projection) -> None:
        """Write what the list of models shows of a name: that of its newest version."""
        tags, name = dict(projection.version.name_tags), projection.version.name
        if not tags:
            return
        shown = self.shown_name_tags(name)
        for key, value in tags.items():
            if shown.get(key) != value:
                self._client.set_registered_model_tag(name, key, value)
        for key in shown.keys() - tags.keys():
            if key.startswith("registry."):
                self._client.delete_registered_model_tag(name, key)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        with refusals():
            self._client.set_registered_model_alias(name, alias, str(number))

    def delete_alias(self, name: str, alias: str) -> None:
        with refusals():
            self._client.delete_registered_model_alias(name, alias)

    def _comparisons(self, experiment: str, comparison: str) -> tuple[SideRun, ...]:
        """The runs that stand over the arms of a comparison."""
        where = f"tags.`{COMPARISON_TAG}` = '{comparison}'"
        runs = self._client.search_runs([experiment], where)
        return tuple(_side_run(run) for run in runs if "registry.id" not in run.data.tags)

    def _ensure_comparison(self, experiment: str, over: SideRun, start_ms: int) -> str:
        """The run over the arms of a comparison, created with the first of them; what somebody changed in it is written again."""
        for shown in self._comparisons(experiment, over.tags[COMPARISON_TAG]):
            if shown.run_id is not None:
                self._write_side_run_again(shown, over)
                return shown.run_id
        return self._create_side_run(experiment, over, start_ms, start_ms)

    def _write_side_run_again(self, shown: SideRun, written: SideRun) -> None:
        assert shown.run_id is not None, "it is there"
        if shown.name != written.name:
            self._client.update_run(shown.run_id, name=written.name)
        for key, value in written.tags.items():
            if shown.tags.get(key) != value:
                self._client.set_tag(shown.run_id, key, value)
        for key in shown.tags.keys() - written.tags.keys():
            if key.startswith("registry.") or key == PARENT:
                self._client.delete_tag(shown.run_id, key)

    def _create_version(self, projection: Projection, *, run_id: str, model_id: str) -> None:
        version = projection.version
        if self._newest(version.name) == 0:
            self._ensure_registered_model(version.name)
        created = self._client.create_model_version(
            version.name,
            version.source,
            run_id=run_id,
            tags=dict(version.tags),
            description=self.description(projection, run_id),
            await_creation_for=0,
            model_id=model_id,
        )
        number = int(created.version)  # an int from the store, text from a server
        if number != version.number:
            text = f"this is {version.name}:{version.number}; MLflow numbered it {number}"
            self._client.set_model_version_tag(version.name, str(number), "registry.drift", text)
            raise DriftFound(text)

    def _ensure_registered_model(self, name: str) -> None:
        if not self._client.search_registered_models(f"name = '{name}'", max_results=1):
            self._client.create_registered_model(name)

    def description(self, projection: Projection, run_id: str) -> str:
        """The description that a version is written with.

        Raises:
            EntryRefused: MLflow does not say which experiment the run is of.
        """
        with refusals():
            experiment = self._experiment(projection.experiment)
        return with_run_link(projection.version.description, experiment.experiment_id, run_id)

    def _version(self, name: str, number: int) -> tuple[str, str | None] | None:
        """Source and `registry.id` of a version in MLflow, or None."""
        with refusals():
            where = f"name = '{name}' and version_number = {number}"
            versions = self._client.search_model_versions(where, max_results=1)
            return (versions[0].source, versions[0].tags.get("registry.id")) if versions else None

    def _newest(self, name: str) -> int:
        versions = self._client.search_model_versions(
            f"name = '{name}'", max_results=1, order_by=["version_number DESC"]
        )
        return int(versions[0].version) if versions else 0

    def _experiment(self, name: str) -> "Experiment":
        if name not in self._experiments:
            self._experiments[name] = self._open_experiment(name)
        return self._experiments[name]

    def _open_experiment(self, name: str) -> "Experiment":
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            # one folder beside the others: in a folder of another experiment are the folders of its runs
            folder = name.replace("/", ".")
            location = f"{ARTIFACT_SCHEME}:/{folder}" if self._route.kind == "store" else None
            try:
                created = self._client.create_experiment(name, artifact_location=location, tags=_experiment_tags(name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._client.get_experiment_by_name(name)  # another machine was first
            return self._client.get_experiment(created)
        if experiment.lifecycle_stage != "active":
            self._client.restore_experiment(experiment.experiment_id)
        return experiment

    def _run_is_there(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _find_model(self, projection: Projection) -> str | None:
        experiment = self._experiment(projection.experiment).experiment_id
        models = self._client.search_logged_models([experiment], _ours(projection), max_results=1)
        return str(models[0].model_id) if models else None

    def _create_model(self, projection: Projection, run_id: str) -> str:
        version = projection.version
        model = self._client.create_logged_model(
            self._experiment(projection.experiment).experiment_id,
            name=version.model_name,
            source_run_id=run_id,
            tags={**_identity(projection), "mlflow.model.isExternal": "true"},
            model_type=version.model_type,
        )
        return str(model.model_id)

    def _log_datasets(self, projection: Projection, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(use.name, use.digest, source_type="registry", source=use.source, profile=use.profile),
                tags=[InputTag(_CONTEXT, use.context)],
            )
            for use in projection.run.datasets
        ]
        if inputs:
            self._client.log_inputs(run_id, datasets=inputs)

    def _write(
        self, location: str, files: tuple[ArtifactFile, ...], *, run_id: str | None = None, model_id: str | None = None
    ) -> dict[str, str]:
        """Put the files of a run or a model where MLflow's server will look for them; the SHA-256 of each, by path."""
        root, parts = self._route.artifact_root, urlsplit(location)
        if root is not None and parts.scheme == ARTIFACT_SCHEME:
            return write_files(root / parts.path.lstrip("/"), files)
        with tempfile.TemporaryDirectory(prefix="registry-mirror-") as folder:
            digests = write_files(Path(folder), files)
            if run_id is not None:
                self._client.log_artifacts(run_id, folder)
            elif model_id is not None:
                self._client.log_model_artifacts(model_id, folder)
            return digests


def _experiment_tags(name: str) -> dict[str, str]:
    """What an experiment is made with: whose runs stand in it, for the head of its page."""
    project = name.removeprefix(EXPERIMENT).removeprefix("/")
    versions = f"the versions of the project {project}" if project else "the versions of the registry"
    tags = {
        _NOTE: f"Runs behind {versions}. A copy to browse: `registry verify` checks what was signed.",
        "mlflow.experimentKind": "custom_model_development",
    }
    return tags | {PROJECT_TAG: project} if project else tags


def _dataset(entry: "DatasetInput") -> tuple[str, str, str, str]:
    """Name, digest, context and source of a data set that a run lists."""
    context = next((tag.value for tag in entry.tags if tag.key == _CONTEXT), "")
    dataset = entry.dataset
    return str(dataset.name), str(dataset.digest), str(context), str(dataset.source)


def _side_run(run: "Run") -> SideRun:
    data = run.data
    return SideRun(str(run.info.run_name or ""), data.tags, data.params, data.metrics, str(run.info.run_id))


def _new_metrics(projection: Projection, run: "Run", model_id: str) -> "list[Metric]":
    """The points MLflow may lack: a key whose newest value is ours already was written by an earlier sync."""
    from mlflow.entities import Metric

    shown = run.data.metrics
    last = {point.key: point.value for point in projection.run.metrics}
    keys = {key for key, value in last.items() if shown.get(key) != value}
    return [
        Metric(
            point.key,
            point.value,
            point.at_ms,
            point.step,
            model_id=model_id if point.final else None,
            dataset_name=point.dataset[0] if point.dataset else None,
            dataset_digest=point.dataset[1] if point.dataset else None,
            run_id=run.info.run_id,
        )
        for point in projection.run.metrics
        if point.key in keys
    ]


def _identity(projection: Projection) -> dict[str, str]:
    version = projection.version
    return {"registry.id": f"{version.name}:{version.number}", "registry.manifest": str(projection.manifest)}


def _ours(projection: Projection) -> str:
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in _identity(projection).items())
