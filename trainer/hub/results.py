"""An adapter or a whole model in a repository of the Hub, as a folder of plain files that `registry import` takes.

What is fetched is the model and what is read beside it; pickles, code and the state of optimizers stay where they are. Each file is
compared with the digest that the Hub states; of one in the cache that clients of the Hub share with the digest that is its name
there. The cache is used for what it has, and alone where nothing answers for the Hub.
"""

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from peft_registry.registry.disk.files import FileMissing, unwritable
from peft_registry.registry.disk.hashing import copy_and_hash
from peft_registry.registry.disk.hub_snapshots import blob_of
from peft_registry.registry.identity.base import (
    ADAPTER_CONFIG_NAME,
    CHAT_TEMPLATE_NAMES,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    INDEX_NAME,
    TOKENIZER_FILES,
)
from peft_registry.registry.imports.offered import ADAPTER_WEIGHTS
from peft_registry.registry.imports.setting_names import ARGUMENT_FILES, CARD, RESULT_FILES, STATE
from peft_registry.registry.intake.pickle import PickleRefused
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.hub_names import HUB_ID
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.hub.answers import HubUnreachable
from peft_registry.trainer.hub.fetching import CheckedFetch, CorruptDownload
from peft_registry.trainer.hub.places import PlainFolder
from peft_registry.trainer.hub.repositories import Listing, list_repository
from peft_registry.trainer.hub.shared_cache import cached_snapshot, digest_like_name

PREFIX = "hub:"
_ADAPTER_FILES = (ADAPTER_CONFIG_NAME, ADAPTER_WEIGHTS)
_MODEL_FILES = (CONFIG_NAME, GENERATION_CONFIG_NAME, INDEX_NAME)
_TOKENIZER = (*TOKENIZER_FILES, *CHAT_TEMPLATE_NAMES)
_READ_BESIDE = (CARD, STATE, *ARGUMENT_FILES, *RESULT_FILES)
_MAX_READ_BYTES = 16 * 1024 * 1024  # of a file beside the model; the import reads no longer one
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHOWN = 5


class MalformedHubSource(InputRefused):
    reference = "malformed-hub-source"
    what = "{text!q} does not name a repository of the Hub"
    why = "it is hub:OWNER/NAME, and @ with a branch, tag or commit where not the default branch is meant"
    fix = "write it as on the page of the repository"

    text: str


class NothingInRepository(InputRefused):
    reference = "nothing-in-repository"
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
    """Where the files of a repository lie now, and what they are of; `names` are those that were checked, by POSIX path.

    The folder is kept, and others may have put something beside them.
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
    destination: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    observe: Observe = ignore,
) -> HubResult:
    """The model of a repository at one commit, and what lies beside it and is read; found again by a second call.

    Args:
        source: the repository and the revision.
        destination: None for a folder beside the cache of the Hub's own clients.
        endpoint: None for HF_ENDPOINT, else the public hub.
        token: None for HF_TOKEN, else a stored login.
        observe: hears of bytes, and of what stays outside.

    Raises:
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable, MalformedHubAnswer, UnsafeHubName: the hub does not give it.
        CorruptDownload: a file is not what the hub states, or not what its name in the cache says.
        NothingInRepository: there is nothing that could be imported.
        PickleRefused: its weights are a pickle.
        DiskFull, NotWritable: about the destination.
    """
    from huggingface_hub import constants

    root = destination or Path(constants.HF_HOME) / "peft-registry" / "models"
    try:
        listing = list_repository(source.repository, "model", revision=source.revision, endpoint=endpoint, token=token)
    except HubUnreachable as error:
        snapshot = cached_snapshot(source.repository, source.revision)
        if snapshot is None:
            raise
        observe(Said("cache", f"{source.repository} as this user's cache has it: {error.reason}"))
        return _from_cache(snapshot, source.repository, root, observe)
    return _from_hub(listing, root, endpoint, token, observe)


def _from_hub(listing: Listing, root: Path, endpoint: str | None, token: str | None, observe: Observe) -> HubResult:
    repository, commit = listing.repository, listing.commit
    names = _chosen(repository, {name: file.size for name, file in listing.files.items()}, observe)
    folder = _folder(root, repository, commit)
    try:
        snapshot = cached_snapshot(repository, commit)
        if snapshot is not None:
            for name in names:
                stated, blob = listing.files[name], blob_of(snapshot / name)
                # the name of a blob is the digest that the client was told; what it is, the fetch below computes
                if blob is not None and blob.name in (stated.sha256, stated.blob_id):
                    with suppress(FileMissing):  # somebody empties the cache; the fetch below gets it
                        _copied(blob, folder / name)
        CheckedFetch(listing, PlainFolder(folder), endpoint, token).all(names, observe)
    except OSError as error:
        raise unwritable(folder, error) from error
    return HubResult(folder, repository, commit, tuple(names))


def _from_cache(snapshot: Path, repository: str, root: Path, observe: Observe) -> HubResult:
    """A copy of the snapshot's files, each compared with the digest that is its name: the import refuses links."""
    commit = snapshot.name
    blobs = {
        path.relative_to(snapshot).as_posix(): blob
        for path in sorted(snapshot.rglob("*"))
        if (blob := blob_of(path)) is not None
    }
    names = _chosen(repository, {name: blob.stat().st_size for name, blob in blobs.items()}, observe)
    folder = _folder(root, repository, commit)
    try:
        for name in names:
            blob = blobs[name]
            if digest_like_name(blob) != blob.name:
                why = f"in the cache at {blob.parent.parent} it lies under a digest that is not its own"
                raise CorruptDownload(repository, name, why)
            _copied(blob, folder / name)
    except OSError as error:
        raise unwritable(folder, error) from error
    return HubResult(folder, repository, commit, tuple(names))


def _copied(blob: Path, target: Path) -> None:
    """A copy of a blob; what an earlier call left there, whole or not, is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.copy")
    part.unlink(missing_ok=True)
    copy_and_hash(blob, part, mode=0o644)
    part.replace(target)


def _folder(root: Path, repository: str, commit: str) -> Path:
    """Its last part is the repository's name, under which the import registers it."""
    return root / repository.replace("/", "--") / commit / repository.partition("/")[2]


def _chosen(repository: str, sizes: Mapping[str, int | None], observe: Observe) -> list[str]:
    """The files of the model and those that are read beside it, the weights last."""
    model = _model_files(repository, sizes)
    beside = [name for name in sizes if _is_read(name) and name not in model and (sizes[name] or 0) <= _MAX_READ_BYTES]
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
