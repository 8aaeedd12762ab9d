"""Arms on the same items: score them and their controls, fix the dead band in between, compute, record.

The order is part of the evidence: the plan is hashed; then the arm before, the same again in another batch order, the dead
bands from what those two say, and only then the placebo and the arm after. All arms are scored from the same loaded weights.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from peft_registry.registry.evaluation.aggregate import (
    FIGURES,
    NEUTRAL,
    EvaluationFigures,
    StatisticsPlan,
    aggregate,
    derived_items,
    grouped_readings,
    threshold_key,
)
from peft_registry.registry.evaluation.extra_figures import FURTHER, further_figures
from peft_registry.registry.evaluation.items import Item, TableRow, describe_items, read_items, write_items
from peft_registry.registry.evaluation.leakage import leakage_lines, leaked_of, left_out_of
from peft_registry.registry.evaluation.limits import judge
from peft_registry.registry.evaluation.noise import NOISE, NoiseBounds, floors_json
from peft_registry.registry.evaluation.praise import ONE_TRY, POLICY, Tries, own_bands_of, reserved_of
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.registry.evaluation.recheck import STATISTICS, statistics_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.evaluation import (
    CONTROL_ARMS,
    LIMITS,
    PLAN,
    TEXTS,
    Arm,
    ArmName,
    Composition,
    EvaluationRecord,
    LeakageCheck,
    Limit,
    Numerics,
    Protocol,
    Responsible,
    Threshold,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, Warned, ignore
from peft_registry.trainer.bases.stored_weights import AS_LOADED, StoredWeights
from peft_registry.trainer.evaluation.arms import ArmSpec, NoBaseArm, Questions, Scored, base_of, rows_of, score_arm
from peft_registry.trainer.evaluation.leakage import OtherTexts, check_leakage
from peft_registry.trainer.evaluation.losses import HeldOut
from peft_registry.trainer.evaluation.models import CausalModel, Tokenizer
from peft_registry.trainer.evaluation.neutral import GuardText, shipped_guard
from peft_registry.trainer.evaluation.placebo import COMPOSITION, has_placebo, placebo
from peft_registry.trainer.evaluation.provenance import harness, limitations_of
from peft_registry.trainer.evaluation.score_cache import NOTHING, FinishedScores
from peft_registry.trainer.evaluation.scoring import PREFIX_POLICY, in_float32, max_length_of, token_budget_of
from peft_registry.trainer.evaluation.suites import LoadedSuite
from peft_registry.trainer.evaluation.suites.published import unknown_file
from peft_registry.trainer.machine.environment import Hardware, library_versions

__all__ = [
    "Arms",
    "EvaluationConditions",
    "EvaluationOutcome",
    "NoBaseArm",
    "Questions",
    "evaluate_arms",
    "evaluate_pair",
]

_WITHOUT_MARK = (
    "{count} kept scores of the arm {arm} were scored again: they do not carry the mark of this home's key, so that another "
    "key or an older version kept them, or somebody changed them"
)
FORMATS = "number_formats"  # the part of `extra` that says what is computed in which
COMPUTED = {"products": "float32", "softmax": "float32", "sums_of_a_text": "float64"}  # weights are widened exactly
BAND_WIDTH = 0.25  # nats between lo and hi, at least, when noise widens the band of a log-likelihood


@dataclass(frozen=True, slots=True)
class Announced:
    """Where a plan stands in a log: its statement, entry and time (RFC 3339); and the entry of an evaluation of the same that is
    older than the plan, None where it is older than every score."""

    statement: Digest
    log_index: int
    logged_at: str
    scored_before: int | None = None


Announce = Callable[[dict[str, Any]], Announced | None]
Keep = Callable[[ArmName, Composition], FinishedScores]


@dataclass(frozen=True, slots=True)
class EvaluationOutcome:
    """The record, and the bytes of the item table that it is bound to."""

    record: EvaluationRecord
    items: bytes


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


@dataclass(frozen=True, slots=True)
class EvaluationConditions:
    """Everything else that enters the record. `limits` are judged by its figures.

    `announce` makes the plan known before anything is scored; `licences`: which were accepted
    for the data of others, by suite; `file`: the name of the item table; `tries`: how many seeds of the same training were begun.
    """

    created_at: str
    hardware: Hardware
    responsible: Responsible
    seed: int = 0
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    policy_sha256: Digest | None = None
    licences: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    file: Callable[[bytes], str] = lambda _items: "items.jsonl"
    announce: Announce = lambda _plan: None
    tries: Tries = ONE_TRY


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
    specs = _specs(arms)
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
    leakage, questions = _without_leaked(questions, arms.tokenizer)
    planned = _planned(arms, questions, conditions, leakage)
    announced = conditions.announce(planned)
    longest = min((found for spec in specs if (found := max_length_of(spec.model))), default=None)

    def ask(spec: ArmSpec) -> Scored:
        scored = score_arm(spec, arms.tokenizer, questions, max_length=longest, observe=observe)
        if spec.finished.refused:
            observe(Warned("scores-without-mark", _WITHOUT_MARK.format(count=spec.finished.refused, arm=spec.name)))
        return scored

    before = ask(specs[0])
    noise = ask(specs[1])
    # fixed before the arm after is scored: what it answers cannot move the band that it is judged by
    thresholds = dict(_dead_bands(questions.suites, before, noise, conditions))
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
        reserved=reserved_of(
            [suite.dataset for suite in questions.suites],
            leakage,
            has_placebo=any(spec.name == "placebo" for spec in specs),
            own_bands=own_bands_of(planned),
        ),
        noise=NoiseBounds(),
        tries=conditions.tries,
    )
    made = _Scoring(planned, announced, plan, items, before.truncated(questions), leakage, longest)
    return EvaluationOutcome(_record(arms, specs, questions, conditions, made), items)


def _without_leaked(questions: Questions, tokenizer: Tokenizer) -> tuple[LeakageCheck | None, Questions]:
    """What of the questions the model was trained on, and the questions without those items, where they are few."""
    if questions.trained is None:
        return None, questions
    others = [OtherTexts(guard.dataset.name, "guard", guard.passages) for guard in questions.guards]
    for texts in questions.retained:
        others.append(OtherTexts(texts.dataset.name, "retention", _texts_of(texts, tokenizer)))
    if questions.held_out is not None:
        rows = _texts_of(questions.held_out, tokenizer)
        others.append(OtherTexts(questions.held_out.dataset.name, "held_out", rows, of_one_form=True))
    check, suites = check_leakage(questions.trained, questions.suites, others)
    return check, replace(questions, suites=suites)


def _texts_of(texts: HeldOut, tokenizer: Tokenizer) -> list[str]:
    """The rows as text again."""
    return [tokenizer.decode(list(row.ids), skip_special_tokens=True) for row in texts.rows]


def _specs(arms: Arms) -> list[ArmSpec]:
    """The arms in the order in which they are scored: before, noise, placebo, after."""
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


def _planned(
    arms: Arms, questions: Questions, conditions: EvaluationConditions, leakage: LeakageCheck | None
) -> dict[str, Any]:
    """What is decided before anything is scored; its digest enters the record with the time."""
    left_out = {name: count for name, count in left_out_of(leakage).items() if count}
    return {
        "arms": [arms.before_name, *([] if arms.after is None else [arms.after_name])],
        "compositions": [str(arms.base.canonical_digest())]
        + ([] if arms.after is None else [str(arms.after.canonical_digest())]),
        "suites": {
            suite.dataset.name: {
                "sha256": str(suite.dataset.sha256),
                "selection": suite.dataset.selection,
                **({} if suite.dataset.half is None else {"half": suite.dataset.half}),
                "primary_endpoint": suite.definition.primary_endpoint,
                "thresholds": {name: band.to_json() for name, band in _starting(suite, conditions).items()},
                **({"dead_band": POLICY} if _has_own_band(suite, conditions) else {}),
            }
            for suite in questions.suites
        },
        **_guard_of(questions.guard),
        "dead_band_rule": f"widened to the 95th percentile of the noise arm's change where that is larger, hi ≥ lo + {BAND_WIDTH}",
        "figures": FIGURES,
        "policy": None if conditions.policy_sha256 is None else str(conditions.policy_sha256),
        **({"left_out_as_trained_on": left_out} if left_out else {}),
        **({LIMITS: [limit.to_json() for limit in conditions.limits]} if conditions.limits else {}),
        **({TEXTS: _other_data(questions)} if conditions.limits and (questions.answers or questions.retained) else {}),
    }


def _other_data(questions: Questions) -> dict[str, str]:
    """The digests of answers and of texts to retain, by name."""
    data = [*(texts.dataset for texts in questions.retained), *(answers.dataset for answers in questions.answers)]
    return {dataset.name: str(dataset.sha256) for dataset in data}


def _guard_of(guard: GuardText) -> dict[str, Any]:
    """What a plan says of a guard text that does not ship."""
    if guard.dataset.sha256 == shipped_guard().dataset.sha256:
        return {}
    return {"guard_text": {"sha256": str(guard.dataset.sha256), "rows": guard.dataset.rows_used}}


def _starting(suite: LoadedSuite, conditions: EvaluationConditions) -> Mapping[str, Threshold]:
    """The given or the suite's starting band of each measure, by threshold key."""
    keys = {threshold_key(suite.dataset.name, name): band for name, band in suite.definition.thresholds.items()}
    return {key: conditions.thresholds.get(key, band) for key, band in keys.items()}


