"""Arms: one exact model state each, all scored from the same loaded weights, and what each answered."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from peft_registry.registry.evaluation.aggregate import threshold_key
from peft_registry.registry.evaluation.items import Item, TableRow
from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.evaluation import CONTROL_ARMS, ArmName, Composition, Threshold
from peft_registry.schemas.progress import Observe
from peft_registry.trainer.bases.stored_weights import AS_LOADED, StoredWeights
from peft_registry.trainer.evaluation.divergence import next_token_divergences
from peft_registry.trainer.evaluation.leakage import TrainedOn
from peft_registry.trainer.evaluation.losses import HeldOut, row_losses
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.neutral import GuardText, guards_beside, shipped_guard
from peft_registry.trainer.evaluation.placebo import COMPOSITION, has_placebo, placebo
from peft_registry.trainer.evaluation.quality import Answers, measure_rows
from peft_registry.trainer.evaluation.questions import PromptDivergence, Request, Score
from peft_registry.trainer.evaluation.score_cache import NOTHING, FinishedScores
from peft_registry.trainer.evaluation.scoring import Order, score, token_budget_of
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask

SuiteAnswers = (
    Sequence[Score] | Sequence[PromptDivergence]
)  # of what a suite asks: scores, or divergences of pairs of prompts


class NoBaseArm(InputRefused):
    what = "there is no base to compare with"
    why = "the model has no adapter that could be disabled, and no base model was given"
    fix = "give the base model as well"


@dataclass(frozen=True, eq=False)
class ArmSpec:
    """One arm. `entered` is the block in which the model is in that state; `finished` keeps its scores between runs."""

    name: ArmName
    composition: Composition
    model: CausalModel
    entered: Callable[[], AbstractContextManager[object]] = nullcontext
    finished: FinishedScores = NOTHING


Keep = Callable[[ArmName, Composition], FinishedScores]


@dataclass(frozen=True, eq=False)
class Arms:
    """The two models that are compared, by composition. `base_model` None: the model with its adapter disabled.

    `after` None: the base alone is evaluated. `keep` gives each arm the scores that are known of it. `stored`: where the digits
    stand that loading dropped. `held`: the number format of most weights, for the record.
    """

    model: CausalModel
    tokenizer: Tokenizer
    base: Composition
    after: Composition | None
    base_model: CausalModel | None = None
    before_name: ArmName = "base"
    after_name: ArmName = "adapted"
    with_placebo: bool = False
    keep: Keep = lambda _name, _composition: NOTHING
    stored: StoredWeights = AS_LOADED
    held: str | None = None


@dataclass(frozen=True, eq=False)
class Questions:
    """What the arms are asked.

    `held_out` are sets of rows whose loss is measured, the run's own first; `answers` are rows that the model answers in
    words, `tasks` are what lm-evaluation-harness asks. `trained` is what the model learnt from: the suites' items are looked for in
    it; None where there is nothing to look in.
    `guard` is the text whose loss shows lost capability.
    """

    suites: tuple[LoadedSuite, ...]
    held_out: HeldOut | None = None
    trained: TrainedOn | None = None
    retained: tuple[HeldOut, ...] = ()
    answers: tuple[Answers, ...] = ()
    tasks: tuple[BenchmarkTask, ...] = ()
    guard: GuardText = field(default_factory=shipped_guard)

    @property
    def guards(self) -> tuple[GuardText, ...]:
        """The guard text, and beside one from outside that which ships."""
        return guards_beside(self.guard)

    @property
    def losses(self) -> tuple[HeldOut, ...]:
        return (*([self.held_out] if self.held_out is not None else []), *self.retained)

    @property
    def answered(self) -> tuple[Answers | BenchmarkTask, ...]:
        """What is answered and measured row by row."""
        return (*self.answers, *self.tasks)


@dataclass(frozen=True, eq=False)
class ScoredArm:
    """The answers of one arm."""

    arm: ArmName
    suites: tuple[SuiteAnswers, ...]  # in the order of the suites
    neutral: tuple[tuple[Score, ...], ...]  # in the order of the guard texts; none of a control
    losses: tuple[Item, ...]
    measured: tuple[TableRow, ...]

    def truncated(self, questions: Questions) -> dict[str, list[str]]:
        """The rows that were longer than the model, by data set: scored with their beginning cut, and named."""
        truncated: dict[str, list[str]] = {}
        for suite, scores in zip(questions.suites, self.suites, strict=True):
            names = _names_of_requests(suite)
            cut = {name for name, score in zip(names, scores, strict=False) if getattr(score, "is_truncated", False)}
            if cut:
                truncated[suite.dataset.name] = sorted(cut)
        return truncated

    def suite_rows(self, questions: Questions, thresholds: Mapping[str, Threshold]) -> list[TableRow]:
        """The rows of the suites alone, with the states that these dead bands, by threshold key, make of them."""
        return [
            row
            for suite, scores in zip(questions.suites, self.suites, strict=True)
            for row in rows_of(suite, scores, self.arm, thresholds)
        ]

    def rows(self, questions: Questions, thresholds: Mapping[str, Threshold]) -> list[TableRow]:
        """All rows of this arm: suites, guard texts, losses of rows, and answers in words; of a control those of the suites."""
        guards = zip(questions.guards, self.neutral, strict=True) if self.neutral else ()
        neutral = [item for guard, scores in guards for item in guard.items(scores, self.arm)]
        return [*self.suite_rows(questions, thresholds), *neutral, *self.losses, *self.measured]


def rows_of(
    suite: LoadedSuite, scores: SuiteAnswers, arm: ArmName, thresholds: Mapping[str, Threshold]
) -> Sequence[TableRow]:
    """The rows of a suite in one arm; a suite of readings has states only later."""
    # a suite of readings sorts nothing yet, and looks at no band
    band = thresholds.get(threshold_key(suite.dataset.name), PAIR_BAND)
    return suite.items(scores, arm=arm, threshold=band)


def score_arm(
    spec: ArmSpec, tokenizer: Tokenizer, questions: Questions, *, max_length: int | None, observe: Observe
) -> ScoredArm:
    """Ask one arm everything; a control is asked the suites alone."""
    is_noise = spec.name == "noise"
    is_control = spec.name in CONTROL_ARMS
    # the noise control has another order and half the batch: other padding and other kernels on the same questions
    order: Order = "shortest first" if is_noise else "longest first"
    budget = token_budget_of(spec.model) // (2 if is_noise else 1)

    def ask(requests: Sequence[Request], name: str) -> tuple[Score, ...]:
        return score(
            spec.model,
            tokenizer,
            requests,
            token_budget=budget,
            order=order,
            max_length=max_length,
            finished=spec.finished,
            observe=observe,
            step=f"score {name} {spec.name}",
        )

    def answer(suite: LoadedSuite) -> SuiteAnswers:
        pairs = suite.prompt_pairs
        if pairs is None:
            return ask(suite.requests, suite.dataset.name)
        step = f"compare {suite.dataset.name} {spec.name}"
        return next_token_divergences(spec.model, tokenizer, pairs, observe=observe, step=step)

    with spec.entered():
        suites = tuple(map(answer, questions.suites))
        if is_control:
            return ScoredArm(spec.name, suites, (), (), ())
        neutral = tuple(ask(guard.requests, guard.dataset.name) for guard in questions.guards)
        losses = [
            item
            for rows in questions.losses
            for item in row_losses(
                spec.model, rows.rows, dataset=rows.dataset.name, arm=spec.name, token_budget=budget, observe=observe
            )
        ]
        measured: list[TableRow] = [
            row
            for answers in questions.answers
            for row in measure_rows(
                spec.model, tokenizer, answers, arm=spec.name, finished=spec.finished, observe=observe
            )
        ]
        for task in questions.tasks:
            measured += task.measure(
                spec.model,
                tokenizer,
                arm=spec.name,
                max_length=max_length,
                finished=spec.finished,
                observe=observe,
            )
        return ScoredArm(spec.name, suites, neutral, tuple(losses), tuple(measured))


def specs_of(arms: Arms) -> list[ArmSpec]:
    """The arms in the order in which they are scored: before, noise, placebo, after.

    Raises:
        NoBaseArm: the model has no adapter that could be disabled, and no base model is given.
    """
    alone = arms.after is None
    base, entered = (arms.model, nullcontext) if alone else base_of(arms.model, arms.base_model)
    names: tuple[ArmName, ...] = (arms.before_name, "noise")
    specs = [ArmSpec(name, arms.base, base, entered, arms.keep(name, arms.base)) for name in names]
    if arms.after is None:
        return specs
    if arms.with_placebo and has_placebo(arms.model):
        turned = _extended(arms.after, placebo=COMPOSITION)
        specs.append(ArmSpec("placebo", turned, arms.model, lambda: placebo(arms.model), arms.keep("placebo", turned)))
    specs.append(ArmSpec(arms.after_name, arms.after, arms.model, nullcontext, arms.keep(arms.after_name, arms.after)))
    return specs


def _extended(composition: Composition, **more: str) -> Composition:
    return Composition.from_json(composition.to_json() | more)


def base_of(
    model: CausalModel, base_model: CausalModel | None
) -> tuple[CausalModel, Callable[[], AbstractContextManager[object]]]:
    """The model of the base arm, and the block in which it is the base.

    Raises:
        NoBaseArm: the model has no adapter that could be disabled.
    """
    if base_model is not None:
        return base_model, nullcontext
    if not hasattr(model, "disable_adapter"):
        raise NoBaseArm
    from peft_registry.trainer.methods.peft_io import as_base  # imports peft

    return model, lambda: as_base(model)


def _names_of_requests(suite: LoadedSuite) -> list[str]:
    """The row of each request, in their order."""
    rows = getattr(suite, "rows", None)
    if rows is not None:
        return [row.id for row in rows for _ in row.requests]
    return [name for name, _ in suite.units for _ in range(2)]
