"""Prefix tuning (Li and Liang 2021) through peft: P learned keys and values in front of each layer's own.

They take no positions through the layers, only longer attention: P·2·L·(key-value heads)·(head size) numbers. The cache that
carries them is why activations cannot be recomputed, and rows cannot share a sequence.

They start at the keys and values that the base itself computes for tokens drawn from its vocabulary (ibid. §7.4: activations
of real words), so that the untrained model is the base with those tokens in front. peft's own start, N(0, 1) whatever the
base's spread, drowns the text in noise that many steps must first undo.
"""

from pathlib import Path
from typing import Any

import torch
from peft import PrefixTuningConfig, TaskType

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods.prefix_tuning import PrefixTuningBlock
from peft_registry.trainer.machine.seeding import seed_of
from peft_registry.trainer.methods.peft_io import load_adapter, save_adapter, wrapped


class PrefixDoesNotFit(InputRefused):
    what = "prefix tuning does not fit this base ({model_type})"
    why = "its attention heads have {head_size} features, and peft makes prefixes of {expected} a head"
    fix = "use prompt_tuning or lora on this base"

    model_type: str
    head_size: int
    expected: int


class PrefixStartDoesNotFit(InputRefused):
    what = "the prefix cannot start at keys and values of this base ({model_type})"
    why = "its layers do not each keep keys and values of {count} tokens: some share them, or look less far back"
    fix = "set prefix_tuning.init: random, or take fewer virtual tokens"

    model_type: str
    count: int


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with a new prefix in every layer, only it trainable.

    Raises:
        PrefixDoesNotFit: the base's heads are not hidden size / heads wide.
        PrefixStartDoesNotFit: its cache does not hold keys and values of every token for every layer.
    """
    _require_plain_heads(model)
    block = config.block(PrefixTuningBlock)
    torch.manual_seed(seed_of(seed, "adapter"))
    settings = PrefixTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=block.num_virtual_tokens,
        prefix_projection=block.projection,
        encoder_hidden_size=block.encoder_hidden_size or model.config.get_text_config().hidden_size,
    )
    prefixed = wrapped(model, settings)
    encoder = prefixed.prompt_encoder["default"]
    if block.init == "sample_vocab" and encoder.embedding.weight.device.type != "meta":  # there only counted
        _start_at(encoder, _computed(model, block.num_virtual_tokens, seed=seed))
    return prefixed


def unwrap(model: Any) -> Any:
    """The base again, as it was."""
    return model.get_base_model()


def save(model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    save_adapter(model, folder, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base behind the saved prefix, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused, WeightsMismatch: as `load_adapter`.
    """
    return load_adapter(base_model, folder, PrefixTuningConfig)


def sampled_tokens(model: Any, count: int, *, seed: int) -> torch.Tensor:
    """Token ids (1, count), each of the vocabulary equally likely: those that a prefix of this seed starts from."""
    generator = torch.Generator().manual_seed(seed_of(seed, "prefix"))
    return torch.randint(model.get_input_embeddings().weight.shape[0], (1, count), generator=generator)


def mean_prefix(model: Any, count: int, *, texts: int, seed: int) -> torch.Tensor:
    """The mean over several texts of random tokens of what the base computes for them, as peft's encoder holds a prefix.

    Raises:
        PrefixStartDoesNotFit: as `prepare`.
    """
    total = _computed(model, count, seed=seed)
    for text in range(1, texts):
        total += _computed(model, count, seed=seed + text)
    return total / texts


def _computed(model: Any, count: int, *, seed: int) -> torch.Tensor:
    """What the base computes for sampled tokens at positions 0 … count − 1, as peft's encoder holds it:
    (count, layers · 2 · key-value heads · head size), of each layer first the keys, turned by their positions, then the values.

    Raises:
        PrefixStartDoesNotFit: a layer has no keys and values of its own, or not of every token.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()  # no dropout
    try:
        with torch.no_grad():
            ids = sampled_tokens(model, count, seed=seed).to(model.device)
            cache = model(input_ids=ids, use_cache=True).past_key_values
    finally:
        for module in training:
            module.training = True
    config = model.config.get_text_config()
    pairs = [(layer.keys, layer.values) for layer in cache.layers if layer.is_initialized]
    if len(pairs) != config.num_hidden_layers or any(keys.shape[-2] != count for keys, _ in pairs):
        raise PrefixStartDoesNotFit(config.model_type, count)
    # each (1, heads, tokens, size) → (tokens, heads · size)
    flat = [states[0].transpose(0, 1).flatten(1) for pair in pairs for states in pair]
    return torch.cat(flat, dim=1).float()


def _start_at(encoder: Any, values: torch.Tensor) -> None:
    """Make peft's encoder give these values; behind a projection its last layer is solved for them, the smallest solution:
    exact where the layer before has at least as many features as there are tokens, else nearest."""
    with torch.no_grad():
        if not encoder.prefix_projection:
            encoder.embedding.weight.copy_(values)
            return
        *before, last = encoder.transform
        features = torch.nn.Sequential(*before)(encoder.embedding.weight)  # (tokens, encoder_hidden_size)
        last.weight.copy_((torch.linalg.pinv(features.float()) @ values.to(features.device)).T)
        last.bias.zero_()


def _require_plain_heads(model: Any) -> None:
    config = model.config.get_text_config()
    expected = config.hidden_size // config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or expected
    if head_size != expected:
        raise PrefixDoesNotFit(config.model_type, head_size, expected)
