"""Folders of the library `adapters` (AdapterHub): told from those of peft by what they hold, and refused with what to do instead.

Its configuration has the file name of peft's and another form: `config` says what the adapter is, by a name or as an object.
Nothing here could load one, so that nobody could evaluate or check what was registered.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import read_file
from peft_registry.registry.disk.hub_snapshots import name_of_folder
from peft_registry.registry.identity.base import ADAPTER_CONFIG_NAME, CONFIG_NAME
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES
from peft_registry.schemas.errors import InputRefused, KnownError

_WEIGHTS = ("adapter.safetensors", "pytorch_adapter.bin")
_HEAD_FILES = ("head_config.json", "model_head.safetensors", "pytorch_model_head.bin")
_FUSION_CONFIG = "adapter_fusion_config.json"
_WRITTEN_BESIDE = ("model_class", "model_name", "model_type", "hidden_size", "version")
_MERGED_THERE = ("lora", "ia3")  # by name, or by the key `architecture`; (IA)³ has the architecture of LoRA there
_TRAINED_HERE = {"prefix_tuning": "prefix_tuning", "prompt_tuning": "prompt_tuning"}


class AdapterHubFolder(InputRefused):
    reference = "adapterhub-folder"
    what = "{name} was written by the library `adapters` (AdapterHub), and is not imported"
    why = (
        "it holds {content}, which neither peft nor this tool loads: nobody could evaluate or check what was registered"
    )
    fix = "{remedy}"

    folder: Path
    content: str
    remedy: str

    @property
    def name(self) -> str:
        return name_of_folder(self.folder)


def require_not_adapterhub(folder: Path, paths: Collection[str]) -> None:
    """Raise where the files of a folder are those of the library `adapters`.

    Args:
        folder: that is offered.
        paths: of its files, from the folder.

    Raises:
        AdapterHubFolder: they are.
    """
    if _FUSION_CONFIG in paths:
        raise AdapterHubFolder(folder, "a fusion of several adapters", _train_here("lora"))
    config = _config_of(folder) if ADAPTER_CONFIG_NAME in paths else {}
    if config.get("peft_type") is not None:
        return
    if any(name in paths for name in _WEIGHTS) or (
        "config" in config and any(key in config for key in _WRITTEN_BESIDE)
    ):
        raise AdapterHubFolder(folder, *_content_and_remedy(config.get("config")))
    if ADAPTER_CONFIG_NAME not in paths and CONFIG_NAME not in paths and any(name in paths for name in _HEAD_FILES):
        raise AdapterHubFolder(folder, "a prediction head", "import the whole model that it was trained in")


def _config_of(folder: Path) -> Mapping[str, Any]:
    """The configuration as an object; empty where it is something else, which is refused where it is read for good."""
    try:
        value = read_json(
            read_file(folder / ADAPTER_CONFIG_NAME, max_bytes=CONFIG_MAX_BYTES),
            what=ADAPTER_CONFIG_NAME,
            family="intake",
        )
    except KnownError:
        return {}
    return value if isinstance(value, dict) else {}


def _content_and_remedy(config: Any) -> tuple[str, str]:  # any JSON value
    """What the adapter is, and what could be done instead."""
    name = config.get("architecture") if isinstance(config, dict) else config
    kind = name.lower() if isinstance(name, str) else None
    if kind is not None and kind.startswith(_MERGED_THERE):
        merge = (
            "merge it into its base there (`model.merge_adapter`, `model.save_pretrained`), and import the merged model"
        )
        return "weights of a LoRA or (IA)³ under names of its own", merge
    if kind in _TRAINED_HERE:
        return f"a {kind.replace('_', ' ')} of its own form", _train_here(_TRAINED_HERE[kind])
    return "a bottleneck adapter or a combination of adapters", _train_here("bottleneck")


def _train_here(method: str) -> str:
    return (
        f"it cannot be merged either: train it anew on the same rows, for example `registry train FILE method={method}`"
    )
