"""What a training continues from, an adapter or with `full` a model: found by name, pinned by its digest, checked before it is
loaded."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.methods import METHODS, OF_PEFT_TYPE
from peft_registry.schemas.methods.declaration import OF_THE_BEGINNING
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.layers import all_linear
from peft_registry.trainer.inputs.training_file import LoadedConfig
from peft_registry.trainer.methods.layer_names import LayerNames, WeightNames

_PREFIX = "base_model.model."  # what peft puts before the names of the base's modules
_PLAIN = re.compile(r"\w[\w.-]*")  # text that YAML reads without quotes
_NAMES_OF_LAYERS = frozenset({"target_modules", "feedforward_modules", "exclude_modules", "target_parameters"})


class NotContinued(InputRefused):
    what = "training cannot continue from {label}"
    why = "{reason}"
    fix = "{remedy}"

    label: str
    reason: str
    remedy: str


class StartOnOtherBase(IntegrityBroken):
    what = "{label} was not trained on {base.label}"
    why = "its base has another manifest than {base.manifest_digest.short}: its numbers mean nothing on this one"
    fix = "name its own base in `base:`; `registry show {label}` has it"

    label: str
    base: Version


class StartSettingsDiffer(InputRefused):
    what = "{label} has other settings than the training file"
    why = "the file asks for {asked!l}: equal numbers would mean something else"
    fix = "write {written!l} in the file"

    label: str
    asked: tuple[str, ...]
    written: tuple[str, ...]


def pinned(registry: Registry, loaded: LoadedConfig, base: Version) -> tuple[LoadedConfig, Version | None]:
    """The file with the digest of what `continue_from` means now in its place, and that version; None where it has none.

    Raises:
        NotFound: nothing has that name.
        NotContinued: it is neither an adapter nor a whole model of `full`, or not of the file's method.
        StartOnOtherBase: it was trained on another base than the file's.
        VersionStopped: it, or something that it was made from, is recalled.
    """
    asked = loaded.config.continue_from
    if asked is None:
        return loaded, None
    start = version_named(registry, asked)
    is_whole_model = (start.kind, start.method) == ("model", "full")
    if start.kind != "adapter" and not is_whole_model:
        raise NotContinued(
            start.label,
            f"it is registered as {start.kind}",
            "name an adapter in `continue_from:`; `registry merge --algorithm svd` makes one of several",
        )
    if start.method != loaded.config.method:
        why = f"it is of the method {start.method}, and the file asks for {loaded.config.method}"
        raise NotContinued(start.label, why, f"set method: {start.method}, or start from the base")
    if start.base_manifest != base.manifest_digest:
        raise StartOnOtherBase(start.label, base)
    require_not_stopped(registry, "train", start)
    config = loaded.config.revised(continue_from=str(start.manifest_digest))
    return replace(loaded, config=config), start


def require_same_settings(
    registry: Registry, start: Version, config: TrainingFile, layers: LayerNames | None = None
) -> None:
    """Raise where the adapter's own files show that the run of a file would have other tensors, or compute with them otherwise.

    Settings such as rank, alpha and rsLoRA are compared as they are written, and layers that the file names with those that
    have tensors. Defaults that another version of peft has are only known with the built model.

    Args:
        registry: holds the adapter.
        start: the adapter.
        config: the training file.
        layers: of the base, which say what `all-linear` means; None where only the built model shows them.

    Raises:
        StartSettingsDiffer: one is another.
    """
    manifest = stored_manifest(registry, start.manifest_digest)
    saved = saved_config(registry, manifest)
    if saved is None:
        return
    tensors = [tensor.name for tensor in listed_tensors(manifest.weights)]
    asked, written = other_settings(saved, tensors, config, layers)
    if asked:
        raise StartSettingsDiffer(start.label, asked, written)


def other_settings(
    saved: Mapping[str, Any], tensors: Iterable[str], config: TrainingFile, layers: LayerNames | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a file asks for in place of a setting of an adapter, and the blocks to write; none where nothing is known to differ.

    Args:
        saved: the adapter's `adapter_config.json`, any JSON values.
        tensors: the names of its tensors.
        config: the training file, of the adapter's method.
        layers: of the base, as for `require_same_settings`.
    """
    modules = _adapted_modules(saved, tensors)
    asked: list[str] = []
    written: list[str] = []
    for block_name in METHODS[config.method].blocks:
        block = getattr(config, block_name)
        own: dict[str, object] = {}
        others: list[str] = []
        for key, name in METHODS[block_name].settings.items():
            was, now = saved.get(key), getattr(block, name, None)
            if name == "target_modules" and _are_other_layers(modules, _targets(now, block, layers), saved, block):
                names = _last_parts(modules)
                own[name] = was if isinstance(was, list) else names
                others.append(f"{block_name}.{name} {_as_typed(now)} in place of {_as_typed(names)}")
            elif _is_compared(key, was, now) and was != now:
                own[name] = was
                others.append(f"{block_name}.{name} {_as_typed(now)} in place of {_as_typed(was)}")
            elif _is_compared(key, was, now) and _is_number(was):
                own[name] = was  # with an equal rank beside it, who copies the block sees what belongs together
        if others:
            asked += others
            written.append(f"`{block_name}: {_as_typed(own)}`")
    return tuple(asked), tuple(written)


