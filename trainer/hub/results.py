"""An adapter or a whole model in a repository of the Hub, as a snapshot in the cache that clients of the Hub share.

What is fetched is the model and what is read beside it; pickles, code and the state of optimizers stay where they are. Each file is
compared with the digest that the Hub states; where nothing answers for the Hub, the cache is used alone, and each file compared
with the digest that is its name there. What the cache has is not fetched, and never copied.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.disk.hub_snapshots import linked_file
from peft_registry.registry.identity.base import (
    ADAPTER_CONFIG_NAME,
    CHAT_TEMPLATE_NAMES,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    INDEX_NAME,
    TOKENIZER_FILES,
)
from peft_registry.registry.imports.offered import ADAPTER_WEIGHTS
from peft_registry.registry.imports.setting_names import ARGUMENT_FILES, CARD, READ_MAX_BYTES, RESULT_FILES, STATE
from peft_registry.registry.intake.pickle import PickleRefused
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.hub_names import HUB_ID
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.hub.answers import HubUnreachable
from peft_registry.trainer.hub.fetching import CheckedFetch
from peft_registry.trainer.hub.places import SharedCache
from peft_registry.trainer.hub.repositories import list_repository
from peft_registry.trainer.hub.shared_cache import cached_snapshot, require_blob

PREFIX = "hub:"
_ADAPTER_FILES = (ADAPTER_CONFIG_NAME, ADAPTER_WEIGHTS)
_MODEL_FILES = (CONFIG_NAME, GENERATION_CONFIG_NAME, INDEX_NAME)
_TOKENIZER = (*TOKENIZER_FILES, *CHAT_TEMPLATE_NAMES)
_READ_BESIDE = (CARD, STATE, *ARGUMENT_FILES, *RESULT_FILES)
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHOWN = 5


class MalformedHubSource(InputRefused):
    what = "{text!q} does not name a repository of the Hub"
    why = "it is hub:OWNER/NAME, and @ with a branch, tag or commit where not the default branch is meant"
    fix = "write it as on the page of the repository"

    text: str


class NothingInRepository(InputRefused):
    what = "{repository} has neither an adapter nor a whole model at its top"
    why = "there is no adapter_config.json, and no config.json with weights; it has {files}"
    fix = "download the folder that is meant, and import that folder"

    repository: str
    files: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """What `hub:OWNER/NAME@REVISION` names; without a revision the default branch is meant."""

    repository: str
    revision: str | None

    @classmethod
    def parse(cls, text: str) -> "HubSource":
        """The repository and the revision in a word of the command line.

        Raises:
            MalformedHubSource: it has another form.
        """
        repository, at_sign, revision = text.removeprefix(PREFIX).partition("@")
        is_named = text.startswith(PREFIX) and HUB_ID.match(repository) and bool(revision) == bool(at_sign)
        if not is_named or not revision.isprintable() or any(character.isspace() for character in revision):
            raise MalformedHubSource(text)
        return cls(repository, revision or None)


@dataclass(frozen=True, slots=True)
class HubResult:
    """The snapshot of a repository at a commit; `names` are the files that were checked, by POSIX path.

    Other clients of the Hub use the folder too, and may have put more into it.
    """

    folder: Path
    repository: str
    commit: str
    names: tuple[str, ...]

    @property
    def origin(self) -> str:
        """How a record names it."""
        return f"{PREFIX}{self.repository}@{self.commit}"


def fetch_result(
    source: HubSource,
    *,
    cache: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    observe: Observe = ignore,
) -> HubResult:
    """The model of a repository at one commit, and what lies beside it and is read; found again by a second call.

    Args:
        source: the repository and the revision.
        cache: None for HF_HUB_CACHE, else HF_HOME.
        endpoint: None for HF_ENDPOINT, else the public hub.
        token: None for HF_TOKEN, else a stored login.
        observe: hears of bytes, and of what stays outside.

    Raises:
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable, MalformedHubAnswer, UnsafeHubName: the hub does not give it.
        CorruptDownload: a file is not what the hub states, or not what its name in the cache says.
        CacheContradictsHub: the cache has another file for that commit.
        NothingInRepository: there is nothing that could be imported.
        PickleRefused: its weights are a pickle.
        DiskFull, NotWritable: about the cache.
    """
    try:
        listing = list_repository(source.repository, "model", revision=source.revision, endpoint=endpoint, token=token)
    except HubUnreachable as error:
        snapshot = cached_snapshot(source.repository, source.revision, cache=cache)
        if snapshot is None:
            raise
        observe(Said("cache", f"{source.repository} as this user's cache has it: {error.reason}"))
        return _from_cache(snapshot, source.repository, observe)
    place = SharedCache.of(listing, cache)
    names = _chosen(listing.repository, {name: file.size for name, file in listing.files.items()}, observe)
    try:
        CheckedFetch(listing, place, endpoint, token).all(names, observe)
        place.keep_revision(source.revision)
    except OSError as error:
        raise unwritable(place.folder, error) from error
    return HubResult(place.folder, listing.repository, listing.commit, tuple(names))


def _from_cache(snapshot: Path, repository: str, observe: Observe) -> HubResult:
    """The snapshot with those of its files that are links of the cache, each compared with the digest that is its name."""
    sizes = {
        path.relative_to(snapshot).as_posix(): blob.stat().st_size
        for path in sorted(snapshot.rglob("*"))
        if (blob := linked_file(path)) is not None
    }
    names = _chosen(repository, sizes, observe)
    for name in names:
        require_blob(snapshot / name, repository, name)
    return HubResult(snapshot, repository, snapshot.name, tuple(names))


def _chosen(repository: str, sizes: Mapping[str, int | None], observe: Observe) -> list[str]:
    """The files of the model and those that are read beside it, the weights last."""
    model = _model_files(repository, sizes)
    beside = [name for name in sizes if _is_read(name) and name not in model and (sizes[name] or 0) <= READ_MAX_BYTES]
    outside = sorted(sizes.keys() - {*model, *beside})
    if outside:
        more = f" and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
        observe(Said("outside", f"not fetched: {', '.join(outside[:_SHOWN])}{more}"))
    return sorted({*model, *beside}, key=lambda name: (name.endswith(".safetensors"), name))


def _is_read(name: str) -> bool:
    path = PurePosixPath(name)
    if path.name == STATE:
        return len(path.parts) <= 2  # at the top, or of a checkpoint
    return len(path.parts) == 1 and (name in _READ_BESIDE or path.suffix in (".yaml", ".yml"))


def _model_files(repository: str, names: Collection[str]) -> set[str]:
    tokenizer = {name for name in _TOKENIZER if name in names}
    if ADAPTER_CONFIG_NAME in names or ADAPTER_WEIGHTS in names:
        own = {name for name in _ADAPTER_FILES if name in names}
        weights = ADAPTER_WEIGHTS in names
    else:
        tensors = {name for name in names if "/" not in name and name.endswith(".safetensors")}
        own = {*tensors, *(name for name in _MODEL_FILES if name in names)}
        weights = bool(tensors)
    pickles = sorted(name for name in names if "/" not in name and name.endswith(_PICKLES) and "model" in name)
    if not weights and own and pickles:
        raise PickleRefused(Path(repository) / pickles[0], "its weights are there in no other form")
    if not weights:
        files = sorted(names)
        more = " …" if len(files) > _SHOWN else ""
        raise NothingInRepository(repository, (", ".join(files[:_SHOWN]) or "no files") + more)
    return own | tokenizer
