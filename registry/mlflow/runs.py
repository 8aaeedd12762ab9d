"""The runs of versions in MLflow: how each was made, with its parameters, curves, data sets and pages."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.entity_files import EntityFiles
from peft_registry.registry.mlflow.experiments import Experiments
from peft_registry.registry.mlflow.own_files import delete_metrics
from peft_registry.registry.mlflow.projection import FORM_TAG, Projection
from peft_registry.registry.mlflow.refusals import answer_or_none, refusals
from peft_registry.registry.mlflow.route import MirrorRoute
from peft_registry.registry.mlflow.side_runs import PARENT
from peft_registry.registry.mlflow.trials_and_comparisons import SideRuns
from peft_registry.registry.mlflow.written_tags import identity_filter, identity_tags, run_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

DATASET_CONTEXT = "mlflow.data.context"  # what a data set was used for


class Runs:
    """The run of each version."""

    def __init__(
        self,
        client: "MlflowClient",
        route: MirrorRoute,
        *,
        experiments: Experiments,
        files: EntityFiles,
        side_runs: SideRuns,
    ) -> None:
        self._client = client
        self._route = route
        self._experiments = experiments
        self._files = files
        self._side_runs = side_runs

    def ensure(self, projection: Projection, known: str | None) -> str:
        """The id of the version's run, created when it is not there."""
        with refusals():
            experiment = self._experiments.id_of(projection.experiment)
            if known is not None and self._is_there(known):
                return known
            left = self._client.search_runs([experiment], identity_filter(projection), max_results=1)
            if left:
                return str(left[0].info.run_id)
            run = self._client.create_run(
                experiment,
                start_time=projection.run.start_ms,
                run_name=projection.run.name,
                tags=identity_tags(projection),
            )
            return str(run.info.run_id)

    def fill(
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
        with refusals():
            run = self._client.get_run(run_id)
            self._log_values(projection, run, model_id)
            above = self._side_runs.ensure_run_above(projection, run.info.experiment_id)
            if above is not None:
                self._client.set_tag(run_id, PARENT, above)
            self._side_runs.log_trials(projection, run_id=run_id, experiment=run.info.experiment_id)
            self._log_datasets(projection, run_id)
            self._log_models(projection, run, model_id, parent_models)
            files = tuple(
                file for file in projection.run.artifacts if written.get(file.path) != str(file.content.identity)
            )
            digests = self._files.write(run.info.artifact_uri, files, run_id=run_id) if files else {}
            if run.info.status != "FINISHED":
                self._client.set_terminated(run_id, "FINISHED", end_time=projection.run.end_ms)
            if run.info.run_name != projection.run.name:
                self._client.update_run(run_id, name=projection.run.name)
            return digests

    def _is_there(self, run_id: str) -> bool:
        run = answer_or_none(lambda: self._client.get_run(run_id))
        return run is not None and bool(run.info.lifecycle_stage == "active")

    def _log_values(self, projection: Projection, run: "Run", model_id: str) -> None:
        """Write tags, parameters and points of metrics."""
        from mlflow.entities import Param, RunTag

        run_id = run.info.run_id
        experiment = self._experiments.id_of(projection.experiment)
        written = run_tags(projection, experiment=experiment, run_id=run_id)
        tags = [RunTag(key, value) for key, value in written.items()]
        params = [Param(key, value) for key, value in projection.run.params]
        self._take_away_earlier_form(run, projection)
        self._client.log_batch(run_id, metrics=_new_metrics(projection, run, model_id), params=params, tags=tags)

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

    def _log_datasets(self, projection: Projection, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(use.name, use.digest, source_type="registry", source=use.source, profile=use.profile),
                tags=[InputTag(DATASET_CONTEXT, use.context)],
            )
            for use in projection.run.datasets
        ]
        if inputs:
            self._client.log_inputs(run_id, datasets=inputs)

    def _log_models(self, projection: Projection, run: "Run", model_id: str, parent_models: tuple[str, ...]) -> None:
        """Link the logged models that the run took, and the one that it made."""
        from mlflow.entities import LoggedModelInput, LoggedModelOutput

        known_inputs = {model.model_id for model in (run.inputs.model_inputs if run.inputs else ())}
        if missing := [parent for parent in parent_models if parent not in known_inputs]:
            self._client.log_inputs(run.info.run_id, models=[LoggedModelInput(model_id=parent) for parent in missing])
        known_outputs = {model.model_id for model in (run.outputs.model_outputs if run.outputs else ())}
        if model_id not in known_outputs:
            step = max((point.step for point in projection.run.metrics), default=0)
            self._client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id=model_id, step=step)])


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
