"""Experiments in MLflow: one for each project, and in each a mark of the registry that writes to it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.projection import EXPERIMENT, PROJECT_TAG
from peft_registry.registry.mlflow.refusals import refusals
from peft_registry.registry.mlflow.route import ARTIFACT_SCHEME, MirrorRoute
from peft_registry.registry.mlflow.written_tags import NOTE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment


@dataclass(frozen=True, slots=True)
class MarkedExperiment:
    """An experiment, which one it is, and our mark in it."""

    name: str
    identity: str
    mark: str | None


class Experiments:
    """The experiments by name: each is looked for once, and made where there is none."""

    def __init__(self, client: "MlflowClient", route: MirrorRoute) -> None:
        self._client = client
        self._route = route
        self._known: dict[str, Experiment] = {}

    def named(self, name: str) -> "Experiment":
        """The experiment of a name."""
        if name not in self._known:
            with refusals():
                self._known[name] = self._opened(name)
        return self._known[name]

    def id_of(self, name: str) -> str:
        """What MLflow calls the experiment of a name."""
        return str(self.named(name).experiment_id)

    def marked(self, name: str, tag: str) -> MarkedExperiment:
        """Which experiment has a name: its number in MLflow and when it was made, and the mark in it."""
        experiment = self.named(name)
        identity = f"{experiment.experiment_id} of {experiment.creation_time}"
        return MarkedExperiment(name, identity, experiment.tags.get(tag))

    def mark(self, name: str, tag: str, mark: str) -> None:
        """Leave a mark in an experiment in the place of the one before."""
        with refusals():
            self._client.set_experiment_tag(self.id_of(name), tag, mark)

    def _opened(self, name: str) -> "Experiment":
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            # one folder beside the others: in a folder of another experiment are the folders of its runs
            folder = name.replace("/", ".")
            location = f"{ARTIFACT_SCHEME}:/{folder}" if self._route.kind == "store" else None
            try:
                created = self._client.create_experiment(name, artifact_location=location, tags=_head_tags(name))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._client.get_experiment_by_name(name)  # another machine was first
            return self._client.get_experiment(created)
        if experiment.lifecycle_stage != "active":
            self._client.restore_experiment(experiment.experiment_id)
        return experiment


def _head_tags(name: str) -> dict[str, str]:
    """What an experiment is made with: whose runs stand in it, for the head of its page."""
    project = name.removeprefix(EXPERIMENT).removeprefix("/")
    versions = f"the versions of the project {project}" if project else "the versions of the registry"
    tags = {
        NOTE: f"Runs behind {versions}. A copy to browse: `registry verify` checks what was signed.",
        "mlflow.experimentKind": "custom_model_development",
    }
    return tags | {PROJECT_TAG: project} if project else tags
