"""Which runs can work on a frozen base that is not all in the memory that computes, and what of it waits elsewhere."""

from dataclasses import dataclass

from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods import METHODS

SUFFICES = "leave `offload` out, or choose a method and settings that only add to a frozen base"
_NOTHING_SAVED = (
    "training.gradient_checkpointing: false",
    "every weight that was fetched would be kept until the backward pass, so that nothing is saved",
    "set training.gradient_checkpointing=true",
)


class OffloadRefused(InputRefused):
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


def check_offload(config: TrainingFile) -> None:
    """Raise unless the file's run can work on a base that is not all there. Needs no torch.

    Raises:
        OffloadRefused: it cannot, or nothing would be saved.
    """
    again = config.training.gradient_checkpointing
    obstacle = obstacle_to_offload(config) or (None if again else OffloadRefused(*_NOTHING_SAVED))
    if obstacle is not None:
        raise obstacle


def obstacle_to_offload(config: TrainingFile) -> OffloadRefused | None:
    """What in the method or its blocks forbids it, whatever `training` says."""
    method = METHODS[config.method]
    rules = (
        (method.trains_base_weights, f"method {method.name}", "it trains every weight, so none is frozen"),
        (config.is_quantized, "`quantization`", "the files hold the weights unquantised"),
        (not method.checkpoints, f"method {method.name}", "it cannot recompute activations, and " + _NOTHING_SAVED[1]),
        *((rule.when(config), rule.asked, rule.why) for name in method.blocks for rule in METHODS[name].not_offloaded),
    )
    return next((OffloadRefused(asked, why, SUFFICES) for applies, asked, why in rules if applies), None)
