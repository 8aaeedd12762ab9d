"""Fetching a base from a hub that speaks the Hugging Face routes: only what a base is made of, each file checked.

The revision is resolved to its commit first, and everything is fetched at that commit. A file of large-file storage must
have the SHA-256 that the hub states, any other the git blob id. Weights are safetensors; nothing else of that size is
fetched, and no code.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.identity.base import (
    CHAT_TEMPLATE_NAMES,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    INDEX_NAME,
    TOKENIZER_FILES,
    WEIGHTS_NAME,
    BaseWithoutWeights,
)
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotFound, Unavailable
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}\Z")  # owner/name
_STEP = "fetch"
_WANTED = (CONFIG_NAME, GENERATION_CONFIG_NAME, *CHAT_TEMPLATE_NAMES, *TOKENIZER_FILES)
_BLOCK_BYTES = 1024 * 1024


class HubNotFound(NotFound):
    reference = "hub-not-found"
    what = "the hub has no {wanted}"
    why = "no repository, or no revision of it, has that name; a private one looks the same without a token"
    fix = "check the spelling; for a private one set HF_TOKEN"

    repository: str
    revision: str | None

    @property
    def wanted(self) -> str:
        return self.repository if self.revision is None else f"{self.repository} at {self.revision}"


class HubAccessDenied(Unavailable):
    reference = "hub-access-denied"
    what = "the hub does not let you read {repository}"
    why = "it answered {status}: it is private or gated, or it does not exist"
    fix = "accept its terms on its page, and set HF_TOKEN to a token that may read it"

    repository: str
    status: int


class HubRateLimited(Unavailable):
    reference = "hub-rate-limited"
    what = "the hub refuses more requests for {repository} for now"
    why = "it answered 429: too many requests from here"
    fix = "wait {duration} and run the command again; a token (HF_TOKEN) raises the limit"

    repository: str
    retry_after: str | None

    @property
    def duration(self) -> str:
        return f"{self.retry_after} seconds" if self.retry_after else "some minutes"


class HubUnreachable(Unavailable):
    reference = "hub-unreachable"
    what = "{repository} could not be fetched"
    why = "{reason}"
    fix = (
        "check the network and HF_ENDPOINT, and run the command again: it continues where it stopped; "
        "a folder of this machine is written with a leading ./"
    )

    repository: str
    reason: str


class CorruptDownload(IntegrityBroken):
    reference = "corrupt-download"
    what = "{name} of {repository} is not what the hub says it is"
    why = "{reason}"
    fix = "run the command again; if it fails again, do not trust the server that answers for the hub"

    repository: str
    name: str
    reason: str


class UnsafeHubName(InputRefused):
    reference = "unsafe-hub-name"
    what = "the index of {repository} names {name!q}"
    why = "a shard lies beside its index, under a plain name"
    fix = "use another revision"

    repository: str
    name: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """Where a base's files lie now, and the commit that they are of."""

    folder: Path
    commit: str


class Sibling(Protocol):
    """What huggingface_hub says about one file of a repository."""

    rfilename: str
    size: int | None
    blob_id: str | None
    lfs: Any  # has sha256; None for a file that git itself holds


def fetch_from_hub(
    repository: str,
    *,
    revision: str | None,
    destination: Path,
    endpoint: str | None = None,
    token: str | None = None,
    observe: Observe = ignore,
) -> Fetched:
    """The base in `destination/<commit>`, complete and checked; found there again by a second call.

    Args:
        repository: owner/name.
        revision: branch, tag or commit; None for the default branch.
        destination: created when needed.
        endpoint: None for HF_ENDPOINT, else the public hub.
        token: None for HF_TOKEN, else a stored login.
        observe: hears of bytes.

    Raises:
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: the hub does not give it.
        BaseWithoutWeights: no safetensors there.
        CorruptDownload: a file differs from what the hub states.
        DiskFull, NotWritable: about `destination`.
    """
    from huggingface_hub import HfApi

    with answers_of_the_hub(repository, revision):
        info = HfApi(endpoint=endpoint, token=token).model_info(repository, revision=revision, files_metadata=True)
    commit = str(info.sha)
    folder = destination / commit
    siblings: dict[str, Sibling] = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    fetch = CheckedFetch(repository, commit, folder, endpoint, token, siblings)
    try:
        fetch.all(_names(fetch), observe)
    except OSError as error:
        raise unwritable(folder, error) from error
    return Fetched(folder, commit)


