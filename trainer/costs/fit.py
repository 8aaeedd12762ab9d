"""Whether a run fits: what is resident at each moment, against the memory of a machine or a figure that somebody claims.

A figure below the floor, the base's weights alone, is impossible.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.offload import OffloadRefused
from peft_registry.schemas.sizes import bytes_of
from peft_registry.schemas.values import Value
from peft_registry.trainer.machine.kept_memory import PRODUCTS_KEPT

if TYPE_CHECKING:
    from peft_registry.trainer.costs.memory import Shape, Trace

# Freed blocks that the allocator does not give back, over the activations and transients of the backward pass. While it
# runs they are used again; at the optimizer's step gradients lie between the holes that activations left. Both were found on
# SmolLM2 and on a random model a fifth of its size; test_memory_estimate.py holds them to measured peaks.
_KEPT = {"backward": 0.12, "optimizer": 0.85, "score": 0.12}
MAPPED = "mapped file"
# Code that oneDNN writes for a product of a shape that it has not met (`trainer/machine/kept_memory.py`). Measured with torch 2.13
# on products of 576 × 576 and 576 × 8 numbers, in bf16 and in fp32: their size hardly matters.
_CODE_BYTES = 410_000  # that stay of each product
_CODE_BYTES_LEFT = 280_000  # of these, once freed memory goes back to the system before scoring
_CODE_BYTES_OF_THE_LAST = 200_000  # more, of each of the last products
_VALUES = (
    "tokens",
    "tokens_per_second",
    "scored",
    "written",
    "scoring_hours",
    "screen_hours",
    "full_hours",
    "hours",
    "cost",
)
GATHERED = "put together"  # weights and gradients that a process has whole while they are spread otherwise
_MORE_DEVICES = (2, 4, 8, 16, 32, 64)  # that are proposed where fewer do not suffice
Verdict = Literal["fits", "only with checkpointing", "only with sharding", "only with offload", "cannot"]


class MalformedSize(InputRefused):
    what = "{text!q} is not an amount of memory"
    why = "it is a number with a unit: GiB counts in powers of 1024, GB in powers of 1000"
    fix = "write it like 12GiB or 14.7GB"

    text: str


@dataclass(frozen=True, slots=True)
class FitQuestion:
    """What the estimate is asked. Bytes; `vram` is of each of the `devices`; `price` is for one hour of the machine, in any
    currency."""

    vram: int | None = None
    devices: int = 1
    ram: int | None = None
    claim: int | None = None
    price: float | None = None
    tokens_per_second: float | None = None


NO_QUESTION = FitQuestion()


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a run fits, and the part that binds: the largest one at the moment that needs most."""

    verdict: Verdict
    binding: str
    why: str


@dataclass(frozen=True, slots=True)
class Column:
    """A moment of the run with everything that is resident then, in bytes by component."""

    name: str
    parts: Mapping[str, int]
    frozen: int = 0  # of the weights: what could wait in other memory

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def needed(self) -> int:
        """What must be there: a mapped file's pages need not."""
        return self.total - self.parts.get(MAPPED, 0)

    @property
    def largest(self) -> str:
        return max(self.parts, key=lambda name: self.parts[name])

    def offloaded(self, trace: "Trace", *, kept: int = 0) -> "Column":
        """With the frozen blocks elsewhere but for `kept` bytes of them and two more: one computes, and what was fetched for
        another may not be free yet."""
        scale = self.frozen / trace.frozen if trace.frozen else 0.0  # a score holds them in fp32
        blocks = round(trace.in_blocks * scale)
        there = round((2 * trace.largest_block + kept) * scale)
        weights = self.parts["weights"] - blocks + min(there, blocks)
        return Column(self.name, {**self.parts, "weights": weights}, frozen=self.frozen)

    def spread(self, trace: "Trace", *, over: int) -> "Column":
        """With weights, gradients and the optimizer's state spread over so many devices: what each of them has.

        While it computes, two blocks are whole, one that computes and one that is fetched meanwhile, and what is in no block; and
        of the gradients those of one block.
        """
        parts = dict(self.parts)
        weights, gradients = parts["weights"], parts.get("gradients", 0)
        gathered = 0
        if self.name == "backward":
            whole = min(weights, 2 * trace.largest_block + trace.outside)
            share = (trace.largest_block + trace.outside) / weights if weights else 0.0
            gathered = whole + round(min(1.0, share) * gradients)
        for name in ("weights", "gradients", "optimizer"):
            parts[name] = math.ceil(parts.get(name, 0) / over)
        return Column(self.name, {**parts, GATHERED: gathered}, frozen=self.frozen)

    def over_devices(self, trace: "Trace", *, over: int) -> "Column":
        """With whole blocks on so many devices, one process computing on one after the other: what the fullest of them has."""
        weights = self.parts["weights"]
        there = min(weights, math.ceil(weights / over) + trace.largest_block)
        return Column(self.name, {**self.parts, "weights": there, GATHERED: 0}, frozen=self.frozen)


