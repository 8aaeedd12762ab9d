"""What a training continues from, an adapter or with `full` a model: found by name, pinned by its digest, checked before it is
loaded."""

from dataclasses import replace
from pathlib import Path

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.methods.declaration import OF_THE_BEGINNING
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.training_file import LoadedConfig


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
        raise NotContinued(start.label, f"it is registered as {start.kind}", "name an adapter in `continue_from:`")
    if start.method != loaded.config.method:
        why = f"it is of the method {start.method}, and the file asks for {loaded.config.method}"
        raise NotContinued(start.label, why, f"set method: {start.method}, or start from the base")
    if start.base_manifest != base.manifest_digest:
        raise StartOnOtherBase(start.label, base)
    require_not_stopped(registry, "train", start)
    config = loaded.config.revised(continue_from=str(start.manifest_digest))
    return replace(loaded, config=config), start


def require_same_settings(registry: Registry, start: Version, config: TrainingFile) -> None:
    """Raise unless the numbers of the file's method, such as rank and alpha, are those of the adapter that it continues from.

    They are compared without the base. Layers are not, because one layer has several names, nor what only shapes the training.

    Raises:
        StartSettingsDiffer: one is another.
    """
    manifest = stored_manifest(registry, start.manifest_digest)
    entry = next((file for file in manifest.files if file.path == ADAPTER_CONFIG_NAME), None)
    saved = None if entry is None else read_json(registry.store.read_bytes(entry.sha256), what=ADAPTER_CONFIG_NAME)
    if not isinstance(saved, dict):  # a whole model, or several adapters
        return
    method = METHODS[config.method]
    asked: list[str] = []
    written: list[str] = []
    for block_name in method.blocks:
        block = getattr(config, block_name)
        own: list[str] = []
        differs = False
        for key, name in method.settings.items():
            was, now = saved.get(key), getattr(block, name, None)
            if OF_THE_BEGINNING.fullmatch(key) or not (_is_number(was) and _is_number(now)):
                continue
            own.append(f"{name}: {was:g}")
            if was != now:
                differs = True
                asked.append(f"{block_name}.{name} {now:g} in place of {was:g}")
        if differs:
            written.append(f"`{block_name}: {{{', '.join(own)}}}`")
    if asked:
        raise StartSettingsDiffer(start.label, tuple(asked), tuple(written))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fetched(registry: Registry, start: Version, folder: Path) -> Path:
    """A verified copy of the adapter in a new folder.

    Raises:
        PullRefused, PullUnverified: it is not what was registered, or that could not be shown.
    """
    pull_version(registry, start, folder, look_for_base=False)
    return folder
