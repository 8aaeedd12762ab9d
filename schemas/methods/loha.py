"""LoHa (Hyeon-Woo et al. 2022, FedPara; Yeh et al. 2024, LyCORIS): the elementwise product of two low-rank matrices."""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import ADAPTER_MEMORY, Advice, Default, TensorKind, TrainableMethod


class LohaBlock(Block):
    """LoHa (Hyeon-Woo et al. 2022): W' = W + s·(B₁·A₁) ⊙ (B₂·A₂) with s = alpha/r; its rank may be r².

    It has twice LoRA's parameters at the same `r`. The product is computed whole, at the size of the weight, in each layer.
    """

    r: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    module_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"


METHOD = TrainableMethod(
    name="loha",
    title="LoHa",
    peft_type="LOHA",
    kind="loha",
    settings={
        "r": "r",
        "alpha": "alpha",
        "module_dropout": "module_dropout",
        "rank_dropout": "rank_dropout",
        "target_modules": "target_modules",
        "modules_to_save": "modules_to_save",
    },
    other_keys=(
        "alpha_pattern",
        "exclude_modules",
        "init_weights",
        "layers_pattern",
        "layers_to_transform",
        "rank_pattern",
        "use_effective_conv2d",
    ),
    tensors=(
        TensorKind("hada_w1_a", axis=0, neutral=0.0, sized=(1, "r")),
        TensorKind("hada_w1_b", axis=1, neutral=0.0, sized=(0, "r")),
        # the product is elementwise: what is turned in the one factor is turned in the other alike
        TensorKind("hada_w2_a", axis=0, neutral=0.0, turned_with="hada_w1_a", sized=(1, "r")),
        TensorKind("hada_w2_b", axis=1, neutral=0.0, begins=0.0, turned_with="hada_w1_b", sized=(0, "r")),
        # of convolutions
        TensorKind("hada_t1"),
        TensorKind("hada_t2"),
    ),
    begins_with={"init_weights": (True,)},
    summary="the elementwise product of two low-rank matrices beside linear layers: W + s·(B₁·A₁) ⊙ (B₂·A₂)",
    block=LohaBlock,
    learning_rate=1e-4,
    memory=(
        f"{ADAPTER_MEMORY}; 4 bytes more for each weight of an adapted matrix until the backward pass, of one block at a time "
        "with training.gradient_checkpointing"
    ),
    quantizable=False,
    defaults=(
        Default("r", "8", "peft's default; Hyeon-Woo et al. 2022 §2.2: the product has the rank r² at most"),
        Default("alpha", "16", "twice r, as in peft's comparison of methods on MetaMathQA"),
        Default("module_dropout", "0.0", "short runs see each row once or twice"),
        Default("target_modules", "all-linear", "as lora"),
        Default("training.learning_rate", "1e-4", "peft's comparison of methods on MetaMathQA, with Llama 3.2 3B"),
    ),
    advice=(
        Advice(
            "latency", False, "its product is computed in each layer; merging LoHa adapters is not implemented here"
        ),
        Advice("many_tasks", True, "a small file a task, switched on one loaded base"),
    ),
)
