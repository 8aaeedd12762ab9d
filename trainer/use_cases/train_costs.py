"""What a training and the plans of its evaluation take, told before either begins; and the plan of a file that names none.

What is compared is work, in tokens that go forward through the model, and no clock: the same file asks the same on every machine.
A token that is trained on goes forward and, as dear again, backward; where the base itself is trained, its weights cost as much
a third time. How long that is follows from the speed of a registered run on the base, or from the first steps of this one.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.database import catalog
from peft_registry.registry.evaluation.halves import half_text
from peft_registry.registry.evaluation.staleness import base_composition
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.verification.signed_versions import signed_versions
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.evaluation import ArmName, Part
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.progress import Event, Measured, Observe, Said
from peft_registry.schemas.values import Value, measured
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.scope import FULL, SCREENED
from peft_registry.trainer.evaluation.suites.selection import part_of
from peft_registry.trainer.inputs.evaluation import known_scores, load_suites, report_power
from peft_registry.trainer.use_cases.train_plan import TrainingPlan

if TYPE_CHECKING:
    from peft_registry.trainer.data.collate import Batch
    from peft_registry.trainer.data.dataset import LoadedData, Locate
    from peft_registry.trainer.evaluation.prefix_trees import TokenRow
    from peft_registry.trainer.evaluation.questions import Request
    from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask

SUITE_ARMS, TEXT_ARMS = 3, 2
_ARMS_OF_BASE: tuple[ArmName, ...] = ("base", "noise")  # the base, and the base again in another order
_COUNTED = 2000  # texts of one kind that are counted one by one; of more, as many spread over all
_VERSIONS_LOOKED_AT = 1000  # for a run whose speed is known, the newest first
_STEPS_MEASURED = 4  # the first of them is slower than all that follow


@dataclass(frozen=True, slots=True)
class RunCosts:
    """The work of a training and of its evaluation, in tokens.

    Attributes:
        training: tokens of all epochs and seeds, padding included.
        passes: forward passes that are as much work as a training step on the same tokens.
        scored: tokens that the evaluation reads, by the part of each suite that is asked; None is the whole of it.
        longest: tokens of the longest text that is scored.
        kept: of `scored` what the base has answered before, so that it is not asked again.
        written: tokens of answers that base and result write at most, one at a time; they are in `scored` as if they were read.
        has_suites: whether a part of any suite is asked.
    """

    training: int
    passes: int
    scored: Mapping[Part | None, int]
    longest: int
    kept: Mapping[Part | None, int] = field(default_factory=dict)
    written: int = 0
    has_suites: bool = True

    def share(self, part: Part | None) -> float:
        """The work of the evaluation over that of the training, whatever is kept: on every machine the same."""
        return self.scored[part] / (self.passes * self.training)

    def left(self, part: Part | None) -> int:
        """The tokens that are still to be read."""
        return self.scored[part] - self.kept.get(part, 0)

    @property
    def default_part(self) -> Part:
        """What a file asks that names no part: the half that can give a verdict, unless that is more work than the training."""
        return FULL if self.share(FULL) <= 1 else SCREENED

    def training_seconds(self, speed: float) -> float:
        """How long the training takes at so many tokens a second, loading aside."""
        return self.training / speed

    def scoring_seconds(self, part: Part | None, speed: float) -> float:
        """How long the evaluation takes where training goes through so many tokens a second."""
        return self.left(part) / (self.passes * speed)

    def line(self, part: Part | None, speed: Value) -> str:
        """How long training and evaluation take, and whose speed says so."""
        train, score = self.training_seconds(speed.value), self.scoring_seconds(part, speed.value)
        return (
            f"about {clock_text(train + score)}: training {clock_text(train)}, {self._name_of(part)} {clock_text(score)} "
            f"({speed.source}: {speed.method}){self._besides(part)}"
        )

    def shares_line(self, part: Part | None) -> str:
        """The evaluation measured by the training, where nobody knows yet how fast either is."""
        share = self.left(part) / (self.passes * self.training)
        return f"{self._name_of(part)} takes {share:.2g} × the training{self._besides(part)}"

    def _name_of(self, part: Part | None) -> str:
        if part is None or not self.has_suites:
            return "evaluation"
        return "screen" if part == "screen" else f"evaluation of {half_text(part)}"

    def _besides(self, part: Part | None) -> str:
        """What the base has answered before, and that writing takes longer than reading."""
        known = self.kept.get(part, 0)
        kept = (
            f"; {known / self.scored[part]:.0%} of it the base has answered before, which costs nothing"
            if known
            else ""
        )
        return kept + (f"; {written_text(self.written)}" if self.written else "")

    def choice_line(self) -> str:
        """Why the screen is asked, or a half, of a file that names neither."""
        compared = f"{half_text('development')} of the suites takes {self.share(FULL):.2g} × the training"
        return f"{compared}: {'the screen' if self.default_part == SCREENED else 'it'} is asked"


def written_text(tokens: int) -> str:
    """What a time by the speed of reading leaves out."""
    return f"answers of up to {tokens:,} tokens are written one token at a time, which takes longer than reading them"


def costs_of(
    registry: Registry,
    plan: TrainingPlan,
    data: "LoadedData",
    tokenizer: Any,  # of transformers
    *,
    parts: Iterable[Part | None],
    tasks: "Sequence[BenchmarkTask]" = (),
    reuse: bool = True,
    locate: "Locate | None" = None,
) -> RunCosts:
    """Count the work of a plan. What several texts begin with is counted for each, though it is computed once.

    Args:
        registry: holds suites and base, and what the base has answered before.
        plan: that nothing refuses.
        data: its rows.
        tokenizer: of its base.
        parts: those whose evaluation is counted.
        tasks: that its file asks.
        reuse: whether what the base has answered before is taken.
        locate: where a text to retain is; None for a file, else the Hub.
    """
    from peft_registry.trainer.evaluation.scoring import encode
    from peft_registry.trainer.hub.data_sets import locate_locally_or_on_hub

    config = plan.loaded.config
    context_length = required_base(registry, plan.base).record.context_length
    whole = load_suites(registry, config.evaluation.bias)
    lengths: dict[Request, int] = {}

    def length(request: "Request") -> int:
        if request not in lengths:
            row = encode(tokenizer, request, prefix_token_id=None, max_length=context_length)
            lengths[request] = len(row.ids)
        return lengths[request]

    knows = _known_of_base(registry, plan) if reuse else _nothing_is_known
    counter = _Counter(tokenizer, length, lambda request: knows("base", request))
    rest = sum(
        (*_answers(plan, data, counter), *(_of_task(task, counter) for task in tasks)),
        _passages(plan, counter)
        + _rows(plan, data, tokenizer, context_length, locate or locate_locally_or_on_hub(plan.loaded.folder)),
    )
    scored: dict[Part | None, int] = {}
    kept: dict[Part | None, int] = {}
    for part in parts:
        requests = [r for suite in whole for r in getattr(part_of(suite, part), "requests", ())]
        scored[part] = SUITE_ARMS * _added_up(requests, length) + TEXT_ARMS * rest.tokens
        known = (_added_up((r for r in requests if knows(arm, r)), length) for arm in _ARMS_OF_BASE)
        kept[part] = sum(known) + rest.kept
    return RunCosts(
        training=tokens_of_training(config, first_epoch(config, data, tokenizer)),
        passes=passes_of_step(config),
        scored=scored,
        longest=max((rest.longest, *lengths.values())),
        kept=kept,
        written=rest.written,
        has_suites=bool(whole),
    )


def shapes_scored(
    registry: Registry,
    plan: TrainingPlan,
    tokenizer: Any,  # of transformers
    *,
    part: Part | None,
    vocabulary: int,
) -> int:
    """How many sizes the batches have in which suites and guard text are scored. Of very many texts only some are looked at.

    Args:
        registry: holds the suites.
        plan: that nothing refuses.
        tokenizer: of its base.
        part: of each suite that is asked.
        vocabulary: tokens that the base knows.
    """
    from peft_registry.trainer.evaluation.neutral import guards_beside
    from peft_registry.trainer.evaluation.scoring import encode, token_budget_for
    from peft_registry.trainer.evaluation.scoring_backends import sizes_of_batches

    budget = token_budget_for(vocabulary)
    longest = required_base(registry, plan.base).record.context_length
    sizes: set[int] = set()

    def rows_of(requests: "Sequence[Request]") -> "list[TokenRow]":
        return [encode(tokenizer, one, prefix_token_id=None, max_length=longest) for one in _some_of(requests)]

    for guard in guards_beside(plan.scope.guard()):
        sizes |= sizes_of_batches(rows_of(guard.requests), budget=budget, shortest_first=False)
    for suite in load_suites(registry, plan.loaded.config.evaluation.bias):
        rows = rows_of(getattr(part_of(suite, part), "requests", ()))
        sizes |= sizes_of_batches(rows, budget=budget, shortest_first=False)
        sizes |= sizes_of_batches(rows, budget=budget // 2, shortest_first=True)  # the base again, as control
    return len(sizes)


def _known_of_base(registry: Registry, plan: TrainingPlan) -> "Callable[[ArmName, Request], bool]":
    """Whether an arm of the plan's base was asked a request before, on such a device."""
    from peft_registry.trainer.bases.quantization import describe
    from peft_registry.trainer.machine.environment import chosen_device

    config = plan.loaded.config
    quantisation = None if config.quantization is None else describe(config.quantization)
    base = base_composition(required_base(registry, plan.base).record.identity, quantisation)
    return known_scores(registry, base, chosen_device(config.training.device))


