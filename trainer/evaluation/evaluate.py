"""Arms on the same items: score them and their controls, fix the dead band in between, compute, record.

The order is part of the evidence: the plan is hashed; then the arm before, the same again in another batch order, the dead
bands from what those two say, and only then the placebo and the arm after. All arms are scored from the same loaded weights.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from peft_registry.registry.evaluation.aggregate import (
    FIGURES,
    StatisticsPlan,
)
from peft_registry.registry.evaluation.halves import screens_of
from peft_registry.registry.evaluation.items import TableRow, write_items
from peft_registry.registry.evaluation.leakage import leaked_of
from peft_registry.registry.evaluation.noise import NoiseBounds
from peft_registry.registry.evaluation.praise import own_bands_of, reserved_of
from peft_registry.schemas.evaluation import (
    EvaluationRecord,
    LeakageCheck,
)
from peft_registry.schemas.progress import Observe, Warned, ignore
from peft_registry.trainer.evaluation.arms import (
    Arms,
    ArmSpec,
    Questions,
    ScoredArm,
    score_arm,
    specs_of,
)
from peft_registry.trainer.evaluation.dead_bands import dead_bands
from peft_registry.trainer.evaluation.evaluation_record import Scoring, record_of_scoring
from peft_registry.trainer.evaluation.leakage import OtherTexts, asked_texts, check_leakage, texts_of_task
from peft_registry.trainer.evaluation.losses import HeldOut
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.scoring import in_float32, max_length_of
from peft_registry.trainer.evaluation.scoring_plan import EvaluationConditions, plan_of

_WITHOUT_MARK = (
    "{count} kept scores of the arm {arm} were scored again: they do not carry the mark of this home's key, so that another "
    "key or an older version kept them, or somebody changed them"
)


@dataclass(frozen=True, slots=True)
class EvaluationOutcome:
    """The record, and the bytes of the item table that it is bound to."""

    record: EvaluationRecord
    items: bytes


def evaluate_pair(
    arms: Arms, questions: Questions, conditions: EvaluationConditions, *, observe: Observe = ignore
) -> EvaluationOutcome:
    """Score the base, its controls and the adapted model; compute every figure from the item table.

    Raises:
        NoBaseArm: the model is not adapted and no base model is given.
        ScoreNotFinite: a model gives NaN or infinity.
        NoPrefixToken: the tokenizer has no token to put before a text.
    """
    arms = replace(arms, held=_held_format(arms.model))
    specs = specs_of(arms)
    models = {id(spec.model): spec.model for spec in specs}
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(in_float32(model, arms.stored))
        return evaluate_arms(arms, specs, questions, conditions, observe=observe)


def _held_format(model: CausalModel) -> str:
    """The number format that most bytes of a model's weights have, as torch calls it."""
    sizes: Counter[str] = Counter()
    for parameter in model.parameters():
        sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel() * parameter.element_size()
    return max(sizes, key=lambda name: sizes[name])


def evaluate_arms(
    arms: Arms,
    specs: Sequence[ArmSpec],
    questions: Questions,
    conditions: EvaluationConditions,
    *,
    observe: Observe = ignore,
) -> EvaluationOutcome:
    """The same for arms that are set up: the one before, noise, and, where there are, placebo and the one after."""
    leakage = _leakage(questions, arms.tokenizer)
    longest = min((found for spec in specs if (found := max_length_of(spec.model))), default=None)
    if longest is not None:
        for task in questions.tasks:
            task.require_room(arms.tokenizer, longest)
    planned = plan_of(arms, questions, conditions, leakage)
    announced = conditions.announce(planned)

    def ask(spec: ArmSpec) -> ScoredArm:
        scored = score_arm(spec, arms.tokenizer, questions, max_length=longest, observe=observe)
        if spec.finished.refused:
            observe(Warned("scores-without-mark", _WITHOUT_MARK.format(count=spec.finished.refused, arm=spec.name)))
        return scored

    before = ask(specs[0])
    noise = ask(specs[1])
    # fixed before the arm after is scored: what it answers cannot move the band that it is judged by
    thresholds = dict(dead_bands(questions.suites, before, noise, conditions.thresholds))
    others = [ask(spec) for spec in specs[2:]]
    table: list[TableRow] = [*before.rows(questions, thresholds), *noise.suite_rows(questions, thresholds)]
    for dataset in others:
        table += dataset.rows(questions, thresholds)
    items = write_items(table)
    plan = StatisticsPlan(
        thresholds=thresholds,
        before=arms.before_name,
        after=arms.after_name,
        seed=conditions.seed,
        figures=FIGURES,
        leaked=leaked_of(leakage),
        screens=screens_of(suite.dataset for suite in questions.suites),
        reserved=reserved_of(
            [suite.dataset for suite in questions.suites],
            leakage,
            has_placebo=any(spec.name == "placebo" for spec in specs),
            own_bands=own_bands_of(planned),
        ),
        noise=NoiseBounds(),
        tries=conditions.tries,
    )
    made = Scoring(planned, announced, plan, items, before.truncated(questions), leakage, longest)
    return EvaluationOutcome(record_of_scoring(arms, specs, questions, conditions, made), items)


def _leakage(questions: Questions, tokenizer: Tokenizer) -> LeakageCheck | None:
    """What of the questions the model was trained on; None where nothing is known of what it learnt."""
    if questions.trained is None:
        return None
    others = [OtherTexts(guard.dataset.name, "guard", guard.passages) for guard in questions.guards]
    for texts in questions.retained:
        others.append(OtherTexts(texts.dataset.name, "retention", _texts_of(texts, tokenizer)))
    if questions.held_out is not None:
        rows = _texts_of(questions.held_out, tokenizer)
        others.append(OtherTexts(questions.held_out.dataset.name, "held_out", rows))
    others += [OtherTexts(answers.dataset.name, "answers", asked_texts(answers)) for answers in questions.answers]
    others += [OtherTexts(task.dataset.name, "answers", texts_of_task(task)) for task in questions.tasks]
    return check_leakage(questions.trained, questions.suites, others)


def _texts_of(texts: HeldOut, tokenizer: Tokenizer) -> list[str]:
    """The rows as text again."""
    return [tokenizer.decode(list(row.ids), skip_special_tokens=True) for row in texts.rows]
