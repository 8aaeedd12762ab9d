"""Model versions in MLflow, each with the number that is ours. MLflow numbers by itself: another number is drift, and reported."""

from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.experiments import Experiments
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX, Projection
from peft_registry.registry.mlflow.refusals import DriftFound, refusals
from peft_registry.registry.mlflow.registered_models import RegisteredModels
from peft_registry.registry.mlflow.written_tags import linked_description

if TYPE_CHECKING:
    from mlflow import MlflowClient


class ModelVersions:
    """The versions of registered models."""

    def __init__(self, client: "MlflowClient", *, experiments: Experiments, names: RegisteredModels) -> None:
        self._client = client
        self._experiments = experiments
        self._names = names

    def holds(self, name: str, number: int) -> bool:
        """True when MLflow has this version and it is one of ours."""
        shown = self._source_and_id(name, number)
        return shown is not None and shown[0].startswith(SOURCE_PREFIX) and shown[1] == f"{name}:{number}"

    def has_own_number(self, projection: Projection) -> bool:
        """Whether an interrupted sync made this version already; asked before anything is written for it.

        Raises:
            DriftFound: its number is that of somebody else's version, or MLflow is further than we are.
        """
        version = projection.version
        shown = self._source_and_id(version.name, version.number)
        if shown is not None:
            if shown[0] != version.source:
                raise DriftFound(f"version {version.number} of {version.name} in MLflow has the source {shown[0]!r}")
            return True
        newest = self._names.newest(version.name)
        if newest >= version.number:
            raise DriftFound(f"{version.name} has a version {newest} in MLflow before {version.name}:{version.number}")
        return False

    def ensure(self, projection: Projection, *, run_id: str, model_id: str, is_there: bool) -> None:
        """Create the registered version, unless it is there; MLflow must give it our number."""
        if is_there:
            self.refresh(projection, run_id=run_id)
            return
        with refusals():
            self._create(projection, run_id=run_id, model_id=model_id)
        self._names.refresh_tags(projection)

    def refresh(self, projection: Projection, *, run_id: str) -> None:
        """Write tags and description of a version that is there."""
        version = projection.version
        shown = self._source_and_id(version.name, version.number)
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
            description = self._description(projection, run_id)
            if current.description != description:
                self._client.update_model_version(version.name, str(version.number), description)
        self._names.refresh_tags(projection)

    def _create(self, projection: Projection, *, run_id: str, model_id: str) -> None:
        version = projection.version
        if self._names.newest(version.name) == 0:
            self._names.ensure(version.name)
        created = self._client.create_model_version(
            version.name,
            version.source,
            run_id=run_id,
            tags=dict(version.tags),
            description=self._description(projection, run_id),
            await_creation_for=0,
            model_id=model_id,
        )
        number = int(created.version)  # an int from the store, text from a server
        if number != version.number:
            text = f"this is {version.name}:{version.number}; MLflow numbered it {number}"
            self._client.set_model_version_tag(version.name, str(number), "registry.drift", text)
            raise DriftFound(text)

    def _description(self, projection: Projection, run_id: str) -> str:
        experiment = self._experiments.id_of(projection.experiment)
        return linked_description(projection, experiment=experiment, run_id=run_id)

    def _source_and_id(self, name: str, number: int) -> tuple[str, str | None] | None:
        """Source and `registry.id` of a version in MLflow, or None."""
        with refusals():
            where = f"name = '{name}' and version_number = {number}"
            versions = self._client.search_model_versions(where, max_results=1)
            return (versions[0].source, versions[0].tags.get("registry.id")) if versions else None
