"""MLflow's way to the bytes behind `registry://sha256/<manifest digest>`: verified, or not at all.

MLflow imports this module through the `mlflow.artifact_repository` entry point, in its own process, so it is the one
module here that imports mlflow at the top; it must stay light. The rules are in `verified_files`. In this release the
files are listed as the manifest has them; MLflow's own layout (`MLmodel`) is not made up around them.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository

from peft_registry.registry.mlflow.verified_files import ManifestReader, NoSuchFile, VerifiedFiles, parse_source
from peft_registry.schemas.errors import InputRefused, KnownError
from peft_registry.schemas.identity import Digest


class VerifiedArtifactRepository(ArtifactRepository):  # type: ignore[misc]  # mlflow has no types that mypy follows
    """The files of one signed manifest, read-only. Everything is resolved when it is asked for: MLflow may split the
    digest off the URI and give it as the first part of each path."""

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """The entries of a folder; empty for a file."""
        try:
            manifest, inner, prefix = parse_source(self.artifact_uri, path)
            entries = self._files(manifest).entries(inner)
        except KnownError as error:
            raise _translated(error) from error
        return [FileInfo(f"{prefix}{entry.path}", entry.size is None, entry.size) for entry in entries]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        try:
            manifest, inner, _ = parse_source(self.artifact_uri, remote_file_path)
            self._files(manifest).copy(inner, Path(local_path))
        except KnownError as error:
            raise _translated(error) from error

    @cached_property
    def _verified(self) -> dict[Digest, VerifiedFiles]:
        return {}

    def _files(self, manifest: Digest) -> VerifiedFiles:
        """Verified once for each repository object, which MLflow makes anew for each request."""
        if manifest not in self._verified:
            self._verified[manifest] = VerifiedFiles(_reader(), manifest)
        return self._verified[manifest]

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> NoReturn:  # noqa: ARG002 - MLflow's signature
        _refuse("written")

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> NoReturn:  # noqa: ARG002 - MLflow's signature
        _refuse("written")

    def delete_artifacts(self, artifact_path: str | None = None) -> NoReturn:  # noqa: ARG002 - MLflow's signature
        _refuse("deleted")


def _reader() -> ManifestReader:
    """The registry of this process: REGISTRY_HOME, or the user's own `.registry` found upwards."""
    from peft_registry.registry.homes.known_homes import state_folder
    from peft_registry.registry.mlflow.home_reader import open_reader

    return open_reader(os.environ.get("REGISTRY_HOME"), state=state_folder(os.environ))


def _refuse(what: str) -> NoReturn:
    raise MlflowException(
        f"what is registered cannot be {what} through MLflow; use the `registry` command", PERMISSION_DENIED
    )


def _translated(error: KnownError) -> MlflowException:
    code = PERMISSION_DENIED
    if isinstance(error, NoSuchFile):
        code = RESOURCE_DOES_NOT_EXIST
    elif isinstance(error, InputRefused):
        code = INVALID_PARAMETER_VALUE
    return MlflowException(f"{error} — {error.fix}", code)
