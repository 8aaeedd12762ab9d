"""Figures of rows that are held out, in fp32 like every score: of a finished trial, and now and then while a run trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.schemas.run_points import LOOKED_AT, HeldOutPart, RunMetricName
from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.data.tokenize import Example
from peft_registry.trainer.evaluation.models import Tokenizer
from peft_registry.trainer.evaluation.quality import Answers, measure_rows
from peft_registry.trainer.evaluation.scoring import in_float32
from peft_registry.trainer.training.forward_passes import Passes, count_passes
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.result import BatchShape


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the rows gave: `figures` by name, the loss among them, and the forward passes of their answers."""

    figures: Mapping[str, float]
    passes: Passes


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Rows of the validation part, and how often a run looks at them.

    It draws nothing at random and changes no weight: a run that looks at them trains to the same weights as one that does not.

    Attributes:
        batches: padded, in the order of the rows.
        device: where the model is.
        every_steps: how many steps lie between two looks; None for none.
        part: whether the run reports on these rows or on others.
        answers: what they ask besides their loss.
        tokenizer: of the base; None where they ask nothing besides.
    """

    batches: Batches
    device: str
    every_steps: int | None = None
    part: HeldOutPart = "held_out"
    answers: tuple[Answers, ...] = ()
    tokenizer: Tokenizer | None = None

    @classmethod
    def of(cls, training: Batches, rows: Sequence[Example], device: str, **how: Any) -> "HeldOutRows":
        """The rows in batches as large as those of the training; `how` are the other attributes."""
        return cls(replace(training, examples=tuple(rows), pack_to=None), device, **how)

    def due(self, step: int, total: int) -> bool:
        """Whether the run looks at them after this step: before the first, each so many, and after the last."""
        return self.every_steps is not None and (step % self.every_steps == 0 or step == total)

    def look(self, model: Any) -> Look:
        """The loss, and how right the answers are."""
        figures = {"loss": self.loss(model)}
        if not self.answers:
            return Look(figures, Passes())
        with in_float32(model), count_passes(model) as passes:
            for answers in self.answers:
                assert self.tokenizer is not None, "whoever asks rows has one"
                figures |= _means(measure_rows(model, self.tokenizer, answers, arm="adapted"))
        return Look(figures, passes)

    def measured(self, figures: Mapping[str, float]) -> dict[RunMetricName, float]:
        """The figures of a look by the names that they have in a run log."""
        return {
            name: figures[figure]
            for name, (part, figure) in LOOKED_AT.items()
            if part == self.part and figure in figures
        }

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
        """What the losses of so many looks computed."""
        if not looks:
            return ()
        return tuple(
            BatchShape(batch.tokens, batch.squares, batch.supervised, looks) for batch in self.batches.in_order()
        )


def _means(readings: Sequence[Reading]) -> dict[str, float]:
    """The mean of each measure over the rows."""
    return {
        label: sum(reading.values[place] for reading in readings) / len(readings) / MILLIONTHS
        for place, label in enumerate(readings[0].labels)
    }
