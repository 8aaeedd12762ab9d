"""MLflow's way to the bytes behind `registry://sha256/<manifest digest>`: verified, or not at all.

MLflow imports this module through the `mlflow.artifact_repository` entry point, in its own process: it imports mlflow at the
top, and must stay light. The rules are in `verified_files`, and the layout in which MLflow gets the files, `MLmodel` among them,
is in `model_layout`. What a run or a logged model shows besides (`registry://shown/…`) is in `shown_files`.
"""

import logging
import os
import platform
import shutil
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mlflow.entities import FileInfo
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry
from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository
from mlflow.store.artifact.utils.models import _parse_model_uri
from mlflow.version import VERSION

from peft_registry.registry.mlflow.home_address import HOME_VARIABLE, SCHEME, SHOWN_FILES, home_of
from peft_registry.registry.mlflow.model_layout import LayoutReaders, NotLoadableByMlflow
from peft_registry.registry.mlflow.verified_files import ManifestReader, NoSuchFile, VerifiedFiles, parse_source
from peft_registry.schemas.errors import InputRefused, KnownError
from peft_registry.schemas.identity import Digest

if TYPE_CHECKING:
    from peft_registry.registry.mlflow.shown_registry import ShownRegistry

_logger = logging.getLogger(__name__)
_SHOWN = f"{SHOWN_FILES}/"
_VERSIONS = LayoutReaders(mlflow=VERSION, python=platform.python_version())


def repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> ArtifactRepository:
    """What reads below an address: a signed manifest, or what runs and logged models show."""
    is_shown = f"{artifact_uri.rstrip('/')}/".startswith(_SHOWN)
    made_by = ShownArtifactRepository if is_shown else VerifiedArtifactRepository
    return made_by(artifact_uri, tracking_uri=tracking_uri, registry_uri=registry_uri)


class _ReadOnlyRepository(ArtifactRepository):  # type: ignore[misc]  # mlflow has no types that mypy follows
    """A repository that MLflow writes nothing into."""

    def log_artifact(self, local_file: str, artifact_path: str | None = None) -> NoReturn:  # noqa: ARG002 - MLflow's signature
        """Refused."""
        _refuse("written")

    def log_artifacts(self, local_dir: str, artifact_path: str | None = None) -> NoReturn:  # noqa: ARG002 - MLflow's signature
        """Refused."""
        _refuse("written")

    def delete_artifacts(self, artifact_path: str | None = None) -> NoReturn:  # noqa: ARG002 - MLflow's signature
        """Refused."""
        _refuse("deleted")

    def _home(self) -> str | None:
        """The home that whoever asks names, else REGISTRY_HOME, else what MLflow was set to; None: it is looked for upwards."""
        named = os.environ.get(HOME_VARIABLE)
        asked = (self.registry_uri, self.tracking_uri, *(() if named else (_registry_uri(), _tracking_uri())))
        for uri in asked:
            if uri and uri.startswith(f"{SCHEME}:"):
                return home_of(uri)
        return named


class ShownArtifactRepository(_ReadOnlyRepository):
    """The report, the tables and the card of runs and logged models, read-only, each made when it is asked for."""

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """The entries of a folder; empty for a file."""
        from peft_registry.registry.mlflow import shown_files

        below = f"{self._below}/" if self._below else ""
        try:
            with self._registry.reading() as reading:
                entries = shown_files.entries(reading, f"{below}{path or ''}")
        except KnownError as error:
            raise _translated(error) from error
        return [FileInfo(entry.path.removeprefix(below), entry.size is None, entry.size) for entry in entries]

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        from peft_registry.registry.mlflow import shown_files

        below = f"{self._below}/" if self._below else ""
        try:
            with self._registry.reading() as reading:
                data = shown_files.content(reading, f"{below}{remote_file_path}")
        except KnownError as error:
            raise _translated(error) from error
        Path(local_path).write_bytes(data)

    @property
    def _below(self) -> str:
        return f"{self.artifact_uri.rstrip('/')}/".removeprefix(_SHOWN).strip("/")

    @property
    def _registry(self) -> "ShownRegistry":
        from peft_registry.registry.mlflow.shown_homes import shown_home

        return shown_home(self._home())


