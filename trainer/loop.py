"""The training loop: AdamW over the trainable parameters, exact and repeatable for one seed on one machine.

- The loss of a step is the mean over the supervised tokens of all its micro-batches, so accumulation changes nothing.
- The output head runs on supervised positions only; cross-entropy is fp32.
- A step that diverges stops the run before it changes a weight.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from schemas.config import TrainingBlock
from schemas.errors import RunFailed
from schemas.progress import Advanced, Finished, Observe, Started, ignore
from schemas.run import LossCurve
from trainer.data.collate import Batch, Batches
from trainer.data.tokenize import IGNORED
from trainer.energy import kilowatt_hours, read_counters
from trainer.optimizers import plain_adamw

_STEP = "train"
# A model that knows nothing has a loss of ln(vocabulary); twice that, and twice its own start, is no noise.
_DIVERGED_FACTOR = 2.0


class LossDiverged(RunFailed):
    reference = "loss-diverged"

    def __init__(self, step: int, why: str) -> None:
        super().__init__(
            what=f"the loss diverged at step {step}",
            why=why,
            fix="lower training.learning_rate, raise training.warmup_ratio, or look for broken rows; nothing was registered",
        )
        self.step = step


class OutOfMemory(RunFailed):
    reference = "out-of-memory"

    def __init__(self, step: int) -> None:
        super().__init__(
            what=f"memory ran out at step {step}",
            why="weights, activations and optimizer state together were more than this machine has",
            fix="lower training.per_device_train_batch_size (and raise gradient_accumulation_steps), or training.max_length",
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """How often the run computed a batch of `rows` × `tokens` with `supervised` positions through the output head."""

    rows: int
    tokens: int
    supervised: int
    count: int


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What happened: tokens include padding and repeats over epochs; `shapes` are what compute is counted from."""

    curve: LossCurve
    steps: int
    tokens: int
    supervised_tokens: int
    padding_tokens: int
    seconds: float
    shapes: tuple[Shape, ...]
    energy_kwh: float | None = None


