"""The record of an evaluation: every figure from the item table, and what a reader has to know to believe them. Scores nothing."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.evaluation.aggregate import NEUTRAL, EvaluationFigures, StatisticsPlan, aggregate
from peft_registry.registry.evaluation.extra_figures import FURTHER, further_figures
from peft_registry.registry.evaluation.items import describe_items, read_items
from peft_registry.registry.evaluation.leakage import leakage_lines
from peft_registry.registry.evaluation.limits import judge
from peft_registry.registry.evaluation.noise import NOISE, floors_json
from peft_registry.registry.evaluation.recheck import statistics_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import (
    CONTROL_ARMS,
    LIMITS,
    PLAN,
    REUSED_SCORES,
    STATISTICS,
    TASKS,
    Arm,
    ArmName,
    Composition,
    EvaluationRecord,
    LeakageCheck,
    Limit,
    Numerics,
    Protocol,
)
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.arms import Arms, ArmSpec, Questions
from peft_registry.trainer.evaluation.provenance import harness, limitations_of
from peft_registry.trainer.evaluation.scoring import PREFIX_POLICY, token_budget_of
from peft_registry.trainer.evaluation.scoring_plan import Announced, EvaluationConditions, tasks_json
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.evaluation.suites.published import unknown_file
from peft_registry.trainer.machine.environment import Hardware, library_versions

FORMATS = "number_formats"  # the part of `extra` that says what is computed in which
COMPUTED = {"products": "float32", "softmax": "float32", "sums_of_a_text": "float64"}  # weights are widened exactly


@dataclass(frozen=True, eq=False)
class Scoring:
    """What was computed on the way to the record."""

    planned: dict[str, Any]
    announced: Announced | None
    plan: StatisticsPlan
    items: bytes
    truncated: dict[str, list[str]]
    leakage: LeakageCheck | None
    longest: int | None


def record_of_scoring(
    arms: Arms, specs: Sequence[ArmSpec], questions: Questions, conditions: EvaluationConditions, made: Scoring
) -> EvaluationRecord:
    """The record of arms that were scored; every figure comes from the rows of the item table, read back from its bytes."""
    rows = read_items(made.items)
    figures: EvaluationFigures = aggregate(rows, made.plan)
    others = [asked.dataset for asked in (*questions.losses, *questions.answered)]
    asked_neutral = any(row.dataset == NEUTRAL for row in rows)
    datasets = [
        *(suite.dataset for suite in questions.suites),
        *(guard.dataset for guard in questions.guards if asked_neutral),
        *others,
    ]
    reused = {spec.name: spec.finished.reused for spec in specs if spec.finished.reused}
    return EvaluationRecord(
        harness=harness(),
        created_at=conditions.created_at,
        arms=tuple(_arm(spec.name, spec.composition) for spec in _recorded_order(specs)),
        datasets=tuple(datasets),
        protocol=_protocol(questions, conditions, made),
        numerics=_numerics(arms, conditions.hardware),
        seeds={"bootstrap": conditions.seed},
        results=figures.results,
        comparisons=figures.comparisons,
        losses=figures.losses,
        guards=figures.guards,
        leakage_check=made.leakage,
        items=describe_items(made.items, file=conditions.file(made.items)),
        limitations=_limitations(specs, questions, conditions, made, figures),
        responsible=conditions.responsible,
        extra={
            STATISTICS: statistics_of(made.plan),
            FURTHER: further_figures(rows, made.plan),
            NOISE: floors_json(figures.floors),
            PLAN: _plan_json(made),
            "truncated": made.truncated,
            **({REUSED_SCORES: reused} if reused else {}),
            **_where_it_applies(arms, questions, conditions, made, figures),
        },
    )


def _limitations(
    specs: Sequence[ArmSpec],
    questions: Questions,
    conditions: EvaluationConditions,
    made: Scoring,
    figures: EvaluationFigures,
) -> tuple[Code, ...]:
    """What a reader of the figures has to know, a sentence each."""
    unknown_files = (unknown_file(suite.definition, suite.dataset) for suite in questions.suites)
    has_placebo = any(spec.name == "placebo" for spec in specs)
    # other tries matter where something is compared
    tries = [] if conditions.tries.others_said is None or not figures.comparisons else [conditions.tries.others_said]
    return (
        *leakage_lines(made.leakage),
        *(line for line in unknown_files if line),
        *_own_bands(conditions),
        *limitations_of(questions.suites, has_placebo=has_placebo),
        *tries,
    )


def _where_it_applies(
    arms: Arms,
    questions: Questions,
    conditions: EvaluationConditions,
    made: Scoring,
    figures: EvaluationFigures,
) -> dict[str, Any]:
    """What is recorded of some evaluations only, by its name in the record; any JSON values."""
    facts: dict[str, Any] = {}
    if conditions.limits:
        facts[LIMITS] = _verdicts_json(conditions.limits, figures, made)
    if arms.held is not None:
        facts[FORMATS] = {"weights_held": arms.held} | COMPUTED
    own_metrics = {
        answers.dataset.name: str(answers.own.source) for answers in questions.answers if answers.own is not None
    }
    if own_metrics:
        facts["own_metrics"] = own_metrics
    if questions.tasks:
        facts[TASKS] = tasks_json(questions)
    if conditions.licences:
        facts["licences"] = {name: dict(licence) for name, licence in conditions.licences.items()}
    return facts


def _own_bands(conditions: EvaluationConditions) -> Iterator[Code]:
    """That the policy decides what counts as a preference: in a wide band nothing does."""
    for key, band in conditions.thresholds.items():
        yield code("band_of_the_policy", band=key, lo=band.lo, hi=band.hi)


def _plan_json(made: Scoring) -> dict[str, Any]:
    plan: dict[str, Any] = {"sha256": str(canonical_digest(made.planned)), "plan": made.planned}
    if made.announced is None:
        return plan
    return plan | {"statement": str(made.announced.statement), "log_index": made.announced.log_index}


def _verdicts_json(limits: Sequence[Limit], figures: EvaluationFigures, made: Scoring) -> dict[str, Any]:
    """What was demanded, whether that was set beforehand, and the verdict on each."""
    announced = made.announced
    why = None
    if announced is None:
        why = code("no_plan_in_a_log")
    elif announced.scored_before is not None:
        why = code("scored_before_the_plan", entry=announced.scored_before)
    return {
        "limits": [limit.to_json() for limit in limits],
        "not_planned": None if why is None else why.to_json(),
        "verdicts": [verdict.to_json() for verdict in judge(limits, figures, made.plan)],
    }


def _recorded_order(specs: Sequence[ArmSpec]) -> list[ArmSpec]:
    """The results first, then their controls."""
    return sorted(specs, key=lambda spec: spec.name in CONTROL_ARMS)


def _arm(name: ArmName, composition: Composition) -> Arm:
    return Arm(name=name, composition=composition, composition_digest=composition.canonical_digest())


def _protocol(questions: Questions, conditions: EvaluationConditions, made: Scoring) -> Protocol:
    def of_each(what: Callable[[LoadedSuite], str]) -> str:
        found = dict.fromkeys(what(suite) for suite in questions.suites)
        return "; ".join(found) if found else "none"

    templates = dict.fromkeys(
        [
            *(suite.definition.prompt_template for suite in questions.suites),
            *(f"{answers.dataset.name}: {answers.prompting.template}" for answers in questions.answers),
            *(f"{task.dataset.name}: {task.prompt}" for task in questions.tasks),
        ]
    )
    endpoints = [f"{suite.dataset.name}: {suite.definition.primary_endpoint}" for suite in questions.suites]
    template = "\n".join(templates)
    return Protocol(
        prompt_template=template,
        prompt_template_sha256=Digest.of(template.encode("utf-8")),
        target_delimiter="".join(dict.fromkeys(suite.definition.target_delimiter for suite in questions.suites)),
        prefix_token_policy=PREFIX_POLICY,
        choices_policy=of_each(lambda suite: suite.definition.choices_policy),
        length_normalisation=of_each(lambda suite: suite.definition.length_normalisation),
        max_length=made.longest or 0,
        truncated_items=sum(map(len, made.truncated.values())),
        thresholds=dict(made.plan.thresholds),
        primary_endpoint=endpoints[0] if endpoints else "none: no suite was asked for",
        policy_sha256=conditions.policy_sha256,
        preregistered_at=conditions.created_at if made.announced is None else made.announced.logged_at,
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
