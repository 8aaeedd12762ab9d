"""LoRA-Pro (Wang et al. 2024): LoRA's adapter, moved by another optimizer."""

from dataclasses import replace
from typing import Literal

from peft_registry.schemas.block import Block
from peft_registry.schemas.methods.declaration import ADAPTER_MEMORY, Conflict, Default
from peft_registry.schemas.methods.lora import METHOD as LORA
from peft_registry.schemas.methods.lora import LoraBlock


class LoraProBlock(Block):
    """LoRA-Pro (Wang et al. 2024): how its optimizer follows the full gradient; ranks and targets are those of `lora`.

    `efficient`, the default, corrects the gradients of A and B and needs LoRA's memory; `full`, which is what the code of its
    authors does, keeps Adam's moments of the equivalent gradient: 8 bytes for every weight of an adapted matrix, and full
    fine-tuning's learning rate. What was measured of one says nothing of the other.
    """

    form: Literal["efficient", "full"] = "efficient"


METHOD = replace(
    LORA,
    shards=False,
    name="lora_pro",
    title="LoRA-Pro",
    module="lora_pro",
    place=2,
    summary=(
        "LoRA whose step follows the full gradient; by default the efficient form of the paper: its authors' code is the full "
        "form (lora_pro.form: full)"
    ),
    block=LoraProBlock,
    reads=("lora",),
    learning_rate=1e-3,
    memory=f"{ADAPTER_MEMORY}; the full form 8 bytes more for each weight of an adapted matrix",
    defaults=(
        Default(
            "form",
            "efficient",
            "Wang et al. 2024 §3; memory as LoRA. The authors' code is the full form, which has full training's moments and "
            "learning rate",
        ),
        Default(
            "training.learning_rate",
            "1e-3",
            "tried once on SmolLM2, the held-out loss fell; the full form takes full training's, 2e-5",
        ),
    ),
    conflicts=(
        Conflict(
            "method lora_pro with lora.use_dora",
            "LoRA-Pro follows the gradient of W + s·B·A, and DoRA's weight is another function",
            "set lora.use_dora: false, or use method: lora",
            when=lambda file: file.block(LoraBlock).use_dora,
        ),
        Conflict(
            "method lora_pro with lora.loraplus_lr_ratio",
            "both decide how A and B are moved",
            "drop one of the two",
            when=lambda file: file.block(LoraBlock).loraplus_lr_ratio is not None,
        ),
    ),
    not_continued=(),
    not_offloaded=(),
)