@dataclass(frozen=True, slots=True)
class SpreadRun:
    """A run whose weights are spread: what each device has, and what in the file makes it so."""

    columns: tuple[Column, ...]
    settings: str

    @property
    def needed(self) -> int:
        return max(column.needed for column in self.columns)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The answer. `peak` is the column with the highest total; `scored` and `scoring_hours` are of the evaluation that is asked."""

    method: str
    device: str
    dtype: str
    shape: "Shape"
    shape_source: str
    trace: "Trace"
    columns: tuple[Column, ...]
    question: FitQuestion
    fit: Fit | None
    claim: Fit | None
    tokens: Value
    tokens_per_second: Value
    scored: Value
    written: Value
    scoring_hours: Value
    screen_hours: Value
    full_hours: Value
    hours: Value
    cost: Value

    @property
    def peak(self) -> Column:
        return max(self.columns, key=lambda column: column.total)

    def to_json(self) -> dict[str, Any]:
        """What `--output json` prints."""
        trace = self.trace
        return {
            "method": self.method,
            "device": self.device,
            "dtype": self.dtype,
            "batch": {"rows": self.shape.rows, "tokens": self.shape.tokens, "supervised": self.shape.supervised},
            "batch_source": self.shape_source,
            "parameters": {"base": trace.parameters, "trainable": trace.trainable, "all": trace.total},
            "peak_bytes": self.peak.total,
            "peak_moment": self.peak.name,
            "moments": {column.name: {**column.parts, "total": column.total} for column in self.columns},
            "floor": {"bytes": trace.floor, "bits_a_weight": trace.floor_bits},
            "limits": {"vram": self.question.vram, "devices": self.question.devices, "ram": self.question.ram},
            "fit": None if self.fit is None else asdict(self.fit),
            "claim": None if self.claim is None else asdict(self.claim),
            **{name: getattr(self, name).to_json() for name in _VALUES},
        }


def parse_size(text: str) -> int:
    """`12GiB`, `14.7 GB` or a number of bytes, in bytes.

    Raises:
        MalformedSize: anything else.
    """
    try:
        return bytes_of(text)
    except ValueError:
        raise MalformedSize(text) from None


def fits(
    columns: tuple[Column, ...],
    *,
    vram: int | None,
    ram: int | None,
    checkpointed: Callable[[], tuple[Column, ...] | None] = lambda: None,
    devices: int = 1,
    spread: Callable[[int], Iterable[SpreadRun]] = lambda _: (),
    offloaded: Callable[[], tuple[Column, ...] | OffloadRefused],
) -> Fit | None:
    """Against a GPU's memory, or against `ram` where there is none; None without limits.

    Args:
        columns: the run as the file says.
        vram: bytes, of each device.
        ram: bytes; with `vram`, where the frozen base can wait. It can wait on disk whatever there is.
        checkpointed: asked for the columns with gradient checkpointing, the cheapest remedy: it costs one more forward pass a step.
            None where the run has it already, or its method cannot.
        devices: how many there are.
        spread: asked for the run spread over so many devices, the cheapest way first; none where it cannot be.
        offloaded: asked for the columns with the frozen base offloaded, or for the reason why it cannot be.
    """
    peak = max(columns, key=lambda column: column.needed)
    limit = ram if vram is None else vram
    if limit is None:
        return None
    if peak.needed <= limit:
        return Fit("fits", peak.largest, f"{_gb(peak.needed)} of {_gb(limit)} while it runs `{peak.name}`")
    short = f"`{peak.name}` needs {_gb(peak.needed)} and there are {_gb(limit)}"
    recomputed = checkpointed()
    if recomputed is not None:
        needed = max(column.needed for column in recomputed)
        if needed <= limit:
            remedy = f"{_gb(needed)} with gradient checkpointing: set training.gradient_checkpointing=true"
            return Fit("only with checkpointing", peak.largest, f"{short}; {remedy}")
    if vram is not None and devices > 1:
        words = _spread_words(spread, (devices,), limit)
        if words is not None:
            return Fit("only with sharding", peak.largest, f"{short}; {words}")
    away = offloaded()
    if isinstance(away, OffloadRefused):
        binding, obstacle = peak.largest, f"{away.what}: {away.why}"
    else:
        beside = max(away, key=lambda column: column.needed)
        if beside.needed <= limit:
            why = f"{short}; {_offload_words(columns, beside, vram=vram, ram=ram)}"
            return Fit("only with offload", peak.largest, why)
        binding = beside.largest
        obstacle = f"with the frozen base elsewhere `{beside.name}` still needs {_gb(beside.needed)}"
    more = [count for count in _MORE_DEVICES if count > devices and vram is not None]
    words = _spread_words(spread, more, limit)
    verdict: Verdict = "cannot" if words is None else "only with sharding"
    return Fit(verdict, binding, f"{short}; {words or obstacle}")


def _offload_words(columns: tuple[Column, ...], beside: Column, *, vram: int | None, ram: int | None) -> str:
    """What to set so that the frozen base waits where there is room for it."""
    to_disk = vram is None or (ram is not None and max(column.frozen for column in columns) > ram)
    place, words = ("disk", "on disk") if to_disk else ("cpu", "in RAM")
    return (
        f"{_gb(beside.needed)} with the frozen base {words}: "
        f"set offload.to={place} training.gradient_checkpointing=true"
    )


def _spread_words(spread: Callable[[int], Iterable[SpreadRun]], counts: Sequence[int], limit: int) -> str | None:
    """What to set for the fewest of these devices that suffice; None where none do."""
    for count in counts:
        for run in spread(count):
            if run.needed <= limit:
                return f"{_gb(run.needed)} on each of {count} such devices: set {run.settings} and --nproc {count}"
    return None


def judge_claim(claim: int, trace: "Trace") -> Fit:
    """A claimed memory against the floor: the base's weights in the format they are held in, without anything else."""
    floor = f"{count_text(trace.parameters)} weights at {trace.floor_bits} bits are {_gb(trace.floor)}"
    if claim < trace.floor:
        bits = 8 * claim / trace.parameters
        return Fit("cannot", "weights", f"{floor}; {_gb(claim)} would be {bits:.2g} bits a weight, which is impossible")
    return Fit("fits", "weights", f"not below the floor: {floor}")


