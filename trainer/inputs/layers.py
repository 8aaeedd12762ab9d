"""The layers that a training file names, held against those that the manifest of its base lists. No weight is read and no torch is
imported, so that a wrong name is told as soon as a wrong column."""

import re
from collections.abc import Collection, Sequence

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.methods.bottleneck_adapter import BottleneckBlock
from peft_registry.schemas.methods.full import FullBlock
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.schemas.version import Version
from peft_registry.trainer.methods.layer_names import (
    LayerNames,
    is_target,
    require_feedforward_targeted,
    require_freezable,
    require_linear,
    require_lora_layers,
    require_patterns,
)

# Classes of transformers whose layers are called as in their files: it renames and joins nothing of them while loading, and every
# matrix is a linear layer's or the embedding's. Of others the names are known once transformers has built the model.
NAMED_AS_STORED = frozenset(
    {
        "Cohere2ForCausalLM",
        "Gemma2ForCausalLM",
        "GemmaForCausalLM",
        "GraniteForCausalLM",
        "LlamaForCausalLM",
        "MistralForCausalLM",
        "Olmo2ForCausalLM",
        "Phi3ForCausalLM",
        "PhiForCausalLM",
        "Qwen2ForCausalLM",
        "Qwen3ForCausalLM",
        "SmolLM3ForCausalLM",
        "StableLmForCausalLM",
        "Starcoder2ForCausalLM",
    }
)
_EMBEDDING, _HEAD = "model.embed_tokens", "lm_head"
# another name, such as that of a packed weight, says that the file was not written by these classes
_STORED = re.compile(rf"(?:model\..+|{_HEAD})\.(?:weight|bias)")
_MATRIX = 2


def require_layers_of_base(registry: Registry, base: Version, record: BaseRecord, config: TrainingFile) -> None:
    """Raise where a training file names layers that its base certainly does not have; nothing where that takes the built model.

    Args:
        registry: holds the base.
        base: that is trained on.
        record: of the base.
        config: the training file.

    Raises:
        TargetsNotFound, TiedTarget, PatternUnmatched, FeedforwardNotTargeted, NothingTrainable, FreezeUnmatched: about the
            method's block.
    """
    tensors = listed_tensors(stored_manifest(registry, base.manifest_digest).weights)
    layers = stored_layers(record.architecture, tensors)
    if layers is not None:
        require_layers(layers, [tensor.name for tensor in tensors], config)


def stored_layers(architecture: str, tensors: Collection[Tensor]) -> LayerNames | None:
    """The layers that a base will have in memory, by the tensors of its files; None where those do not show it.

    Args:
        architecture: the class that the base's configuration names.
        tensors: of its files.
    """
    if architecture not in NAMED_AS_STORED or not all(_STORED.fullmatch(tensor.name) for tensor in tensors):
        return None
    matrices = {tensor.name.removesuffix(".weight") for tensor in tensors if len(tensor.shape) == _MATRIX}
    if _EMBEDDING not in matrices:
        return None
    return LayerNames(
        linear=frozenset(matrices - {_EMBEDDING} | {_HEAD}),
        embeddings=frozenset({_EMBEDDING}),
        tied=() if _HEAD in matrices else (_EMBEDDING, _HEAD),  # a tied weight is stored once
        experts=frozenset(),
    )


def require_layers(layers: LayerNames, parameters: Collection[str], config: TrainingFile) -> None:
    """Raise where a training file names layers that are not there.

    Args:
        layers: of the base.
        parameters: the names of its weights and biases.
        config: the training file.

    Raises:
        KnownError: as `require_layers_of_base`.
    """
    for name, block in zip(METHODS[config.method].blocks, config.method_blocks, strict=True):
        if isinstance(block, LoraBlock):
            require_lora_layers(layers, block)
            require_patterns(adapted_by_lora(layers, block), block)
        elif isinstance(block, FullBlock):
            require_freezable(parameters, block.freeze)
        elif not isinstance(block, BottleneckBlock):  # it also takes modules without a weight, which no file shows
            targets, feedforward = (getattr(block, key, None) for key in ("target_modules", "feedforward_modules"))
            if isinstance(targets, tuple) and isinstance(feedforward, tuple):
                require_feedforward_targeted(feedforward, targets)
            if isinstance(targets, tuple):
                require_linear(layers, targets, key=f"{name}.target_modules")


def adapted_by_lora(layers: LayerNames, block: LoraBlock) -> frozenset[str]:
    """The layers that LoRA adapts: those that `target_modules` names and `exclude_modules` does not."""
    targeted = layers.linear - {_HEAD}
    if block.target_modules != "all-linear":
        targeted = _named(layers.linear | layers.embeddings, block.target_modules)
    return targeted - _named(targeted, block.exclude_modules)


def _named(names: frozenset[str], targets: Sequence[str]) -> frozenset[str]:
    return frozenset(name for name in names if any(is_target(name, target) for target in targets))
