"""Before and after on the same items: score both arms and a control, fix the dead band in between, compute, record.

The order is part of the evidence: base, base again in another batch order, the dead band from what those two say, and only
then the adapted model. Both arms are scored from the same loaded weights, the adapter disabled and enabled.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

from registry.evaluation.aggregate import Figures, Plan, aggregate, threshold_key
from registry.evaluation.items import MILLIONTHS, Item, describe_items, read_items, write_items
from registry.evaluation.recheck import STATISTICS, statistics_of
from registry.evaluation.statistics import DEFAULT_DRAWS
from schemas.errors import InputRefused
from schemas.evaluation import (
    Arm,
    ArmName,
    Composition,
    EvaluationRecord,
    LeakageCheck,
    Numerics,
    Protocol,
    Responsible,
    Threshold,
)
from schemas.identity import Digest
from schemas.progress import Observe, ignore
from trainer.environment import Hardware, library_versions
from trainer.evaluation.leakage import check_leakage
from trainer.evaluation.losses import HeldOut, row_losses
from trainer.evaluation.neutral import neutral_dataset, neutral_items, neutral_requests
from trainer.evaluation.provenance import harness, limitations_of
from trainer.evaluation.questions import Request, Score
from trainer.evaluation.scoring import (
    PREFIX_POLICY,
    Order,
    in_float32,
    max_length_of,
    score,
    token_budget_of,
)
from trainer.evaluation.suites import LoadedSuite

BAND_WIDTH = 0.25  # nats between lo and hi, at least, when noise widens the band


class NoBaseArm(InputRefused):
    reference = "no-base-arm"

    def __init__(self) -> None:
        super().__init__(
            what="there is no base to compare with",
            why="the model has no adapter that could be disabled, and no base model was given",
            fix="give the base model as well",
        )


@dataclass(frozen=True, slots=True)
class EvaluationOutcome:
    """The record, and the bytes of the item table that it is bound to."""

    record: EvaluationRecord
    items: bytes


@dataclass(frozen=True, eq=False)
class Arms:
    """The two models that are compared, by composition. `base_model` None: the model with its adapter disabled."""

    model: Any  # a transformers or peft causal language model
    tokenizer: Any
    base: Composition
    after: Composition
    base_model: Any | None = None
    after_name: ArmName = "adapted"


@dataclass(frozen=True, eq=False)
class Questions:
    """What the arms are asked. `training_texts` are searched for the suites' sentences and not kept."""

    suites: tuple[LoadedSuite, ...]
    held_out: HeldOut | None = None
    training_texts: Iterable[str] | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """Everything else that enters the record. `draws`: of the bootstrap."""

    created_at: str
    hardware: Hardware
    responsible: Responsible
    seed: int = 0
    draws: int = DEFAULT_DRAWS
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    policy_sha256: Digest | None = None


def evaluate_pair(
    arms: Arms, questions: Questions, conditions: Conditions, *, observe: Observe = ignore
) -> EvaluationOutcome:
    """Score base, noise control and the adapted model; compute every figure from the item table.

    Raises:
        NoBaseArm: the model is not adapted and no base model is given.
        ScoreNotFinite: a model gives NaN or infinity.
        NoPrefixToken: the tokenizer has no token to put before a text.
    """
    base = arms.base_model if arms.base_model is not None else arms.model
    with ExitStack() as stack:
        stack.enter_context(in_float32(arms.model))
        if base is not arms.model:
            stack.enter_context(in_float32(base))
        with _disabled(arms):
            before = _Scored.of(base, arms.tokenizer, questions, "base", observe)
            noise = _Scored.of(base, arms.tokenizer, questions, "noise", observe)
        thresholds = {
            threshold_key(suite.dataset.name): _dead_band(suite, first, second, conditions)
            for suite, first, second in zip(questions.suites, before.suites, noise.suites, strict=True)
        }
        after = _Scored.of(arms.model, arms.tokenizer, questions, arms.after_name, observe)
    table = [
        *before.items(questions, thresholds),
        *noise.pair_items(questions, thresholds),
        *after.items(questions, thresholds),
    ]
    items = write_items(table)
    plan = Plan(thresholds=thresholds, after=arms.after_name, seed=conditions.seed, draws=conditions.draws)
    leakage = None if questions.training_texts is None else check_leakage(questions.training_texts, questions.suites)
    record = _record(arms, questions, conditions, plan, items, truncated=before.truncated, leakage=leakage)
    return EvaluationOutcome(record, items)


