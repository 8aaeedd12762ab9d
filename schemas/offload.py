"""Which runs can work on a frozen base that is not all in the memory that computes, and what of it waits elsewhere."""

from dataclasses import dataclass
from typing import Protocol

from peft_registry.schemas.config import METHOD_BLOCKS, TrainingFile
from peft_registry.schemas.errors import InputRefused

SUFFICES = "leave `offload` out, or choose a method and settings that only add to a frozen base"
LOOKS_AT_WEIGHTS = "it reads or trains weights of the base besides the layers' own products, and those wait elsewhere"
_NOTHING_SAVED = (
    "training.gradient_checkpointing: false",
    "every weight that was fetched would be kept until the backward pass, so that nothing is saved",
    "set training.gradient_checkpointing=true",
)


class OffloadRefused(InputRefused):
    reference = "offload-refused"
    what = "the base cannot be offloaded with {asked}"
    why = "{reason}"
    fix = "{remedy}"

    asked: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of a loaded base is not in the memory that computes."""

    place: str  # disk or cpu
    blocks: int
    all_blocks: int
    size: int  # bytes, in the number format that is computed in

    def __str__(self) -> str:
        where = "on disk" if self.place == "disk" else "in RAM"
        return f"{self.blocks} of {self.all_blocks} blocks of the frozen base, {self.size / 1e6:.1f} MB, wait {where}"


class MethodFacts(Protocol):
    """What a method's row says about it."""

    @property
    def name(self) -> str: ...
    @property
    def trains_base_weights(self) -> bool: ...
    @property
    def checkpoints(self) -> bool: ...


def check_offload(config: TrainingFile, row: MethodFacts) -> None:
    """Raise unless the file's run can work on a base that is not all there. Needs no torch.

    Raises:
        OffloadRefused: it cannot, or nothing would be saved.
    """
    again = config.training.gradient_checkpointing
    obstacle = obstacle_to_offload(config, row) or (None if again else OffloadRefused(*_NOTHING_SAVED))
    if obstacle is not None:
        raise obstacle


def obstacle_to_offload(config: TrainingFile, row: MethodFacts) -> OffloadRefused | None:
    """What in the method or its block forbids it, whatever `training` says."""
    has_lora = "lora" in METHOD_BLOCKS[config.method]
    rules = (
        (row.trains_base_weights, f"method {row.name}", "it trains every weight, so none is frozen"),
        (config.quantization is not None, "`quantization`", "the files hold the weights unquantised"),
        (not row.checkpoints, f"method {row.name}", "it cannot recompute activations, and " + _NOTHING_SAVED[1]),
        (has_lora and config.lora.use_dora, "lora.use_dora", LOOKS_AT_WEIGHTS),
        (has_lora and config.lora.init == "pissa", "lora.init: pissa", LOOKS_AT_WEIGHTS),
        (has_lora and config.lora.bias != "none", "lora.bias", LOOKS_AT_WEIGHTS),
    )
    return next((OffloadRefused(asked, why, SUFFICES) for applies, asked, why in rules if applies), None)
