"""Links in the cache that clients of the Hugging Face Hub share: where one leads, if it stays inside its repository.

The cache keeps the bytes of a repository once, under their digest, and each snapshot of it is a folder of links to them:

    models--owner--name/blobs/<SHA-256, or git's SHA-1>
    models--owner--name/snapshots/<commit>/config.json → ../../blobs/<…>

What is fetched in the chunks of Xet is kept once for all repositories, and its name among the blobs is a second link:

    models--owner--name/blobs/<SHA-256> → ../../blobs/<first two digits>/<Xet's hash>

Such a link is read as the file that it leads to. Every other link is what it always was.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from peft_registry.schemas.hub_names import COMMIT

_REPOSITORY = re.compile(r"(models|datasets)--([^/]+?)--([^/]+)\Z")
_BLOB = re.compile(r"(?:[0-9a-f]{64}|[0-9a-f]{40})\Z")
_XET_HASH = re.compile(r"[0-9a-f]{64}\Z")
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """A snapshot in a cache: the kind, the name (owner/name) and the commit (40 hex digits) of the repository that it is of."""

    kind: Literal["model", "dataset"]
    repository: str
    commit: str

    @classmethod
    def of(cls, folder: Path) -> "HubSnapshot | None":
        """What a folder is a snapshot of; None where it is not a snapshot."""
        place = Path(os.path.normpath(folder.absolute()))
        repository = _REPOSITORY.match(place.parent.parent.name)
        if repository is None or place.parent.name != _SNAPSHOTS or not COMMIT.match(place.name):
            return None
        kind, owner, name = repository.groups()
        return cls("model" if kind == "models" else "dataset", f"{owner}/{name}", place.name)


def name_of_folder(folder: Path) -> str:
    """What people call a folder: of a snapshot the repository's name without its owner, of any other its own name."""
    snapshot = HubSnapshot.of(folder)
    return folder.resolve().name if snapshot is None else snapshot.repository.partition("/")[2]


def linked_file(path: Path) -> Path | None:
    """The file whose bytes a link of the cache stands for: the link of a snapshot, or a blob that is a link itself.

    None for a link that leads out of its repository and the store of its cache, and for anything else.
    """
    blob = path if _is_blob(path) else blob_of(path)
    if blob is None or not blob.is_symlink():
        return blob
    return _stored(blob)


def blob_of(path: Path) -> Path | None:
    """The blob that the link of a snapshot leads to; None for a link that leads out of its repository, and for anything else.

    Its name is the digest of the bytes. It may be a link itself: `linked_file` has where the bytes lie.
    """
    place = Path(os.path.normpath(path.absolute()))
    repository = _repository_of(place)
    if repository is None:
        return None
    try:
        target = Path(os.path.normpath(place.parent / place.readlink()))
        folder = (repository / _BLOBS).lstat()
    except (OSError, ValueError):
        return None
    leads_inside = target.parent == repository / _BLOBS and _BLOB.match(target.name)
    return target if leads_inside and stat.S_ISDIR(folder.st_mode) else None


def _is_blob(path: Path) -> bool:
    repository = path.parent.parent
    return path.parent.name == _BLOBS and bool(_BLOB.match(path.name) and _REPOSITORY.match(repository.name))


def _stored(blob: Path) -> Path | None:
    """The file in the store of the cache that a blob leads to."""
    store = Path(os.path.normpath(blob.absolute())).parent.parent.parent / _BLOBS
    try:
        target = Path(os.path.normpath(blob.absolute().parent / blob.readlink()))
        folders = [store.lstat(), target.parent.lstat()]
    except (OSError, ValueError):
        return None
    leads_inside = target.parent.parent == store and target.parent.name == target.name[:2]
    is_store = leads_inside and _XET_HASH.match(target.name) and all(stat.S_ISDIR(folder.st_mode) for folder in folders)
    return target if is_store else None


def _repository_of(path: Path) -> Path | None:
    """The folder of the repository in whose snapshot a path lies, the nearest one."""
    for folder in path.parents:
        if HubSnapshot.of(folder) is not None:
            return folder.parent.parent
    return None
