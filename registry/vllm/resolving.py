"""From the name in a request to a verified folder. Knows nothing of vLLM but what it hands over: two names."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from peft_registry.registry.disk.hub_snapshots import HubSnapshot
from peft_registry.registry.exports.vllm import MAX_RANK, require_served_base
from peft_registry.registry.homes.home import Registry, find_home, open_home, remember_accepted
from peft_registry.registry.homes.kept_digests import kept_digests
from peft_registry.registry.homes.known_homes import state_folder
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.identity.base import identify_base
from peft_registry.registry.records.references import AliasPending, AliasUnsigned, version_named
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.check_serving import check_for_vllm
from peft_registry.registry.use_cases.pull_to_cache import pull_to_cache
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.errors import InputRefused, NotChecked, NotFound, raise_any
from peft_registry.schemas.identity import Digest, Reference

_LOGGER = logging.getLogger(__name__)
_BASES_KEPT = 4  # one process serves one base
_NUMBER_DIGITS = 15  # of a digest, in hexadecimal: below 2⁶³, which vLLM's numbers are
_ONE_AT_A_TIME = threading.Lock()  # the base is hashed once, and not by each of the first requests


class ServedBaseNotFound(NotChecked):
    what = "the base that is served cannot be compared with that of {label}"
    why = "{name!q} is neither a folder of this machine nor a model in the cache of its Hub clients"
    fix = "set REGISTRY_VLLM_BASE to the folder of its files"

    label: str
    name: str


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """Where verified copies go; the registry, None to look for it from the working folder; the base's folder, None to find it."""

    cache: Path
    home: Path | None = None
    base: Path | None = None


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """A verified adapter: its version, its folder in the cache, and a positive number that its content decides."""

    label: str
    folder: Path
    number: int


def resolve(settings: ResolverSettings, base_model_name: str, lora_name: str) -> ServedAdapter | None:
    """The verified adapter that a name means; None for what is not a name of this registry.

    Args:
        settings: of the resolver.
        base_model_name: what vLLM calls the base that it serves: a folder, or an id on the Hub.
        lora_name: `name:3` or `name@alias`; every other name is left to other resolvers.

    Raises:
        AliasUnsigned: the alias is recorded, and nobody who may has signed that, or their key was stolen.
        AliasPending: its first move waits for a signed log.
        ServedBaseDiffers: the adapter was made on another base.
        ServedBaseNotFound: that cannot be told.
        PullRefused, PullUnverified: it is not what was registered and signed, or that cannot be shown.
        VersionStopped: it must not be handed out.
        Refused, SeveralProblems: vLLM would refuse it.
        KnownError: the registry cannot be opened, or has lost the bytes.
    """
    if not _is_precise(lora_name):
        return None
    with _opened(settings) as registry:
        try:
            version = version_named(registry, lora_name)
        except (AliasUnsigned, AliasPending):
            raise  # the registry knows the alias, and nobody else is to say what it means
        except NotFound as error:
            _LOGGER.info("%s: %s", error.what, error.why)
            return None
        require_not_stopped(registry, "serve", version)
        with _ONE_AT_A_TIME:
            _require_base(registry, settings, base_model_name, version.label, version.manifest_digest)
            raise_any(check_for_vllm(registry, version, max_rank=MAX_RANK).problems)
            cached = pull_to_cache(registry, version, settings.cache)
    if cached.replaced:
        _LOGGER.warning("%s: files of the cache were changed, and are made anew: %s", version.label, cached.replaced)
    return ServedAdapter(version.label, cached.folder, int(version.manifest_digest.hex[:_NUMBER_DIGITS], 16) + 1)


def _is_precise(name: str) -> bool:
    """Whether a name has a number or an alias: a bare one may be that of any adapter of any resolver."""
    try:
        reference = Reference.parse(name)
    except InputRefused:
        return False
    return reference.alias is not None or (reference.name is not None and reference.number is not None)


def _require_base(
    registry: Registry, settings: ResolverSettings, base_model_name: str, label: str, manifest_digest: Digest
) -> None:
    manifest = stored_manifest(registry, manifest_digest)
    if manifest.base is None:
        return  # a base: refused as what is not an adapter
    folder = settings.base or _folder_of(base_model_name)
    if folder is None:
        raise ServedBaseNotFound(label, base_model_name)
    require_served_base(label, manifest.base.identity, _identity(folder))


def _folder_of(name: str) -> Path | None:
    """Where the files of a base lie that is served under a name."""
    try:
        if name and Path(name).is_dir():
            return Path(name).absolute()
    except OSError:  # longer than a name of a file can be
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    if not isinstance(config, str) or HubSnapshot.of(Path(config).parent) is None:
        return None
    return Path(config).parent


@lru_cache(maxsize=_BASES_KEPT)
def _identity(folder: Path) -> BaseIdentity:
    """What the base in a folder is: hashed once a process, because the process has loaded it once."""
    return identify_base(folder, cache=kept_digests(state_folder(os.environ), "bases")).identity


@contextmanager
def _opened(settings: ResolverSettings) -> Iterator[Registry]:
    state = state_folder(os.environ)
    folder = find_home(Path.cwd(), settings.home, state=state)
    registry = open_home(folder, pins=Pins(state, _LOGGER.warning), seen=SeenCheckpoints(state, _LOGGER.info))
    try:
        if settings.home is not None:  # as after `--home`: another registry in this place is noticed from now on
            remember_accepted(registry, state)
        yield registry
    finally:
        registry.close()
