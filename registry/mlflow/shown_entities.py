"""Reading back what MLflow shows now of a version: the run, the logged model and the model version, as values to be compared."""

from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.comparing import ShownModel, ShownRun, ShownVersion
from peft_registry.registry.mlflow.entity_files import EntityFiles
from peft_registry.registry.mlflow.refusals import answer_or_none, refusals
from peft_registry.registry.mlflow.runs import DATASET_CONTEXT

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput


class ShownEntities:
    """The entities of versions as they are now; None for each that is gone."""

    def __init__(self, client: "MlflowClient", files: EntityFiles) -> None:
        self._client = client
        self._files = files

    def version(self, name: str, number: int) -> ShownVersion | None:
        """A registered version as it is now; None where it is gone."""
        with refusals():
            answers = answer_or_none(
                lambda: (
                    self._client.get_model_version(name, str(number)),
                    # MLflow's database has a second column for it, and loads from that; no other call shows it
                    self._client.get_model_version_download_uri(name, str(number)),
                )
            )
        if answers is None:
            return None
        version, loads_from = answers
        aliases = frozenset(version.aliases)
        return ShownVersion(
            version.source, loads_from, version.run_id, version.tags, version.description or "", aliases
        )

    def run(self, run_id: str) -> ShownRun | None:
        """A run as it is now, with every point of its metrics and the digests of its files; None where it is gone."""
        with refusals():
            run = answer_or_none(lambda: self._client.get_run(run_id))
            if run is None:
                return None
            metrics = {
                key: [(point.step, point.value) for point in self._client.get_metric_history(run_id, key)]
                for key in run.data.metrics
            }
            files = self._files.digests_of_run(run_id, run.info.artifact_uri)
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

    def model(self, model_id: str) -> ShownModel | None:
        """A logged model as it is now, with the digests of its files; None where it is gone."""
        with refusals():
            model = answer_or_none(lambda: self._client.get_logged_model(model_id))
            if model is None:
                return None
            metrics = frozenset((point.key, point.value) for point in model.metrics or ())
            return ShownModel(model.tags, self._files.digests_of_model(model.artifact_location), metrics)


def _dataset(entry: "DatasetInput") -> tuple[str, str, str, str]:
    """Name, digest, context and source of a data set that a run lists."""
    context = next((tag.value for tag in entry.tags if tag.key == DATASET_CONTEXT), "")
    dataset = entry.dataset
    return str(dataset.name), str(dataset.digest), str(context), str(dataset.source)
