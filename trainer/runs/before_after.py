"""The evaluation that belongs to every run: held-out loss and the file's suites, on the base and on the adapted model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peft_registry.registry.evaluation.aggregate import NEUTRAL
from peft_registry.registry.evaluation.extra_figures import recorded_measures
from peft_registry.registry.evaluation.sentences import judged_measure_line, loss_line
from peft_registry.registry.evaluation.staleness import base_composition
from peft_registry.schemas.base_model import BaseIdentity
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.evaluation import DatasetUsed, EvaluationRecord, LossComparison, task_named
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.schemas.run_samples import RunSamples, Sample
from peft_registry.trainer.bases.quantization import describe
from peft_registry.trainer.bases.stored_weights import AS_LOADED, StoredWeights
from peft_registry.trainer.evaluation.arms import Arms, Keep, Questions, base_of
from peft_registry.trainer.evaluation.evaluate import evaluate_pair
from peft_registry.trainer.evaluation.leakage import TrainedOn
from peft_registry.trainer.evaluation.losses import HELD_OUT, HeldOut, held_out
from peft_registry.trainer.evaluation.neutral import GuardText, shipped_guard
from peft_registry.trainer.evaluation.quality import answer_of_row, held_out_answers
from peft_registry.trainer.evaluation.retention import PREFIX
from peft_registry.trainer.evaluation.scoring import in_float32
from peft_registry.trainer.evaluation.scoring_plan import EvaluationConditions
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask
from peft_registry.trainer.inputs.evaluation import report_comparisons
from peft_registry.trainer.training.train_adapter import Trained, answers_of_rows


@dataclass(frozen=True, eq=False)
class QuestionsOfFile:
    """What a training file asks about its result, loaded: suites, tasks, texts to retain, what it learnt from, the guard."""

    suites: tuple[LoadedSuite, ...] = ()
    retained: tuple[HeldOut, ...] = ()
    trained: TrainedOn | None = None
    guard: GuardText = field(default_factory=shipped_guard)
    tasks: tuple[BenchmarkTask, ...] = ()


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """The evidence record, the item table that it is bound to, the held-out loss, and samples where the file asks for some."""

    record: EvaluationRecord
    items: bytes
    samples: RunSamples | None = None

    @property
    def loss(self) -> LossComparison:
        return next(loss for loss in self.record.losses if loss.dataset == HELD_OUT)


def evaluate_before_after(
    trained: Trained,
    config: TrainingFile,
    *,
    base: BaseIdentity,
    weights_digest: Digest,
    questions: QuestionsOfFile,
    conditions: EvaluationConditions,
    base_model: Any | None = None,
    stored: StoredWeights = AS_LOADED,
    keep: Keep,
    observe: Observe = ignore,
) -> EvaluatedRun:
    """Score both arms from the same loaded weights.

    Args:
        trained: the run.
        config: its file.
        base: identity of the base.
        weights_digest: of what was trained.
        questions: what the file asks about the result.
        conditions: of the record; the hardware is the run's.
        base_model: the base, where the trained model has no adapter to disable.
        stored: where the digits of the base stand that loading dropped.
        keep: gives each arm the scores that are known of it.
        observe: hears of progress and of the result in a line each.
    """
    data = trained.data
    held = held_out(data.reported, data.identity_of(data.reported_split), split=data.reported_split)
    before = base_composition(base, None if config.quantization is None else describe(config.quantization))
    outcome = evaluate_pair(
        Arms(
            model=trained.model,
            tokenizer=trained.tokenizer,
            base=before,
            after=before.revised(adapters=(weights_digest,)),
            base_model=base_model,
            stored=stored,
            keep=keep,
        ),
        Questions(
            suites=questions.suites,
            held_out=held,
            trained=questions.trained,
            retained=questions.retained,
            guard=questions.guard,
            answers=answers_of_rows(config, data, data.reported_split, trained.tokenizer),
            tasks=questions.tasks,
        ),
        conditions,
        observe=observe,
    )
    samples = None
    if config.evaluation.samples:
        samples = samples_of(trained, config, held.dataset, base_model=base_model, stored=stored)
    evaluated = EvaluatedRun(outcome.record, outcome.items, samples)
    names = {HELD_OUT, *(f"{PREFIX}{source.label}" for source in config.evaluation.retention)}
    if any(source.ships for source in config.evaluation.retention):
        names.add(NEUTRAL)
    _report_losses(evaluated.record, names, observe)
    for measure in recorded_measures(evaluated.record):
        label = "answers" if task_named(measure["dataset"]) is None else "task"
        observe(Said(label, judged_measure_line(measure)))
    report_comparisons(evaluated.record, "", observe)
    for sample in () if samples is None else samples.samples:
        for label, text in (("sample", sample.prompt), ("wanted", sample.answer)):
            observe(Said(label, " ".join(text.split())))
        for label, text in (("before", sample.before), ("after", sample.after)):
            observe(Said(label, " ".join(text.split()) or "(nothing)"))
    return evaluated


def samples_of(
    trained: Trained, config: TrainingFile, used: DatasetUsed, *, base_model: Any | None, stored: StoredWeights
) -> RunSamples:
    """The first of the rows that are reported on, with what the base and the result write behind their prompts.

    Args:
        trained: the run.
        config: its file, which says how many.
        used: what the record says of these rows.
        base_model, stored: as `evaluate_before_after`.
    """
    tasks = trained.data.tasks[: config.evaluation.samples]
    figure = "number_match" if "number_match" in config.evaluation.quality else "exact_match"
    (answers,) = held_out_answers(tasks, (), used, trained.tokenizer, (figure,))

    def written(model: Any) -> list[str]:
        return [answer_of_row(model, trained.tokenizer, answers, row) for row in answers.rows]

    base, entered = base_of(trained.model, base_model)
    with in_float32(base, stored), entered():
        before = written(base)
    with in_float32(trained.model, stored):
        after = written(trained.model)
    return RunSamples(
        samples=tuple(
            Sample(prompt=task.prompt, answer=task.answer, before=one, after=other)
            for task, one, other in zip(tasks, before, after, strict=True)
        )
    )


def texts_of(trained: Trained, config: TrainingFile) -> Iterator[str]:
    """The texts that a result depends on: rows that it learnt from and rows that chose among its trials or steps, as text again,
    and the text that its prompt began with."""
    started_at: str | None = config.setting("init_text")
    if started_at is not None:
        yield started_at
    for example in (*trained.data.train, *(trained.data.validation if config.chooses else ())):
        yield str(trained.tokenizer.decode(example.ids.tolist(), skip_special_tokens=True))


def _report_losses(record: EvaluationRecord, names: set[str], observe: Observe) -> None:
    for loss in sorted(record.losses, key=lambda entry: entry.dataset != HELD_OUT):
        if loss.dataset == HELD_OUT:
            observe(Said("loss", loss_line(loss)))
        elif loss.dataset in names:
            observe(Said("retain", f"{loss.dataset.removeprefix(PREFIX)}: {loss_line(loss)}"))
