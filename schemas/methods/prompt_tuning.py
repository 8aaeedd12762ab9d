"""Prompt tuning (Lester et al. 2021): learned embeddings in front of each text."""

from typing import Literal, Self

from pydantic import Field, model_validator

from peft_registry.schemas.block import Block
from peft_registry.schemas.codes import code
from peft_registry.schemas.methods.declaration import Advice, Default, TensorKind, TrainableMethod

_STARTS = 5  # its result depends on where it starts


class PromptTuningBlock(Block):
    """Prompt tuning (Lester et al. 2021): `num_virtual_tokens` learned embeddings in front of each text.

    `init`: embeddings of tokens drawn from the vocabulary, those of `init_text`, or random ones of the same spread. `seeds`
    is how many starts are trained, the one with the lowest validation loss kept, and reported on rows that chose nothing;
    null for 5, and for 1 in `hybrid`, which reads this block too.
    """

    num_virtual_tokens: int = Field(default=20, ge=1)
    init: Literal["sample_vocab", "text", "random"] = "sample_vocab"
    init_text: str | None = Field(default=None, min_length=1)
    seeds: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _text_where_it_is_used(self) -> Self:
        if (self.init == "text") != (self.init_text is not None):
            raise ValueError("init: text and init_text belong together")
        return self


METHOD = TrainableMethod(
    name="prompt_tuning",
    title="prompt tuning",
    peft_type="PROMPT_TUNING",
    kind="prompt_tuning",
    module="prompt_tuning",
    settings={"num_virtual_tokens": "num_virtual_tokens", "prompt_tuning_init": "init"},
    other_keys=(
        "modules_to_save",
        "num_attention_heads",
        "num_layers",
        "num_transformer_submodules",
        "prompt_tuning_init_text",
        "token_dim",
        "tokenizer_kwargs",
        "tokenizer_name_or_path",
    ),
    tensors=(
        TensorKind(
            "prompt_embeddings", axis=1, neutral="mean embedding", is_shared=True, sized=(0, "num_virtual_tokens")
        ),
    ),
    no_weight=code("embeddings_in_front"),
    place=6,
    summary="learned embeddings in front of the text; the best of several starts by validation loss",
    block=PromptTuningBlock,
    learning_rate=3e-2,
    packs=False,
    starts=_STARTS,
    defaults=(
        Default("num_virtual_tokens", "20", "Lester et al. 2021 §3.2: beyond 20 little is gained"),
        Default("init", "sample_vocab", "Lester et al. 2021 §3.2: better than random starts"),
        Default(
            "seeds",
            str(_STARTS),
            "results swing with the start; chosen on validation, reported on a third part",
        ),
        Default("training.learning_rate", "3e-2", "peft's examples; Lester et al. 2021 use 0.3 with Adafactor"),
    ),
    advice=(
        Advice("latency", False, "virtual tokens are computed with every request"),
        Advice("many_tasks", True, "a few vectors a task, in front of one loaded base"),
    ),
)
