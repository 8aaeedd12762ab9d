"""What a training came to, as values: its curve, what it computed, how long it took and what it needed."""

from dataclasses import dataclass

from peft_registry.schemas.run import KeptStep, LossCurve
from peft_registry.schemas.system_metrics import SystemMetrics
from peft_registry.trainer.data.collate import Layout


@dataclass(frozen=True, slots=True)
class BatchShape:
    """How often the run computed a batch of `tokens`, whose attention ran over `squares` = Σ T², with `supervised`
    positions through the output head."""

    tokens: int
    squares: int
    supervised: int
    count: int


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What happened: tokens include padding and repeats over epochs; `shapes` are what compute is counted from.

    `evaluated` are the batches of held-out rows that were looked at meanwhile. `resumed_at` is the step after which a killed run
    went on. `kept` is the step whose weights the model has, where it was chosen. `peak_bytes` is of training alone where
    `peak_is_own`. `system` is of the process that keeps the state. `inexact` are operations that had no deterministic kernel:
    another run may differ in its last bits. `passed_over` steps of fp16 overflowed, and changed no weight.
    """

    curve: LossCurve
    steps: int
    tokens: int
    supervised_tokens: int
    padding_tokens: int
    seconds: float
    shapes: tuple[BatchShape, ...]
    evaluated: tuple[BatchShape, ...] = ()
    energy_kwh: float | None = None
    layout: Layout = "padded"
    resumed_at: int | None = None
    recomputed: bool = False  # activations were computed twice: gradient checkpointing
    processes: int = 1
    peak_bytes: int | None = None
    peak_is_own: bool = False
    system: SystemMetrics | None = None
    inexact: tuple[str, ...] = ()
    passed_over: int = 0
    kept: KeptStep | None = None
