"""Logged models in MLflow: what stands behind each version, with its small files; the weights are elsewhere."""

import json
from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.entity_files import EntityFiles
from peft_registry.registry.mlflow.experiments import Experiments
from peft_registry.registry.mlflow.projection import Projection
from peft_registry.registry.mlflow.refusals import refusals
from peft_registry.registry.mlflow.route import MirrorRoute
from peft_registry.registry.mlflow.written_tags import identity_filter, identity_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

_VERSIONS = "mlflow.modelVersions"


class LoggedModels:
    """The logged model of each version."""

    def __init__(
        self, client: "MlflowClient", route: MirrorRoute, *, experiments: Experiments, files: EntityFiles
    ) -> None:
        self._client = client
        self._route = route
        self._experiments = experiments
        self._files = files

    def ensure(self, projection: Projection, run_id: str, known: str | None) -> str:
        """The id of the logged model, with its small files."""
        with refusals():
            model_id = known or self._found(projection) or self._created(projection, run_id)
            model = self._client.get_logged_model(model_id)
            self._files.write(model.artifact_location, projection.version.artifacts, model_id=model_id)
            # MLflow's server leaves this mark, by which the page of a model names its version; its client alone does not
            named = json.dumps([{"name": projection.version.name, "version": projection.version.number}])
            if self._route.kind == "store" and model.tags.get(_VERSIONS) != named:
                self._client.set_logged_model_tags(model_id, {_VERSIONS: named})
            if known is not None and (changed := identity_tags(projection).items() - model.tags.items()):
                self._client.set_logged_model_tags(model_id, dict(changed))
            if str(model.status) != "READY":
                self._client.finalize_logged_model(model_id, "READY")
            return model_id

    def _found(self, projection: Projection) -> str | None:
        experiment = self._experiments.id_of(projection.experiment)
        models = self._client.search_logged_models([experiment], identity_filter(projection), max_results=1)
        return str(models[0].model_id) if models else None

    def _created(self, projection: Projection, run_id: str) -> str:
        version = projection.version
        model = self._client.create_logged_model(
            self._experiments.id_of(projection.experiment),
            name=version.model_name,
            source_run_id=run_id,
            tags={**identity_tags(projection), "mlflow.model.isExternal": "true"},
            model_type=version.model_type,
        )
        return str(model.model_id)