def _nothing_is_known(_arm: ArmName, _request: "Request") -> bool:
    return False


def passes_of_step(config: TrainingFile) -> int:
    """Forward passes that are as much work as a training step: one, one backward to the input, one to the weights of the base,
    and one again where activations are computed anew."""
    return 2 + METHODS[config.method].trains_base_weights + config.training.gradient_checkpointing


def first_epoch(config: TrainingFile, data: "LoadedData", tokenizer: Any) -> "Iterator[Batch]":  # one of transformers
    """The batches that the file trains on first."""
    from peft_registry.trainer.data.collate import Batches, padding_id

    training = config.training
    batches = Batches(
        data.train,
        training.per_device_train_batch_size,
        padding_id(tokenizer),
        training.seed,
        pack_to=training.max_length if training.packing else None,
    )
    # whether the model takes rows side by side is tried with its weights; nearly all do
    return batches.of_epoch(0, "rows" if METHODS[config.method].packs else "padded")


def tokens_of_training(config: TrainingFile, batches: "Iterable[Batch]") -> int:
    """The tokens of all epochs and seeds, padding included."""
    first = sum(batch.tokens for batch in batches)
    return round(first * config.training.num_train_epochs) * len(config.seeds)


@dataclass(frozen=True, slots=True)
class _Texts:
    """What base and result read.

    Attributes:
        tokens: of each of the two.
        kept: those that the base has answered before.
        written: tokens that are written one at a time, by both together.
        longest: of one text.
    """

    tokens: int
    kept: int = 0
    written: int = 0
    longest: int = 0

    def __add__(self, other: "_Texts") -> "_Texts":
        return _Texts(
            self.tokens + other.tokens,
            self.kept + other.kept,
            self.written + other.written,
            max(self.longest, other.longest),
        )


