"""Prompt tuning and LoRA trained together, kept as two adapters of one artifact."""

from pydantic import Field

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import Advice, Conflict, Default, Obstacle, TrainableMethod
from peft_registry.schemas.methods.lora import METHOD as LORA
from peft_registry.schemas.methods.lora import RATE_DEFAULT, SETTINGS_DEFAULTS, LoraBlock
from peft_registry.schemas.methods.prompt_tuning import METHOD as PROMPT_TUNING

LORA_FOLDER, PROMPT_FOLDER = "lora", "prompt"  # of the artifact


class HybridBlock(Block):
    """Prompt tuning and LoRA trained together; their settings are those of `prompt_tuning` and `lora`.

    `prompt_learning_rate` is that of the embeddings; `training.learning_rate` is LoRA's.
    """

    prompt_learning_rate: float = Field(default=3e-2, gt=0)


METHOD = TrainableMethod(
    name="hybrid",
    title="a hybrid of prompt and LoRA",
    peft_type=None,
    kind="hybrid",
    layout="bundle",
    module="hybrid",
    other_reason="its LoRA is folded, and the virtual tokens stay in front of the text",
    settings={**LORA.settings, **PROMPT_TUNING.settings},
    place=8,
    summary="prompt tuning and LoRA together, two adapters in one artifact",
    block=HybridBlock,
    reads=("lora", "prompt_tuning"),
    learning_rate=2e-4,
    packs=False,
    defaults=(
        Default("prompt_learning_rate", "3e-2", "as prompt tuning; LoRA's is training.learning_rate"),
        Default("prompt_tuning.seeds", "1", "LoRA evens out where the prompt started"),
        *SETTINGS_DEFAULTS,
        RATE_DEFAULT,
    ),
    advice=(
        Advice("latency", False, "the LoRA part can be merged, the virtual tokens stay"),
        Advice("many_tasks", False, "two parts a task, switched together"),
    ),
    conflicts=(
        Conflict(
            "method hybrid with lora.loraplus_lr_ratio",
            "hybrid has learning rates of its own: one for LoRA, one for the prompt",
            "set lora.loraplus_lr_ratio: null",
            when=lambda file: file.block(LoraBlock).loraplus_lr_ratio is not None,
        ),
    ),
    not_continued=(
        Obstacle(
            "method hybrid",
            "its prompt and its LoRA are two adapters, and training continues from one",
            when=lambda _: True,
        ),
    ),
)
