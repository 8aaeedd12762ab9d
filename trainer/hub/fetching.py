"""Fetching a base from a hub that speaks the Hugging Face routes: only what a base is made of, each file checked.

The revision is resolved to its commit first, and everything is fetched at that commit. A file of large-file storage must
have the SHA-256 that the hub states, any other the git blob id; it gets its name here only when it has. Weights are
safetensors; nothing else of that size is fetched, and no code. Nothing is deleted but a part of a file that was wrong.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO
from urllib.parse import quote

from peft_registry.registry.compliance.base_terms import LICENCE_FILE
from peft_registry.registry.disk.files import sync_folder, unwritable
from peft_registry.registry.identity.base import (
    CHAT_TEMPLATE_NAMES,
    CONFIG_NAME,
    GENERATION_CONFIG_NAME,
    INDEX_NAME,
    TOKENIZER_FILES,
    WEIGHTS_NAME,
    BaseWithoutWeights,
    additional_templates,
)
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.manifest import CARD_NAME
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.trainer.hub.answers import HubRequest, HubUnreachable
from peft_registry.trainer.hub.places import SharedCache
from peft_registry.trainer.hub.repositories import (
    ListedFile,
    Listing,
    UnsafeHubName,
    endpoint_or_default,
    require_safe_name,
)

_STEP = "fetch"
CARD_MAX_BYTES = 4 * 1024 * 1024  # of a card or licence; nobody reads a longer one
BASE_FILES = (CONFIG_NAME, GENERATION_CONFIG_NAME, *CHAT_TEMPLATE_NAMES, *TOKENIZER_FILES)
_BLOCK_BYTES = 1024 * 1024
_ATTEMPTS = 5  # of a file whose connection breaks
_AT_A_TIME = 4  # files; more connections fill no line that these do not
_PARTIAL_CONTENT = 206


class CorruptDownload(IntegrityBroken):
    what = "{name} of {repository} is not what the hub says it is"
    why = "{reason}"
    fix = "run the command again; if it fails again, do not trust the server that answers for the hub"

    repository: str
    name: str
    reason: str


class _Stopped(Exception):
    """What ends a download that nobody waits for."""


def fetch_base(
    listing: Listing,
    *,
    cache: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    requested: str | None = None,
    before_weights: Callable[[Path], None] = lambda _: None,
    observe: Observe = ignore,
) -> Path:
    """The snapshot of a listed commit in the cache that clients of the Hub share, with every file of a base, each checked.

    Args:
        listing: of the repository at the commit.
        cache: None for HF_HUB_CACHE, else HF_HOME.
        endpoint: None for HF_ENDPOINT, else the public hub.
        token: None for HF_TOKEN, else a stored login.
        requested: the branch or tag that was asked for; None for the default branch.
        before_weights: called with the folder once it holds the configuration, and before anything large is asked for.
        observe: hears of bytes.

    Raises:
        HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: the hub does not give it.
        UnsafeHubName: its index names a file elsewhere.
        BaseWithoutWeights: no safetensors there.
        CorruptDownload: a file differs from what the hub states.
        CacheContradictsHub: the cache has another file for that commit.
        DiskFull, NotWritable: about the cache.
    """
    place = SharedCache.of(listing, cache)
    fetch = CheckedFetch(listing, place, endpoint, token)
    try:
        if CONFIG_NAME in listing.files:
            fetch.one(CONFIG_NAME)
            before_weights(place.folder)
        fetch.all(_names(fetch), observe)
        place.keep_revision(requested)
    except OSError as error:
        raise unwritable(place.folder, error) from error
    return place.folder


@dataclass(frozen=True, slots=True)
class CheckedFetch:
    """Files of one commit of a repository, each compared with what the hub states of it."""

    listing: Listing
    place: SharedCache
    endpoint: str | None
    token: str | None

    def all(self, names: Sequence[str], observe: Observe) -> None:
        """Fetch these files, some at a time.

        Raises:
            HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: the hub does not give one.
            CorruptDownload: one is not what the hub states.
            CacheContradictsHub: of the place.
            OSError: about the place.
        """
        sizes = {name: self.listing.files[name].size or 0 for name in names}
        observe(Started(_STEP, total=sum(sizes.values()) or None, unit="B"))
        stop = Event()
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            downloads = {pool.submit(self.one, name, stop): name for name in names}
            try:
                done = 0
                for download in as_completed(downloads):
                    download.result()
                    done += sizes[downloads[download]]
                    observe(Advanced(_STEP, done))
            finally:
                # after a failure or an interrupt, what has come of the others stays for the next call
                stop.set()
                pool.shutdown(cancel_futures=True)
        observe(Finished(_STEP))

    def one(self, name: str, stop: Event | None = None) -> None:
        """Fetch one file unless it is there and right; what was fetched and is wrong never gets the name.

        Args:
            name: as listed.
            stop: once it is set, nothing more is received.

        Raises:
            HubNotFound, HubAccessDenied, HubRateLimited, HubUnreachable: the hub does not give it.
            CorruptDownload: it is not what the hub states.
            CacheContradictsHub: of the place.
            OSError: about the place.
        """
        file = self.listing.files[name]
        if file.sha256 is None and file.blob_id is None:
            raise CorruptDownload(self.listing.repository, name, "the hub states no digest of it")
        self.place.check(file)
        if _objection(self.place.kept(file), file) is not None:
            self._fetch(file, stop or Event())
        self.place.settle(file)

    def _fetch(self, file: ListedFile, stop: Event) -> None:
        target = self.place.target(file)
        part = self.place.part(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        with _held(part) as stream:
            if _objection(self.place.kept(file), file) is None:  # another process fetched it while this one waited
                part.unlink()
                return
            self._receive(file, stream, stop)
            stream.flush()
            os.fsync(stream.fileno())
            why = _objection(part, file)
            if why is not None:
                part.unlink()
                raise CorruptDownload(self.listing.repository, file.name, why)
            part.replace(target)
        sync_folder(target.parent)

    def _receive(self, file: ListedFile, stream: BinaryIO, stop: Event) -> None:
        """Append what is still missing; after a connection that broke, from where it broke, some times."""
        repository = self.listing.repository
        commit = self.listing.commit
        prefix = "datasets/" if self.listing.kind == "dataset" else ""
        url = f"{endpoint_or_default(self.endpoint)}/{prefix}{quote(repository)}/resolve/{commit}/{quote(file.name)}"
        request = HubRequest(repository, commit, url, self.token)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._append(request, file, stream, stop)
                return
            except HubUnreachable:
                if attempt == _ATTEMPTS or not stream.tell():
                    raise

    def _append(self, request: HubRequest, file: ListedFile, stream: BinaryIO, stop: Event) -> None:
        size = file.size
        if size is None:
            raise CorruptDownload(self.listing.repository, file.name, "the hub states no size of it")
        done = stream.seek(0, os.SEEK_END)
        if done == size:
            return
        if done > size:
            done = stream.truncate(stream.seek(0))
        with request.answer(done) as response:
            if response.status_code != _PARTIAL_CONTENT:
                done = stream.truncate(stream.seek(0))
            for block in response.iter_raw():
                if stop.is_set():
                    raise _Stopped
                done += len(block)
                if done > size:
                    stream.truncate(stream.seek(0))
                    raise CorruptDownload(
                        self.listing.repository, file.name, f"more bytes come than the {size} that the hub states"
                    )
                stream.write(block)


def _objection(path: Path, file: ListedFile) -> str | None:
    """What is wrong with the bytes of a file, or None."""
    if path.is_symlink() or not path.is_file():
        return "there is no file"
    size = path.stat().st_size
    if size != file.size:
        return f"it has {size} bytes, and the hub states {file.size}"
    if file.sha256 is not None:
        stated = file.sha256
        computed = _digest(path, hashlib.sha256())
    else:
        # git's name of a file: SHA-1 over "blob <size>\0" and the bytes
        stated, computed = file.blob_id or "", _digest(path, hashlib.sha1(f"blob {size}\0".encode()))  # noqa: S324
    return None if stated == computed else f"its digest is {computed}, and the hub states {stated}"


@contextmanager
def _held(part: Path) -> Iterator[BinaryIO]:
    """A part of a file, open for appending by this process alone; made if it is not there."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "r+b") as stream:
            with suppress(OSError):  # this file system cannot lock
                fcntl.flock(stream, fcntl.LOCK_EX)
            # who held it before may have given it its name, and then this is the finished file
            if part.exists() and part.stat().st_ino == os.fstat(descriptor).st_ino:
                yield stream
                return


