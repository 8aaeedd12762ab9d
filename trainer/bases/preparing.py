"""Bringing a base into a folder of safetensors, from wherever the user has it.

A source is a Hugging Face folder (used in place), a GGUF file (converted, `trainer/bases/gguf.py`) or a Hub id (fetched into the
cache that clients of the Hub share, `trainer/hub/fetching.py`).
"""

from dataclasses import dataclass
from pathlib import Path

from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.hub_names import HUB_ID
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.trainer.bases.architecture import require_causal_model
from peft_registry.trainer.hub.answers import HubUnreachable
from peft_registry.trainer.hub.fetching import fetch_base
from peft_registry.trainer.hub.places import SharedCache
from peft_registry.trainer.hub.repositories import list_repository
from peft_registry.trainer.hub.shared_cache import CachedBase, base_in_snapshot, cached_base, is_in_users_cache


class BaseSourceNotFound(NotFound):
    what = "there is no base at {source!q}"
    why = "it is not a folder, a .gguf file or a Hub id (owner/name)"
    fix = "check the path, or write the id as on the Hub"

    source: str


class RevisionWithoutHub(InputRefused):
    what = "--revision means nothing for {source!q}"
    why = "only a Hub id has revisions; a folder or a file is pinned by its digests"
    fix = "leave --revision out"

    source: str


@dataclass(frozen=True, slots=True)
class PreparedBase:
    """A folder of safetensors, configuration and tokenizer, and where it came from.

    `revision` is the resolved 40-hex commit, None when it did not come from a hub. `notes` are worth a warning;
    `beside` are files in the folder that are not part of the base.
    """

    folder: Path
    origin: BaseOrigin
    revision: str | None = None
    notes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def prepare_base(
    source: str,
    *,
    revision: str | None = None,
    destination: Path,
    cache: Path | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    observe: Observe = ignore,
) -> PreparedBase:
    """The base as a folder. What is converted goes under `destination`, in a folder named after its digest, what is fetched
    into the cache that clients of the Hub share; there it is found again by a second call. Of a repository whose model is not
    a causal one, no weights are fetched.

    Args:
        source: folder, .gguf file or Hub id; what exists on disk wins.
        revision: of a Hub id: branch, tag or commit.
        destination: created when needed.
        cache: of clients of the Hub; None for HF_HUB_CACHE, else HF_HOME.
        endpoint: of the Hub; None for HF_ENDPOINT or the public one.
        token: for the Hub; None for HF_TOKEN or the stored login.
        observe: hears of progress.

    Raises:
        BaseSourceNotFound, RevisionWithoutHub: as they say.
        NotACausalModel, ArchitectureUnknown: nothing here could be done with it.
        HubUnreachable, HubAccessDenied, HubRateLimited, HubNotFound, CorruptDownload, CacheContradictsHub, FileMissing,
            FileChanged, FileUnreadable, GgufRefused: as `list_repository`, `fetch_base`, `CachedBase.require_blobs` and
            `convert_gguf`.
    """
    path = Path(source)
    if path.is_dir() or path.is_file():
        if revision is not None:
            raise RevisionWithoutHub(source)
        return _prepared_folder(path) if path.is_dir() else _prepared_gguf(path, destination, observe)
    if not HUB_ID.match(source) or source.lower().endswith(".gguf"):
        raise BaseSourceNotFound(source)
    try:
        listing = list_repository(source, "model", revision=revision, endpoint=endpoint, token=token)
    except HubUnreachable as error:
        cached = cached_base(source, revision, cache=cache)
        if cached is None:
            raise
        commit = cached.snapshot.commit
        observe(Said("cache", f"{source} as this user's cache has it, of commit {commit}: {error.reason}"))
        cached.require_blobs()
        return _prepared(cached, requested=revision)
    folder = fetch_base(
        listing,
        cache=cache,
        endpoint=endpoint,
        token=token,
        requested=revision,
        before_weights=require_causal_model,
        observe=observe,
    )
    fetched = base_in_snapshot(folder)
    assert fetched is not None, "its weights were fetched"
    SharedCache.of(listing, cache).check_names(listing.files, fetched.files)
    return _prepared(fetched, requested=revision)


def _prepared_folder(folder: Path) -> PreparedBase:
    """The user's own folder, or a snapshot in their cache of the Hub, which is the base of its repository and commit.

    A snapshot elsewhere came from somebody, and its names say nothing: whoever makes a folder names it as they like.
    """
    cached = base_in_snapshot(folder)
    if cached is not None and is_in_users_cache(folder):
        cached.require_blobs()
        return _prepared(cached, requested=None)
    require_causal_model(folder)
    origin = BaseOrigin(format="huggingface", source=folder.resolve().name)
    return PreparedBase(folder, origin, beside=() if cached is None else cached.beside)


def _prepared_gguf(file: Path, destination: Path, observe: Observe) -> PreparedBase:
    if file.suffix.lower() != ".gguf":
        raise BaseSourceNotFound(str(file))
    from peft_registry.trainer.bases.gguf import convert_gguf

    folder, origin, notes = convert_gguf(file, destination=destination, observe=observe)
    return PreparedBase(folder, origin, notes=notes)


def _prepared(cached: CachedBase, *, requested: str | None) -> PreparedBase:
    """A base that stays in the cache; its bytes are known to be those that the cache names."""
    require_causal_model(cached.folder)
    origin = BaseOrigin(format="huggingface", source=cached.snapshot.repository, requested_revision=requested)
    return PreparedBase(cached.folder, origin, revision=cached.snapshot.commit, beside=cached.beside)
