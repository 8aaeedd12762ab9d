"""What whoever evaluates does not choose, since edition 6 of the figures. Pure.

A word follows from the items and from what the record says of how it is computed: its levels and margins, the arms that are
compared, the dead bands. All of that has the same signature as the items, and no row shows it: a band in which nothing is flagged,
two arms exchanged or a level of 99.99 % make of `worse` whatever is wanted, and every figure still follows. So it is what this tool
does in every evaluation, or a policy asked for it and the record says so.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peft_registry.registry.evaluation.aggregate import NEUTRAL, EvaluationFigures, StatisticsPlan
from peft_registry.registry.evaluation.families import FAMILIES
from peft_registry.registry.evaluation.items import TableRow
from peft_registry.registry.evaluation.leakage import LIMIT
from peft_registry.registry.evaluation.noise import NoiseBounds, widened
from peft_registry.registry.evaluation.power import TESTABLE, testable
from peft_registry.registry.evaluation.praise import own_bands_of
from peft_registry.registry.evaluation.readings import Reading
from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import CONTROL_ARMS, PLAN, ArmName, EvaluationRecord, Threshold, suites_of_plan

_BEFORE: tuple[ArmName, ...] = ("base", "base_quantised", "parent")
_AFTER: tuple[ArmName, ...] = ("adapted", "merged")

Otherwise = tuple[str, Any, Any]
"""A place in the record, what stands there, and what has to; any JSON values."""


def fixed_statistics(plan: StatisticsPlan) -> StatisticsPlan:
    """The plan with the levels, limits and margin of this tool in the place of its own."""
    return StatisticsPlan(
        thresholds=plan.thresholds,
        before=plan.before,
        after=plan.after,
        figures=plan.figures,
        noise=NoiseBounds(),
        tries=plan.tries,
    )


def chosen_otherwise(
    record: EvaluationRecord, table: Iterable[TableRow], plan: StatisticsPlan, figures: EvaluationFigures
) -> Iterator[Otherwise]:
    """Arms, rows and dead bands of an evaluation that are not those of every evaluation."""
    rows = tuple(table)
    yield from _arms_otherwise(record, plan)
    yield from _rows_otherwise(record, rows, plan)
    yield from _bands_otherwise(record, rows, figures)
    yield from _primary_otherwise(record)
    yield from _testable_otherwise(record, rows, plan)
    check = record.leakage_check
    if check is not None and check.limit not in (None, LIMIT):
        # with a higher one a suite that was trained on is still compared
        yield "leakage_check.limit", check.limit, LIMIT


def _arms_otherwise(record: EvaluationRecord, plan: StatisticsPlan) -> Iterator[Otherwise]:
    """The arm before and the one after are what their names say, and there is no other beside the controls."""
    names = [arm.name for arm in record.arms if arm.name not in CONTROL_ARMS]
    compared = [plan.before, *([plan.after] if plan.after in names[1:] else [])]
    if names != compared or plan.before not in _BEFORE or plan.after not in _AFTER:
        yield "arms", names, [name for name in compared if name in (*_BEFORE, *_AFTER)]


def _rows_otherwise(record: EvaluationRecord, rows: Iterable[TableRow], plan: StatisticsPlan) -> Iterator[Otherwise]:
    """Every arm was asked everything, controls the suites alone, and a data set is of one kind."""
    arms: dict[str, set[ArmName]] = {}
    metrics: dict[str, set[str]] = {}
    for row in rows:
        arms.setdefault(row.dataset, set()).add(row.arm)
        metrics.setdefault(row.dataset, set()).add(row.metric)
    recorded = {arm.name for arm in record.arms}
    for dataset, asked in arms.items():
        kinds = metrics[dataset]
        if len(kinds) > 1:
            # of two kinds the one would be the primary endpoint, and the other be tested only after it
            yield f"items[{dataset}].metric", sorted(kinds), "one metric"
        expected = recorded if any(map(_is_compared, kinds)) else recorded - {*CONTROL_ARMS}
        if asked != expected:
            yield f"items[{dataset}].arm", sorted(asked), sorted(expected)
    if plan.after in recorded and NEUTRAL not in arms:
        yield f"items[{NEUTRAL}]", "absent", "the text whose loss shows lost capability"


def _is_compared(metric: str) -> bool:
    """Whether rows of a metric have margins that are compared between arms: those of suites."""
    return metric == "margin" or (metric in FAMILIES and bool(FAMILIES[metric].measures))  # type: ignore[index]  # asked before


def _bands_otherwise(
    record: EvaluationRecord, rows: Iterable[TableRow], figures: EvaluationFigures
) -> Iterator[Otherwise]:
    """A dead band starts where that of the suite does, or where a policy and the limitations say, and only noise widens it."""
    plan = record.stated_plan
    own = own_bands_of(plan)
    for key, usual in _usual_bands(rows).items():
        dataset = key.rpartition(".")[0]
        start = usual
        if dataset in own:
            start = _planned_band(plan, dataset, key) or usual
            if (start.lo, start.hi) != (usual.lo, usual.hi):
                yield from _unsaid(record, key, start)
        floor = figures.floors.get(key)
        band = start if floor is None else widened(start, floor.p95)
        recorded = record.protocol.thresholds[key]
        for end in ("lo", "hi"):
            yield f"protocol.thresholds[{key}].{end}", getattr(recorded, end), getattr(band, end)


def _unsaid(record: EvaluationRecord, key: str, start: Threshold) -> Iterator[Otherwise]:
    """That a band of a policy's names no policy, or is not among the limitations."""
    said = code("band_of_the_policy", band=key, lo=start.lo, hi=start.hi)
    if said not in record.limitations:
        yield "limitations", "nothing about it", str(said)
    if record.protocol.policy_sha256 is None:
        # an evaluation under a policy stands beside others, and takes the place of none of them
        yield "protocol.policy_sha256", None, f"the policy that sets {key}"


