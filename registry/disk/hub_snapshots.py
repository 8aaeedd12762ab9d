"""Links in the cache that clients of the Hugging Face Hub share: where one leads, if it stays inside its repository.

The cache keeps the bytes of a repository once, under their digest, and each snapshot of it is a folder of links to them:

    models--owner--name/blobs/<SHA-256, or git's SHA-1>
    models--owner--name/snapshots/<commit>/config.json → ../../blobs/<…>

Such a link is read as the file that it leads to. Every other link is what it always was.
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from peft_registry.schemas.hub_names import COMMIT

_REPOSITORY = re.compile(r"models--([^/]+?)--([^/]+)\Z")
_BLOB = re.compile(r"(?:[0-9a-f]{64}|[0-9a-f]{40})\Z")
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """A snapshot in a cache: the repository (owner/name) and the commit (40 hex digits) that it is of."""

    repository: str
    commit: str

    @classmethod
    def of(cls, folder: Path) -> "HubSnapshot | None":
        """What a folder is a snapshot of; None where it is not a snapshot."""
        place = Path(os.path.normpath(folder.absolute()))
        repository = _REPOSITORY.match(place.parent.parent.name)
        if repository is None or place.parent.name != _SNAPSHOTS or not COMMIT.match(place.name):
            return None
        return cls("/".join(repository.groups()), place.name)


def blob_of(path: Path) -> Path | None:
    """The file that the link of a snapshot leads to; None for a link that leads out of its repository, and for anything else."""
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


def _repository_of(path: Path) -> Path | None:
    """The folder of the repository in whose snapshot a path lies, the nearest one."""
    for folder in path.parents:
        if HubSnapshot.of(folder) is not None:
            return folder.parent.parent
    return None
