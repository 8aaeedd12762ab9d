"""Prefix tuning (Li and Liang 2021): learned keys and values in front of each layer."""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.block import Block
from peft_registry.schemas.codes import code
from peft_registry.schemas.methods.declaration import Advice, Default, Obstacle, TensorKind, TrainableMethod


class PrefixTuningBlock(Block):
    """Prefix tuning (Li and Liang 2021): learned keys and values in front of each layer.

    `init`: those that the base computes for tokens drawn from its vocabulary, or `random`, peft's own start. `projection`
    trains them through an MLP of `encoder_hidden_size` features (the base's hidden size when not given), of which only the
    result is kept.
    """

    num_virtual_tokens: int = Field(default=20, ge=1)
    init: Literal["sample_vocab", "random"] = "sample_vocab"
    projection: bool = False
    encoder_hidden_size: int | None = Field(default=None, ge=1)


METHOD = TrainableMethod(
    name="prefix_tuning",
    title="prefix tuning",
    peft_type="PREFIX_TUNING",
    kind="prefix_tuning",
    module="prefix_tuning",
    settings={"num_virtual_tokens": "num_virtual_tokens", "prefix_projection": "projection"},
    other_keys=(
        "encoder_hidden_size",
        "init_weights",
        "modules_to_save",
        "num_attention_heads",
        "num_layers",
        "num_transformer_submodules",
        "token_dim",
    ),
    tensors=(
        TensorKind("prompt_embeddings", axis=1, neutral="mean prefix", is_shared=True, sized=(0, "num_virtual_tokens")),
    ),
    no_weight=code("keys_and_values_in_front"),
    place=7,
    summary="learned keys and values in front of each layer",
    block=PrefixTuningBlock,
    learning_rate=1e-2,
    packs=False,
    takes_positions=False,
    checkpoints=False,
    defaults=(
        Default("num_virtual_tokens", "20", "as prompt tuning; Li and Liang 2021 §7.1 use 10 to 200"),
        Default("init", "sample_vocab", "Li and Liang 2021 §7.4: activations of real words; a random start does worse"),
        Default("projection", "false", "one set of numbers, stored as trained; Li and Liang 2021 §4.3 have both"),
        Default(
            "training.learning_rate",
            "1e-2",
            "peft's examples; measured here, ten times as much gains more in a short run and forgets more",
        ),
    ),
    advice=(
        Advice("latency", False, "longer attention in every layer"),
        Advice("many_tasks", True, "a small file a task, in front of one loaded base"),
    ),
    not_continued=(
        Obstacle(
            "prefix_tuning.projection",
            "of a projected prefix only the result is stored",
            when=lambda file: file.block(PrefixTuningBlock).projection,
        ),
    ),
)