class VerifiedArtifactRepository(_ReadOnlyRepository):
    """The files of one signed manifest, read-only. Everything is resolved when it is asked for: MLflow may split the
    digest off the URI and give it as the first part of each path."""

    def list_artifacts(self, path: str | None = None) -> list[FileInfo]:
        """The entries of a folder; empty for a file."""
        try:
            place = parse_source(self.artifact_uri, path)
            entries = self._files(place.manifest).entries(place.path)
        except KnownError as error:
            raise _translated(error) from error
        return [FileInfo(place.shown(entry.path), entry.size is None, entry.size) for entry in entries]

    def download_artifacts(self, artifact_path: str | None, dst_path: str | None = None) -> str:
        """A private copy below `dst_path`, a folder that is there, or below a new one; where it fails, nothing is left of it.

        A whole version comes as the folder that MLflow loads, and is refused where MLflow cannot load it. Its single files
        can be had all the same.
        """
        try:
            place = parse_source(self.artifact_uri, artifact_path)
            if not place.path:
                self._require_loadable(place.manifest)
        except KnownError as error:
            raise _translated(error) from error
        if dst_path and not Path(dst_path).is_dir():
            return str(super().download_artifacts(artifact_path, dst_path))  # MLflow's own words for that
        # what is copied is told by its whole path, whatever the caller wrote
        destination = None if not dst_path else Path(dst_path).absolute()
        prefix = "registry-" if destination is None else ".registry-"
        scratch = tempfile.mkdtemp(prefix=prefix, dir=destination)
        try:
            copied = super().download_artifacts(artifact_path, scratch)
            self._require_usable(place.manifest)
            if destination is None:
                return str(copied)
            if Path(copied).is_dir():
                _require_free(Path(scratch), destination)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        _move_into(Path(scratch), destination)
        return str(destination / Path(copied).relative_to(scratch))

    def _require_loadable(self, manifest: Digest) -> None:
        files = self._files(manifest)
        if files.refusal is not None:
            raise files.refusal
        if files.note is not None:
            _logger.warning("%s was %s", manifest.short, files.note)

    def _require_usable(self, manifest: Digest) -> None:
        """Again, once everything is copied: somebody may have recalled it meanwhile."""
        try:
            self._files(manifest).require_usable()
        except KnownError as error:
            raise _translated(error) from error

    def _download_file(self, remote_file_path: str, local_path: str) -> None:
        try:
            place = parse_source(self.artifact_uri, remote_file_path)
            self._files(place.manifest).copy(place.path, Path(local_path))
        except KnownError as error:
            raise _translated(error) from error

    @cached_property
    def _verified(self) -> dict[Digest, VerifiedFiles]:
        return {}

    def _files(self, manifest: Digest) -> VerifiedFiles:
        """Verified once for each repository object, which MLflow makes anew for each request."""
        if manifest not in self._verified:
            self._verified[manifest] = VerifiedFiles(_reader(self._home()), manifest, _VERSIONS)
        return self._verified[manifest]


class VerifiedModelsRepository(ModelsArtifactRepository):  # type: ignore[misc]  # mlflow has no types that mypy follows
    """`models:/NAME@alias` and `models:/NAME/3`: what MLflow makes of them, where this registry says the same of its names."""

    def __init__(self, artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        super().__init__(artifact_uri, tracking_uri, registry_uri)
        # the source that will be read, and not what a second question would be answered
        _require_ours(artifact_uri, self.model_name, self.model_version, self.repo.artifact_uri)


def _checked_underlying_uri(uri: str) -> str:
    """Where MLflow says that the files of a `models:/…` URI are, where this registry says the same of its names."""
    name, version, source = ModelsArtifactRepository._get_model_uri_infos(uri)
    _require_ours(uri, name, version, source)
    return str(source)


def _require_ours(uri: str, name: str | None, version: str | None, source: str) -> None:
    if name is None or version is None:  # the id of a logged model, of which only MLflow knows
        return
    # whatever registry is named to this repository: MLflow asks this one what a name is
    if (_registry_uri() or _tracking_uri() or "").startswith(f"{SCHEME}:"):
        return  # our own store answered, from the signed log
    from peft_registry.registry.mlflow.whose_alias import LATEST, NamedVersion, refusal_of

    asked = _parse_model_uri(uri)
    alias = asked.alias if asked.version or asked.stage or asked.alias else LATEST
    refusal = refusal_of(NamedVersion(name, alias, int(version), source))
    if refusal is not None:
        raise _translated(refusal)


def _reader(home: str | None) -> ManifestReader:
    """The registry of a home, or the user's own `.registry` found upwards."""
    from peft_registry.registry.homes.known_homes import state_folder
    from peft_registry.registry.mlflow.home_reader import open_reader

    return open_reader(home, state=state_folder(os.environ))


def _registry_uri() -> str | None:
    from mlflow.tracking._model_registry.utils import _get_registry_uri_from_context

    uri = _get_registry_uri_from_context()
    return None if uri is None else str(uri)


def _tracking_uri() -> str | None:
    from mlflow.tracking._tracking_service.utils import get_tracking_uri, is_tracking_uri_set

    return str(get_tracking_uri()) if is_tracking_uri_set() else None


def _require_free(scratch: Path, folder: Path) -> None:
    """Raise where something has a name in a folder that a copy needs: a loader would take what lies there for a part of it."""
    from peft_registry.registry.use_cases.pull import DestinationTaken

    for path in sorted(scratch.iterdir()):
        if (folder / path.name).exists() or (folder / path.name).is_symlink():
            raise _translated(DestinationTaken(folder / path.name))


def _move_into(scratch: Path, folder: Path) -> None:
    """Move every file of a folder to its place in another of the same file system, and remove the first."""
    for path in sorted(scratch.rglob("*")):
        target = folder / path.relative_to(scratch)
        if path.is_dir():
            target.mkdir(exist_ok=True)
        else:
            path.replace(target)
    shutil.rmtree(scratch)


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
    lines = f":\n\n{error.lines}\n" if isinstance(error, NotLoadableByMlflow) and error.lines else ""
    return MlflowException(f"{error} — {error.fix}{lines}", code)


# MLflow has filled in its own schemes when it loads us, so that this one replaces its own
_artifact_repository_registry.register("models", VerifiedModelsRepository)
# `mlflow.transformers.load_model` asks a second time, past its schemes, where `MLmodel` is; and what stands in that file decides
# which base is loaded. An MLflow that answered that question otherwise would have another model loaded than was checked
ModelsArtifactRepository.get_underlying_uri = staticmethod(_checked_underlying_uri)
