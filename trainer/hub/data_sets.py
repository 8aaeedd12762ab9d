"""Data sets of the Hub: resolved to a commit, each file checked, kept in the cache that clients of the Hub share.

A file on this machine wins over a data set of the same name. No code of a data set is ever run: only files of rows are read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.disk.hub_snapshots import blob_of
from peft_registry.schemas.config import TrainSource
from peft_registry.schemas.dataset import Split
from peft_registry.schemas.errors import InputRefused, listed
from peft_registry.schemas.hub_names import HUB_ID
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.data.containers import SUFFIXES
from peft_registry.trainer.data.dataset import Locate, Located, in_folder
from peft_registry.trainer.hub.answers import HubUnreachable
from peft_registry.trainer.hub.fetching import CheckedFetch
from peft_registry.trainer.hub.places import SharedCache
from peft_registry.trainer.hub.repositories import list_repository
from peft_registry.trainer.hub.shared_cache import cached_snapshot, names_in, require_blob

# of the names of files that a repository has those that are wanted
Choice = Callable[[tuple[str, ...]], tuple[str, ...]]

_PART = re.compile(r"-\d{5}-of-(?P<total>\d{5})(?=\.[^/]*$)")

# the words for each split in the names of files, the one that is looked for first in front
_SPLIT_WORDS: Mapping[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test",),
}


class NoSuchDataFiles(InputRefused):
    what = "{repository} has no files of rows for {wanted}"
    why = "{alternatives}"
    fix = "name one of its parts with `split:` or `subset:` beside `path:`"

    repository: str
    wanted: str
    files: tuple[str, ...]

    @property
    def alternatives(self) -> str:
        return f"it has {listed(self.files, most=8)}" if self.files else "it has no files of rows at all"


class AmbiguousDataFiles(InputRefused):
    what = "{repository} has several sets of rows"
    why = "they are {subsets}"
    fix = "choose one with `subset:` beside `path:`"

    repository: str
    groups: tuple[str, ...]

    @property
    def subsets(self) -> str:
        return listed(self.groups, most=8)


def is_hub_id(path: str, folder: Path) -> bool:
    """Whether a `path` means a data set of the Hub: it looks like one, and nothing of that name is here."""
    return bool(HUB_ID.match(path)) and Path(path).suffix.lower() not in SUFFIXES and not (folder / path).exists()


def locate_locally_or_on_hub(folder: Path, observe: Observe = ignore) -> Locate:
    """Data sets by a path that starts from the folder, else by their id on the Hub."""
    here = in_folder(folder)

    def locate(source: TrainSource, split: Split) -> Located:
        if not is_hub_id(source.path, folder):
            return here(source, split)
        return fetch_data(source, split, observe=observe)

    return locate


def locate_on_this_machine(folder: Path) -> Locate:
    """The same without a question to the Hub: of its data sets what this user's cache has, see `only_on_hub`."""
    here = in_folder(folder)

    def locate(source: TrainSource, split: Split) -> Located:
        cached = _in_cache(source, split) if is_hub_id(source.path, folder) else None
        return here(source, split) if cached is None else cached

    return locate


def only_on_hub(source: TrainSource, split: Split, folder: Path) -> bool:
    """Whether the rows of a data set would have to be fetched first.

    Raises:
        CorruptDownload: the bytes of a file in the cache are not those of its name.
    """
    return is_hub_id(source.path, folder) and _in_cache(source, split) is None


def _in_cache(source: TrainSource, split: Split) -> Located | None:
    cached = _cached_files(source.path, _choice_of(source, split), revision=source.revision, cache=None)
    return None if cached is None else cached.located(source.path)


def _choice_of(source: TrainSource, split: Split) -> Choice:
    return lambda names: chosen_files(source.path, names, split=split, source=source)


def fetch_data(
    source: TrainSource,
    split: Split,
    *,
    cache: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    observe: Observe = ignore,
) -> Located:
    """The files of rows of a data set, at one commit, checked, in the cache that clients of the Hub share.

    Args:
        source: its `path` is owner/name.
        split: which part, where `source.split` does not say.
        cache: of clients of the Hub; None for HF_HUB_CACHE, else HF_HOME.
        endpoint: None for HF_ENDPOINT, else the public hub.
        token: None for HF_TOKEN, else a stored login.
        observe: hears of bytes, and of what was chosen.

    Raises:
        NoSuchDataFiles, AmbiguousDataFiles: nothing, or too much, fits.
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable, CorruptDownload, CacheContradictsHub, MalformedHubAnswer,
            UnsafeHubName: of `peft_registry.trainer.hub`.
    """
    return fetch_files(
        source.path,
        _choice_of(source, split),
        revision=source.revision,
        cache=cache,
        endpoint=endpoint,
        token=token,
        observe=observe,
    )


