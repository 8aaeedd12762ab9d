"""Prompt tuning (Lester et al. 2021) through peft: P learned embeddings of the base's size in front of every text.

What comes out depends on where they start, so several starts are trained (`trainer/training/trials.py`). They start at
embeddings of the base: peft's own random start has several times their spread and costs steps.
"""

from pathlib import Path
from typing import Any

import torch
from peft import PromptTuningConfig, TaskType

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods.prompt_tuning import PromptTuningBlock
from peft_registry.trainer.machine.seeding import seed_of
from peft_registry.trainer.methods.peft_io import load_adapter, save_adapter, wrapped

_TOKENS_AT_ONCE = 4096


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with a new prompt in front, only it trainable."""
    return with_prompt(model, config.block(PromptTuningBlock), seed=seed)


def initialise(model: Any, config: TrainingFile, tokenizer: Any) -> None:
    """Start at the embeddings of `init_text`, repeated or cut to the number of virtual tokens, where the file has one."""
    text = config.block(PromptTuningBlock).init_text
    if text is None:
        return
    ids = list(tokenizer.encode(text, add_special_tokens=False))
    count = config.block(PromptTuningBlock).num_virtual_tokens
    _put(model, _embeddings(model)(torch.tensor((ids * count)[:count], device=model.device)))


def unwrap(model: Any) -> Any:
    """The base again, as it was."""
    return model.get_base_model()


def save(model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    save_adapter(model, folder, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base behind the saved prompt, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`.
    """
    return load_adapter(base_model, folder, PromptTuningConfig)


def with_prompt(model: Any, block: PromptTuningBlock, *, seed: int) -> Any:
    """A model, perhaps with LoRA layers in it, behind a new prompt."""
    count = block.num_virtual_tokens
    torch.manual_seed(seed_of(seed, "adapter"))
    prompted = wrapped(model, PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=count))
    table = _embeddings(prompted)
    if table.weight.device.type == "meta":  # only counted, never computed
        return prompted
    generator = torch.Generator().manual_seed(seed_of(seed, "prompt"))
    if block.init == "random":
        spread = table.weight.float().std()
        middle = table.weight.float().mean()
        drawn = torch.randn((count, table.weight.shape[1]), generator=generator).to(table.weight.device)
        _put(prompted, middle + spread * drawn)
    else:
        drawn = torch.randint(table.weight.shape[0], (count,), generator=generator)
        _put(prompted, table(drawn.to(table.weight.device)))
    return prompted


def mean_embedding(model: Any) -> torch.Tensor:
    """The mean of what the base's embedding gives for each token of its vocabulary, of the hidden size, fp32."""
    embeddings = _embeddings(model)
    count = embeddings.weight.shape[0]
    total = torch.zeros(embeddings.weight.shape[1], device=embeddings.weight.device)
    with torch.no_grad():
        for start in range(0, count, _TOKENS_AT_ONCE):
            ids = torch.arange(start, min(start + _TOKENS_AT_ONCE, count), device=embeddings.weight.device)
            total += embeddings(ids).float().sum(dim=0)
    mean: torch.Tensor = total / count
    return mean


def _embeddings(model: Any) -> Any:
    """The module, not its weight: some architectures scale what it gives."""
    return model.get_base_model().get_input_embeddings()


def _put(model: Any, values: torch.Tensor) -> None:
    with torch.no_grad():
        weight = model.prompt_encoder["default"].embedding.weight
        weight.copy_(values.to(weight.dtype))
