"""Floating-point operations of a run, counted on a twin without weights, and what else the compute record holds.

The twin is the same architecture with the same method on torch's meta device. Its operations are exactly

    F = a·tokens + h·supervised + b·ΣT² + c·batches + d·rows

with T the padded length of a row: `a` holds the linear layers, `h` the output head (which the loop runs on supervised
positions only), `b` the attention, `c` what is done to weights alone (DoRA's norms), `d` what stands in front of each row
(virtual tokens). Four traces of forward and backward give a, h, b and c, and a fifth of two rows d; the run's real batches
are put in. What is frozen costs a forward pass and the gradient of its input: 4·N·D, where full training takes 6·N·D.
Attention counts as two T×T products a head, without the half that a causal kernel may skip.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from peft_registry.registry.compliance.energy import COUNTERS
from peft_registry.registry.compliance.verdicts.gpai import dense_flop
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.offload import Waiting
from peft_registry.schemas.progress import Observe, Warned, ignore
from peft_registry.schemas.run import Compute, DenseInputs
from peft_registry.schemas.values import Value, derived, measured, unknown
from peft_registry.trainer.costs.twins import TwinOf
from peft_registry.trainer.machine.environment import Hardware
from peft_registry.trainer.machine.peak_memory import peak_value
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.training.pass_counts import WatchedPasses
from peft_registry.trainer.training.result import BatchShape, TrainResult

_LENGTHS = (16, 32, 48)  # tokens of the traces, equally spaced; the law is exact, so short ones will do
_TRACE_METHOD = (
    "forward and backward of a twin without weights traced at four shapes on torch's meta device; "
    "F = {a:.6g}·tokens + {h:.6g}·supervised + {b:.6g}·ΣT² + {c:.6g}·batches{d} over those that were run, padding included"
)
_CLOSED_METHOD = (
    "closed form, attention not counted: (4·N + 6·P_trained)·tokens for a frozen base, 6·N·tokens for full training; "
    "N weights in matrix products"
)


class Run(Protocol):
    """What the record is made from."""

    @property
    def config(self) -> TrainingFile: ...
    @property
    def model(self) -> Any: ...
    @property
    def hardware(self) -> Hardware: ...
    @property
    def result(self) -> TrainResult: ...
    @property
    def parameters(self) -> tuple[int, int]: ...
    @property
    def waiting(self) -> Waiting | None: ...


@dataclass(frozen=True, slots=True)
class FlopLaw:
    """Operations a token, a position through the output head, a squared length, a batch whatever its size, and a row
    whatever its length: that is where virtual tokens are."""

    per_token: float
    per_head_position: float
    per_square: float
    per_batch: float = 0.0
    per_row: float = 0.0

    def total(self, shapes: Iterable[BatchShape]) -> float:
        """The operations of batches that were run."""
        return sum(
            shape.count * self._of(shape.tokens, shape.squares, shape.supervised, rows=_padded_rows(shape))
            for shape in shapes
        )

    def _of(self, tokens: int, squares: int, supervised: int, *, rows: float) -> float:
        return (
            self.per_token * tokens
            + self.per_head_position * supervised
            + self.per_square * squares
            + self.per_batch
            + self.per_row * rows
        )


def _padded_rows(shape: BatchShape) -> float:
    """Rows of a padded batch; methods with something in front of each row are always padded."""
    return shape.tokens**2 / shape.squares if shape.squares else 0.0


def compute_record(
    run: Run, base: BaseRecord, *, evaluation: BatchShape | None = None, observe: Observe = ignore
) -> Compute:
    """The compute part of a run record.

    Args:
        run: a finished training.
        base: for the parameters of the conservative figure.
        evaluation: what the evaluations before and after were made of; None when nobody watched.
        observe: is warned when the twin cannot be traced.
    """
    result = run.result
    hardware = run.hardware
    laws = _laws(run, observe)
    hours = result.seconds / 3600
    dense = DenseInputs(parameters=base.parameters_total, positions=result.tokens + _virtual_positions(run))
    return Compute(
        param_update_flop=_update_flop(run, base, laws),
        conservative_flop=derived(
            dense_flop(dense.parameters, dense.positions),
            "FLOP",
            method="6·P·D: P all parameters of the base, D tokens with padding, virtual tokens, repeats and trials",
        ),
        tokens=measured(result.tokens, "tokens"),
        padding_tokens=measured(result.padding_tokens, "tokens"),
        supervised_tokens=measured(result.supervised_tokens, "tokens"),
        hardware=measured(
            f"{hardware.device}: {hardware.processor}, {hardware.threads} thread{'s' * (hardware.threads != 1)}"
        ),
        wall_seconds=measured(round(result.seconds, 3), "s", method="training loop only"),
        evaluation_flop=_evaluation_flop(laws, evaluation, result),
        recompute_flop=_forward_flop(laws, _recomputed(result), "forward passes computed again for the backward pass"),
        hardware_hours=derived(
            round(hours * result.processes, 6), "h", method=f"wall time × {result.processes} device(s)"
        ),
        peak_memory_bytes=_peak_memory(run, hardware.device),
        energy_kwh=_energy(result),
        dense_inputs=dense,
    )


@dataclass(frozen=True, slots=True)
class FollowedCosts:
    """What a training by somebody else's loop took, as hooks, clock and counters saw it.

    Attributes:
        passes: positions that went through the models; None, with `uncounted`, where not every pass was seen.
        uncounted: why the passes are not known.
        trainable: parameters that were trained.
        trains_base: whether these are those of the base itself.
        seconds: from the beginning of the trainer's loop to its end.
        devices: processes, each with a device of its own.
        kilowatt_hours: None where nothing measured it.
        peak: bytes, and whether they are of the training alone.
    """

    passes: WatchedPasses | None
    uncounted: str
    trainable: int
    trains_base: bool
    seconds: float
    devices: int
    kilowatt_hours: float | None
    peak: tuple[int, bool]


_LOOP = "the trainer's loop, with what it evaluated and saved meanwhile"


def compute_of_followed(costs: FollowedCosts, hardware: Hardware, base: BaseRecord) -> Compute:
    """The compute part of the run record of a training that a callback followed."""
    figures = _flop_of_followed(costs, base)
    return Compute.of_known(
        **figures,
        hardware=measured(
            f"{hardware.device}: {hardware.processor}, {hardware.threads} thread{'s' * (hardware.threads != 1)}"
        ),
        recompute_flop=unknown("whether the trainer computed activations again was not counted"),
        wall_seconds=measured(round(costs.seconds, 3), "s", method=_LOOP),
        hardware_hours=derived(
            round(costs.seconds / 3600 * costs.devices, 6), "h", method=f"wall time × {costs.devices} device(s)"
        ),
        peak_memory_bytes=peak_value(costs.peak[0], hardware.device, of_training=costs.peak[1]),
        energy_kwh=_energy_of(costs.kilowatt_hours),
    )


def _flop_of_followed(costs: FollowedCosts, base: BaseRecord) -> dict[str, Value | DenseInputs]:
    passes = costs.passes
    if passes is None:
        why = unknown(costs.uncounted)
        names = ("param_update_flop", "conservative_flop", "tokens", "padding_tokens", "supervised_tokens")
        return {**dict.fromkeys(names, why), "evaluation_flop": why}
    positions = passes.trained + passes.forward_only
    dense = DenseInputs(parameters=base.parameters_total, positions=positions)
    weights = base.parameters_matmul
    both_ways = 6.0 * weights if costs.trains_base else 4.0 * weights + 6.0 * costs.trainable
    return {
        "param_update_flop": derived(
            both_ways * passes.trained + 2.0 * weights * passes.forward_only,
            "FLOP",
            method=_CLOSED_METHOD
            + "; and 2·N for each position of a pass without gradients, such as a reference model's",
            uncertainty_pct=20.0,
        ),
        "conservative_flop": derived(
            dense_flop(dense.parameters, dense.positions),
            "FLOP",
            method="6·P·D: P all parameters of the base, D positions with padding, repeats and passes of a reference model",
        ),
        "tokens": measured(positions, "tokens", method="positions that went through the model while it was trained"),
        "padding_tokens": _if_said(passes.padding, "no mask says which positions are padding"),
        "supervised_tokens": _if_said(
            passes.supervised, "the model was given no labels: the loss is computed outside of it"
        ),
        "evaluation_flop": derived(
            2.0 * weights * passes.evaluated,
            "FLOP",
            method="closed form, attention not counted: 2·N·tokens of the evaluations in the trainer's loop",
            uncertainty_pct=20.0,
        ),
        "dense_inputs": dense,
    }


def _if_said(count: int | None, why_not: str) -> Value:
    if count is None:
        return unknown(why_not)
    return measured(count, "tokens", method="counted in the passes with gradients")


@dataclass(frozen=True, slots=True)
class Laws:
    """Of a forward pass alone, and of forward and backward together."""

    forward: FlopLaw
    both: FlopLaw


def trace_laws(hf_config: Any, config: TrainingFile) -> Laws:
    """The laws of one architecture (transformers' configuration) under one method; no weights are needed.

    Args:
        hf_config: of the base.
        config: the training file.
    """
    # `Method.prepare` looks at neither
    return _laws_of(TwinOf.said_by(hf_config, config, besides=frozenset({"training", "offload"})))


@lru_cache(maxsize=64)
def _laws_of(architecture: TwinOf) -> Laws:
    import torch
    from transformers import AutoModelForCausalLM

    config = architecture.config
    with torch.device("meta"):
        twin = AutoModelForCausalLM.from_config(architecture.hf_config, trust_remote_code=False)
        twin = implementation(config.method).prepare(twin, config, seed=0)
    twin.train()

    start = _LENGTHS[0]
    shapes = [*((1, tokens, tokens - 1) for tokens in _LENGTHS), (1, start, 1)]
    if config.virtual_tokens:
        shapes.append((2, start, start - 1))
    results: dict[Any, Any] = {}
    traces = [_traced(twin, (rows, tokens), supervised, results) for rows, tokens, supervised in shapes]
    forward, both = ([float(trace[at]) for trace in traces] for at in (0, 1))
    return Laws(_fitted(forward), _fitted(both))


def _fitted(counts: list[float]) -> FlopLaw:
    """The law through the counts at three equally spaced lengths, at the shortest with one position through the output
    head, and where there are virtual tokens at the shortest with two rows."""
    short, middle, long, cut = counts[:4]
    head = (short - cut) / (_LENGTHS[0] - 2)
    # without the head F(T) = c + a·T + b·T² at three equally spaced lengths
    one, two, three = (
        flops - head * (tokens - 1) for flops, tokens in zip((short, middle, long), _LENGTHS, strict=True)
    )
    step = _LENGTHS[1] - _LENGTHS[0]
    start = _LENGTHS[0]
    square = (three - 2 * two + one) / (2 * step**2)
    slope = (two - one) / step - square * (2 * start + step)
    constant = one - slope * start - square * start**2
    # what a second row adds beyond its tokens
    per_row = counts[4] - short - (short - constant) if len(counts) > 4 else 0.0
    return FlopLaw(
        per_token=slope,
        per_head_position=head,
        per_square=square,
        per_batch=constant - per_row,
        per_row=per_row,
    )


def _traced(twin: Any, shape: tuple[int, int], supervised: int, results: dict[Any, Any]) -> tuple[int, int]:
    """The operations of a forward pass, and of it and its backward pass; `results` is what the traces remember."""
    import torch

    from peft_registry.trainer.costs.operations import Operations

    ids = torch.zeros(shape, dtype=torch.long, device="meta")
    head = twin.get_output_embeddings()

    def cut(_: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (arguments[0][:, :supervised], *arguments[1:])  # of each row

    hook = head.register_forward_pre_hook(cut)
    try:
        with Operations(results) as counter:
            # no mask and the default cache: looking for packed sequences would ask meta tensors for their values
            logits = twin(input_ids=ids).logits
            forward = counter.total
            torch.autograd.backward(logits.float().sum())
    finally:
        hook.remove()
        twin.zero_grad(set_to_none=True)
    return forward, counter.total


def _laws(run: Run, observe: Observe) -> Laws | None:
    """The laws of the run's architecture; None where an operator has no kernel without weights."""
    try:
        return trace_laws(run.model.config, run.config)
    except (RuntimeError, NotImplementedError) as error:
        observe(Warned("flop-not-traced", f"operations are from the closed form: {type(error).__name__} in the trace"))
        return None


def _update_flop(run: Run, base: BaseRecord, laws: Laws | None) -> Value:
    if laws is None:
        return derived(_closed_form(run, base), "FLOP", method=_CLOSED_METHOD, uncertainty_pct=20.0)
    law = laws.both
    rows = f" + {law.per_row:.6g}·rows" if law.per_row else ""
    method = _TRACE_METHOD.format(a=law.per_token, h=law.per_head_position, b=law.per_square, c=law.per_batch, d=rows)
    return derived(law.total(run.result.shapes), "FLOP", method=method)


def _virtual_positions(run: Run) -> int:
    """Virtual tokens that went through the layers; a prefix does not, it stands in each layer's attention."""
    if not METHODS[run.config.method].takes_positions:
        return 0
    rows = sum(shape.count * round(_padded_rows(shape)) for shape in run.result.shapes)
    return run.config.virtual_tokens * rows


def _closed_form(run: Run, base: BaseRecord) -> float:
    trainable, total = run.parameters
    tokens = run.result.tokens + _virtual_positions(run)
    if trainable * 2 > total:
        return 6.0 * base.parameters_matmul * tokens
    return (4.0 * base.parameters_matmul + 6.0 * trainable) * tokens


def _forward_flop(laws: Laws | None, shapes: Iterable[BatchShape] | None, what: str) -> Value:
    """Forward passes of these shapes, counted by the law of a forward pass."""
    if shapes is None:
        return unknown(f"no {what}, or nobody watched them")
    if laws is None:
        return unknown("an operator of this architecture cannot be traced without weights")
    return derived(
        laws.forward.total(shapes), "FLOP", method=f"{what}: the law of a forward pass over their tokens and lengths"
    )


def _evaluation_flop(laws: Laws | None, evaluation: BatchShape | None, result: TrainResult) -> Value:
    """The scoring before and after, and the held-out rows that were looked at in between."""
    if evaluation is None:
        return _forward_flop(laws, None, "evaluations before and after")
    between = " and while it trained" if result.evaluated else ""
    return _forward_flop(laws, [evaluation, *result.evaluated], f"evaluations before and after{between}")


def _recomputed(result: TrainResult) -> list[BatchShape] | None:
    """What gradient checkpointing computed twice: the layers, not the output head."""
    if not result.recomputed:
        return None
    return [BatchShape(shape.tokens, shape.squares, 0, shape.count) for shape in result.shapes]


def _peak_memory(run: Run, device: str) -> Value:
    if run.result.peak_bytes is None:
        return unknown("not measured")
    besides = "" if run.waiting is None else f"; {run.waiting}"
    return peak_value(run.result.peak_bytes, device, of_training=run.result.peak_is_own, besides=besides)


def _energy(result: TrainResult) -> Value:
    return _energy_of(result.energy_kwh)


def _energy_of(kilowatt_hours: float | None) -> Value:
    if kilowatt_hours is None:
        return unknown("no readable sensor")
    return measured(kilowatt_hours, "kWh", method=COUNTERS)
