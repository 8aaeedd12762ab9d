"""Where the files of a commit are kept: in the cache that clients of the Hub share.

It has the layout of huggingface_hub (`registry/disk/hub_snapshots.py`), so that every client finds what is put there.
Its own download is not what puts it there: it keeps what a server sends without a bound and without a digest, under a name
that the server chooses (`docs/experiments.md`).
"""

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.disk.hub_snapshots import blob_of, linked_file
from peft_registry.registry.intake.paths import UnsafeInputPath, safe_relative_path
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.hub_names import COMMIT
from peft_registry.trainer.hub.repositories import ListedFile, Listing

_DEFAULT_BRANCH = "main"


class CacheContradictsHub(IntegrityBroken):
    what = "the cache has another {name} for {repository} at {commit:.12} than the hub states"
    why = "a commit never changes: the folder in the cache was changed, or the server that answers for the hub is wrong"
    fix = "check HF_ENDPOINT; if it is right, move {folder} away and run the command again"

    repository: str
    commit: str
    name: str
    folder: Path


@dataclass(frozen=True, slots=True)
class SharedCache:
    """The snapshot of a commit in a cache: bytes once a repository under the digest that the hub states, names as links to them."""

    repository_folder: Path
    repository: str
    commit: str

    @classmethod
    def of(cls, listing: Listing, cache: Path | None) -> "SharedCache":
        """The snapshot of a listed commit.

        Args:
            listing: of a repository at a commit.
            cache: the folder of the cache; None for HF_HUB_CACHE, else HF_HOME.
        """
        from huggingface_hub import constants

        name = f"{listing.kind}s--{listing.repository.replace('/', '--')}"
        return cls((cache or Path(constants.HF_HUB_CACHE)) / name, listing.repository, listing.commit)

    @property
    def folder(self) -> Path:
        """The folder that has the files of the commit under their names."""
        return self.repository_folder / "snapshots" / self.commit

    def check(self, file: ListedFile) -> None:
        """Raise CacheContradictsHub where another file has the name already."""
        link = self.folder / file.name
        if os.path.lexists(link) and blob_of(link) != Path(os.path.normpath(self.target(file).absolute())):
            raise CacheContradictsHub(self.repository, self.commit, file.name, self.folder)

    def check_names(self, expected: Collection[str], present: Collection[str]) -> None:
        """Raise unless the snapshot has no more of these files than the hub.

        Raises:
            CacheContradictsHub: it has.
        """
        for name in sorted(set(present) - set(expected)):
            raise CacheContradictsHub(self.repository, self.commit, name, self.folder)

    def kept(self, file: ListedFile) -> Path:
        """The file that holds the bytes, if it is there."""
        return linked_file(self.target(file)) or self.target(file)

    def target(self, file: ListedFile) -> Path:
        """The path at which the bytes are put."""
        digest = file.sha256 or file.blob_id
        assert digest is not None, "a file without a digest is refused before it is placed"
        return self.repository_folder / "blobs" / digest

    def part(self, file: ListedFile) -> Path:
        """The path of what has come of them so far, on the same disk."""
        # other clients end theirs in .incomplete too, and what clears a cache knows the files by it
        blob = self.target(file)
        return blob.with_name(f"{blob.name}.peft-registry.incomplete")

    def settle(self, file: ListedFile) -> None:
        """Make the name of the file lead to its bytes."""
        link = self.folder / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # of an earlier call, or of another process; `check` says whether it is right
            link.symlink_to(os.path.relpath(self.target(file), link.parent))
        self.check(file)

    def keep_revision(self, revision: str | None) -> None:
        """Write down which commit a branch or tag is, for who asks when nothing answers for the Hub."""
        name = revision or _DEFAULT_BRANCH
        if COMMIT.match(name):
            return
        with suppress(UnsafeInputPath):  # it is somebody's text, and becomes a path here
            safe_relative_path(name, family="intake")
            path = self.repository_folder / "refs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, self.commit.encode())