@dataclass(frozen=True, slots=True)
class _Counter:
    """How texts become tokens, how many a request has, and whether the base has answered one before."""

    tokenizer: Any  # of transformers
    length: "Callable[[Request], int]"
    knows: "Callable[[Request], bool]"

    def of(self, requests: "Sequence[Request]") -> _Texts:
        """What is read of requests whose likelihood is asked."""
        return _Texts(_added_up(requests, self.length), _added_up(filter(self.knows, requests), self.length))


def _passages(plan: TrainingPlan, counter: _Counter) -> _Texts:
    """The guard text."""
    from peft_registry.trainer.evaluation.neutral import guards_beside

    return counter.of([request for guard in guards_beside(plan.scope.guard()) for request in guard.requests])


def _rows(
    plan: TrainingPlan,
    data: "LoadedData",
    tokenizer: Any,  # of transformers
    context_length: int | None,
    locate: "Locate",
) -> _Texts:
    """The held-out rows and the texts to retain, whose losses are never kept."""
    from peft_registry.trainer.evaluation.retention import retained

    texts = retained(
        plan.loaded.config.evaluation.retention,
        locate=locate,
        tokenizer=tokenizer,
        longest=context_length,
    )
    rows = [len(example.ids) for example in data.reported]
    rows += [len(row.ids) for held in texts for row in held.rows]
    return _Texts(sum(rows), longest=max(rows, default=0))


def _answers(plan: TrainingPlan, data: "LoadedData", counter: _Counter) -> "Iterator[_Texts]":
    """Each held-out row with each answer that it may have, or with the longest that is generated."""
    from peft_registry.trainer.training.train_adapter import answers_of_rows

    for answers in answers_of_rows(plan.loaded.config, data, data.reported_split, counter.tokenizer):
        yield counter.of([request for row in answers.rows for request in row.requests])
        for row in answers.rows:
            if not row.requests:
                written = answers.max_new_tokens
                tokens = len(answers.prompting.ids(counter.tokenizer, row.prompt)) + written
                yield _Texts(tokens, written=TEXT_ARMS * written, longest=tokens)


def _of_task(task: "BenchmarkTask", counter: _Counter) -> _Texts:
    """Each row of a task with its longest answer, or with each answer that is weighed."""
    total = _Texts(0)
    for row in task.rows:
        tokens, is_kept = row.tokens(counter.tokenizer), task.is_kept(row, counter.knows)
        written = (TEXT_ARMS - is_kept) * row.written
        total += _Texts(sum(tokens), sum(tokens) if is_kept else 0, written, max(tokens))
    return total


def _added_up(requests: "Iterable[Request]", length: "Callable[[Request], int]") -> int:
    """The tokens of all; of very many texts each n-th is counted, and the longest besides."""
    every = list(requests)
    if len(every) <= _COUNTED:
        return sum(map(length, every))
    length(max(every, key=lambda request: len(request.context) + len(request.continuation)))
    return round(len(every) * statistics.fmean(map(length, _some_of(every))))


