"""The base of a model that somebody else's script loaded: found by its bytes, added where nobody has, held against memory."""

from pathlib import Path
from typing import Any

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import identify_base
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.progress import Observe, Said, Warned
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.in_memory import compare_in_memory
from peft_registry.trainer.bases.preparing import PreparedBase, prepare_base
from peft_registry.trainer.hub.shared_cache import base_in_snapshot, cached_base
from peft_registry.trainer.inputs.base import CheckedBase, NotABase, usable_base
from peft_registry.trainer.use_cases.add_base import default_name, intake_base


class BaseOfModelUnknown(InputRefused):
    what = "nothing says which base the model is of"
    why = "its configuration names no folder and no id on the Hub: it was not loaded with from_pretrained"
    fix = "load it with from_pretrained; or register the base with `registry base add`, and name it by `base=` of the callback"


class ModelIsNotItsBase(IntegrityBroken):
    what = "the model in memory is not the base {label}"
    why = "{reason}"
    fix = (
        "load the base anew before you train; a model that was changed, merged or given new tokens is saved and added as a base "
        "of its own"
    )

    label: str
    reason: str


def base_of_model(registry: Registry, model: Any, asked: str | None, observe: Observe) -> Version:
    """The registered base that a model was loaded from; added where it was not, as `registry base add` does.

    Args:
        registry: that may be written.
        model: of transformers, without the wrapper of peft.
        asked: a reference of the user's; None for what the model's configuration names.
        observe: hears of a base that is added.

    Raises:
        BaseOfModelUnknown: the configuration names none.
        VersionStopped: the base is recalled, or its weights are.
        NotABase: what has these files, or is named, is registered as something else.
        KnownError: as `intake_base`.
    """
    if asked is not None:
        return usable_base(registry, asked)
    config = model.config
    source = getattr(config, "_name_or_path", None)
    if not isinstance(source, str) or not source:
        raise BaseOfModelUnknown
    commit = getattr(config, "_commit_hash", None)
    prepared = _as_loaded(source, commit)
    if prepared is not None:
        known = _registered(registry, prepared)
        if known is not None:
            require_not_stopped(registry, "train", known)
            return known
    where = source if prepared is None or Path(source).is_dir() else str(prepared.folder)
    name = default_name(source)
    observe(Said("base", f"{source} is not registered here, and is added as {name}"))
    revision = commit if where == source and not Path(source).exists() else None
    added = intake_base(registry, where, name=name, revision=revision, observe=observe).version
    require_not_stopped(registry, "train", added)  # it may have the weights of a recalled one, beside other files
    return added


def _as_loaded(source: str, commit: str | None) -> PreparedBase | None:
    """The folder that transformers read: as it is named, or the snapshot in the user's cache; None where it lies elsewhere."""
    path = Path(source)
    if path.is_dir():
        snapshot = base_in_snapshot(path)
        return prepare_base(source, destination=path) if snapshot is None else _of_snapshot(snapshot)
    snapshot = cached_base(source, commit)
    return None if snapshot is None else _of_snapshot(snapshot)


def _of_snapshot(snapshot: Any) -> PreparedBase:
    return prepare_base(str(snapshot.folder), destination=snapshot.folder)


def _registered(registry: Registry, prepared: PreparedBase) -> Version | None:
    """The base with exactly these files; None where there is none.

    Raises:
        NotABase: a result of this registry has them.
    """
    identified = identify_base(
        prepared.folder,
        revision=prepared.revision,
        cache=registry.cache,
        require_finite=True,
        beside=prepared.beside,
    )
    digest = identified.manifest.canonical_digest()
    with registry.database.read() as tx:
        rows = catalog.version_by_digest(tx, digest)
    if not rows:
        return None
    version = version_named(registry, str(digest))
    if version.kind != "base":
        raise NotABase(version.label, version.kind)
    return version


def require_loaded_from(model: Any, base: CheckedBase, *, continued: bool, observe: Observe) -> None:
    """Raise unless the weights in memory are those of the base, as far as both can be compared.

    Args:
        model: of transformers, without the wrapper of peft.
        base: whose files were just checked.
        continued: whether a checkpoint was loaded into what is trained.
        observe: is warned where nothing could be compared.

    Raises:
        ModelIsNotItsBase: a tensor has another shape or other values.
    """
    compared = compare_in_memory(model, base.folder, frozen_only=continued)
    base.require_unchanged()
    if compared.differs is not None:
        raise ModelIsNotItsBase(base.version.label, compared.differs)
    if not compared.equal:
        observe(Warned("base-not-compared", _NOT_COMPARED))


_NOT_COMPARED = (
    "no weight in memory could be held against the base's files: they are quantised, or have other names once loaded"
)