def columns_of(
    trace: "Trace",
    *,
    libraries: int,
    tokenizer: int,
    on_gpu: bool = False,
    keeps_best: bool = False,
    trained_shapes: int = 1,
    scored_shapes: int = 0,
) -> tuple[Column, ...]:
    """The traced moments with what the trace cannot see, in bytes; the weights of the best look wait in RAM.

    Args:
        trace: of the run.
        libraries: what they take, with the code for the products of a first batch, in bytes.
        tokenizer: what it takes, in bytes.
        on_gpu: whether a GPU computes.
        keeps_best: whether the weights of the best look are kept.
        trained_shapes: how many sizes the batches of the training have.
        scored_shapes: how many sizes the batches have that oneDNN scores on a processor.
    """
    from peft_registry.trainer.costs.memory import COMPONENTS

    backward = next(moment for moment in trace.moments if moment.name == "backward")
    columns = []
    for moment in trace.moments:
        freed = moment if moment.name == "score" else backward
        parts = {name: int(getattr(moment, name)) for name in COMPONENTS}
        parts["allocator"] = round(_KEPT[moment.name] * (freed.activations + freed.transients))
        parts["kernels"] = 0
        if not on_gpu:
            trained_products = (trained_shapes - 1) * backward.products
            scored_products = scored_shapes * moment.products if moment.name == "score" else None
            parts["kernels"] = _code_bytes(trained_products, scored_products)
        parts |= {MAPPED: 0 if on_gpu else trace.mapped, "tokenizer": tokenizer, "libraries": libraries}
        if keeps_best and not on_gpu:
            parts["best weights"] = trace.trained_bytes
        trained = trace.trained_bytes if moment.name != "score" else 4 * trace.trainable
        columns.append(Column(moment.name, parts, frozen=max(0, moment.weights - trained)))
    return tuple(columns)


def _code_bytes(trained: int, scored: int | None) -> int:
    """The code of so many products of the training and, while it is scored, of the scoring; None before that."""
    if scored is None:
        return _CODE_BYTES * trained + _CODE_BYTES_OF_THE_LAST * min(trained, PRODUCTS_KEPT)
    code = _CODE_BYTES_LEFT * trained + _CODE_BYTES * scored
    return code + _CODE_BYTES_OF_THE_LAST * min(trained + scored, PRODUCTS_KEPT)


def count_text(parameters: int) -> str:
    """`65.29 G` or `134.5 M`."""
    return f"{parameters / 1e9:.2f} G" if parameters >= 10**9 else f"{parameters / 1e6:.1f} M"


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"