def _some_of(every: "Sequence[Request]") -> "Sequence[Request]":
    """At most `_COUNTED` of them, evenly spread."""
    return every[:: -(-len(every) // _COUNTED) or 1]


# --- what a training tells ---


def decide_part(
    registry: Registry,
    plan: TrainingPlan,
    data: "LoadedData",
    texts: Path,
    observe: Observe,
    *,
    tasks: "Sequence[BenchmarkTask]" = (),
    reuse: bool = True,
) -> tuple[TrainingPlan, Observe]:
    """The plan with the part of each suite that is asked, after its costs were told; and who hears of the training.

    Args:
        registry: holds suites, base, and runs whose speed is known.
        plan: that nothing refuses.
        data: its rows.
        texts: the folder with the tokenizer of its base.
        observe: hears of it; what it is wrapped in tells the time once the first steps have shown the speed.
        tasks: that its file asks.
        reuse: whether what the base has answered before is taken.
    """
    from peft_registry.trainer.bases.loading import load_tokenizer

    asked = plan.loaded.config.evaluation
    is_open = asked.half == "auto" and bool(asked.bias)
    part = plan.scope.half
    counted = {part, *((SCREENED, FULL) if is_open else ())}
    costs = costs_of(registry, plan, data, load_tokenizer(texts), parts=counted, tasks=tasks, reuse=reuse)
    if is_open:
        part = costs.default_part
        observe(Said("cost", costs.choice_line()))
        report_power(load_suites(registry, asked.bias, half=part), observe)
    plan = with_part(plan, part)
    speed = _speed_if_trusted(registry, plan.base, plan.loaded.config)
    if speed is not None:
        observe(Said("cost", costs.line(part, speed)))
        return plan, observe
    if not is_open:
        observe(Said("cost", costs.shares_line(part)))
    return plan, TimeToldLater(costs, part, observe)


def with_part(plan: TrainingPlan, part: Part | None) -> TrainingPlan:
    """The plan that asks a part of each suite; its file says so too, as the record will."""
    config = plan.loaded.config
    asked = config.evaluation.revised(half=part)
    loaded = replace(plan.loaded, config=config.revised(evaluation=asked))
    return replace(plan, loaded=loaded, scope=replace(plan.scope, half=part))


class TimeToldLater:
    """Hands every event on, and says after the first steps how long the training and its evaluation take."""

    def __init__(
        self,
        costs: RunCosts,
        part: Part | None,
        observe: Observe,
    ) -> None:
        self._costs = costs
        self._part = part
        self._observe = observe
        self._rates: list[float] = []

    def __call__(self, event: Event) -> None:
        self._observe(event)
        if not isinstance(event, Measured) or len(self._rates) == _STEPS_MEASURED:
            return
        rate = event.values.get("tokens_per_second")
        if rate:
            self._rates.append(rate)
        if len(self._rates) == _STEPS_MEASURED:
            method = f"steps 2 to {_STEPS_MEASURED} of this training"
            speed = measured(statistics.median(self._rates[1:]), "tokens/s", method=method)
            self._observe(Said("cost", self._costs.line(self._part, speed)))


def clock_text(seconds: float) -> str:
    """`0:01:05`, as progress shows it."""
    return str(timedelta(seconds=round(seconds)))


# --- how fast it is ---


def _speed_if_trusted(registry: Registry, base: Version, config: TrainingFile) -> Value | None:
    """As `recorded_speed`; None where a row that it would rest on is not what was signed, which `verify` tells and no training."""
    try:
        return recorded_speed(registry, base, config)
    except IntegrityBroken:
        return None


def recorded_speed(registry: Registry, base: Version, config: TrainingFile) -> Value | None:
    """Tokens a second of the newest registered run of this method on this base, if there is one, by what was signed.

    Which versions are of the method and on the base their signed manifests say, and not their rows.

    Raises:
        VersionsDiffer: a row of the version that it would rest on is not what was signed or logged.
    """
    with registry.database.read() as tx:
        newest = catalog.newest_versions(tx, limit=_VERSIONS_LOOKED_AT)
    for version in newest:
        manifest = stored_manifest(registry, version.manifest_digest)
        if manifest.method != config.method or manifest.base is None:
            continue
        if manifest.base.manifest != base.manifest_digest:
            continue
        signed_versions(registry, (version,))  # or raises: its row is not what was signed
        run = records_of(registry, version).run
        if run is not None and run.compute.tokens.known and run.compute.wall_seconds.value:
            speed = run.compute.tokens.value / run.compute.wall_seconds.value
            return measured(round(speed, 1), "tokens/s", method=f"the training of {version.label}")
    return None
