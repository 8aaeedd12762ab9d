"""IA3 (Liu et al. 2022) through peft: k ← l_k ⊙ k, v ← l_v ⊙ v, and the input of the MLP's last layer ← l_ff ⊙ input.

The vectors start at one, so a fresh adapter changes nothing. They are parameters like others: few, and not zero.
"""

from pathlib import Path
from typing import Any

import torch
from peft import IA3Config, TaskType
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as KNOWN_FEEDFORWARD,
)
from peft.utils.constants import (
    TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as KNOWN_TARGETS,
)

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods.ia3 import Ia3Block
from peft_registry.trainer.machine.seeding import seed_of
from peft_registry.trainer.methods.layer_names import is_target, require_feedforward_targeted, require_linear
from peft_registry.trainer.methods.peft_io import load_adapter, save_adapter, wrapped
from peft_registry.trainer.methods.targets import layers_of

# keys, values and the MLP's last layer under the names of Llama and its many relatives
_PAPER = ("k_proj", "v_proj", "down_proj")


class TargetsNotKnown(InputRefused):
    what = "ia3.target_modules is auto, and the names of this base's layers are not known"
    why = "nobody has listed keys, values and MLP layers of the architecture {model_type}"
    fix = "name them in ia3.target_modules and ia3.feedforward_modules"

    model_type: str


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with learned scales in place, only they trainable.

    Raises:
        TargetsNotKnown, FeedforwardNotTargeted, TargetsNotFound, TiedTarget: about the block's module names.
    """
    targets, feedforward = _modules(model, config.block(Ia3Block))
    require_linear(layers_of(model), targets, key="ia3.target_modules")
    torch.manual_seed(seed_of(seed, "adapter"))
    settings = IA3Config(
        task_type=TaskType.CAUSAL_LM, target_modules=list(targets), feedforward_modules=list(feedforward)
    )
    return wrapped(model, settings)


def save(model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    save_adapter(model, folder, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base with the saved adapter, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`.
    """
    return load_adapter(base_model, folder, IA3Config)


def _has(model: Any, *endings: str) -> bool:
    return all(any(is_target(name, ending) for name, _ in model.named_modules()) for ending in endings)


def _modules(model: Any, block: Ia3Block) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(targets, those of them that are scaled at their input)."""
    architecture = model.config.model_type
    if block.target_modules == "auto" and block.feedforward_modules == "auto" and _has(model, *_PAPER):
        return _PAPER, _PAPER[-1:]
    if "auto" in (block.target_modules, block.feedforward_modules) and architecture not in KNOWN_TARGETS:
        raise TargetsNotKnown(architecture)
    targets = block.target_modules if block.target_modules != "auto" else tuple(KNOWN_TARGETS[architecture])
    if block.feedforward_modules != "auto":
        feedforward = block.feedforward_modules
        require_feedforward_targeted(feedforward, targets)
        return targets, feedforward
    return targets, tuple(name for name in KNOWN_FEEDFORWARD[architecture] if name in targets)
