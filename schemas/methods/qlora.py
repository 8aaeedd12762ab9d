"""QLoRA (Dettmers et al. 2023): LoRA's adapter, trained on a base in 4 bits."""

from dataclasses import replace

from peft_registry.schemas.methods.declaration import Advice, Default
from peft_registry.schemas.methods.lora import METHOD as LORA
from peft_registry.schemas.methods.lora import RATE_DEFAULT, SETTINGS_DEFAULTS

METHOD = replace(
    LORA,
    name="qlora",
    title="QLoRA",
    kind="qlora",
    place=3,
    summary="LoRA on a base quantised to 4 bits",
    block=None,
    reads=("lora",),
    needs_quantized_base=True,
    memory="frozen base at 0.52 bytes a weight of a linear layer, 2 bytes elsewhere; 16 bytes a trained parameter",
    defaults=(
        Default("quantization.type", "nf4", "Dettmers et al. 2023 §3: NF4 beats FP4 at equal size"),
        Default("quantization.double", "true", "Dettmers et al. 2023 §3: saves 0.37 bits a weight"),
        *SETTINGS_DEFAULTS,
        RATE_DEFAULT,
    ),
    advice=(
        Advice("latency", False, "merged into the dequantised base none; in 4 bits each layer is dequantised"),
        Advice("many_tasks", True, "a small file a task, switched on one loaded base"),
    ),
    conflicts=(),
    not_continued=(),
    not_offloaded=(),
)
