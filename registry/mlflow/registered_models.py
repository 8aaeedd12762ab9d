"""Registered models in MLflow, which are names: their tags, their aliases, and the numbers under each."""

from typing import TYPE_CHECKING

from peft_registry.registry.mlflow.projection import Projection
from peft_registry.registry.mlflow.refusals import refusals

if TYPE_CHECKING:
    from mlflow import MlflowClient


class RegisteredModels:
    """What MLflow keeps of a name."""

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def ensure(self, name: str) -> None:
        """Make the name where it is not there."""
        with refusals():
            if not self._client.search_registered_models(f"name = '{name}'", max_results=1):
                self._client.create_registered_model(name)

    def numbers(self, name: str) -> tuple[int, ...]:
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

    def newest(self, name: str) -> int:
        """The greatest of these numbers; 0 where there is none."""
        with refusals():
            versions = self._client.search_model_versions(
                f"name = '{name}'", max_results=1, order_by=["version_number DESC"]
            )
        return int(versions[0].version) if versions else 0

    def tags(self, name: str) -> dict[str, str]:
        """The tags of a name; none where it is gone."""
        with refusals():
            models = self._client.search_registered_models(f"name = '{name}'", max_results=1)
        return dict(models[0].tags) if models else {}

    def refresh_tags(self, projection: Projection) -> None:
        """Write what the list of models shows of a name: that of its newest version."""
        tags, name = dict(projection.version.name_tags), projection.version.name
        if not tags:
            return
        shown = self.tags(name)
        with refusals():
            for key, value in tags.items():
                if shown.get(key) != value:
                    self._client.set_registered_model_tag(name, key, value)
            for key in shown.keys() - tags.keys():
                if key.startswith("registry."):
                    self._client.delete_registered_model_tag(name, key)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Have an alias name a version."""
        with refusals():
            self._client.set_registered_model_alias(name, alias, str(number))

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""
        with refusals():
            self._client.delete_registered_model_alias(name, alias)
