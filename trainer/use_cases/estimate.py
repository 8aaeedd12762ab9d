"""`registry estimate` and `train --dry-run`: what a run needs before anything is loaded, from the base's config.json.

Memory is traced (`trainer/costs/memory.py`); what the trace cannot see is added here, each with its source: the libraries' own
memory, the tokenizer, and what the allocator keeps of freed blocks. Then the limits: does it fit, only with the frozen base
offloaded, or not at all, and which part binds. A figure below the floor, the base's weights alone, is impossible.
Time and cost follow from tokens a second, given or measured by a registered run of this method on this base.
"""

import importlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.intake.model_code import CONFIG_MAX_BYTES, refuse_code_in_config
from peft_registry.registry.use_cases.pull_base import WEIGHTS_SUFFIX, checked_folder
from peft_registry.schemas.config import OffloadBlock, TrainingFile, TrainSource
from peft_registry.schemas.dataset import Split
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import Part
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.offload import OffloadRefused, obstacle_to_offload
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.schemas.sharding import check_processes, fewest_processes, obstacle_to_sharding
from peft_registry.schemas.sizes import bytes_of
from peft_registry.schemas.values import Value, derived, unknown
from peft_registry.trainer.costs.fit import (
    GATHERED,
    NO_QUESTION,
    Column,
    Estimate,
    FitQuestion,
    SpreadRun,
    columns_of,
    fits,
    judge_claim,
)
from peft_registry.trainer.evaluation.scope import FULL, SCREENED
from peft_registry.trainer.hub.repositories import endpoint_or_default
from peft_registry.trainer.inputs.evaluation import load_suites, report_power
from peft_registry.trainer.inputs.training_file import LoadedConfig, load_training_file
from peft_registry.trainer.machine.environment import Hardware, choose_hardware
from peft_registry.trainer.methods import check_combinations, implementation
from peft_registry.trainer.runs.launch import Launch
from peft_registry.trainer.use_cases.train_costs import (
    SUITE_ARMS,
    TEXT_ARMS,
    RunCosts,
    costs_of,
    first_epoch,
    recorded_speed,
    shapes_scored,
)
from peft_registry.trainer.use_cases.train_plan import TrainingPlan, plan_training
from peft_registry.trainer.use_cases.train_work import require_fitting_method, rows_of_plan, tasks_of_plan

if TYPE_CHECKING:
    from peft_registry.trainer.costs.memory import Shape, Trace

CONFIG_FILE, TOKENIZER_FILE = "config.json", "tokenizer.json"
_CUDA_CONTEXT_BYTES = 500_000_000  # driver, kernels and handles of a process; 0.3 to 0.6 GB on cards since 2018
FIRST_BATCH_BYTES = 22_000_000  # code, threads and buffers that a run brings in after its imports; 20 to 27 MB
_TOKENIZER_FACTOR = 14.4  # resident bytes for each byte of tokenizer.json, measured on a vocabulary of 49,152
_IMPORTED_BY_A_RUN = (
    "peft_registry.trainer.costs.memory",
    "peft_registry.trainer.training.train_adapter",
    "peft",
)
NO_TOKENIZER = "without a tokenizer nobody can count the tokens"


class UnknownArchitecture(InputRefused):
    what = "{name} describes no model that can be built"
    why = "{reason}"
    fix = "use the config.json of a causal language model whose architecture the installed transformers has built in"

    name: str
    reason: str


