"""Products in 16 bits over weights in 32 (autocast), and the loss scale that fp16 needs.

fp16 has no number between 0 and 6e-8, so that small gradients would be 0, and none above 65504. So the loss is multiplied by a
scale, and the gradients are divided by it again, in fp32, before anything reads them (Micikevicius et al., ICLR 2018, arXiv
1710.03740). It begins at 65536. A step whose gradients overflow all the same changes no weight and halves the scale; 2,000 steps
without one double it (`torch.amp.GradScaler`).
"""

from contextlib import AbstractContextManager, nullcontext

import torch

from peft_registry.schemas.errors import RunFailed
from peft_registry.trainer.machine.environment import Dtype, Products

_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NothingTrained(RunFailed):
    what = "no step of this run changed a weight"
    why = "the gradients of all {steps} steps overflowed fp16, though the loss scale was halved after each; nothing was registered"
    fix = "train more steps, or with training.dtype=bf16 or fp32"

    steps: int


def autocast_format(weights: Dtype, products: Products) -> torch.dtype | None:
    """The number format in which weights are multiplied that are held in another one; None where it is their own."""
    return None if products in ("fp32", weights) else _FORMATS[products]


def autocast(device: str, products: torch.dtype | None) -> AbstractContextManager[object]:
    """Inside, matrix products are computed in this format; None for that of the weights."""
    return nullcontext() if products is None else torch.autocast(device, products)


def loss_scaler(device: str, products: torch.dtype | None) -> torch.amp.GradScaler:
    """The loss scale before the first step; where the products are not fp16 it is 1, and stays so."""
    return torch.amp.GradScaler(device, enabled=products == torch.float16)
