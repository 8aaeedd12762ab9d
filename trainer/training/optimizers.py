"""What moves the trainable parameters: AdamW, or the optimizer that a method's file offers (`optimizer`).

Each parameter group keeps its own learning rate as `initial_lr`, torch's name for it; the loop multiplies it by the schedule.
"""

from collections.abc import Sequence
from typing import Any

import torch

from peft_registry.schemas.config import TrainingBlock, TrainingFile
from peft_registry.trainer.methods import implementation


def optimizer_for(model: Any, config: TrainingFile) -> torch.optim.Optimizer:
    """The optimizer of a prepared model: the method's own where it has one, else AdamW."""
    own = getattr(implementation(config.method), "optimizer", None)
    optimizer: torch.optim.Optimizer | None = None if own is None else own(model, config)
    return plain_adamw(model, config.training) if optimizer is None else optimizer


def plain_adamw(model: Any, settings: TrainingBlock) -> torch.optim.AdamW:
    """AdamW over everything that requires a gradient, one group; on a GPU one kernel takes a whole step."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        trainable, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=takes_one_kernel(trainable)
    )


def takes_one_kernel(parameters: Sequence[torch.Tensor]) -> bool | None:
    """True where all of them are on a GPU; None leaves torch its own choice, by which records of processors were made."""
    return True if parameters and all(parameter.is_cuda for parameter in parameters) else None