def estimate_run(
    registry: Registry | None,
    config_path: Path,
    overrides: tuple[str, ...] = (),
    *,
    model_config: Path | None = None,
    question: FitQuestion = NO_QUESTION,
    observe: Observe = ignore,
) -> Estimate:
    """What the file's run needs, without reading a weight.

    Args:
        registry: holds the base; None with `model_config`.
        config_path: the training file.
        overrides: such as `training.max_length=256`.
        model_config: a config.json of a model that need not be registered; data are not read then, for want of a tokenizer.
        question: limits, claim, price.
        observe: hears of progress.

    Raises:
        InputRefused, NotFound: the file, its data or the base are refused.
        UnknownArchitecture: the config.json builds no model.
        NotTraceable: an operation of the model depends on values.
    """
    with tempfile.TemporaryDirectory(prefix="registry-estimate-") as scratch:
        if model_config is not None or registry is None:
            assert model_config is not None, "without a registry there is a configuration"
            loaded = load_training_file(config_path, overrides)
            check_combinations(loaded.config)
            check_processes(loaded.config, nproc=max(question.devices, fewest_processes(loaded.config)), nnodes=1)
            return _estimate(loaded, _read_config(model_config), _assumed(loaded.config), question, rate=None)
        # refuses what the run would refuse; how many processes there will be is not in the file
        config = load_training_file(config_path, overrides).config
        launch = Launch(nproc=max(question.devices, fewest_processes(config)))
        plan = plan_training(
            registry,
            config_path,
            overrides,
            launch=launch,
            fetches=False,
            runs_here=question.vram is None,
            observe=observe,
        )
        loaded = plan.loaded
        base = plan.base
        without_weights = checked_folder(
            registry, base, Path(scratch), only=lambda entry: not entry.path.endswith(WEIGHTS_SUFFIX)
        )
        folder = without_weights.folder
        hf_config = _read_config(folder / CONFIG_FILE)
        work = _workload(registry, plan, folder, hf_config.get_text_config().vocab_size, observe)
        return _estimate(
            loaded,
            hf_config,
            work,
            question,
            rate=recorded_speed(registry, base, loaded.config),
        )