def train(
    model: Any,  # a torch module, perhaps wrapped by peft
    batches: Batches,
    settings: TrainingBlock,
    *,
    device: str = "cpu",
    autocast: bool = False,
    optimizer: torch.optim.Optimizer | None = None,
    observe: Observe = ignore,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Train the parameters that require gradients, in place; the model is left in evaluation mode.

    Args:
        model: on `device`.
        batches: the training part.
        settings: of the training file.
        device: where the model is.
        autocast: compute matrix products in bf16 although the weights are fp32.
        optimizer: over the trainable parameters; None for plain AdamW. The schedule scales the learning rate of each group.
        observe: hears of each step.
        clock: seconds; for the rate and the total.

    Raises:
        LossDiverged: the loss or a gradient is not finite, or the loss is far above that of guessing.
        OutOfMemory: an allocation failed.
    """
    chosen = plain_adamw(model, settings) if optimizer is None else optimizer
    run = _Run(model, settings, chosen, total=_total_steps(len(batches), settings), device=device, autocast=autocast)
    started, energy = clock(), read_counters()
    observe(Started(_STEP, total=run.total, unit="step"))
    model.train()
    for step, window in enumerate(_windows(batches, settings, run.total), start=1):
        loss = run.take(step, window)
        rate = run.tokens / max(clock() - started, 1e-9)
        observe(Advanced(_STEP, step, (("loss", f"{loss:.2f}"), ("tok/s", f"{rate:.0f}"))))
    model.eval()
    observe(Finished(_STEP))
    return run.result(clock() - started, kilowatt_hours(energy, read_counters()))


def supervised_loss(model: Any, batch: Batch) -> tuple[torch.Tensor, int, int]:
    """(sum of the loss in nats, number of supervised tokens, vocabulary); gradients flow when they are on."""
    targets = batch.labels[:, 1:]
    learnt = targets != IGNORED
    logits = supervised_logits(model, batch, learnt)
    loss = cross_entropy(logits.float(), targets[learnt], reduction="sum")
    return loss, int(learnt.sum().item()), logits.shape[-1]


def supervised_logits(model: Any, batch: Batch, learnt: torch.Tensor) -> torch.Tensor:
    """Logits of shape (supervised, vocabulary) at the positions (rows, tokens - 1) where `learnt` is true.

    The hidden states are gathered just before the output head, inside the model's own forward pass: whatever the
    architecture does to its logits (scaling, soft-capping) is kept.
    """
    head = model.get_output_embeddings()

    def gather(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        hidden = arguments[0]  # (rows, virtual + tokens, hidden)
        real = hidden[:, hidden.shape[1] - batch.input_ids.shape[1] :]
        return (real[:, :-1][learnt].unsqueeze(0), *arguments[1:])  # (1, supervised, hidden)

    hook = head.register_forward_pre_hook(gather)
    try:
        output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    finally:
        hook.remove()
    logits: torch.Tensor = output.logits[0]
    return logits


def learning_rate_factor(step: int, *, total: int, warmup: int, kind: str) -> float:
    """The factor of the learning rate at optimizer step `step`, from 1: linear warm-up, then the schedule down to 0."""
    if step <= warmup:
        return step / warmup
    done = (step - 1 - warmup) / max(total - warmup, 1)
    if kind == "constant":
        return 1.0
    return 1.0 - done if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


class _Run:
    """The state of one run between steps."""

    def __init__(
        self,
        model: Any,
        settings: TrainingBlock,
        optimizer: torch.optim.Optimizer,
        *,
        total: int,
        device: str,
        autocast: bool,
    ) -> None:
        self.model = model
        self.settings = settings
        self.total = total
        self.device = device
        self.autocast = autocast
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.losses: list[float] = []
        self.shapes: Counter[tuple[int, int, int]] = Counter()
        self.tokens = self.padding = self.supervised = 0

    def take(self, step: int, window: list[Batch]) -> float:
        """One optimizer step over the micro-batches of `window`; the mean loss before it."""
        with _allocating(step):
            loss, vocabulary = self._backward(window)
            self._check(step, loss, vocabulary)
            limit = self.settings.max_grad_norm or math.inf
            norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
            if not math.isfinite(float(norm)):
                raise LossDiverged(step, "a gradient is not finite")
            warmup = math.ceil(self.settings.warmup_ratio * self.total)
            factor = learning_rate_factor(step, total=self.total, warmup=warmup, kind=self.settings.lr_scheduler_type)
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss)
        return loss

    def result(self, seconds: float, energy_kwh: float | None) -> TrainResult:
        return TrainResult(
            curve=LossCurve(steps=tuple(range(1, len(self.losses) + 1)), loss=tuple(self.losses)),
            steps=len(self.losses),
            tokens=self.tokens,
            supervised_tokens=self.supervised,
            padding_tokens=self.padding,
            seconds=seconds,
            shapes=tuple(Shape(*shape, count) for shape, count in sorted(self.shapes.items())),
            energy_kwh=energy_kwh,
        )

    def _backward(self, window: list[Batch]) -> tuple[float, int]:
        supervised = sum(batch.supervised for batch in window)
        total, vocabulary = 0.0, 1
        for batch in window:
            self._count(batch)
            with torch.autocast(self.device, torch.bfloat16) if self.autocast else nullcontext():
                loss, _, vocabulary = supervised_loss(self.model, batch.to(self.device))
            torch.autograd.backward(loss / supervised)
            total += loss.item()
        return total / supervised, vocabulary

    def _check(self, step: int, loss: float, vocabulary: int) -> None:
        if not math.isfinite(loss):
            raise LossDiverged(step, f"the loss is {loss}")
        guessing = math.log(max(vocabulary, 2))
        if self.losses and loss > _DIVERGED_FACTOR * max(guessing, self.losses[0]):
            raise LossDiverged(
                step, f"it is {loss:.2f}; guessing has {guessing:.2f}, the first step had {self.losses[0]:.2f}"
            )

    def _count(self, batch: Batch) -> None:
        self.tokens += batch.tokens
        self.padding += batch.padding
        self.supervised += batch.supervised
        self.shapes[(*batch.shape, batch.supervised)] += 1


def _total_steps(batches: int, settings: TrainingBlock) -> int:
    steps_an_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    return max(1, math.ceil(settings.num_train_epochs * steps_an_epoch))


def _windows(batches: Batches, settings: TrainingBlock, total: int) -> Iterator[list[Batch]]:
    """The micro-batches of each optimizer step; a window does not cross the end of an epoch."""
    taken = 0
    for epoch in range(math.ceil(settings.num_train_epochs)):
        window: list[Batch] = []
        for index, batch in enumerate(batches.of_epoch(epoch), start=1):
            window.append(batch)
            if len(window) < settings.gradient_accumulation_steps and index < len(batches):
                continue
            yield window
            window, taken = [], taken + 1
            if taken == total:
                return


@contextmanager
def _allocating(step: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(step) from error
    except MemoryError as error:
        raise OutOfMemory(step) from error
    except RuntimeError as error:
        if "alloc" in str(error) and "memory" in str(error):  # what the CPU allocator says
            raise OutOfMemory(step) from error
        raise
