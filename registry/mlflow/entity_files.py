"""The small files of runs and logged models, written and read where MLflow's server looks for them."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from peft_registry.registry.mlflow.own_files import digests_below, write_files
from peft_registry.registry.mlflow.projection import ArtifactFile
from peft_registry.registry.mlflow.route import ARTIFACT_SCHEME, MirrorRoute

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SCRATCH_PREFIX = "registry-mirror-"


class EntityFiles:
    """The files of runs and logged models, each below the location that MLflow names for it."""

    def __init__(self, client: "MlflowClient", route: MirrorRoute) -> None:
        self._client = client
        self._route = route

    def folder(self, location: str) -> Path | None:
        """The folder of a location in the home's own store; None where only MLflow's client reaches it."""
        root, parts = self._route.artifact_root, urlsplit(location)
        if root is None or parts.scheme != ARTIFACT_SCHEME:
            return None
        return root / parts.path.lstrip("/")

    def write(
        self, location: str, files: tuple[ArtifactFile, ...], *, run_id: str | None = None, model_id: str | None = None
    ) -> dict[str, str]:
        """Put the files of a run or a model at its location; the SHA-256 of each, by path."""
        folder = self.folder(location)
        if folder is not None:
            return write_files(folder, files)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as scratch:
            digests = write_files(Path(scratch), files)
            if run_id is not None:
                self._client.log_artifacts(run_id, scratch)
            elif model_id is not None:
                self._client.log_model_artifacts(model_id, scratch)
            return digests

    def digests_of_run(self, run_id: str, location: str) -> dict[str, str]:
        """The SHA-256 of every file of a run, by path."""
        folder = self.folder(location)
        if folder is not None:
            return digests_below(folder)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as scratch:
            return digests_below(Path(self._client.download_artifacts(run_id, "", scratch)))

    def digests_of_model(self, location: str) -> dict[str, str]:
        """The SHA-256 of every file of a logged model, by path."""
        from mlflow.artifacts import download_artifacts

        folder = self.folder(location)
        if folder is not None:
            return digests_below(folder)
        with tempfile.TemporaryDirectory(prefix=_SCRATCH_PREFIX) as scratch:
            return digests_below(Path(download_artifacts(location, dst_path=scratch, tracking_uri=self._route.uri)))