def _estimate(
    loaded: LoadedConfig, hf_config: Any, work: "_Workload", question: FitQuestion, *, rate: Value | None
) -> Estimate:
    config = loaded.config
    hardware = _hardware(config, on_gpu=question.vram is not None)
    # imported now, before memory is read: what they take is the libraries', not the run's
    for name in _IMPORTED_BY_A_RUN:
        importlib.import_module(name)
    implementation(config.method)
    libraries = _CUDA_CONTEXT_BYTES if question.vram is not None else _resident_bytes() + FIRST_BATCH_BYTES
    run = _TracedRun(config, hf_config, work, question, hardware, libraries)
    trace, columns = run.traced(config)
    speed = _speed(question, rate)
    hours, cost = _hours_and_cost(work.tokens, speed, question.price)
    return Estimate(
        method=config.method,
        device=hardware.device,
        dtype=hardware.dtype,
        shape=work.shape,
        shape_source=work.source,
        trace=trace,
        columns=columns,
        question=question,
        fit=fits(
            columns,
            vram=question.vram,
            ram=question.ram,
            checkpointed=run.checkpointed,
            devices=question.devices,
            spread=run.spread,
            offloaded=run.offloaded,
        ),
        claim=None if question.claim is None else judge_claim(question.claim, trace),
        tokens=work.tokens,
        tokens_per_second=speed,
        scored=work.scored_of(work.part),
        written=work.written,
        scoring_hours=work.scoring_hours(work.part, speed),
        screen_hours=work.scoring_hours(SCREENED, speed),
        full_hours=work.scoring_hours(FULL, speed),
        hours=hours,
        cost=cost,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _TracedRun:
    """A run as its file says, and each way to make it smaller.

    Attributes:
        config: of the run as the file says.
        hf_config: of its base, as transformers has it.
        work: what its data are.
        question: the limits that it is compared with.
        hardware: that it computes on.
        libraries: bytes that a process holds before it loads a model.
        traces: those that were made: one of a large base takes a minute.
    """

    config: TrainingFile
    hf_config: Any
    work: "_Workload"
    question: FitQuestion
    hardware: Hardware
    libraries: int
    traces: "dict[tuple[bool, bool, int], Trace]" = field(default_factory=dict)

    def traced(self, config: TrainingFile) -> "tuple[Trace, tuple[Column, ...]]":
        """The memory of a run of this configuration, whole and by what it does."""
        from peft_registry.trainer.evaluation.fast_linear import onednn_is_faster

        on_gpu = self.question.vram is not None
        trace = self._trace(config)
        columns = columns_of(
            trace,
            libraries=self.libraries,
            tokenizer=0 if on_gpu else self.work.tokenizer_bytes,
            on_gpu=on_gpu,
            keeps_best=config.training.early_stopping is not None,
            trained_shapes=self.work.trained_shapes,
            scored_shapes=self.work.scored_shapes if onednn_is_faster() else 0,
        )
        if config.is_sharded:
            over = max(self.question.devices, fewest_processes(config))
            return trace, spread_columns(columns, trace, config, over=over, on_gpu=on_gpu)
        if config.offload is None:
            return trace, columns
        kept = bytes_of(config.offload.max_memory)
        return trace, tuple(column.offloaded(trace, kept=kept) for column in columns)

    def _trace(self, config: TrainingFile) -> "Trace":
        from peft_registry.trainer.costs.memory import trace_memory
        from peft_registry.trainer.training.train_adapter import weights_dtype

        shape = self.work.shape
        rows = min(shape.rows, config.training.per_device_train_batch_size)
        # how many devices there are changes nothing of it
        key = (config.training.gradient_checkpointing, config.offload is None, rows)
        if key not in self.traces:
            if rows < shape.rows:
                shape = replace(shape, rows=rows, supervised=math.ceil(shape.supervised * rows / shape.rows))
            self.traces[key] = trace_memory(
                self.hf_config,
                config,
                shape,
                stored=weights_dtype(config, self.hardware),
                products=self.hardware.dtype,
                longest_scored=0 if self.work.costs is None else self.work.costs.longest,
            )
        return self.traces[key]

    def checkpointed(self) -> tuple[Column, ...] | None:
        """With gradient checkpointing; None where the run has it already, or its method cannot."""
        config = self.config
        if config.training.gradient_checkpointing or not METHODS[config.method].checkpoints:
            return None
        return self.traced(config.revised(training=config.training.revised(gradient_checkpointing=True)))[1]

    def offloaded(self) -> tuple[Column, ...] | OffloadRefused:
        """With the frozen base offloaded, or why it cannot be."""
        obstacle = obstacle_to_offload(self.config)
        training = self.config.training.revised(gradient_checkpointing=True)
        return obstacle or self.traced(self.config.revised(offload=OffloadBlock(), training=training))[1]

    def spread(self, count: int) -> Iterator[SpreadRun]:
        """Spread over so many devices, the cheapest way first; none where it cannot be."""
        config = self.config
        if config.is_sharded or obstacle_to_sharding(config) is not None:
            return
        for changes in _ways_to_spread(config):
            asked = config.revised(training=config.training.revised(**changes))
            trace, whole = self.traced(asked)
            words = " ".join(f"training.{key}={str(value).lower()}" for key, value in changes.items())
            columns = spread_columns(whole, trace, asked, over=count, on_gpu=True)
            yield SpreadRun(columns, f"training.sharding=full {words}".rstrip())


def _ways_to_spread(config: TrainingFile) -> Iterator[Mapping[str, bool | int]]:
    """What of `training` makes a run that is spread smaller, the cheapest first: none changes its curve but for rounding."""
    training = config.training
    yield {}
    if not METHODS[config.method].checkpoints:
        return
    again = {} if training.gradient_checkpointing else {"gradient_checkpointing": True}
    if again:
        yield again
    rows = training.per_device_train_batch_size
    if rows > 1 and not training.packing:
        yield {
            **again,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": rows * training.gradient_accumulation_steps,
        }


def spread_columns(
    columns: tuple[Column, ...], trace: "Trace", config: TrainingFile, *, over: int, on_gpu: bool
) -> tuple[Column, ...]:
    """What each device has of a run that is spread over so many; one process scores, as `load_setting` loads the base for it."""
    spread = []
    for column in columns:
        if column.name != "score":
            spread.append(column.spread(trace, over=over))
        elif obstacle_to_offload(config) is None:
            away = column.offloaded(trace)
            spread.append(Column(away.name, {**away.parts, GATHERED: 0}, frozen=away.frozen))
        elif config.is_quantized and on_gpu:
            spread.append(column.over_devices(trace, over=over))
        else:
            spread.append(Column(column.name, {**column.parts, GATHERED: 0}, frozen=column.frozen))
    return tuple(spread)


def _hardware(config: TrainingFile, *, on_gpu: bool) -> Hardware:
    """This machine, or a GPU of the size that was asked about: every one since 2020 multiplies in bf16."""
    if not on_gpu:
        return choose_hardware(config.training.dtype, device="cpu")
    dtype = config.training.dtype
    return Hardware("cuda", "bf16" if dtype == "auto" else dtype, 1, "a GPU")


# --- what the model and the data are ---


@dataclass(frozen=True, slots=True)
class _Workload:
    """What the data are as batches, and what is counted of them; `costs` None where no text was read."""

    shape: "Shape"
    source: str
    tokens: Value
    costs: RunCosts | None = None
    part: Part | None = SCREENED  # of each suite that the run would ask
    tokenizer_bytes: int = 0
    trained_shapes: int = 1  # sizes of the batches
    scored_shapes: int = 0
    uncounted: str = NO_TOKENIZER

    def scored_of(self, part: Part | None) -> Value:
        """The tokens that an evaluation reads."""
        if self.costs is None:
            return unknown(f"{self.uncounted} of the suites")
        method = (
            f"tokens of the suites × {SUITE_ARMS} arms (base, base again, adapted), "
            f"and of the guard text, the held-out rows, their answers, the texts to retain and the tasks × {TEXT_ARMS}"
        )
        kept = self.costs.kept.get(part, 0)
        if kept:
            method += f", less {kept:,} that the base has answered before"
        return derived(self.costs.left(part), "tokens", method=method)

    @property
    def written(self) -> Value:
        """The tokens of answers that are written one at a time, at most."""
        if self.costs is None:
            return unknown(f"{self.uncounted} of answers")
        return derived(self.costs.written, "tokens", method=f"the longest answer to each row × {TEXT_ARMS} arms")

    def scoring_hours(self, part: Part | None, speed: Value) -> Value:
        """A forward pass alone: the backward pass of training, which is left out, costs at least as much."""
        costs = self.costs
        if costs is None:
            return unknown(self.scored_of(part).reason or "")
        share = f"{costs.left(part) / (costs.passes * costs.training):.2g} × the work of the training"
        if not speed.known:
            return unknown(f"{share}; the speed is {speed.reason}")
        method = (
            f"{share}: scored tokens ÷ ({costs.passes} × tokens a second ({speed.source})) ÷ 3600; "
            "a GPU whose fp32 is slower than its bf16 takes longer"
        )
        return derived(round(costs.scoring_seconds(part, speed.value) / 3600, 4), "h", method=method)


def _read_config(path: Path) -> Any:
    """transformers' configuration of a config.json; code that it names is refused, not run."""
    from transformers import CONFIG_MAPPING

    config = read_json(read_offered(path, max_bytes=CONFIG_MAX_BYTES), what=path.name, family="intake")
    refuse_code_in_config(path.name, config)
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise UnknownArchitecture(path.name, f"its model_type is {kind!r}, which transformers does not know")
    try:
        return CONFIG_MAPPING[kind].from_dict(config)
    except Exception as error:  # transformers checks with errors of several packages
        raise UnknownArchitecture(
            path.name, (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        ) from error


def _assumed(config: TrainingFile, why: str = NO_TOKENIZER) -> _Workload:
    from peft_registry.trainer.costs.memory import Shape

    rows = config.training.per_device_train_batch_size
    tokens = config.training.max_length
    return _Workload(
        Shape(rows, tokens, rows * (tokens - 1)),
        "assumed: every row fills training.max_length and every token carries loss",
        unknown(f"{why} of the data"),
        uncounted=why,
    )


def _workload(registry: Registry, plan: TrainingPlan, folder: Path, vocabulary: int, observe: Observe) -> _Workload:
    """The data as the run would read them: the largest batch, and the tokens of all epochs and of the evaluation.

    Nothing is fetched: of rows that are only on the Hub the largest batch is assumed.
    """
    from peft_registry.trainer.bases.loading import load_tokenizer
    from peft_registry.trainer.costs.memory import Shape
    from peft_registry.trainer.hub.data_sets import locate_on_this_machine

    config = plan.loaded.config
    away = _only_on_hub(plan.loaded)
    if away:
        require_fitting_method(registry, plan, folder)
        observe(Said("hub", f"a training asks {endpoint_or_default(None)} for {', '.join(away)}; nothing was fetched"))
        why = f"with {', '.join(away)} only on the Hub nobody can count the tokens"
        return replace(_assumed(config, why), tokenizer_bytes=tokenizer_bytes(folder))
    tokenizer = load_tokenizer(folder)
    locate = locate_on_this_machine(plan.loaded.folder)
    data = rows_of_plan(registry, plan, folder, locate=locate, observe=observe)
    shapes = [(batch.tokens, *batch.shape, batch.supervised) for batch in first_epoch(config, data, tokenizer)]
    _, rows, tokens, _ = max(shapes)
    require_fitting_method(registry, plan, folder)
    part = plan.scope.half
    tasks = tasks_of_plan(registry, plan, folder)
    costs = costs_of(registry, plan, data, tokenizer, parts={part, SCREENED, FULL}, tasks=tasks, locate=locate)
    if config.evaluation.half == "auto":
        part = costs.default_part
        report_power(load_suites(registry, config.evaluation.bias, half=part), observe)
    sooner = "" if config.training.early_stopping is None else "; early stopping may end it sooner"
    return _Workload(
        Shape(rows, tokens, max(shape[3] for shape in shapes)),
        "measured: the largest batch of the first epoch",
        derived(
            costs.training,
            "tokens",
            method=f"tokens of the first epoch, padding included, × epochs × seeds tried{sooner}",
        ),
        costs,
        part,
        tokenizer_bytes(folder),
        _shapes_of_all_epochs(config, [shape[0] for shape in shapes]),
        shapes_scored(registry, plan, tokenizer, part=part, vocabulary=vocabulary),
    )


def _shapes_of_all_epochs(config: TrainingFile, sizes: Sequence[int]) -> int:
    """How many sizes the batches of all epochs have at most, from those of the first: each epoch is shuffled anew."""
    passes = math.ceil(config.training.num_train_epochs) * len(config.seeds)
    return min(len(set(sizes)) * passes, max(sizes) - min(sizes) + 1)


def _only_on_hub(loaded: LoadedConfig) -> tuple[str, ...]:
    """The data sets and texts to retain that a training fetches first: neither here nor in this user's cache."""
    from peft_registry.trainer.hub.data_sets import only_on_hub

    data = loaded.config.data
    parts: list[tuple[TrainSource, Split]] = [(data.train, "train")]
    if data.validation.path is not None:
        parts.append((data.validation.as_source(), "validation"))
    parts += [(source, "test") for source in loaded.config.evaluation.retention if not source.ships]
    names = (source.path for source, split in parts if only_on_hub(source, split, loaded.folder))
    return tuple(dict.fromkeys(names))


def tokenizer_bytes(folder: Path) -> int:
    """What the tokenizer of a folder takes once it is loaded."""
    file = folder / TOKENIZER_FILE
    return round(_TOKENIZER_FACTOR * file.stat().st_size) if file.is_file() else 0


def _resident_bytes() -> int:
    """What this process holds now; 0 where nobody can say."""
    import resource

    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


# --- time and cost ---


def _speed(question: FitQuestion, rate: Value | None) -> Value:
    if question.tokens_per_second is not None:
        return Value(
            value=question.tokens_per_second, unit="tokens/s", source="declared", method="given to the estimate"
        )
    return rate or unknown("not given, and no run of this method on this base is registered")


def _hours_and_cost(tokens: Value, speed: Value, price: float | None) -> tuple[Value, Value]:
    for figure in (tokens, speed):
        if not figure.known:
            return unknown(figure.reason or ""), unknown(figure.reason or "")
    hours = tokens.value / speed.value / 3600
    method = f"tokens ÷ tokens a second ({speed.source}) ÷ 3600; loading and scoring are not in it"
    time = derived(round(hours, 4), "h", method=method)
    if price is None:
        return time, unknown("no price was given")
    return time, derived(round(hours * price, 4), "of the price's currency", method=f"hours × {price:g}")
