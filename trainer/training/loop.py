"""The training loop: AdamW over the trainable parameters, exact and repeatable for one seed on one machine.

- The loss of a step is the mean over the supervised tokens of all its micro-batches, so accumulation changes nothing.
- The output head runs on supervised positions only; cross-entropy is fp32.
- Rows lie side by side without padding where the model takes them so, which is tried before the first step.
- A step that diverges stops the run before it changes a weight. One that only overflows fp16 is passed over, and told.
- A run that is given a checkpoint goes on to exactly the weights that it would have had.
- Early stopping leaves the weights of the best look at the held-out rows in the model.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch

from peft_registry.schemas.config import TrainingBlock
from peft_registry.schemas.progress import Advanced, Finished, Measured, Observe, Said, Started, ignore
from peft_registry.schemas.run import KeptStep, LossCurve, kept_sentence
from peft_registry.schemas.run_points import RunMetricName
from peft_registry.schemas.run_states import state_file
from peft_registry.schemas.values import measured
from peft_registry.trainer.bases.sharding import whole_of
from peft_registry.trainer.data.collate import Batch, Batches, Layout
from peft_registry.trainer.machine.determinism import noted_exceptions
from peft_registry.trainer.machine.peak_memory import peak_bytes, reset_peak
from peft_registry.trainer.machine.processes import ALONE, Processes
from peft_registry.trainer.training.checkpoints import (
    FAILED_NAME,
    STATE_NAME,
    BestLook,
    Checkpoints,
    TrainingProgress,
    copy_of_trained,
    load_state,
    put_parameters,
    random_state,
    save_state,
)
from peft_registry.trainer.training.fused_lora import fused_lora
from peft_registry.trainer.training.held_out import HeldOutRows
from peft_registry.trainer.training.interrupts import finish_step_on_interrupt
from peft_registry.trainer.training.loss import supervised_loss
from peft_registry.trainer.training.meter import Meter
from peft_registry.trainer.training.mixed_precision import NothingTrained, autocast, loss_scaler
from peft_registry.trainer.training.optimizers import plain_adamw
from peft_registry.trainer.training.out_of_memory import translate_out_of_memory
from peft_registry.trainer.training.parts import save_parts
from peft_registry.trainer.training.result import BatchShape, TrainResult
from peft_registry.trainer.training.row_attention import RowAttention, layout_of, row_attention
from peft_registry.trainer.training.watchdog import LossDiverged, check_loss

_STEP = "train"
_EPOCHS_KEPT = "the step that was kept, divided by the steps of an epoch"


def train(
    model: Any,  # a torch module, perhaps wrapped by peft
    batches: Batches,
    settings: TrainingBlock,
    *,
    device: str = "cpu",
    products: torch.dtype | None = None,
    scaler: torch.amp.GradScaler | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    layout: Layout | None = None,
    checkpoints: Checkpoints | None = None,
    held_out: HeldOutRows | None = None,
    processes: Processes = ALONE,
    until: int | None = None,
    observe: Observe = ignore,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainResult:
    """Train the parameters that require gradients, in place; the model is left in evaluation mode.

    Args:
        model: on `device`.
        batches: the training part.
        settings: of the training file.
        device: where the model is.
        products: the number format of matrix products where it is not that of the weights.
        scaler: the loss scale, which moves with the run; None for one that begins.
        optimizer: over the trainable parameters; None for plain AdamW. The schedule scales the learning rate of each group.
        layout: how the model takes rows; None to find out.
        checkpoints: where the state is kept; training continues from the newest, where there is one.
        held_out: rows whose loss is measured now and then meanwhile.
        processes: of which this is one.
        until: the step after which it ends although others are left; None for the last.
        observe: hears of each step, and what was measured.
        clock: seconds; for the rate and the total.

    Raises:
        LossDiverged: the loss or a gradient is not finite, or the loss is far above what it was.
        NothingTrained: all steps are done, and the gradients of each overflowed.
        OutOfMemory: an allocation failed.
        CheckpointBroken: the checkpoint is not of this run.
        KeyboardInterrupt: Ctrl-C; where there are checkpoints, after the step that it fell into, whose state is kept.
    """
    layout = layout or layout_of(model)
    run = _TrainingRun(
        model,
        settings,
        plain_adamw(model, settings) if optimizer is None else optimizer,
        total=_total_steps(len(batches), settings, processes.size),
        device=device,
        products=products,
        scaler=loss_scaler(device, products) if scaler is None else scaler,
        processes=processes,
    )
    run.peak_is_own = reset_peak(device)
    run.resume(checkpoints, observe)
    observe(Started(_STEP, total=run.total, unit="step"))
    keeps_state = checkpoints is not None
    with (
        training_mode(model, settings, layout) as run.attention,
        noted_exceptions() as run.inexact,
        finish_step_on_interrupt(active=keeps_state) as ctrl_c,
    ):
        if run.progress.step == 0:
            run.look_at(held_out, 0, observe)
            run.keep_for_audit(checkpoints, 0)
        meter = Meter(run.progress, clock, total=run.total)
        for step, micro_batches in run.steps_left(batches, layout):
            meter.begin_step()
            with translate_out_of_memory(step), run.state_kept_if_it_diverges(step, checkpoints):
                loss, vocabulary = run.backward(micro_batches)  # adds to the .grad of every trained parameter
                run.check(step, loss, vocabulary)
                gradient_norm = run.clip(step)
                run.schedule(step)
                run.change_weights(step, gradient_norm, observe)
            run.count(micro_batches, loss)
            meter.read()
            meter.sample()
            run.note_peak()
            observe(Advanced(_STEP, step, (("loss", f"{loss:.2f}"), ("tok/s", f"{meter.tokens_per_second:.0f}"))))
            rate = meter.rate_of_step(sum(batch.tokens for batch in micro_batches))
            observe(Measured(step, run.figures(loss, gradient_norm, rate)))
            run.look_at(held_out, step, observe)
            is_due = checkpoints is not None and checkpoints.due(step, meter.seconds_since_save)
            # all processes save together, whichever has the faster clock or got the signal
            is_due, is_interrupted = processes.any_of([is_due, ctrl_c.requested], device)
            if checkpoints is not None and (is_due or is_interrupted or run.is_finished):
                run.save(checkpoints)
                meter.saved()
            run.keep_for_audit(checkpoints, step)
            if is_interrupted:
                raise KeyboardInterrupt
            if run.is_finished or step == until:
                break
    observe(Finished(_STEP))
    run.require_change()
    kept = run.keep_best(held_out, len(batches))
    if kept is not None:
        observe(Said("kept", kept_sentence(kept)))
    return run.result(layout, held_out, kept)


def learning_rate_factor(step: int, *, total: int, warmup: int, kind: str) -> float:
    """The factor of the learning rate at optimizer step `step`, from 1: linear warm-up, then the schedule down to 0."""
    if step <= warmup:
        return step / warmup
    done = (step - 1 - warmup) / max(total - warmup, 1)
    if kind == "constant":
        return 1.0
    return 1.0 - done if kind == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


class _TrainingRun:
    """What one run holds between two steps, and the parts of a step."""

    def __init__(
        self,
        model: Any,
        settings: TrainingBlock,
        optimizer: torch.optim.Optimizer,
        *,
        total: int,
        device: str,
        products: torch.dtype | None,
        scaler: torch.amp.GradScaler,
        processes: Processes,
    ) -> None:
        self.model = model
        self.settings = settings
        self.total = total
        self.device = device
        self.products = products
        self.scaler = scaler
        self.processes = processes
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.progress = TrainingProgress()
        self.attention: RowAttention | None = None
        self.inexact: set[str] = set()
        self.peak_is_own = False

    def resume(self, checkpoints: Checkpoints | None, observe: Observe) -> None:
        """Put the state of a checkpoint into model, optimizer and generators, where there is one.

        Raises:
            CheckpointBroken: it is not of this run.
        """
        if checkpoints is None or not checkpoints.path.exists():
            return
        self.progress = load_state(
            checkpoints.path, self.model, self.optimizer, self.scaler, total=self.total, processes=self.processes
        )
        step = self.progress.step
        if not self.is_finished:
            self.progress.resumed_at = step
            observe(Said("resume", f"from step {step} of {self.total}"))
        elif self.processes.size == 1:
            observe(Said("resume", f"all {step} steps were trained before"))

    @property
    def is_finished(self) -> bool:
        """Whether no step is left: all are taken, or the held-out rows ended the run."""
        stopping = self.settings.early_stopping
        has_stopped = stopping is not None and self.progress.looks_since_best >= stopping.patience
        return has_stopped or self.progress.step >= self.total

    def steps_left(self, batches: Batches, layout: Layout) -> Iterator[tuple[int, list[Batch]]]:
        """The number of each step that is left, from 1, with its micro-batches; none crosses the end of an epoch.

        Batches of the steps that a resumed run took before are drawn and passed over.
        """
        if self.is_finished:
            return
        micro_batches_of_a_step = self.settings.gradient_accumulation_steps * self.processes.size
        step_resumed_at = self.progress.step
        step = 0
        for epoch in range(math.ceil(self.settings.num_train_epochs)):
            micro_batches: list[Batch] = []
            for index, batch in enumerate(batches.of_epoch(epoch, layout), start=1):
                micro_batches.append(batch)
                if len(micro_batches) < micro_batches_of_a_step and index < len(batches):
                    continue
                step += 1
                if step > step_resumed_at:
                    yield step, micro_batches
                micro_batches = []
                if step == self.total:
                    return

    @contextmanager
    def state_kept_if_it_diverges(self, step: int, checkpoints: Checkpoints | None) -> Iterator[None]:
        """Keeps the state from before the step, marked failed, where the step inside diverges.

        Raises:
            LossDiverged: it did; says where the state is.
        """
        generators = random_state()  # dropout of the step inside draws from them
        try:
            yield
        except LossDiverged as error:
            if checkpoints is None:
                raise
            self.save(checkpoints, FAILED_NAME, generators)
            raise LossDiverged(step, error.reason, kept=str(checkpoints.folder)) from None

    def backward(self, micro_batches: list[Batch]) -> tuple[float, int]:
        """The mean loss over the supervised tokens of all micro-batches, in nats, and the size of the vocabulary.

        Each process computes its share. Afterwards every trained parameter has the gradient of that mean, times the
        loss scale.
        """
        supervised = sum(batch.supervised for batch in micro_batches)
        # on the device, where nobody waits for it before the whole step is asked for
        summed = torch.zeros((), dtype=torch.float64, device=self.device)
        vocabulary = 1
        mine = micro_batches[self.processes.rank :: self.processes.size]
        shares = [(batch, 1.0) for batch in mine]
        if self.processes.spreads and len(mine) < math.ceil(len(micro_batches) / self.processes.size):
            shares.append((micro_batches[0], 0.0))  # the others cannot put a layer together without this process
        for batch, share in shares:
            if self.attention is not None:
                self.attention.of(batch.lengths)
            with autocast(self.device, self.products):
                loss, _, vocabulary = supervised_loss(self.model, batch.to(self.device))  # scalar: a sum over tokens
            torch.autograd.backward(self.scaler.scale(loss / supervised if share else loss * 0.0))
            if share:
                summed += loss.detach()
        summed_loss = float(summed.item())
        if self.processes.size > 1:
            summed_loss, vocabulary = self._add_up(summed_loss, vocabulary)
        return summed_loss / supervised, vocabulary

    def check(self, step: int, loss: float, vocabulary: int) -> None:
        """Look at the loss before it changes a weight.

        Raises:
            LossDiverged: it is not finite, or far above what it was.
        """
        check_loss(
            step,
            loss,
            self.progress.losses,
            vocabulary=vocabulary,
            stop_on_spike=self.settings.stop_on_spike,
            in_fp16=self.scaler.is_enabled(),
        )

    def clip(self, step: int) -> float:
        """Divide all gradients by the loss scale, and scale them down to the largest norm that the file allows, together.

        Returns:
            The norm that they had; not finite where they overflowed fp16 and a smaller loss scale is left to try.

        Raises:
            LossDiverged: a gradient is not finite.
        """
        self.scaler.unscale_(self.optimizer)
        limit = self.settings.max_grad_norm or math.inf
        norm = self._clipped(limit)
        # that of a loss that is not scaled is 1
        if not math.isfinite(norm) and self.scaler.get_scale() <= 1:
            raise LossDiverged(step, "a gradient is not finite")
        return norm

    def _clipped(self, limit: float) -> float:
        """The L2 norm of the gradients of all parameters, which are scaled down to the limit."""
        if not self.processes.spreads:
            return float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = whole_of(torch.nn.utils.get_total_norm(gradients))
        torch.nn.utils.clip_grads_with_norm_(self.parameters, limit, norm)
        return float(norm)

    def schedule(self, step: int) -> None:
        """Set the learning rate of each parameter group for this step."""
        warmup = math.ceil(self.settings.warmup_ratio * self.total)
        factor = learning_rate_factor(step, total=self.total, warmup=warmup, kind=self.settings.lr_scheduler_type)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def change_weights(self, step: int, gradient_norm: float, observe: Observe) -> None:
        """Let the optimizer take its step, unless the gradients overflowed: then nothing but the loss scale changes."""
        if math.isfinite(gradient_norm):
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(gradient_norm):
            self.progress.passed_over += 1
            scale = f"the loss scale is {self.scaler.get_scale():g} from here on"
            observe(Said("fp16", f"step {step} is passed over: its gradients overflowed; {scale}"))

    def require_change(self) -> None:
        """Raise where all steps are done, and none of them changed a weight.

        Raises:
            NothingTrained: so it is.
        """
        if self.is_finished and self.progress.passed_over == self.progress.step:
            raise NothingTrained(self.progress.step)

    def count(self, micro_batches: list[Batch], loss: float) -> None:
        """Add a finished step to what the record says: its loss and the batches of all processes."""
        progress = self.progress
        progress.inexact = sorted({*progress.inexact, *self.inexact})
        for batch in micro_batches:
            progress.tokens += batch.tokens
            progress.padding += batch.padding
            progress.supervised += batch.supervised
            shape = (batch.tokens, batch.squares, batch.supervised)
            progress.shapes[shape] = progress.shapes.get(shape, 0) + 1
        progress.losses.append(loss)

    def note_peak(self) -> None:
        """The most memory so far, of whichever process took most."""
        peak = peak_bytes(self.device)
        if peak > (self.progress.peak_bytes or 0):
            self.progress.peak_bytes = peak
            self.progress.peak_is_own = self.peak_is_own

    def figures(self, loss: float, gradient_norm: float, tokens_per_second: float) -> dict[RunMetricName, float]:
        """What was measured at a step. Of several groups of parameters the first says the learning rate; gradients that
        overflowed have no norm."""
        figures: dict[RunMetricName, float] = {
            "loss": loss,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "tokens_per_second": tokens_per_second,
        }
        if math.isfinite(gradient_norm):
            figures["gradient_norm"] = gradient_norm
        if self.progress.peak_bytes is not None:
            figures["peak_memory_bytes"] = self.progress.peak_bytes
        return figures

    def look_at(self, held_out: HeldOutRows | None, step: int, observe: Observe) -> None:
        """Look at the held-out rows where that is due after this step; every process does, and all wait for none."""
        if held_out is None or not held_out.due(step, self.total):
            return
        plain_attention = nullcontext() if self.attention is None else self.attention.paused()
        with plain_attention, translate_out_of_memory(step):
            look = held_out.look(self.model)
        progress = self.progress
        progress.looks += 1
        passes = (look.passes.tokens, look.passes.squares, look.passes.head_positions)
        progress.answered = [before + now for before, now in zip(progress.answered, passes, strict=True)]
        observe(Measured(step, held_out.measured(look.figures)))
        # weights that no step has changed yet are no choice
        if self.settings.early_stopping is not None and step > progress.passed_over:
            self._choose(step, look.figures[self.settings.early_stopping.metric])

    def _choose(self, step: int, value: float) -> None:
        """Keep the weights where the look is the best so far; of equal ones the first is."""
        if self.processes.size > 1:
            # two machines may differ in the last bit, and all processes must end after the same step
            value = cast(float, self.processes.gathered(value)[0])  # a list of what each process measured
        best = self.progress.best
        is_loss = self.settings.early_stopping is not None and self.settings.early_stopping.metric == "loss"
        if best is None:
            is_better = math.isfinite(value)
        else:
            is_better = value < best.value if is_loss else value > best.value
        if is_better:
            self.progress.best = BestLook(step, value, copy_of_trained(self.model))
            self.progress.looks_since_best = 0
        else:
            self.progress.looks_since_best += 1

    def keep_best(self, held_out: HeldOutRows | None, batches: int) -> KeptStep | None:
        """Put the weights of the best look into the model; says which step that is, None where nothing was chosen.

        Args:
            held_out: the rows that chose.
            batches: of an epoch.
        """
        stopping = self.settings.early_stopping
        best = self.progress.best
        if stopping is None or best is None or held_out is None:
            return None
        if best.step < self.progress.step:
            put_parameters(Path(STATE_NAME), self.model, best.weights)
        steps_an_epoch = _steps_an_epoch(batches, self.settings, self.processes.size)
        return KeptStep(
            step=best.step,
            trained=self.progress.step,
            asked=self.total,
            metric=stopping.metric,
            value=best.value,
            looks=self.progress.looks - 1,  # that before the first step chooses nothing
            rows=len(held_out.batches.examples),
            patience=stopping.patience,
            epochs=measured(round(best.step / steps_an_epoch, 6), "epochs", method=_EPOCHS_KEPT),
        )

    def save(self, checkpoints: Checkpoints, name: str | None = None, generators: Any = None) -> None:
        """Keep the state; process 0 writes, the others say where their generators are."""
        all_generators = self.processes.gathered(generators or random_state())
        path = checkpoints.path if name is None else checkpoints.folder / name
        parts = None
        if self.processes.spreads:  # every process writes its own
            parts = save_parts(path, self.progress.step, self.model, self.optimizer)
        if self.processes.rank:
            return
        save_state(
            path,
            self.model,
            self.optimizer,
            self.scaler,
            self.progress,
            total=self.total,
            generators=all_generators,
            parts=parts,
        )
        if name is None:
            checkpoints.saved(self.progress.step, self.total)

    def keep_for_audit(self, checkpoints: Checkpoints | None, step: int) -> None:
        """Keep the state for others, where a stretch of the run ends after this step."""
        if checkpoints is not None and checkpoints.ends_stretch(step, self.total):
            path = checkpoints.audited / state_file(step)
            generators = [random_state()]
            save_state(
                path, self.model, self.optimizer, self.scaler, self.progress, total=self.total, generators=generators
            )

    def result(self, layout: Layout, held_out: HeldOutRows | None, kept: KeptStep | None) -> TrainResult:
        progress = self.progress
        looked: tuple[BatchShape, ...] = ()
        if held_out is not None:
            looked = held_out.shapes(progress.looks * self.processes.size)
            tokens, squares, head = progress.answered
            if tokens:
                looked += (BatchShape(tokens, squares, head, count=self.processes.size),)
        return TrainResult(
            curve=LossCurve(steps=tuple(range(1, progress.step + 1)), loss=tuple(progress.losses)),
            steps=progress.step,
            tokens=progress.tokens,
            supervised_tokens=progress.supervised,
            padding_tokens=progress.padding,
            seconds=progress.seconds,
            shapes=tuple(BatchShape(*shape, count) for shape, count in sorted(progress.shapes.items())),
            evaluated=looked,
            energy_kwh=progress.energy_kwh,
            layout=layout,
            resumed_at=progress.resumed_at,
            recomputed=self.settings.gradient_checkpointing,
            processes=self.processes.size,
            peak_bytes=progress.peak_bytes,
            peak_is_own=progress.peak_is_own,
            system=progress.system.metrics,
            inexact=tuple(progress.inexact),
            passed_over=progress.passed_over,
            kept=kept,
        )

    def _add_up(self, total: float, vocabulary: int) -> tuple[float, int]:
        """Gradients and loss of all processes; one without a micro-batch in this step adds zeros.

        The gradients of weights that are spread are sums already.
        """
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for dtype in (
            [] if self.processes.spreads else sorted({parameter.dtype for parameter in self.parameters}, key=str)
        ):
            self.processes.add_up(
                [
                    parameter.grad
                    for parameter in self.parameters
                    if parameter.dtype == dtype and parameter.grad is not None
                ]
            )
        summed = torch.tensor([total], dtype=torch.float64, device=self.device)
        self.processes.add_up([summed])
        return float(summed.item()), max(vocabulary, int(getattr(self.model.config, "vocab_size", 1)))


@contextmanager
def training_mode(model: Any, settings: TrainingBlock, layout: Layout) -> Iterator[RowAttention | None]:
    """The model in training mode, with what makes it fast or small; afterwards as it was, in evaluation mode."""
    with ExitStack() as stack:
        model.train()
        stack.callback(model.eval)
        if settings.gradient_checkpointing:
            # transformers 5.23 calls it activation checkpointing, and warns of the other word
            owner = model if hasattr(model, "gradient_checkpointing_enable") else model.get_base_model()
            word = "activation" if hasattr(owner, "activation_checkpointing_enable") else "gradient"
            options = {f"{word}_checkpointing_kwargs": {"use_reentrant": False}}
            getattr(owner, f"{word}_checkpointing_enable")(**options)
            stack.callback(getattr(owner, f"{word}_checkpointing_disable"))
        stack.enter_context(fused_lora(model))
        yield stack.enter_context(row_attention(model)) if layout == "rows" else None


def _total_steps(batches: int, settings: TrainingBlock, processes: int) -> int:
    return max(1, math.ceil(settings.num_train_epochs * _steps_an_epoch(batches, settings, processes)))


def _steps_an_epoch(batches: int, settings: TrainingBlock, processes: int) -> int:
    return math.ceil(batches / (settings.gradient_accumulation_steps * processes))