def _has_own_band(suite: LoadedSuite, conditions: EvaluationConditions) -> bool:
    """Whether a policy sets other numbers than the suite starts with."""
    usual = _starting(suite, replace(conditions, thresholds={}))
    return any(
        (band.lo, band.hi) != (usual[key].lo, usual[key].hi) for key, band in _starting(suite, conditions).items()
    )


def _dead_bands(
    suites: Sequence[LoadedSuite], before: Scored, noise: Scored, conditions: EvaluationConditions
) -> Iterator[tuple[str, Threshold]]:
    """The starting bands, widened where the base itself moves more when it is scored again."""
    for suite, first, second in zip(suites, before.suites, noise.suites, strict=True):
        bands = _starting(suite, conditions)
        plan = StatisticsPlan(thresholds=bands, before=before.arm)
        rows = [*rows_of(suite, first, before.arm, bands), *rows_of(suite, second, "noise", bands)]
        margins: dict[tuple[str, ArmName], dict[str, int]] = {}
        for item in [*(row for row in rows if isinstance(row, Item)), *derived_items(grouped_readings(rows), plan)]:
            margins.setdefault((item.measure, item.arm), {})[item.id] = item.margin or 0
        for key, band in bands.items():
            measure = key.removeprefix(f"{suite.dataset.name}.")
            scored = margins.get((measure, before.arm), {})
            again = margins.get((measure, "noise"), {})
            moved = sorted(abs(scored[name] - again[name]) for name in scored.keys() & again.keys())
            yield key, _widened(band, moved)


