"""OFT (Qiu et al. 2023; as input rotations, Qiu et al. 2025): what each layer reads is rotated, block by block."""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import Advice, Default, TensorKind, TrainableMethod


class OftBlock(Block):
    """OFT (Qiu et al. 2023): W' = W·R with R orthogonal and block-diagonal; each block is learned as a skew-symmetric matrix.

    `block_size` is the width of a block, in features, and divides the width of what each adapted layer reads. A block of R is
    the Cayley transform of its matrix, whose inverse is a Neumann series of five terms as peft counts them (Qiu et al. 2025): it
    is orthogonal up to what they leave out.
    """

    block_size: int = Field(default=32, ge=2)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"


METHOD = TrainableMethod(
    name="oft",
    title="OFT",
    peft_type="OFT",
    kind="oft",
    settings={
        "oft_block_size": "block_size",
        "module_dropout": "dropout",
        "target_modules": "target_modules",
        "r": "blocks",  # how many there are, where their size is not given
        "modules_to_save": "modules_to_save",
        "bias": "bias",
    },
    other_keys=(
        "block_share",
        "coft",
        "eps",
        "exclude_modules",
        "fan_in_fan_out",
        "init_weights",
        "layers_pattern",
        "layers_to_transform",
        "num_cayley_neumann_terms",
        "use_cayley_neumann",
    ),
    tensors=(
        # angles of planes within a block: none of them is a dimension of the module
        TensorKind("oft_R.weight", axis=1, neutral=0.0, begins=0.0, is_of_weight=False),
        TensorKind("oft_embedding_R.weight", axis=1, neutral=0.0, begins=0.0, is_of_weight=False),
    ),
    begins_with={"init_weights": (True,)},
    summary="what each layer reads is rotated, block by block: W·R with R orthogonal",
    block=OftBlock,
    learning_rate=8e-4,
    defaults=(
        Default("block_size", "32", "Qiu et al. 2025, appendix A: 32 unless they say otherwise; peft's default too"),
        Default("dropout", "0.0", "short runs see each row once or twice"),
        Default("target_modules", "all-linear", "as lora"),
        Default(
            "training.learning_rate", "8e-4", "Qiu et al. 2025, table 9: Llama 2 on GSM8K, four times LoRA's there"
        ),
    ),
    advice=(
        Advice("latency", False, "a rotation in front of each layer; merging OFT adapters is not implemented here"),
        Advice("many_tasks", True, "a small file a task, switched on one loaded base"),
    ),
)
