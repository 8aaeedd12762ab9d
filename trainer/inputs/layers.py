"""The layers that a training file names, held against those that the manifest of its base lists. No weight is read and no torch is
imported, so that a wrong name is told as soon as a wrong column."""

import re
from collections.abc import Collection, Mapping, Sequence

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import listed_tensors
from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.block import Block
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.methods.bottleneck_adapter import BottleneckBlock
from peft_registry.schemas.methods.full import FullBlock
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.schemas.version import Version
from peft_registry.trainer.methods.layer_names import (
    LayerNames,
    WeightNames,
    is_target,
    require_experts,
    require_feedforward_targeted,
    require_freezable,
    require_linear,
    require_lora_layers,
    require_modules,
    require_patterns,
)

_LLAMA = ("model.embed_tokens",)
# Classes of transformers whose layers are called as in their files, and their embeddings, of which a tied head shares the first.
# While loading it renames and joins nothing of them but one head, the experts of a mixture and what chooses among them; it puts the
# first part of these names before all where a file leaves it out; and every other matrix is a linear layer's, but for norms of
# heads. Bases from GGUF files are stored like others. Of other classes (recurrences, OPT …), and of packed weights, the names are
# known once transformers has built the model.
EMBEDDINGS: Mapping[str, tuple[str, ...]] = {
    "ArceeForCausalLM": _LLAMA,
    "BloomForCausalLM": ("transformer.word_embeddings",),
    "CodeGenForCausalLM": ("transformer.wte",),
    "Cohere2ForCausalLM": _LLAMA,
    "CohereForCausalLM": _LLAMA,
    "DeepseekV2ForCausalLM": _LLAMA,
    "DeepseekV3ForCausalLM": _LLAMA,
    "Dots1ForCausalLM": _LLAMA,
    "Ernie4_5ForCausalLM": _LLAMA,
    "Exaone4ForCausalLM": _LLAMA,
    "FalconForCausalLM": ("transformer.word_embeddings",),
    "FlexOlmoForCausalLM": _LLAMA,
    "GPT2LMHeadModel": ("transformer.wte", "transformer.wpe"),
    "GPTBigCodeForCausalLM": ("transformer.wte", "transformer.wpe"),
    "GPTJForCausalLM": ("transformer.wte",),
    "GPTNeoForCausalLM": ("transformer.wte", "transformer.wpe"),
    "GPTNeoXForCausalLM": ("gpt_neox.embed_in",),
    "Gemma2ForCausalLM": _LLAMA,
    "Gemma3ForCausalLM": _LLAMA,
    "GemmaForCausalLM": _LLAMA,
    "Glm4ForCausalLM": _LLAMA,
    "Glm4MoeForCausalLM": _LLAMA,
    "GlmForCausalLM": _LLAMA,
    "GraniteForCausalLM": _LLAMA,
    "HeliumForCausalLM": _LLAMA,
    "HunYuanDenseV1ForCausalLM": _LLAMA,
    "HunYuanMoEV1ForCausalLM": _LLAMA,
    "LlamaForCausalLM": _LLAMA,
    "Ministral3ForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "MixtralForCausalLM": _LLAMA,
    "NemotronForCausalLM": _LLAMA,
    "Olmo2ForCausalLM": _LLAMA,
    "Olmo3ForCausalLM": _LLAMA,
    "OlmoForCausalLM": _LLAMA,
    "OlmoeForCausalLM": _LLAMA,
    "Phi3ForCausalLM": _LLAMA,
    "PhiForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": _LLAMA,
    "Qwen2MoeForCausalLM": _LLAMA,
    "Qwen3ForCausalLM": _LLAMA,
    "Qwen3MoeForCausalLM": _LLAMA,
    "SeedOssForCausalLM": _LLAMA,
    "SmolLM3ForCausalLM": _LLAMA,
    "StableLmForCausalLM": _LLAMA,
    "Starcoder2ForCausalLM": _LLAMA,
    "VaultGemmaForCausalLM": _LLAMA,
}
_HEAD = "lm_head"
_HEAD_OF_NEOX = "embed_out"  # in its files; transformers calls it as that of others
# another name, such as that of a packed weight, says that the file was not written by these classes; the last two are buffers
# that older files hold
_STORED = re.compile(r".+\.(?:weight|bias|e_score_correction_bias|masked_bias|rotary_emb\.inv_freq)")
# the matrices of an expert, which transformers joins with those of the others under one name, and of what chooses among experts
_OF_MIXTURE = re.compile(r".+\.(?:experts\.\d+\..+|(?:mlp|block_sparse_moe)\.gate\.weight)")
# Cohere's norms of queries and keys have a row for each head, as no norm of other classes has
_NORM_OF_HEADS = re.compile(r".+\.[qk]_norm\.weight")
_MATRIX = 2
# the last parts of the names of their modules without a weight, which no file shows: functions, dropout, positions, and norms that
# learn nothing
WITHOUT_WEIGHT = frozenset(
    {
        "act",
        "act_fn",
        "activation_fn",
        "attention_dropout",
        "attn_dropout",
        "drop",
        "dropout",
        "emb_dropout",
        "embed_dropout",
        "gelu_impl",
        "input_layernorm",
        "norm",
        "post_attention_dropout",
        "post_attention_layernorm",
        "post_mlp_dropout",
        "resid_attn_dropout",
        "resid_dropout",
        "resid_mlp_dropout",
        "rotary_emb",
    }
)