@dataclass(frozen=True, slots=True)
class CheckedFetch:
    """Files of one commit of a repository, each compared with what the hub states of it."""

    repository: str
    commit: str
    folder: Path
    endpoint: str | None
    token: str | None
    siblings: Mapping[str, Sibling]
    kind: Literal["model", "dataset"] = "model"

    def all(self, names: Sequence[str], observe: Observe) -> None:
        """Fetch these files, in order.

        Raises:
            HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: the hub does not give one.
            CorruptDownload: one is not what the hub states.
            OSError: about the folder.
        """
        total = sum(self.siblings[name].size or 0 for name in names)
        observe(Started(_STEP, total=total or None, unit="B"))
        done = 0
        for name in names:
            self.one(name)
            done += self.siblings[name].size or 0
            observe(Advanced(_STEP, done))
        shutil.rmtree(self.folder / ".cache", ignore_errors=True)
        observe(Finished(_STEP))

    def one(self, name: str) -> None:
        """Fetch one file unless it is there and right; what is wrong is removed.

        Raises:
            HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: the hub does not give it.
            CorruptDownload: it is not what the hub states.
            OSError: about the folder.
        """
        path = self.folder / name
        if path.exists() and self._objection(path, name) is None:
            return
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        disable_progress_bars()  # progress is told to `observe`
        with answers_of_the_hub(self.repository, self.commit):
            hf_hub_download(
                self.repository,
                name,
                revision=self.commit,
                repo_type=self.kind,
                local_dir=self.folder,
                endpoint=self.endpoint,
                token=self.token,
                force_download=path.exists(),
            )
        why = self._objection(path, name)
        if why is not None:
            path.unlink()
            raise CorruptDownload(self.repository, name, why)

    def _objection(self, path: Path, name: str) -> str | None:
        sibling = self.siblings[name]
        size = path.stat().st_size
        if sibling.size is not None and size != sibling.size:
            return f"it has {size} bytes, and the hub states {sibling.size}"
        if sibling.lfs is not None:
            stated, found = str(sibling.lfs.sha256), _digest(path, hashlib.sha256())
        elif sibling.blob_id is not None:
            # git's name of a file: SHA-1 over "blob <size>\0" and the bytes
            stated, found = sibling.blob_id, _digest(path, hashlib.sha1(f"blob {size}\0".encode()))  # noqa: S324
        else:
            return "the hub states no digest of it"
        return None if stated == found else f"its digest is {found}, and the hub states {stated}"


def _names(fetch: CheckedFetch) -> list[str]:
    """The files of a base, its weights last."""
    small = [name for name in _WANTED if name in fetch.siblings]
    if WEIGHTS_NAME in fetch.siblings:
        return [*small, WEIGHTS_NAME]
    if INDEX_NAME not in fetch.siblings:
        raise BaseWithoutWeights(Path(fetch.repository))
    fetch.one(INDEX_NAME)
    return [*small, INDEX_NAME, *_shards(fetch)]


def _shards(fetch: CheckedFetch) -> list[str]:
    try:
        shards = set(json.loads((fetch.folder / INDEX_NAME).read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CorruptDownload(fetch.repository, INDEX_NAME, "it is no index of weights") from error
    for shard in shards:
        if not isinstance(shard, str) or "/" in shard or not shard.endswith(".safetensors"):
            raise UnsafeHubName(fetch.repository, str(shard))
        if shard not in fetch.siblings:
            raise CorruptDownload(fetch.repository, INDEX_NAME, f"it names {shard[:80]!r}, which the hub does not have")
    return sorted(shards)


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return str(digest.hexdigest())


@contextmanager
def answers_of_the_hub(repository: str, revision: str | None) -> Iterator[None]:
    """What huggingface_hub raises within the block, as an error of this project.

    Raises:
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: the hub does not give what was asked for.
        CorruptDownload: fewer bytes came than were announced.
    """
    from huggingface_hub import errors as hub

    # of httpx or of its successor: whichever the installed version speaks
    connection_failed: type[Exception] = hub.HTTPError  # type: ignore[attr-defined]
    try:
        yield
    except hub.HfHubHTTPError as error:
        raise _of_status(repository, revision, error) from error
    except hub.OfflineModeIsEnabled as error:
        raise HubUnreachable(repository, "HF_HUB_OFFLINE forbids the network") from error
    except hub.LocalEntryNotFoundError as error:
        cause = error.__cause__
        if isinstance(cause, hub.HfHubHTTPError):
            raise _of_status(repository, revision, cause) from error
        raise HubUnreachable(repository, "the hub did not answer") from error
    except connection_failed as error:
        raise HubUnreachable(repository, f"the connection failed ({type(error).__name__})") from error
    except OSError as error:
        if "Consistency check failed" in str(error):
            raise CorruptDownload(repository, "a file", "fewer bytes came than were announced") from error
        raise


def _of_status(repository: str, revision: str | None, error: Any) -> Unavailable | NotFound:
    status = error.response.status_code
    if status in (401, 403):
        return HubAccessDenied(repository, status)
    if status == 404:
        return HubNotFound(repository, revision)
    if status == 429:
        return HubRateLimited(repository, error.response.headers.get("retry-after"))
    return HubUnreachable(repository, f"it answered {status}")
