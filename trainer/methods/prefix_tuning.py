"""Prefix tuning (Li and Liang 2021) through peft: P learned keys and values in front of each layer's own.

They take no positions through the layers, only longer attention: P·2·L·(key-value heads)·(head size) numbers. The cache that
carries them is why activations cannot be recomputed, and rows cannot share a sequence.
"""

from pathlib import Path
from typing import Any

import torch
from peft import PrefixTuningConfig, TaskType

from schemas.config import TrainingFile
from schemas.errors import InputRefused
from trainer.methods.peft_io import load_adapter, save_adapter, wrapped
from trainer.seeding import seed_of


class PrefixDoesNotFit(InputRefused):
    reference = "prefix-does-not-fit"

    def __init__(self, model_type: str, head_size: int, expected: int) -> None:
        super().__init__(
            what=f"prefix tuning does not fit this base ({model_type})",
            why=f"its attention heads have {head_size} features, and peft makes prefixes of {expected} a head",
            fix="use prompt_tuning or lora on this base",
        )


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with a new prefix in every layer, only it trainable.

    Raises:
        PrefixDoesNotFit: the base's heads are not hidden size / heads wide.
    """
    _require_plain_heads(model)
    block = config.prefix_tuning
    torch.manual_seed(seed_of(seed, "adapter"))
    settings = PrefixTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=block.num_virtual_tokens,
        prefix_projection=block.projection,
        encoder_hidden_size=block.encoder_hidden_size or model.config.get_text_config().hidden_size,
    )
    return wrapped(model, settings)


def save(model: Any, folder: Path, *, base: str | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    save_adapter(model, folder, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base behind the saved prefix, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`.
    """
    return load_adapter(base_model, folder, PrefixTuningConfig)


def _require_plain_heads(model: Any) -> None:
    config = model.config.get_text_config()
    expected = config.hidden_size // config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or expected
    if head_size != expected:
        raise PrefixDoesNotFit(config.model_type, head_size, expected)
