"""The files of runs and logged models by path: the audit report, tables of what was evaluated, the model card. No mlflow here.

Each is made when somebody asks for it, from what was signed. Weights are not among them: a version's own files are read by its
manifest (`verified_files.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from peft_registry.registry.mlflow.projection import ArtifactFile
from peft_registry.registry.mlflow.shown_registry import RegistryReading
from peft_registry.schemas.errors import NotFound

_ARTIFACTS = "artifacts"
_MODELS = "models"


class NoShownFile(NotFound):
    reference = "mlflow-file-unknown"
    what = "there is no file {path!q} here"
    why = "the runs and models of this registry have a report, tables and a card, where they were made"
    fix = "list the folder first"

    path: str


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file with its size in bytes, or a folder (None)."""

    path: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Owner:
    """A run or a logged model, and a path below its files; '' is all of them."""

    run_id: str | None
    model_id: str | None
    prefix: str  # what stands before the path
    path: str


def owner_of(path: str) -> Owner | None:
    """Whose files a path below the root means; None where it is above those of any run or model."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case [experiment, "models", model_id, "artifacts", *rest]:
            return Owner(None, model_id, f"{experiment}/{_MODELS}/{model_id}/{_ARTIFACTS}/", "/".join(rest))
        case [experiment, run_id, "artifacts", *rest]:
            return Owner(run_id, None, f"{experiment}/{run_id}/{_ARTIFACTS}/", "/".join(rest))
        case _:
            return None


def entries(reading: RegistryReading, path: str) -> list[ShownFile]:
    """Files and folders directly in a folder, each by its path below the root; nothing for a file.

    Raises:
        KnownError: what the files are made from could not be read, or is not what was signed.
    """
    owner = owner_of(path)
    return [] if owner is None else sorted(_entries(reading, owner), key=lambda entry: entry.path)


def _entries(reading: RegistryReading, owner: Owner) -> Iterator[ShownFile]:
    folder = f"{owner.path}/" if owner.path else ""
    folders = set()
    for file in _files(reading, owner):
        if not file.path.startswith(folder):
            continue
        name, _, below = file.path.removeprefix(folder).partition("/")
        if below:
            folders.add(name)
        else:
            yield ShownFile(f"{owner.prefix}{folder}{name}", len(file.content.make()))
    yield from (ShownFile(f"{owner.prefix}{folder}{name}", None) for name in folders)


def content(reading: RegistryReading, path: str) -> bytes:
    """The bytes of a file.

    Raises:
        NoShownFile: there is none.
        KnownError: what it is made from could not be read, or is not what was signed.
    """
    owner = owner_of(path)
    for file in () if owner is None else _files(reading, owner):
        if owner is not None and file.path == owner.path:
            return file.content.make()
    raise NoShownFile(path)


def _files(reading: RegistryReading, owner: Owner) -> tuple[ArtifactFile, ...]:
    if owner.run_id is not None:
        return reading.run_files(owner.run_id)
    return reading.model_files(owner.model_id or "")
