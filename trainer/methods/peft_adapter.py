"""Adapters of which peft's own entry points do all: types that are loaded, and methods whose declaration says all of them.

What is trained is what the method's block says, by the keys that its declaration gives each setting in `adapter_config.json`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import TaskType
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.methods.declaration import TrainableMethod
from peft_registry.trainer.machine.seeding import seed_of
from peft_registry.trainer.methods.layer_names import require_linear
from peft_registry.trainer.methods.peft_io import config_type_of, load_adapter, save_adapter, wrapped
from peft_registry.trainer.methods.targets import all_linear, layers_of, require_effective

_ALL = "all-linear"


class SettingReplaced(InputRefused):
    what = "{key} {value!r} does not fit the layer {layer} of this base"
    why = "peft would take {taken!r} there, and the record of the run would say {value!r}"
    fix = "set {key} to a value that fits every adapted layer, or name other layers in target_modules"

    key: str
    value: object
    taken: object
    layer: str


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with the adapter in place, only it trainable.

    Raises:
        TargetsNotFound, TiedTarget, TargetWithoutEffect: about `target_modules`.
        SettingReplaced: peft would train with another setting than the file's.
        BaseNotAdaptable: peft does not take this base, or these layers of it.
    """
    method = METHODS[config.method]
    settings = _settings(method, config)
    settings["target_modules"] = _targets(model, settings["target_modules"], f"{method.name}.target_modules")
    torch.manual_seed(seed_of(seed, "adapter"))
    assert method.peft_type is not None, "peft does all of it"
    config_type = PEFT_TYPE_TO_CONFIG_MAPPING[method.peft_type]
    adapted = wrapped(model, config_type(task_type=TaskType.CAUSAL_LM, **settings))
    _require_as_asked(adapted, method, settings)
    return adapted


def save(model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    save_adapter(model, folder, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base with the saved adapter, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`.
    """
    return load_adapter(base_model, folder, config_type_of(folder))


def _settings(method: TrainableMethod, config: TrainingFile) -> dict[str, Any]:
    """The values of the method's block by peft's keys."""
    assert method.block is not None, "its settings are its own"
    block = config.block(method.block)
    return {key: getattr(block, word) for key, word in method.settings.items() if word in method.block.model_fields}


def _targets(model: Any, targets: str | tuple[str, ...], key: str) -> list[str]:
    if targets == _ALL:
        return all_linear(model)
    require_linear(layers_of(model), targets, key=key)
    require_effective(model, targets, key=key)
    return list(targets)


def _require_as_asked(model: Any, method: TrainableMethod, settings: dict[str, Any]) -> None:
    """peft puts another value in the place of one that does not fit a layer, and warns; a record must not name the first."""
    for key, value in settings.items():
        for layer, taken in _taken(model, key):
            if isinstance(value, int | float) and taken != value:
                raise SettingReplaced(f"{method.name}.{method.settings[key]}", value, taken, layer)


def _taken(model: Any, key: str) -> Iterator[tuple[str, Any]]:
    """(name of the layer, what the adapter `default` has there for a key), where the layers keep it."""
    for name, module in model.named_modules():
        values = getattr(module, key, None) if isinstance(module, BaseTunerLayer) else None
        if isinstance(values, dict) and "default" in values:
            yield name.rpartition(".")[2], values["default"]