def layers_of_base(registry: Registry, base: Version, record: BaseRecord) -> LayerNames | None:
    """The layers that a base will have in memory; None where only the built model shows them.

    Args:
        registry: holds the base.
        base: that is trained on.
        record: of the base.
    """
    return stored_layers(record.architecture, listed_tensors(stored_manifest(registry, base.manifest_digest).weights))


def stored_layers(architecture: str, tensors: Collection[Tensor]) -> LayerNames | None:
    """The layers that a base will have in memory, by the tensors of its files; None where those do not show it.

    Of a mixture only the layers outside the experts, which have other names in memory; of other bases `WeightNames`.

    Args:
        architecture: the class that the base's configuration names.
        tensors: of its files.
    """
    embeddings = EMBEDDINGS.get(architecture)
    if embeddings is None or not all(_STORED.fullmatch(tensor.name) for tensor in tensors):
        return None
    body = embeddings[0].partition(".")[0]
    shapes = {_as_loaded(tensor.name, body): tensor.shape for tensor in tensors}
    of_mixtures = {name for name in shapes if _OF_MIXTURE.fullmatch(name)}
    matrices = {
        name.removesuffix(".weight")
        for name, shape in shapes.items()
        if len(shape) == _MATRIX and name not in of_mixtures and not _NORM_OF_HEADS.fullmatch(name)
    }
    if not matrices.issuperset(embeddings):
        return None
    linear = frozenset(matrices.difference(embeddings) | {_HEAD})
    tied = () if _HEAD in matrices else (embeddings[0], _HEAD)  # a tied weight is stored once
    if of_mixtures:
        return LayerNames(linear, frozenset(embeddings), tied)
    return WeightNames(linear, frozenset(embeddings), tied, experts=frozenset(), parameters=frozenset(shapes))


def _as_loaded(name: str, body: str) -> str:
    """A stored name as the whole model calls it: of a model that was saved without its head, the first part is not stored."""
    first, _, rest = name.partition(".")
    if first == _HEAD_OF_NEOX:
        return f"{_HEAD}.{rest}"
    return name if first in (body, _HEAD) else f"{body}.{name}"


def require_layers(layers: LayerNames, config: TrainingFile) -> None:
    """Raise where a training file names layers that its base does not have; what only the built model shows is not checked.

    Args:
        layers: of the base.
        config: the training file.

    Raises:
        TargetsNotFound, TiedTarget, PatternUnmatched, FeedforwardNotTargeted, NothingTrainable, FreezeUnmatched: about the
            method's block.
    """
    for name, block in zip(METHODS[config.method].blocks, config.method_blocks, strict=True):
        if isinstance(block, LoraBlock):
            require_lora_layers(layers, block)
        elif not isinstance(block, FullBlock | BottleneckBlock):
            targets, feedforward = (getattr(block, key, None) for key in ("target_modules", "feedforward_modules"))
            if isinstance(targets, tuple) and isinstance(feedforward, tuple):
                require_feedforward_targeted(feedforward, targets)
            if isinstance(targets, tuple):
                require_linear(layers, targets, key=f"{name}.target_modules")
        if isinstance(layers, WeightNames):
            _require_names(layers, block)


def _require_names(names: WeightNames, block: Block) -> None:
    """Raise where a block names experts, patterns, parameters or modules that the base does not have."""
    if isinstance(block, LoraBlock):
        require_experts(names.experts, block)
        require_patterns(adapted_by_lora(names, block), block)
    elif isinstance(block, FullBlock):
        require_freezable(names.parameters, block.freeze)
    elif isinstance(block, BottleneckBlock) and block.target_modules != "auto":
        # the base may have these, so that only the built model can refuse them
        weightless = [target for target in block.target_modules if target.rpartition(".")[2] in WITHOUT_WEIGHT]
        require_modules(names, block.target_modules, without_weight=weightless, key="bottleneck.target_modules")


def adapted_by_lora(layers: LayerNames, block: LoraBlock) -> frozenset[str]:
    """The layers that LoRA adapts: those that `target_modules` names and `exclude_modules` does not."""
    targeted = all_linear(layers)
    if block.target_modules != "all-linear":
        targeted = _named(layers.linear | layers.embeddings, block.target_modules)
    return targeted - _named(targeted, block.exclude_modules)


def all_linear(layers: LayerNames) -> frozenset[str]:
    """What `all-linear` means: every linear layer but the output head."""
    return layers.linear - {_HEAD}


def _named(names: frozenset[str], targets: Sequence[str]) -> frozenset[str]:
    return frozenset(name for name in names if any(is_target(name, target) for target in targets))
