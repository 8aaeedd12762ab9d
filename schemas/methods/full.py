"""Full fine-tuning: every weight is trained, and the result is a model of its own."""

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import Advice, Default, TrainableMethod


class FullBlock(Block):
    """Full fine-tuning. `freeze`: parameters whose name contains one of these texts are not trained."""

    freeze: tuple[str, ...] = ()


METHOD = TrainableMethod(
    name="full",
    title="full fine-tuning",
    peft_type=None,
    kind="full_ft",
    layout="model",
    module="full",
    other_reason="the result is a whole model, and nothing stands beside it",
    place=0,
    summary="train every weight",
    block=FullBlock,
    learning_rate=2e-5,
    trains_base_weights=True,
    shards=True,
    quantizable=False,
    memory="16 bytes a parameter: fp32 weight, gradient and two AdamW moments",
    defaults=(
        Default("freeze", "[]", "nothing is frozen unless asked for"),
        Default("training.learning_rate", "2e-5", "Taori et al. 2023 (Alpaca); LoRA-Pro's scripts for full tuning"),
    ),
    advice=(
        Advice("latency", True, "none: the architecture is the base's"),
        Advice("many_tasks", False, "a whole model for each task"),
    ),
)
