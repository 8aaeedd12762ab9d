"""LoRA (Hu et al. 2021), rsLoRA (Kalajdzievski 2023) and DoRA (Liu et al. 2024), through peft's own entry points.

W' = W + s·B·A with A ∈ R^{r×n}, B ∈ R^{m×r} = 0 at the start; s = alpha/r, or alpha/√r for rsLoRA.
Adapters on a bf16 base are fp32 (peft's `autocast_adapter_dtype`).
"""

import enum
import json
import re
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftType, TaskType, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

from schemas.config import LoraBlock, TrainingFile
from schemas.errors import InputRefused
from trainer.methods.weights_io import (
    AdapterConfigRefused,
    WeightsMismatch,
    read_tensors,
    require_same_keys,
    write_json,
    write_tensors,
)
from trainer.seeding import seed_of

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
# Module names of the routers of mixture-of-experts layers; `all-linear` would adapt them too.
_ROUTERS = re.compile(r"(?:^|\.)(?:mlp\.gate|block_sparse_moe\.gate|router|router\.layer)$")
# the type is known; the base's name was compared by digest long before
_NOT_READ = ("peft_type", "base_model_name_or_path")
# peft imports what these name
_IMPORTING_KEYS = ("auto_mapping", "megatron_config")


class TargetsNotFound(InputRefused):
    reference = "targets-not-found"

    def __init__(self, targets: object, names: tuple[str, ...]) -> None:
        super().__init__(
            what=f"lora.target_modules {targets} is nowhere in this base",
            why=f"its linear layers are named {', '.join(names)}",
            fix="name some of those, or write all-linear",
        )


class TiedTarget(InputRefused):
    reference = "tied-target"

    def __init__(self, name: str) -> None:
        super().__init__(
            what=f"lora.target_modules names {name}, whose weights the base shares with another layer",
            why="an update of one would silently change, or miss, the other when it is merged",
            fix=f"take {name} out of lora.target_modules",
        )


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with LoRA layers in place, only they trainable.

    Raises:
        TargetsNotFound: `target_modules` matches nothing.
        TiedTarget: it names an output head or embedding that the base ties.
    """
    block = config.lora
    _check_targets(model, block)
    torch.manual_seed(seed_of(seed, "adapter"))
    return _wrapped(model, _peft_config(model, block))


def save(model: Any, folder: Path, *, base: str | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    write_tensors(state, folder / WEIGHTS)
    write_json(_config_json(model.peft_config["default"], base), folder / CONFIG)


def load(base_model: Any, folder: Path) -> Any:
    """The base with the saved adapter, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused: not LoRA, fields that this peft does not know, or fields that make it import modules.
        WeightsMismatch: names or shapes are not exactly those of the configuration on this base.
    """
    found = read_tensors(folder / WEIGHTS)
    config = _read_config(folder)
    model = _wrapped(base_model, config)
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    require_same_keys(folder, expected=expected, found=found)
    result = set_peft_model_state_dict(model, found)
    if result.unexpected_keys:
        raise WeightsMismatch(folder, f"tensor {result.unexpected_keys[0]} has no place in the model")
    model.requires_grad_(False)
    return model.eval()


def _wrapped(model: Any, config: LoraConfig) -> Any:
    with warnings.catch_warnings():
        # peft 0.21 still asks for the name that transformers 5.23 renamed; nobody who trains can do anything about it
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        return get_peft_model(model, config)


def _peft_config(model: Any, block: LoraBlock) -> LoraConfig:
    targets = block.target_modules if block.target_modules == "all-linear" else list(block.target_modules)
    excluded = [*block.exclude_modules, *(_routers(model) if block.target_modules == "all-linear" else ())]
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=block.r,
        lora_alpha=block.alpha if block.alpha % 1 else int(block.alpha),
        lora_dropout=block.dropout,
        target_modules=targets,
        exclude_modules=sorted(excluded) or None,
        rank_pattern=dict(block.rank_pattern),
        alpha_pattern=dict(block.alpha_pattern),
        use_rslora=block.use_rslora,
        use_dora=block.use_dora,
        bias=block.bias,
    )


def _check_targets(model: Any, block: LoraBlock) -> None:
    if block.target_modules == "all-linear":
        return
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Embedding)]
    for target in block.target_modules:
        if not any(_is_target(name, target) for name in names):
            raise TargetsNotFound(
                list(block.target_modules), tuple(sorted({name.rpartition(".")[2] for name in names}))
            )
    if getattr(model.config, "tie_word_embeddings", False):
        tied = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
        for name, module in model.named_modules():
            if id(module) in tied and any(_is_target(name, target) for target in block.target_modules):
                raise TiedTarget(name.rpartition(".")[2])


def _is_target(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _routers(model: Any) -> list[str]:
    return [name for name, _ in model.named_modules() if _ROUTERS.search(name)]


def _config_json(config: LoraConfig, base: str | None) -> dict[str, Any]:
    """peft's own dictionary without anything of this machine or of this process: sets sorted, no local path."""
    value: dict[str, Any] = {key: _plain(item) for key, item in config.to_dict().items()}
    return value | {"base_model_name_or_path": base, "revision": None, "inference_mode": True}


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value


def _read_config(folder: Path) -> LoraConfig:
    try:
        value = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdapterConfigRefused(f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(value, dict) or value.get("peft_type") != PeftType.LORA.value:
        raise AdapterConfigRefused("its peft_type is not LORA")
    asked = [key for key in _IMPORTING_KEYS if value.get(key)]
    if asked:
        raise AdapterConfigRefused(f"its key {asked[0]} names Python modules to import")
    unknown = sorted(value.keys() - {field.name for field in fields(LoraConfig)})
    if unknown:
        raise AdapterConfigRefused(f"this version of peft does not know its key {unknown[0]}")
    try:
        return LoraConfig(**{key: item for key, item in value.items() if key not in _NOT_READ})
    except (TypeError, ValueError) as error:
        raise AdapterConfigRefused(f"peft refuses it: {error}") from error
