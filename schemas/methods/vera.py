"""VeRA (Kopiczko et al. 2024): two random matrices for all layers, which stay as they are, and two learned vectors a layer."""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import Advice, Default, TensorKind, TrainableMethod


class VeraBlock(Block):
    """VeRA (Kopiczko et al. 2024): W' = W + diag(b)·B·diag(d)·A; A and B are random and shared by all layers, b and d learn.

    `r` is the number of rows of A, `d_initial` the first value of d; b begins at zero. A and B are those that peft draws from one
    number, whatever `training.seed` is, and are stored with the adapter, so that no reader has to draw them again.
    """

    r: int = Field(default=256, ge=1)
    d_initial: float = Field(default=0.1, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"


METHOD = TrainableMethod(
    name="vera",
    title="VeRA",
    peft_type="VERA",
    kind="vera",
    settings={
        "r": "r",
        "d_initial": "d_initial",
        "vera_dropout": "dropout",
        "target_modules": "target_modules",
        "modules_to_save": "modules_to_save",
        "bias": "bias",
    },
    other_keys=(
        "fan_in_fan_out",
        "init_weights",
        "layers_pattern",
        "layers_to_transform",
        "projection_prng_key",
        "save_projection",
    ),
    tensors=(
        TensorKind("vera_lambda_b", axis=0, neutral=0.0, begins=0.0),
        # which of the random directions count; none of the module's own
        TensorKind("vera_lambda_d", axis=0, neutral=0.0, is_of_weight=False, sized=(0, "r")),
        TensorKind("vera_A", is_shared=True, stays=True),
        TensorKind("vera_B", is_shared=True, stays=True),
    ),
    begins_with={"init_weights": (True,)},
    summary="two vectors a layer that scale a random product shared by all layers: W + diag(b)·B·diag(d)·A",
    block=VeraBlock,
    learning_rate=4e-3,
    defaults=(
        Default("r", "256", "Kopiczko et al. 2024 §4.1, for RoBERTa large; peft's default too"),
        Default("d_initial", "0.1", "Kopiczko et al. 2024 §4.1 and table 6; peft's default too"),
        Default("dropout", "0.0", "short runs see each row once or twice"),
        Default("target_modules", "all-linear", "Kopiczko et al. 2024 §4.3: all linear layers but the top one"),
        Default(
            "training.learning_rate", "4e-3", "Kopiczko et al. 2024, table 9: Llama 7B and 13B, ten times LoRA's there"
        ),
    ),
    advice=(
        Advice("latency", False, "two more products a layer; merging VeRA adapters is not implemented here"),
        Advice("many_tasks", True, "two vectors a layer and task, beside random matrices that are always the same"),
    ),
)