def fetch_files(
    repository: str,
    choose: Choice,
    *,
    revision: str | None = None,
    cache: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    observe: Observe = ignore,
) -> Located:
    """Some files of a data set's repository, at one commit, checked, in the cache that clients of the Hub share.

    Where nothing answers for the Hub they are those that the cache has of the commit that it knows for the revision.

    Args:
        repository: owner/name.
        choose: at least one of the names that the repository has.
        revision: branch, tag or commit; None for the default branch.
        cache, endpoint, token, observe: as for `fetch_data`.

    Raises:
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable, CorruptDownload, CacheContradictsHub, MalformedHubAnswer,
            UnsafeHubName: of `peft_registry.trainer.hub`.
    """
    try:
        listing = list_repository(repository, "dataset", revision=revision, endpoint=endpoint, token=token)
    except HubUnreachable as error:
        cached = _cached_files(repository, choose, revision=revision, cache=cache)
        if cached is None:
            raise
        observe(Said("cache", f"{repository} as this user's cache has it: {error.reason}"))
    else:
        names = choose(tuple(listing.files))
        place = SharedCache.of(listing, cache)
        try:
            CheckedFetch(listing, place, endpoint, token).all(names, observe)
            place.keep_revision(revision)
        except OSError as error:
            raise unwritable(place.folder, error) from error
        cached = _CachedFiles(place.folder, names, listing.commit)
    more = f" and {len(cached.names) - 1} more" if len(cached.names) > 1 else ""
    observe(Said("data", f"{repository} at {cached.commit[:12]}: {cached.names[0]}{more}"))
    return cached.located(repository)


@dataclass(frozen=True, slots=True)
class _CachedFiles:
    folder: Path
    names: tuple[str, ...]
    commit: str

    def located(self, repository: str) -> Located:
        return Located(repository, tuple(self.folder / name for name in self.names), self.commit)


def _cached_files(repository: str, choose: Choice, *, revision: str | None, cache: Path | None) -> _CachedFiles | None:
    """The files that are chosen among those of a snapshot, each compared with its name in the cache; None where they are not there.

    Raises:
        CorruptDownload: the bytes of one are not those of its name.
    """
    snapshot = cached_snapshot(repository, revision, kind="dataset", cache=cache)
    if snapshot is None:
        return None
    present = tuple(sorted(name for name in names_in(snapshot) if blob_of(snapshot / name) is not None))
    try:
        names = choose(present)
    except InputRefused:  # of what is here; nobody knows what the repository has
        return None
    if not _are_whole(names):
        return None
    for name in names:
        require_blob(snapshot / name, repository, name)
    return _CachedFiles(snapshot, names, snapshot.name)


def _are_whole(names: Sequence[str]) -> bool:
    """Whether each file that is one of several, by its name, has all the others beside it."""
    for name in names:
        part = _PART.search(name)
        if part is None:
            continue
        head = name[: part.start()]
        total = part["total"]
        tail = name[part.end() :]
        if any(f"{head}-{number:05d}-of-{total}{tail}" not in names for number in range(int(total))):
            return False
    return True


def chosen_files(repository: str, names: tuple[str, ...], *, split: Split, source: TrainSource) -> tuple[str, ...]:
    """The files of a repository that hold the rows of a split, sorted.

    `subset` is a folder of it, or one file; `split` a word in the file's path. Where no path has a word for any split, all
    rows are training rows.

    Raises:
        NoSuchDataFiles, AmbiguousDataFiles.
    """
    rows = tuple(sorted(name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES))
    found = tuple(name for name in rows if source.subset is None or _is_in(name, source.subset))
    words = _SPLIT_WORDS[split] if source.split is None else (source.split,)
    of_split = tuple(name for name in found if any(_has_word(name, word) for word in words))
    every_word = [word for several in _SPLIT_WORDS.values() for word in several]
    unmarked = not any(_has_word(name, word) for name in found for word in every_word)
    if not of_split and source.split is None and ((unmarked and split == "train") or source.subset in found):
        of_split = found
    if not of_split:
        part = f"the subset {source.subset}" if source.subset and not found else f"the split {words[0]}"
        raise NoSuchDataFiles(repository, part, rows)
    groups = tuple(dict.fromkeys(_group(name, words) for name in of_split))
    if len(groups) > 1:
        raise AmbiguousDataFiles(repository, groups)
    return of_split


def _is_in(name: str, subset: str) -> bool:
    return name == subset or subset in PurePosixPath(name).parts[:-1]


def _has_word(name: str, word: str) -> bool:
    return re.search(rf"(?:^|[/_.\-]){re.escape(word)}(?:[/_.\-]|$)", name, re.IGNORECASE) is not None


def _group(name: str, words: tuple[str, ...]) -> str:
    """What the files of one set of rows have in common: their folder, and how they end."""
    path = PurePosixPath(name)
    folders = [part for part in path.parts[:-1] if part not in words]
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", path.stem)
    return "/".join([*folders, f"{stem}{path.suffix}"])
