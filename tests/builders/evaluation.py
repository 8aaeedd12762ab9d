"""A complete evaluation without a model: items from a small deterministic rule, and the record computed from them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from peft_registry.registry.evaluation.aggregate import FIGURES, StatisticsPlan, aggregate
from peft_registry.registry.evaluation.comparisons import ids_digest
from peft_registry.registry.evaluation.extra_figures import FURTHER, further_figures
from peft_registry.registry.evaluation.items import (
    Item,
    describe_items,
    loss_item,
    pair_item,
    read_items,
    write_items,
)
from peft_registry.registry.evaluation.noise import NOISE, NoiseBounds, floors_json
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.registry.evaluation.recheck import statistics_of
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import (
    CODES_FROM,
    STATISTICS,
    Arm,
    ArmName,
    Composition,
    DatasetUsed,
    EvaluationRecord,
    Numerics,
    Protocol,
    Responsible,
    Threshold,
)
from peft_registry.schemas.identity import Digest

BAND = Threshold(lo=0.25, hi=0.69, source=code("start_for_pairs"))
ITEMS = 120
Margin = Callable[[int], float]


def base_margin(at: int) -> float:
    """Three of four items stereotyped, the rest inverted or neutral."""
    return (2.0, 1.0, 3.0, -1.0 if at % 8 == 3 else 0.0)[at % 4]


def margin_items(margin: Margin, arm: ArmName, *, count: int = ITEMS, clusters: int | None = None) -> list[Item]:
    return [
        pair_item(
            dataset="house",
            id=f"i{at:04}",
            category=("age", "gender")[at % 2],
            cluster=f"t{at % clusters}" if clusters else f"i{at:04}",
            arm=arm,
            ll=(-20.0 + margin(at), -20.0),
            tokens=(6, 6),
            threshold=BAND,
        )
        for at in range(count)
    ]


def loss_items(nats_a_token: float, arm: ArmName, *, dataset: str = "held-out", count: int = 12) -> list[Item]:
    return [
        loss_item(
            dataset=dataset,
            id=f"r{at:02}",
            cluster=f"r{at:02}",
            arm=arm,
            ll=-nats_a_token * (at + 1) - 0.01 * at,
            tokens=at + 1,
        )
        for at in range(count)
    ]


def answered(
    right: int, arm: ArmName, *, dataset: str = "answers-q", metric: str = "exact_match", count: int = 60
) -> list[Reading]:
    """Rows that are answered, the first of them rightly."""
    return [
        Reading(
            dataset=dataset, id=f"q{at:02}", category=None, cluster=f"q{at:02}", arm=arm, metric="measure",
            condition="", unit=f"q{at:02}", labels=(metric,), values=(MILLIONTHS * (at < right),), tokens=(0,),
        )
        for at in range(count)
    ]  # fmt: skip


def a_table(
    after: Margin = base_margin,
    *,
    noise: Margin = base_margin,
    neutral: tuple[float, float] = (2.0, 2.0),
    count: int = ITEMS,
    clusters: int | None = None,
) -> list[Item]:
    """Both arms, the control, held-out loss that falls from 3 to 2, and loss on neutral text."""
    return [
        *margin_items(base_margin, "base", count=count, clusters=clusters),
        *margin_items(after, "adapted", count=count, clusters=clusters),
        *margin_items(noise, "noise", count=count, clusters=clusters),
        *loss_items(3.0, "base"),
        *loss_items(2.0, "adapted"),
        *loss_items(neutral[0], "base", dataset="neutral"),
        *loss_items(neutral[1], "adapted", dataset="neutral"),
    ]


PLAN = StatisticsPlan(thresholds={"house.margin": BAND}, seed=11, draws=200)


NEWEST = replace(PLAN, figures=FIGURES)


def a_recorded_evaluation(
    table: Sequence[Any] | None = None, plan: StatisticsPlan = NEWEST
) -> tuple[EvaluationRecord, bytes]:
    """The record and its item table; they agree. `PLAN` asks for the figures of the first edition."""
    return _usual_evaluation() if table is None and plan is NEWEST else _computed(table or a_table(), plan)


@cache
def _usual_evaluation() -> tuple[EvaluationRecord, bytes]:
    """What nearly every registration of the tests brings, computed once: bootstraps take a sixth of a registration."""
    return _computed(a_table(), NEWEST)


def _computed(table: Sequence[Any], plan: StatisticsPlan) -> tuple[EvaluationRecord, bytes]:
    if plan.interval_rule.flips_signs:
        plan = replace(plan, noise=NoiseBounds())
    items = write_items(table)
    rows = read_items(items)
    figures = aggregate(rows, plan)
    further = further_figures(rows, plan)
    base = Composition(base=Digest.of(b"base"), tokenizer=Digest.of(b"tokenizer"))
    after = base.model_copy(update={"adapters": (Digest.of(b"adapter"),)})
    record = EvaluationRecord(
        harness={"name": "peft-registry", "version": "0", "source_digest": str(Digest.of(b"source"))},
        created_at="2026-11-24T12:00:00Z",
        arms=tuple(_arm(name, one) for name, one in (("base", base), ("adapted", after), ("noise", base))),
        datasets=tuple(_dataset(name, rows) for name in sorted({row.dataset for row in rows})),
        protocol=Protocol(
            prompt_template="{sentence}",
            prompt_template_sha256=Digest.of(b"{sentence}"),
            target_delimiter="",
            prefix_token_policy="bos",
            choices_policy="both sentences",
            length_normalisation="none",
            max_length=64,
            truncated_items=0,
            thresholds=dict(plan.thresholds),
            primary_endpoint="house: net change",
        ),
        numerics=Numerics(
            device="cpu",
            device_name="test",
            attention_impl="sdpa",
            batch_policy="one",
            threads=1,
            deterministic_flags=(),
            softmax_dtype="float32",
            libraries={},
        ),
        seeds={"bootstrap": plan.seed},
        results=figures.results,
        comparisons=figures.comparisons,
        losses=figures.losses,
        guards=figures.guards,
        items=describe_items(items),
        limitations=(code("preferences_not_harm"),),
        responsible=Responsible(name=None, role=None),
        extra={
            STATISTICS: statistics_of(plan),
            **({FURTHER: further} if further else {}),
            **({} if plan.noise is None else {NOISE: floors_json(figures.floors)}),
        },
    )
    return (record if plan.figures >= CODES_FROM else in_text(record)), items


def in_text(record: EvaluationRecord) -> EvaluationRecord:
    """The record as an edition before there were codes has it: sentences, and those of missing intervals joined."""
    return EvaluationRecord.from_json(_in_text(record.to_json()))


def _in_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_in_text(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "code" in value:
        return str(Code.from_json(value))
    texts = {key: _in_text(member) for key, member in value.items()}
    missing = texts.get("ci_null_reason")
    if missing is not None:
        texts["ci_null_reason"] = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
    return texts


def _arm(name: Any, composition: Composition) -> Arm:
    return Arm(name=name, composition=composition, composition_digest=composition.canonical_digest())


def _dataset(name: str, rows: Sequence[Any]) -> DatasetUsed:
    ids = sorted({row.id for row in rows if row.dataset == name})
    return DatasetUsed(
        name=name,
        version="1",
        licence="Apache-2.0",
        file=f"{name}.jsonl",
        sha256=Digest.of(name.encode()),
        rows_total=len(ids),
        rows_used=len(ids),
        selection_ids_sha256=ids_digest(ids),
    )
