"""The loss over rows that are held out, in fp32 like every score: of a finished trial, and now and then while a run trains."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.data.tokenize import Example
from peft_registry.trainer.evaluation.scoring import in_float32
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.result import BatchShape

HeldOutName = Literal["held_out_loss", "validation_loss"]


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Rows of the validation part, and how often a run looks at them.

    It draws nothing at random and changes no weight: a run that looks at them trains to the same weights as one that does not.

    Attributes:
        batches: padded, in the order of the rows.
        device: where the model is.
        every_steps: how many steps lie between two looks; None for none.
        name: what the loss is called, which says whether the run reports on these rows or on others.
    """

    batches: Batches
    device: str
    every_steps: int | None = None
    name: HeldOutName = "held_out_loss"

    @classmethod
    def of(cls, training: Batches, rows: Sequence[Example], device: str, **how: Any) -> "HeldOutRows":
        """The rows in batches as large as those of the training; `how` are the other attributes."""
        return cls(replace(training, examples=tuple(rows), pack_to=None), device, **how)

    def due(self, step: int, total: int) -> bool:
        """Whether the run looks at them after this step: before the first, each so many, and after the last."""
        return self.every_steps is not None and (step % self.every_steps == 0 or step == total)

    def loss(self, model: Any) -> float:
        """Nats per supervised token."""
        total, count = 0.0, 0
        with in_float32(model), torch.inference_mode(), torch.autocast(self.device, enabled=False):
            for batch in self.batches.in_order():
                loss, supervised, _ = supervised_loss(model, batch.to(self.device))
                total = total + float(loss)
                count = count + supervised
        return total / count

    def shapes(self, looks: int) -> tuple[BatchShape, ...]:
        """What so many looks computed."""
        if not looks:
            return ()
        return tuple(
            BatchShape(batch.tokens, batch.squares, batch.supervised, looks) for batch in self.batches.in_order()
        )
