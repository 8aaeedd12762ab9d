"""Bases in the cache that clients of the Hub share on this machine: used where they lie, each blob compared with its name."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.base_terms import LICENCE_FILE
from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hashing import digest_like
from peft_registry.registry.disk.hub_snapshots import HubSnapshot, blob_of
from peft_registry.registry.identity.base import INDEX_NAME, JSON_MAX_BYTES, WEIGHTS_NAME, additional_templates
from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.manifest import CARD_NAME
from peft_registry.trainer.hub.fetching import BASE_FILES, CorruptDownload
from peft_registry.trainer.hub.repositories import Kind


@dataclass(frozen=True, slots=True)
class CachedBase:
    """A base in a snapshot: where, of what, its files, and those beside them that are not of it; all by POSIX path."""

    folder: Path
    snapshot: HubSnapshot
    files: tuple[str, ...]
    beside: tuple[str, ...]

    def require_blobs(self) -> None:
        """Raise unless the bytes of each file are those of its name in the cache.

        Raises:
            CorruptDownload: they are others.
            FileMissing, FileChanged, FileUnreadable: one cannot be read.
        """
        for name in self.files:
            require_blob(self.folder / name, self.snapshot.repository, name)


def cached_base(repository: str, revision: str | None, *, cache: Path | None = None) -> CachedBase | None:
    """The base in this user's cache, at a branch, tag or commit as the cache knows it; None where its weights are not there.

    Args:
        repository: owner/name.
        revision: None for the default branch.
        cache: None for HF_HUB_CACHE, else HF_HOME.
    """
    folder = cached_snapshot(repository, revision, cache=cache)
    return None if folder is None else base_in_snapshot(folder)


def cached_snapshot(
    repository: str, revision: str | None, *, kind: Kind = "model", cache: Path | None = None
) -> Path | None:
    """The folder of a snapshot in this user's cache, whatever of the repository it holds; None where there is none.

    Args:
        repository: owner/name.
        revision: branch, tag or commit as the cache knows it; None for the default branch.
        kind: of a model or a data set.
        cache: None for HF_HUB_CACHE, else HF_HOME.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(
            snapshot_download(repository, repo_type=kind, revision=revision, local_files_only=True, cache_dir=cache)
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    snapshot = HubSnapshot.of(folder)
    is_of_it = snapshot is not None and (snapshot.kind, snapshot.repository) == (kind, repository)
    return folder if is_of_it else None


def is_in_users_cache(folder: Path) -> bool:
    """Whether a folder lies in the cache that this user's own clients of the Hub fill (HF_HUB_CACHE, HF_HOME)."""
    from huggingface_hub import constants

    return folder.resolve().is_relative_to(Path(constants.HF_HUB_CACHE).resolve())


def base_in_snapshot(folder: Path) -> CachedBase | None:
    """The base in a folder that is a snapshot of the Hub; None for another folder, and where no weights of a base are in it."""
    snapshot = HubSnapshot.of(folder)
    if snapshot is None or snapshot.kind != "model" or not folder.is_dir():
        return None
    names = names_in(folder)
    weights = _weights(folder, names)
    if not weights:
        return None
    texts = {name for name in names if name == CARD_NAME or LICENCE_FILE.fullmatch(name)}
    files = {*weights, *texts, *additional_templates(names), *(name for name in BASE_FILES if name in names)}
    if any(blob_of(folder / name) is None for name in files):
        return None  # a plain file has no digest in its name: nothing ties it to the commit
    return CachedBase(folder, snapshot, tuple(sorted(files)), tuple(sorted(names - files)))


def names_in(folder: Path) -> set[str]:
    """The POSIX path of every file and link below a folder."""
    paths: set[str] = set()
    for place, _, names in os.walk(folder):
        paths |= {(Path(place) / name).relative_to(folder).as_posix() for name in names}
    return paths


def _weights(folder: Path, names: set[str]) -> set[str]:
    """The weights of the whole model with their index; empty where one of them is missing."""
    if WEIGHTS_NAME in names:
        return {WEIGHTS_NAME}
    if INDEX_NAME not in names:
        return set()
    try:
        index = read_json(read_file(folder / INDEX_NAME, max_bytes=JSON_MAX_BYTES), what=INDEX_NAME, family="intake")
    except KnownError:
        return set()
    listed: Any = index.get("weight_map") if isinstance(index, Mapping) else None
    shards = {str(name) for name in listed.values()} if isinstance(listed, Mapping) else set()
    return {INDEX_NAME, *shards} if shards and shards <= names else set()


def require_blob(path: Path, repository: str, name: str) -> None:
    """Raise where the link of a snapshot leads to bytes that are not those of the blob's name.

    Raises:
        CorruptDownload: they are others.
        FileMissing, FileChanged, FileUnreadable: they cannot be read.
    """
    blob = blob_of(path)
    if blob is not None and digest_like(blob, blob.name) != blob.name:
        why = f"in the cache at {blob.parent.parent} it lies under a digest that is not its own"
        raise CorruptDownload(repository, name, why)