@dataclass(frozen=True, eq=False)
class _Scored:
    """The answers of one arm."""

    arm: ArmName
    suites: tuple[tuple[Score, ...], ...]
    neutral: tuple[Score, ...]
    losses: tuple[Item, ...]

    @classmethod
    def of(cls, model: Any, tokenizer: Any, questions: Questions, arm: ArmName, observe: Observe) -> "_Scored":
        # the control has another order and half the batch: other padding and other kernels on the same questions
        order: Order = "shortest first" if arm == "noise" else "longest first"
        budget = token_budget_of(model) // (2 if arm == "noise" else 1)

        def ask(requests: Sequence[Request], name: str) -> tuple[Score, ...]:
            step = f"score {name} {arm}"
            return score(model, tokenizer, requests, token_budget=budget, order=order, observe=observe, step=step)

        suites = tuple(ask(suite.requests, suite.dataset.name) for suite in questions.suites)
        if arm == "noise":
            return cls(arm, suites, (), ())
        neutral = ask(neutral_requests(), "neutral")
        losses: tuple[Item, ...] = ()
        if questions.held_out is not None:
            rows, name = questions.held_out.rows, questions.held_out.dataset.name
            losses = row_losses(model, rows, dataset=name, arm=arm, token_budget=budget, observe=observe)
        return cls(arm, suites, neutral, losses)

    @property
    def truncated(self) -> int:
        return sum(one.is_truncated for scores in self.suites for one in scores)

    def pair_items(self, questions: Questions, thresholds: Mapping[str, Threshold]) -> list[Item]:
        return [
            item
            for suite, scores in zip(questions.suites, self.suites, strict=True)
            for item in suite.items(scores, arm=self.arm, threshold=thresholds[threshold_key(suite.dataset.name)])
        ]

    def items(self, questions: Questions, thresholds: Mapping[str, Threshold]) -> list[Item]:
        return [*self.pair_items(questions, thresholds), *neutral_items(self.neutral, self.arm), *self.losses]


def _disabled(arms: Arms) -> AbstractContextManager[Any]:
    """The block in which the base arm is scored."""
    if arms.base_model is not None:
        return ExitStack()
    if not hasattr(arms.model, "disable_adapter"):
        raise NoBaseArm
    disabled: AbstractContextManager[Any] = arms.model.disable_adapter()
    return disabled


def _dead_band(
    suite: LoadedSuite, before: Sequence[Score], noise: Sequence[Score], conditions: Conditions
) -> Threshold:
    """The given or the suite's starting band, widened where the base itself moves more when it is scored again."""
    start = conditions.thresholds.get(threshold_key(suite.dataset.name), suite.definition.threshold)
    first = suite.items(before, arm="base", threshold=start)
    second = suite.items(noise, arm="noise", threshold=start)
    moved = sorted(abs((a.margin or 0) - (b.margin or 0)) for a, b in zip(first, second, strict=True))
    jitter = moved[math.ceil(0.95 * len(moved)) - 1] / MILLIONTHS
    if jitter <= start.lo:
        return start
    return Threshold(
        lo=jitter,
        hi=max(start.hi, jitter + BAND_WIDTH),
        source=f"lo: 95th percentile of the change when the base is scored again; starting value was {start.lo}",
    )


def _record(
    arms: Arms,
    questions: Questions,
    conditions: Conditions,
    plan: Plan,
    items: bytes,
    *,
    truncated: int,
    leakage: LeakageCheck | None,
) -> EvaluationRecord:
    figures: Figures = aggregate(read_items(items), plan)
    datasets = [*(suite.dataset for suite in questions.suites), neutral_dataset()]
    if questions.held_out is not None:
        datasets.append(questions.held_out.dataset)
    return EvaluationRecord(
        harness=harness(),
        created_at=conditions.created_at,
        arms=(_arm("base", arms.base), _arm(arms.after_name, arms.after), _arm("noise", arms.base)),
        datasets=tuple(datasets),
        protocol=_protocol(arms, questions, conditions, plan, truncated),
        numerics=_numerics(arms, conditions.hardware),
        seeds={"bootstrap": conditions.seed},
        results=figures.results,
        comparisons=figures.comparisons,
        losses=figures.losses,
        guards=figures.guards,
        leakage_check=leakage,
        items=describe_items(items),
        limitations=limitations_of(questions.suites),
        responsible=conditions.responsible,
        extra={STATISTICS: statistics_of(plan)},
    )


def _arm(name: ArmName, composition: Composition) -> Arm:
    return Arm(name=name, composition=composition, composition_digest=composition.canonical_digest())


def _protocol(arms: Arms, questions: Questions, conditions: Conditions, plan: Plan, truncated: int) -> Protocol:
    templates = dict.fromkeys(suite.definition.prompt_template for suite in questions.suites)
    endpoints = [f"{suite.dataset.name}: {suite.definition.primary_endpoint}" for suite in questions.suites]
    template = "\n".join(templates)
    return Protocol(
        prompt_template=template,
        prompt_template_sha256=Digest.of(template.encode("utf-8")),
        target_delimiter="",
        prefix_token_policy=PREFIX_POLICY,
        choices_policy="both sentences of a pair in full, summed log-likelihood; no chat template",
        length_normalisation="none",
        max_length=max_length_of(arms.model) or 0,
        truncated_items=truncated,
        thresholds=dict(plan.thresholds),
        primary_endpoint=endpoints[0] if endpoints else "none: no suite was asked for",
        policy_sha256=conditions.policy_sha256,
    )


def _numerics(arms: Arms, hardware: Hardware) -> Numerics:
    import torch

    exact = torch.are_deterministic_algorithms_enabled()
    budget = token_budget_of(arms.model)
    return Numerics(
        device=hardware.device,
        device_name=hardware.processor,
        attention_impl=str(getattr(arms.model.config, "_attn_implementation", None) or "unknown"),
        batch_policy=f"sorted by length, longest first, at most {budget} padded tokens; noise: shortest first, half of it",
        threads=hardware.threads,
        deterministic_flags=("use_deterministic_algorithms",) if exact else (),
        softmax_dtype="float32",
        libraries=library_versions(),
    )