def _primary_otherwise(record: EvaluationRecord) -> Iterator[Otherwise]:
    """A plan names one primary endpoint for each suite: of two the one that came out well would have been it."""
    for name, stated in suites_of_plan(record.stated_plan).items():
        endpoint = stated.get("primary_endpoint")
        if not isinstance(endpoint, str) or not endpoint.strip():
            yield f"extra.{PLAN}.plan.suites[{name}].primary_endpoint", endpoint, "one endpoint"


def _testable_otherwise(
    record: EvaluationRecord, rows: Iterable[TableRow], plan: StatisticsPlan
) -> Iterator[Otherwise]:
    """What the plan says of whether a suite can be tested is what its rows say, where it says something."""
    suites = suites_of_plan(record.stated_plan)
    for used in record.datasets:
        stated = suites.get(used.name, {})
        if TESTABLE in stated:
            left_out = plan.leaked.items.get(used.name, frozenset())
            clusters = {
                row.id: row.cluster
                for row in rows
                if (row.dataset, row.arm) == (used.name, plan.before) and row.id not in left_out
            }
            expected = testable(used, list(clusters.values())).to_json()
            yield f"extra.{PLAN}.plan.suites[{used.name}].{TESTABLE}", stated[TESTABLE], expected


def _usual_bands(rows: Iterable[TableRow]) -> Mapping[str, Threshold]:
    """Where the dead band of each measure of the rows starts, by threshold key."""
    bands: dict[str, Threshold] = {}
    for row in rows:
        if isinstance(row, Reading):
            bands |= {f"{row.dataset}.{name}": band for name, band in FAMILIES[row.metric].measures.items()}
        elif row.metric == "margin":
            bands[f"{row.dataset}.{row.measure}"] = PAIR_BAND
    return bands


def _planned_band(plan: Mapping[str, Any], dataset: str, key: str) -> Threshold | None:
    """The dead band that a plan has for a measure; None where that is none."""
    try:
        return Threshold.from_json(suites_of_plan(plan)[dataset]["thresholds"][key])
    except (KeyError, TypeError, ValueError):
        return None
