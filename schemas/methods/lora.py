"""LoRA (Hu et al. 2021) and its switches: rsLoRA, DoRA, PiSSA, LoRA+."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from peft_registry.schemas.block import Block, check_pattern
from peft_registry.schemas.methods.declaration import (
    LOOKS_AT_WEIGHTS,
    Advice,
    AskedFor,
    Conflict,
    Default,
    Obstacle,
    TensorKind,
    TrainableMethod,
)


class LoraBlock(Block):
    """LoRA (Hu et al. 2021): W' = W + s·B·A with s = alpha/r, or alpha/√r with `use_rslora`.

    `rank_pattern` and `alpha_pattern` map a module name, or a regular expression over names, to its own r and alpha.
    `target_parameters` are weights that are no layers, such as the experts of a mixture that are one tensor, by the end of their
    name: `mlp.experts.gate_up_proj`. `init: pissa` starts from the principal components of each weight (Meng et al. 2024).
    `loraplus_lr_ratio` is the learning rate of B over that of A (LoRA+, Hayou et al. 2024); null for the same. `qlora`,
    `lora_pro` and `hybrid` read this block too.
    """

    r: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    exclude_modules: tuple[str, ...] = ()
    target_parameters: tuple[str, ...] = ()
    rank_pattern: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    alpha_pattern: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    use_rslora: bool = False
    use_dora: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    init: Literal["kaiming", "pissa"] = "kaiming"
    loraplus_lr_ratio: float | None = Field(default=None, gt=0, le=1e6)

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _patterns_end(cls, value: dict[str, Any]) -> dict[str, Any]:
        for pattern in value:
            check_pattern(pattern)
        return value

    @field_validator("target_modules")
    @classmethod
    def _targets_something(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("names at least one module")
        return value


def _has_magnitudes(file: AskedFor) -> bool:
    return file.block(LoraBlock).use_dora


def _starts_at_components(file: AskedFor) -> bool:
    return file.block(LoraBlock).init == "pissa"


def _trains_biases(file: AskedFor) -> bool:
    return file.block(LoraBlock).bias != "none"


SETTINGS_DEFAULTS = (
    Default("r", "8", "Hu et al. 2021 §7.2: small ranks suffice; 8 is peft's default too"),
    Default("alpha", "16", "twice r, the common choice in published recipes"),
    Default("dropout", "0.0", "short runs see each row once or twice"),
    Default(
        "target_modules", "all-linear", "Dettmers et al. 2023 §4: all linear layers are needed to match full tuning"
    ),
    Default("init", "kaiming", "Hu et al. 2021 §4.1: A random, B zero; `pissa` is Meng et al. 2024"),
    Default("loraplus_lr_ratio", "null", "one learning rate; 16 is what Hayou et al. 2024 recommend for LoRA+"),
)
RATE_DEFAULT = Default("training.learning_rate", "2e-4", "Dettmers et al. 2023, appendix: LoRA on 7B and 13B")

METHOD = TrainableMethod(
    name="lora",
    title="LoRA",
    peft_type="LORA",
    kind="lora",
    kinds={"use_dora": "dora"},
    module="lora",
    settings={
        "r": "r",
        "lora_alpha": "alpha",
        "lora_dropout": "dropout",
        "target_modules": "target_modules",
        "target_parameters": "target_parameters",
        "exclude_modules": "exclude_modules",
        "modules_to_save": "modules_to_save",
        "bias": "bias",
        "use_rslora": "use_rslora",
        "use_dora": "use_dora",
        "init_lora_weights": "init",
        "rank_pattern": "rank_pattern",
        "alpha_pattern": "alpha_pattern",
    },
    other_keys=(
        "alora_invocation_tokens",
        "arrow_config",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "fan_in_fan_out",
        "kasa_config",
        "layer_replication",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_bias",
        "lora_ga_config",
        "megatron_config",
        "megatron_core",
        "monteclora_config",
        "qalora_group_size",
        "runtime_config",
        "trainable_token_indices",
        "use_bdlora",
        "use_qalora",
        "velora_config",
    ),
    tensors=(
        TensorKind("lora_A.weight", axis=1, neutral=0.0, sized=(0, "r")),
        TensorKind("lora_B.weight", axis=0, neutral=0.0, begins=0.0, sized=(1, "r")),
        TensorKind("lora_B.bias", axis=0, neutral=0.0),
        TensorKind("lora_embedding_A", axis=1, neutral=0.0, sized=(0, "r")),
        TensorKind("lora_embedding_B", axis=0, neutral=0.0, sized=(1, "r")),
        TensorKind("lora_magnitude_vector", axis="longest", neutral="column norms", is_scale=True),
        TensorKind("lora_magnitude_vector.weight", axis="longest", neutral="column norms", is_scale=True),
        # rows of the embeddings, for tokens that were trained alone
        TensorKind("token_adapter.trainable_tokens_delta", replaces=True),
    ),
    begins_with={"init_lora_weights": (True, "gaussian")},
    folds=True,
    place=1,
    summary="low-rank update of linear layers: W + s·B·A; rsLoRA, DoRA, PiSSA and LoRA+ are its switches",
    block=LoraBlock,
    shards=True,
    learning_rate=2e-4,
    defaults=(*SETTINGS_DEFAULTS, RATE_DEFAULT),
    advice=(
        Advice("latency", True, "none once it is merged into the base"),
        Advice("many_tasks", True, "a small file a task, switched on one loaded base"),
    ),
    conflicts=(
        Conflict(
            "lora.init: pissa with lora.use_dora",
            "the result is stored as plain LoRA, and DoRA's magnitudes are no difference of weights",
            "drop one of the two",
            when=lambda file: _has_magnitudes(file) and _starts_at_components(file),
        ),
        Conflict(
            "lora.bias on a quantised base",
            "the biases of quantised layers are not trained",
            "set lora.bias: none",
            when=lambda file: _trains_biases(file) and file.is_quantized,
        ),
    ),
    not_continued=(
        Obstacle(
            "lora.init: pissa",
            "the result of PiSSA is stored as plain LoRA of twice the rank",
            when=_starts_at_components,
        ),
        Obstacle(
            "lora.bias",
            "biases of the base were trained, and its adapter does not say what they were before",
            when=_trains_biases,
        ),
    ),
    not_offloaded=(
        Obstacle("lora.use_dora", LOOKS_AT_WEIGHTS, when=_has_magnitudes),
        Obstacle("lora.init: pissa", LOOKS_AT_WEIGHTS, when=_starts_at_components),
        Obstacle("lora.bias", LOOKS_AT_WEIGHTS, when=_trains_biases),
    ),
)