def _names(fetch: CheckedFetch) -> list[str]:
    """The files of a base, its weights last."""
    usual = [name for name in BASE_FILES if name in fetch.listing.files]
    small = [*usual, *additional_templates(fetch.listing.files), *_texts(fetch.listing)]
    if WEIGHTS_NAME in fetch.listing.files:
        return [*small, WEIGHTS_NAME]
    if INDEX_NAME not in fetch.listing.files:
        raise BaseWithoutWeights(Path(fetch.listing.repository))
    fetch.one(INDEX_NAME)
    return [*small, INDEX_NAME, *_shards(fetch)]


def _texts(listing: Listing) -> list[str]:
    """The card, whose front matter states facts, and the licence: no part of what the model is, and evidence of its terms."""
    return sorted(
        name
        for name, file in listing.files.items()
        if (name == CARD_NAME or LICENCE_FILE.fullmatch(name)) and (file.size or 0) <= CARD_MAX_BYTES
    )


def _shards(fetch: CheckedFetch) -> list[str]:
    try:
        shards = set(json.loads((fetch.place.folder / INDEX_NAME).read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CorruptDownload(fetch.listing.repository, INDEX_NAME, "it is not an index of weights") from error
    for shard in shards:
        if not isinstance(shard, str) or "/" in shard or not shard.endswith(".safetensors"):
            why = "its index names it as a part of the weights, and those lie beside the index under a plain name"
            raise UnsafeHubName(fetch.listing.repository, str(shard)[:200], why)
        require_safe_name(fetch.listing.repository, shard)
        if shard not in fetch.listing.files:
            raise CorruptDownload(
                fetch.listing.repository, INDEX_NAME, f"it names {shard[:80]!r}, which the hub does not have"
            )
    return sorted(shards)


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return str(digest.hexdigest())