def saved_config(registry: Registry, manifest: Manifest) -> dict[str, Any] | None:
    """The adapter_config.json of a registered adapter, any JSON values; None for a whole model, or several adapters."""
    entry = next((file for file in manifest.files if file.path == ADAPTER_CONFIG_NAME), None)
    saved = None if entry is None else read_json(registry.store.read_bytes(entry.sha256), what=ADAPTER_CONFIG_NAME)
    return saved if isinstance(saved, dict) else None


def _is_compared(key: str, was: object, now: object) -> bool:
    """Whether two values of a setting mean the same only if they are equal."""
    if OF_THE_BEGINNING.fullmatch(key) or key in _NAMES_OF_LAYERS:
        return False
    return (_is_number(was) and _is_number(now)) or any(
        isinstance(was, kind) and isinstance(now, kind) for kind in (bool, str, dict)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _adapted_modules(saved: Mapping[str, Any], tensors: Iterable[str]) -> tuple[str, ...]:
    """The modules of the base that an adapter has tensors for; none where some are of parameters without a module."""
    declared = OF_PEFT_TYPE.get(str(saved.get("peft_type")))
    if declared is None or saved.get("target_parameters"):
        return ()
    found = [declared.tensor(name) for name in tensors]
    names = (
        kind_and_module[1].removeprefix(_PREFIX)
        for kind_and_module in found
        if kind_and_module is not None and not kind_and_module[0].is_shared and not kind_and_module[0].replaces
    )
    return tuple(dict.fromkeys(names))


def _targets(targets: object, block: object, layers: LayerNames | None) -> object:
    """The layers that a block means: `all-linear` by their full names, where those are known and none is left out again."""
    if targets != "all-linear" or getattr(block, "exclude_modules", None) or not isinstance(layers, WeightNames):
        return targets
    return tuple(all_linear(layers))


def _are_other_layers(modules: Sequence[str], targets: object, saved: Mapping[str, Any], block: object) -> bool:
    """Whether layers that a file names cannot be those that an adapter has: one of either is not among the others.

    A name without tensors is of a layer that would be adapted anew, or of none, which the training refuses anyway.
    """
    if not isinstance(targets, tuple) or not modules or getattr(block, "target_parameters", None):
        return False
    if any(not any(_is_named(module, target) for target in targets) for module in modules):
        return True
    left_out: object = getattr(block, "exclude_modules", None) or saved.get("exclude_modules")
    return not left_out and any(not any(_is_named(module, target) for module in modules) for target in targets)


def _is_named(module: str, target: str) -> bool:
    return f".{module}".endswith(f".{target}")


def _last_parts(modules: Iterable[str]) -> list[str]:
    return sorted({module.rpartition(".")[2] for module in modules})


def _as_typed(value: object) -> str:
    """A value as it is written on one line of a training file."""
    if isinstance(value, bool):
        return str(value).lower()
    if _is_number(value):
        return f"{value:g}"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_as_typed(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_typed, value))}]"
    text = f"{value}"
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def fetched(registry: Registry, start: Version, folder: Path) -> Path:
    """A verified copy of the adapter in a new folder.

    Raises:
        PullRefused, PullUnverified: it is not what was registered, or that could not be shown.
    """
    pull_version(registry, start, folder, look_for_base=False)
    return folder