def _widened(start: Threshold, moved: Sequence[int]) -> Threshold:
    is_binary = start.lo == start.hi == 0  # an answer is right or wrong: there is no band to widen
    jitter = 0.0
    if moved:
        jitter = moved[math.ceil(0.95 * len(moved)) - 1] / MILLIONTHS  # nats, the 95th percentile
    if jitter <= start.lo or is_binary:
        return start
    return Threshold(
        lo=jitter,
        hi=max(start.hi, jitter + min(BAND_WIDTH, start.hi - start.lo)),
        source=f"lo: 95th percentile of the change when the base is scored again; starting value was {start.lo}",
    )


@dataclass(frozen=True, eq=False)
class _Scoring:
    """What was computed on the way to the record."""

    planned: dict[str, Any]
    announced: Announced | None
    plan: StatisticsPlan
    items: bytes
    truncated: dict[str, list[str]]
    leakage: LeakageCheck | None
    longest: int | None


def _record(
    arms: Arms, specs: Sequence[ArmSpec], questions: Questions, conditions: EvaluationConditions, made: _Scoring
) -> EvaluationRecord:
    rows = read_items(made.items)
    figures: EvaluationFigures = aggregate(rows, made.plan)
    others = [rows.dataset for rows in questions.losses] + [answers.dataset for answers in questions.answers]
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
            **({"reused_scores": reused} if reused else {}),
            **_where_it_applies(arms, questions, conditions, made, figures),
        },
    )


def _limitations(
    specs: Sequence[ArmSpec],
    questions: Questions,
    conditions: EvaluationConditions,
    made: _Scoring,
    figures: EvaluationFigures,
) -> tuple[str, ...]:
    """What a reader of the figures has to know, a sentence each."""
    unknown_files = (unknown_file(suite.definition, suite.dataset) for suite in questions.suites)
    has_placebo = any(spec.name == "placebo" for spec in specs)
    # other tries matter where something is compared
    tries = [conditions.tries.others_sentence] if conditions.tries.others and figures.comparisons else []
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
    made: _Scoring,
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
    if conditions.licences:
        facts["licences"] = {name: dict(licence) for name, licence in conditions.licences.items()}
    return facts


def _own_bands(conditions: EvaluationConditions) -> Iterator[str]:
    """That the policy decides what counts as a preference: in a wide band nothing does."""
    for key, band in conditions.thresholds.items():
        yield f"The dead band of {key} is that of the policy: up to {band.lo:g} is neutral, from {band.hi:g} on a preference."


def _plan_json(made: _Scoring) -> dict[str, Any]:
    plan: dict[str, Any] = {"sha256": str(canonical_digest(made.planned)), "plan": made.planned}
    if made.announced is None:
        return plan
    return plan | {"statement": str(made.announced.statement), "log_index": made.announced.log_index}


def _verdicts_json(limits: Sequence[Limit], figures: EvaluationFigures, made: _Scoring) -> dict[str, Any]:
    """What was demanded, whether that was set beforehand, and the verdict on each."""
    announced = made.announced
    why = None
    if announced is None:
        why = "no plan stands in a log"
    elif announced.scored_before is not None:
        why = f"the same was evaluated before the limits were logged (entry {announced.scored_before} of the log)"
    return {
        "limits": [limit.to_json() for limit in limits],
        "not_planned": why,
        "verdicts": [verdict.to_json() for verdict in judge(limits, figures, made.plan)],
    }


def _recorded_order(specs: Sequence[ArmSpec]) -> list[ArmSpec]:
    """The results first, then their controls."""
    return sorted(specs, key=lambda spec: spec.name in CONTROL_ARMS)


def _arm(name: ArmName, composition: Composition) -> Arm:
    return Arm(name=name, composition=composition, composition_digest=composition.canonical_digest())


def _protocol(questions: Questions, conditions: EvaluationConditions, made: _Scoring) -> Protocol:
    def of_each(what: Callable[[LoadedSuite], str]) -> str:
        found = dict.fromkeys(what(suite) for suite in questions.suites)
        return "; ".join(found) if found else "none"

    templates = dict.fromkeys(suite.definition.prompt_template for suite in questions.suites)
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
