"""Figures beside the schema's own, under `extra.further`: mid-p, what is left after the control, bounds, paired measures.

Part of the record from edition 2 of the figures on; recomputed by the re-check like everything else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from peft_registry.registry.evaluation.aggregate import (
    StatisticsPlan,
    compared_rows,
    derived_items,
    grouped_items,
    grouped_readings,
    paired,
)
from peft_registry.registry.evaluation.clusters import ClusterSums, cluster_sums
from peft_registry.registry.evaluation.comparisons import ItemPair, net_changes, outcomes_of
from peft_registry.registry.evaluation.families.measures import kind_of_measure
from peft_registry.registry.evaluation.items import Item, TableRow
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.registry.evaluation.statistics import NoInterval, mcnemar_mid_p
from peft_registry.schemas.evaluation import TASK_PREFIX, ArmName, EvaluationRecord

FURTHER = "further"
_IN_ANSWERS = 7  # the first edition of the figures that counts changes of answers in answers


def further_figures(rows: Sequence[TableRow], plan: StatisticsPlan) -> dict[str, Any]:
    """JSON values: `comparisons` and `measures`; empty for an older edition."""
    if plan.figures < 2:
        return {}
    rows = compared_rows(rows, plan)
    readings = grouped_readings(rows)
    table = grouped_items([*(row for row in rows if isinstance(row, Item)), *derived_items(readings, plan)])
    comparisons = []
    for (dataset, metric, measure), arms in table.items():
        if metric != "margin":
            continue
        pairs = paired(arms, plan.before, plan.after)
        control = next((arm for arm in plan.controls if arm in arms), None)
        beside = paired(arms, plan.before, control) if control else []
        if pairs:
            comparisons.append({"dataset": dataset, "metric": measure} | _comparison(pairs, beside, control, plan))
    measures = [
        measure for (_, name), arms in readings.items() if name == "measure" for measure in _measures(arms, plan)
    ]
    return {"comparisons": comparisons, "measures": measures}


def recorded_measures(record: EvaluationRecord) -> list[dict[str, Any]]:
    """The paired figures of answers as they are recorded; any JSON values."""
    further = record.extra.get(FURTHER)
    measures = further.get("measures") if isinstance(further, dict) else None
    return [measure for measure in measures if isinstance(measure, dict)] if isinstance(measures, list) else []


def _comparison(
    pairs: Sequence[ItemPair], beside: Sequence[ItemPair], control: ArmName | None, plan: StatisticsPlan
) -> dict[str, Any]:
    outcomes = outcomes_of(pairs)
    one_sided = _upper_end(pairs, plan)
    figures = {
        # the upper end of a one-sided 95 % interval: compared with a margin set beforehand, it can claim "no more than"
        "net_change_upper_95": one_sided,
        "regression_to_the_mean": {"fix_rate": outcomes.fix_rate, "mirror_rate": outcomes.mirror_rate},
        "beyond_control": None if control is None else _beyond(pairs, beside, control, plan),
    }
    if plan.interval_rule.flips_signs:
        return figures
    # of the counts that editions before sign flips tested
    return {"mid_p": mcnemar_mid_p(outcomes.fixed, outcomes.introduced)} | figures


def _beyond(
    pairs: Sequence[ItemPair], beside: Sequence[ItemPair], control: ArmName, plan: StatisticsPlan
) -> dict[str, Any]:
    """The fix rate less the control's, on the same flagged items, paired."""
    both = list(zip(pairs, beside, strict=True))
    sums = cluster_sums(
        both,
        cluster=lambda pair: pair[0].before.cluster,
        numerator=lambda pair: int(pair[0].fixed) - int(pair[1].fixed),
        denominator=lambda pair: int(pair[0].flagged),
        kind="difference",
    )
    return {"control": control, "fix_rate_difference": sums.value, **_ends(sums, plan)}


def _upper_end(pairs: Sequence[ItemPair], plan: StatisticsPlan) -> float | None:
    """Of a one-sided 95 % interval of the net change: over clusters where items share them, since editions that draw nothing."""
    rule = replace(plan.interval_rule, level=0.90)
    changes = net_changes(pairs, rule)
    interval = changes.interval_if_independent(rule) if rule.is_drawn else changes.interval(rule)
    return None if isinstance(interval, NoInterval) else interval.high


def _measures(arms: Mapping[ArmName, tuple[Reading, ...]], plan: StatisticsPlan) -> Iterator[dict[str, Any]]:
    """Before, after and the paired change of each measure."""
    if plan.before not in arms or plan.after not in arms:
        return
    before = arms[plan.before]
    after = arms[plan.after]
    for place, label in enumerate(before[0].labels):
        is_share = all(_is_right_or_wrong(rows, place) for rows in (before, after))
        # Where few answers changed, edition 6 takes each change for a million of them, and what was signed by it keeps its
        # figures; no task was among that.
        in_answers = plan.figures >= _IN_ANSWERS or before[0].dataset.startswith(TASK_PREFIX)
        step = MILLIONTHS if is_share and in_answers else 1
        sums = cluster_sums(
            zip(before, after, strict=True),
            cluster=lambda pair: pair[0].cluster,
            numerator=lambda pair, place=place, step=step: (pair[1].values[place] - pair[0].values[place]) // step,  # type: ignore[misc]
            unit=MILLIONTHS // step,
            kind="difference" if is_share else "mean",
            full=MILLIONTHS // step,
        )
        yield {
            "dataset": before[0].dataset,
            "metric": label,
            "before": sum(reading.values[place] for reading in before) / len(before) / MILLIONTHS,
            "after": sum(reading.values[place] for reading in after) / len(after) / MILLIONTHS,
            "change": sums.value,
            "n": len(before),
            **_ends(sums, plan),
        }


def _is_right_or_wrong(rows: Sequence[Reading], place: int) -> bool:
    return kind_of_measure(row.values[place] for row in rows) == "share"


def _ends(sums: ClusterSums, plan: StatisticsPlan) -> dict[str, Any]:
    interval = sums.interval(plan.interval_rule)
    if isinstance(interval, NoInterval):
        return {"low": None, "high": None, "null_reason": interval.reason.to_json()}
    ends = {"low": interval.low, "high": interval.high, "null_reason": None}
    # what is drawn was recorded without its method
    return ends if plan.interval_rule.is_drawn else ends | {"method": interval.to_json()["method"]}
