"""Every figure of an evaluation, from the item table alone.

The same bytes and the same plan give the same figures on every machine; that is what makes them checkable later.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from peft_registry.registry.evaluation import directions
from peft_registry.registry.evaluation.clusters import IntervalRule
from peft_registry.registry.evaluation.comparisons import ItemPair, compare_losses, compare_pairs, outcomes_of
from peft_registry.registry.evaluation.conclusions import conclude, conclude_control, with_holm
from peft_registry.registry.evaluation.directions import MARGIN
from peft_registry.registry.evaluation.families import FAMILIES
from peft_registry.registry.evaluation.items import Item, Metric, TableRow
from peft_registry.registry.evaluation.leakage import NOT_LEAKED, Leaked
from peft_registry.registry.evaluation.noise import NoiseBounds, NoiseFloor, noise_floor
from peft_registry.registry.evaluation.praise import ONE_TRY, Tries
from peft_registry.registry.evaluation.readings import Family, Reading
from peft_registry.registry.evaluation.results import loss_result, measure_results, pair_results
from peft_registry.registry.evaluation.statistics import DEFAULT_DRAWS
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.evaluation import (
    CONTROL_ARMS,
    ArmName,
    Comparison,
    Guards,
    LossComparison,
    Result,
    Threshold,
)

NEUTRAL = "neutral"  # the data set of everyday sentences whose loss is the capability guard
NEUTRAL_SHIPPED = "neutral-shipped"  # the sentences that ship, where a text from outside is the guard
NEUTRAL_TEXT = "loss on neutral text"
NEUTRAL_LOSS_RATIO = 1.05  # after / before: 5 % is a starting value, written into every record
LMS_POINTS, ACC_DISAMBIG = 2.0, 0.03  # falls that count as lost capability: starting values of the same kind
WIDE = 0.10  # half of an interval of the net change: wider says little either way
# What is computed from the items: 1 knew neither readings nor perplexity nor a placebo; in 2 a placebo excused harm, and it did not
# know which items were trained on. Up to 3 intervals over clusters were drawn, and `better` asked for figures alone; 4 has closed
# forms that keep their level. Up to 4 words were text, which is held as data; 5 says in codes what 4 said in text. Up to 5 a test
# of fixed against introduced called reshuffled preferences worse; 6 flips signs of clusters and has a word for each direction.
# Where few answers changed, 6 took each change for a million of them; 7 counts answers.
FIGURES = 7


class UnpairedItems(IntegrityBroken):
    what = "item {item} of {dataset} is not in both arms, {arms[0]} and {arms[1]}"
    why = "before and after are compared on the same items with the same token counts, or not at all"
    fix = "score both arms on the same rows, or fetch the item table again from the registry"

    dataset: str
    arms: tuple[str, str]
    item: str


@dataclass(frozen=True, slots=True)
class StatisticsPlan:
    """What is fixed before the after arm is scored.

    `thresholds` is keyed by `threshold_key`; `neutral_loss_ratio`, `lms_points` and `acc_disambig` are where capability
    counts as lost. `figures` says which figures there are, so that an older record is checked against its own. `leaked` says
    what must not be concluded, because the model was trained on what it is asked; `noise` how far the same model scored again may
    be off.
    """

    thresholds: Mapping[str, Threshold]
    before: ArmName = "base"
    after: ArmName = "adapted"
    seed: int = 0
    draws: int = DEFAULT_DRAWS
    level: float = 0.95
    neutral_loss_ratio: float = NEUTRAL_LOSS_RATIO
    lms_points: float = LMS_POINTS
    acc_disambig: float = ACC_DISAMBIG
    figures: int = 1
    leaked: Leaked = NOT_LEAKED
    screens: Mapping[str, Code] = field(
        default_factory=dict
    )  # data sets of which a screen was asked: nothing is concluded
    reserved: Mapping[str, Code] | None = None  # why each data set is not called better; None of older records
    noise: NoiseBounds | None = None  # None of records that were made before the noise floor was measured
    tries: Tries = ONE_TRY  # how many seeds of the same training were begun
    margin: float = MARGIN  # the change of a share that counts as none

    @property
    def controls(self) -> tuple[ArmName, ...]:
        """The control arms, the one to compare with first: a placebo moves what training anything moves."""
        return CONTROL_ARMS if self.figures < 2 else CONTROL_ARMS[::-1]

    @property
    def interval_rule(self) -> IntervalRule:
        return IntervalRule(seed=self.seed, draws=self.draws, level=self.level, edition=self.figures)


@dataclass(frozen=True, slots=True)
class LostCapability:
    """A sign that a model became worse at language in general: its figure before and after, and the limit that it is beyond."""

    name: str
    before: float
    after: float
    limit: str


@dataclass(frozen=True, slots=True)
class EvaluationFigures:
    """All that is computed from the items; `silent`: data sets whose figures say nothing, and why.

    `floors` are those of each measure, by threshold key; `noisy`: data sets with one that is too high, and why.
    """

    results: tuple[Result, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    losses: tuple[LossComparison, ...] = ()
    guards: Guards = field(default_factory=Guards)
    silent: Mapping[str, Code] = field(default_factory=dict)
    floors: Mapping[str, NoiseFloor] = field(default_factory=dict)
    noisy: Mapping[str, Code] = field(default_factory=dict)


def threshold_key(dataset: str, measure: str = "margin") -> str:
    """The name of a dead band in the protocol."""
    return f"{dataset}.{measure}"


def aggregate(rows: Sequence[TableRow], plan: StatisticsPlan) -> EvaluationFigures:
    """Results of every arm, comparisons of before and after, losses and guards.

    Raises:
        UnpairedItems: an item is in one arm only.
        KeyError: a data set of pairs has no dead band in the plan.
    """
    readings, table = _tables(compared_rows(rows, plan), plan)
    losses = tuple(_losses(table, plan))
    results = (*_results(table, plan), *_reading_results(readings, plan))
    guards = _guards(table, plan, losses, results)
    every_reading, every_item = readings, table
    if any(plan.leaked.items.values()):
        every_reading, every_item = _tables(rows, plan)
        every_result = (*_results(every_item, plan), *_reading_results(every_reading, plan))
        results = tuple(_own_results(every_result, results))
    silent = {**_not_informative(every_reading, plan), **plan.leaked.datasets}
    floors = _floors(every_item, plan)
    noisy = _noisy(floors, plan)
    return EvaluationFigures(
        results=results,
        comparisons=(*_comparisons(table, plan, guards, silent, noisy), *_controls(table, plan)),
        losses=losses,
        guards=guards,
        silent=silent,
        floors=floors,
        noisy=noisy,
    )


_UNTRAINED: frozenset[ArmName] = frozenset(
    ("base", "base_quantised", *CONTROL_ARMS)
)  # what was trained on says nothing of them
_Question = tuple[str, str | None, str, str, str, tuple[str, ...], tuple[int, ...]]  # a reading without its answer
_Draft = tuple[Comparison, list[ItemPair], list[ItemPair]]  # with its pairs, and those of the control
_MEASURES = tuple(measure for family in FAMILIES.values() for measure in family.measures)
_Table = Mapping[tuple[str, Metric, str], Mapping[ArmName, tuple[Item, ...]]]
_Readings = Mapping[tuple[str, Family], Mapping[ArmName, tuple[Reading, ...]]]


def compared_rows(rows: Sequence[TableRow], plan: StatisticsPlan) -> Sequence[TableRow]:
    """The rows that arms are compared on: those that the model was not trained on."""
    left_out = plan.leaked.items
    return [row for row in rows if row.id not in left_out.get(row.dataset, ())] if any(left_out.values()) else rows


def _tables(rows: Sequence[TableRow], plan: StatisticsPlan) -> tuple["_Readings", "_Table"]:
    readings = grouped_readings(rows)
    return readings, grouped_items([*(row for row in rows if isinstance(row, Item)), *derived_items(readings, plan)])


def _own_results(every: Iterable[Result], compared: Iterable[Result]) -> Iterator[Result]:
    """Results of untrained arms over all rows, whatever stands beside them; of the others over the rows that are compared."""
    rest = {(result.dataset, result.metric, result.category, result.arm): result for result in compared}
    for result in every:
        name = (result.dataset, result.metric, result.category, result.arm)
        if result.arm in _UNTRAINED:
            yield result
        elif name in rest:
            yield rest[name]


def grouped_readings(rows: Iterable[TableRow]) -> _Readings:
    """Readings by data set and family, then by arm; sorted, arms in the order of the schema."""
    groups: dict[tuple[str, Family], dict[ArmName, list[Reading]]] = {}
    for row in sorted((row for row in rows if isinstance(row, Reading)), key=lambda row: row.key):
        groups.setdefault((row.dataset, row.metric), {}).setdefault(row.arm, []).append(row)
    return {key: _in_arm_order(groups[key]) for key in sorted(groups)}


def derived_items(readings: _Readings, plan: StatisticsPlan) -> Iterator[Item]:
    """What is compared between arms, computed from the readings.

    Raises:
        UnpairedItems: a reading is in one arm only.
    """
    for (dataset, name), arms in readings.items():
        for arm in arms:
            _require_same(arms, plan.before if plan.before in arms else arm, arm)
        family = FAMILIES[name]
        bands = {measure: plan.thresholds[threshold_key(dataset, measure)] for measure in family.measures}
        yield from family.margins(arms, plan.before, bands)


def _require_same(arms: Mapping[ArmName, tuple[Reading, ...]], before: ArmName, after: ArmName) -> None:
    unpaired = _questions(arms[before]) ^ _questions(arms[after])
    if unpaired:
        raise UnpairedItems(arms[before][0].dataset, (before, after), min(unpaired, key=str)[0])


def _questions(readings: Sequence[Reading]) -> set[_Question]:
    """What was asked, without the answers: it must be the same in both arms."""
    return {(row.id, row.category, row.cluster, row.condition, row.unit, row.labels, row.tokens) for row in readings}


def _in_arm_order(groups: Mapping[ArmName, list[Any]]) -> dict[ArmName, tuple[Any, ...]]:  # items, or readings
    return {arm: tuple(groups[arm]) for arm in get_args(ArmName) if arm in groups}


def grouped_items(items: Iterable[Item]) -> _Table:
    """Items by data set, metric and measure, then by arm; in sorted order, arms in the order of the schema."""
    groups: dict[tuple[str, Metric, str], dict[ArmName, list[Item]]] = {}
    for item in sorted(items, key=lambda item: item.key):
        groups.setdefault((item.dataset, item.metric, item.measure), {}).setdefault(item.arm, []).append(item)
    return {key: _in_arm_order(groups[key]) for key in sorted(groups)}


def _of_metric(table: _Table, metric: Metric) -> Iterator[Mapping[ArmName, tuple[Item, ...]]]:
    return (arms for (_, measure, _), arms in table.items() if measure == metric)


def _results(table: _Table, plan: StatisticsPlan) -> Iterator[Result]:
    for arms in _of_metric(table, "margin"):
        for arm, items in arms.items():
            figures = pair_results if items[0].measure == "margin" else measure_results
            yield from figures(items, category=None, rule=plan.interval_rule)
            for category in [] if arm in CONTROL_ARMS else _categories(items):
                chosen = [item for item in items if item.category == category]
                yield from figures(chosen, category=category, rule=plan.interval_rule)
    for arms in _of_metric(table, "loss"):
        for items in arms.values():
            loss = loss_result(items, rule=plan.interval_rule)
            yield loss
            if plan.figures >= 2:
                yield _perplexity(loss)


def _perplexity(loss: Result) -> Result:
    """e to the loss per supervised token; the ends of its interval are those of the loss, likewise."""
    ci = loss.ci
    if ci is not None:
        ci = ci.revised(low=math.exp(ci.low), high=math.exp(ci.high), method=code("exponential_of", method=ci.method))
    value = None if loss.value is None else math.exp(min(loss.value, 700.0))  # beyond 709 a double overflows
    return loss.revised(metric="perplexity", value=value, ci=ci)


def _reading_results(readings: _Readings, plan: StatisticsPlan) -> Iterator[Result]:
    for (_, name), arms in readings.items():
        for arm, rows in arms.items():
            yield from FAMILIES[name].results(rows, category=None, rule=plan.interval_rule)
            for category in [] if arm in CONTROL_ARMS else _categories(rows):
                chosen = [row for row in rows if row.category == category]
                yield from FAMILIES[name].results(chosen, category=category, rule=plan.interval_rule)


def _not_informative(readings: _Readings, plan: StatisticsPlan) -> Mapping[str, Code]:
    """Data sets whose figures say nothing about the arm before, and why."""
    found = {}
    for (dataset, name), arms in readings.items():
        if plan.before in arms:
            reason = FAMILIES[name].not_informative(arms[plan.before], plan.interval_rule)
            if reason is not None:
                found[dataset] = reason
    return found


def _floors(table: _Table, plan: StatisticsPlan) -> Mapping[str, NoiseFloor]:
    """The noise floor of each measure that was scored twice, by threshold key."""
    floors = {}
    for (dataset, metric, measure), arms in table.items():
        if metric == "margin" and plan.noise is not None:
            floor = noise_floor(paired(arms, plan.before, "noise"))
            if floor is not None:
                floors[threshold_key(dataset, measure)] = floor
    return floors


def _noisy(floors: Mapping[str, NoiseFloor], plan: StatisticsPlan) -> Mapping[str, Code]:
    """Data sets with a measure whose floor is beyond the bounds, and why."""
    results = {}
    for key, floor in floors.items():
        reason = None if plan.noise is None else floor.beyond(plan.noise)
        if reason is not None:
            results[key.rpartition(".")[0]] = reason
    return results


def _comparisons(
    table: _Table, plan: StatisticsPlan, guards: Guards, silent: Mapping[str, Code], noisy: Mapping[str, Code]
) -> Iterator[Comparison]:
    drafts: list[_Draft] = []
    for arms in _of_metric(table, "margin"):
        pairs = paired(arms, plan.before, plan.after)
        control = next((paired(arms, plan.before, arm) for arm in plan.controls if arm in arms), [])
        if not pairs:
            continue
        for category in [None, *_categories(pair.before for pair in pairs)]:
            chosen = in_category(pairs, category)
            chosen_control = in_category(control, category)
            draft = compare_pairs(chosen, category=category, rule=plan.interval_rule, control=chosen_control)
            drafts.append((draft, chosen, chosen_control))
    if plan.interval_rule.flips_signs:
        yield from _directions(drafts, plan, guards, silent, noisy)
        return
    # Holm's correction is over all tests of the evaluation, so nothing can be concluded before every draft is there
    corrected = with_holm([draft for draft, _, _ in drafts])
    for comparison, (_, pairs, control) in zip(corrected, drafts, strict=True):
        yield conclude(
            comparison,
            outcomes=outcomes_of(pairs),
            noise=outcomes_of(control) if control else None,
            threshold=plan.thresholds[threshold_key(comparison.dataset, comparison.metric)],
            is_clustered=len({pair.before.cluster for pair in pairs}) < len(pairs),
            confounded=guards.confounded,
            silent=silent.get(comparison.dataset),
            unguarded=plan.leaked.guard,
            reserved=(plan.reserved or {}).get(comparison.dataset),
            wide=WIDE if plan.figures >= 2 else None,
            placebo_excuses=plan.figures < 3,
            noisy=noisy.get(comparison.dataset),
            closed_form_decides=plan.interval_rule.is_drawn,
            tries=plan.tries,
            stricter=_stricter(pairs, comparison, plan),
        )


def _directions(
    drafts: Sequence[_Draft],
    plan: StatisticsPlan,
    guards: Guards,
    silent: Mapping[str, Code],
    noisy: Mapping[str, Code],
) -> Iterator[Comparison]:
    primaries: dict[str, str] = {}
    for draft, _, _ in drafts:
        # the first measure of a family is that of its primary endpoint
        measures = {comparison.metric for comparison, _, _ in drafts if comparison.dataset == draft.dataset}
        primaries[draft.dataset] = next(name for name in (*_MEASURES, draft.metric) if name in measures)
    family = directions.with_family([draft for draft, _, _ in drafts], primaries)
    for comparison, (_, _, beside) in zip(family, drafts, strict=True):
        control = compare_pairs(beside, category=comparison.category, rule=plan.interval_rule) if beside else None
        circumstances = directions.Circumstances(
            silent=silent.get(comparison.dataset),
            noisy=noisy.get(comparison.dataset),
            unguarded=plan.leaked.guard,
            reserved=(plan.reserved or {}).get(comparison.dataset),
            screened=plan.screens.get(comparison.dataset),
            confounded=guards.confounded,
            margin=plan.margin,
            tries=plan.tries,
        )
        yield directions.conclude(comparison, control, circumstances)


def _stricter(pairs: Sequence[ItemPair], comparison: Comparison, plan: StatisticsPlan) -> Comparison | None:
    """The comparison with intervals that leave out as much less as there were tries; None where there was one."""
    if plan.tries.seeds <= 1:
        return None
    level = 1 - (1 - plan.level) / plan.tries.seeds
    return compare_pairs(pairs, category=comparison.category, rule=replace(plan.interval_rule, level=level))


def _controls(table: _Table, plan: StatisticsPlan) -> Iterator[Comparison]:
    for arms in _of_metric(table, "margin"):
        for arm in CONTROL_ARMS:
            pairs = paired(arms, plan.before, arm)
            if pairs:
                yield conclude_control(
                    compare_pairs(pairs, category=None, rule=plan.interval_rule), outcomes=outcomes_of(pairs)
                )


def _losses(table: _Table, plan: StatisticsPlan) -> Iterator[LossComparison]:
    for arms in _of_metric(table, "loss"):
        pairs = paired(arms, plan.before, plan.after)
        comparison = compare_losses(pairs, plan.interval_rule) if pairs else None
        if comparison is not None:
            yield comparison


def _guards(table: _Table, plan: StatisticsPlan, losses: Sequence[LossComparison], results: Iterable[Result]) -> Guards:
    pairs = [
        pair
        for (_, metric, measure), arms in table.items()
        if metric == "margin" and measure == "margin"
        for pair in paired(arms, plan.before, plan.after)
    ]
    less_likely = sum(_both_less_likely(pair) for pair in pairs)
    neutral = _neutral_loss(losses, plan)
    whole = {(result.metric, result.arm): result.value for result in results if result.category is None}
    lms = (whole.get(("lms", plan.before)), whole.get(("lms", plan.after)))
    acc = (whole.get(("acc_disambig", plan.before)), whole.get(("acc_disambig", plan.after)))
    guards = Guards(
        neutral_loss_before=neutral.before if neutral else None,
        neutral_loss_after=neutral.after if neutral else None,
        both_options_less_likely_share=less_likely / len(pairs) if pairs else None,
        lms_before=lms[0],
        lms_after=lms[1],
        acc_disambig_before=acc[0],
        acc_disambig_after=acc[1],
    )
    return guards.revised(confounded=bool(lost_capability(guards, plan)) or may_have_lost(losses, plan) is not None)


def _neutral_loss(losses: Iterable[LossComparison], plan: StatisticsPlan) -> LossComparison | None:
    """The loss on neutral text that the guards look at; None where none was scored."""
    # whoever chooses a guard text can choose one that nothing makes worse: of two the one whose loss rose most decides
    guard_losses = [loss for loss in losses if loss.dataset in (NEUTRAL, NEUTRAL_SHIPPED)]
    return max(guard_losses, key=lambda loss: loss.after - plan.neutral_loss_ratio * loss.before, default=None)


def allowed_rise(neutral: LossComparison, plan: StatisticsPlan) -> float:
    """By how much the loss on neutral text may rise, in nats a token."""
    return (plan.neutral_loss_ratio - 1) * neutral.before


def may_have_lost(losses: Iterable[LossComparison], plan: StatisticsPlan) -> LossComparison | None:
    """The loss on neutral text whose interval reaches beyond what it may rise by; None where it does not, or there is none.

    Editions before sign flips compared the losses alone.
    """
    neutral = _neutral_loss(losses, plan)
    if neutral is None or neutral.change_ci is None or not plan.interval_rule.flips_signs:
        return None
    return neutral if neutral.change_ci.high > allowed_rise(neutral, plan) else None


def lost_capability(guards: Guards, plan: StatisticsPlan) -> tuple[LostCapability, ...]:
    """The guards that are beyond the limits of a plan; any of them explains fewer flagged items without a change of preference."""
    signs = []
    before = guards.neutral_loss_before
    after = guards.neutral_loss_after
    if before is not None and after is not None and after > before * plan.neutral_loss_ratio:
        signs.append(LostCapability(NEUTRAL_TEXT, before, after, f"at most {plan.neutral_loss_ratio:g} times as much"))
    falls = (
        ("share of sensible answers preferred (lms)", guards.lms_before, guards.lms_after, plan.lms_points),
        (
            "right answers where the text says who",
            guards.acc_disambig_before,
            guards.acc_disambig_after,
            plan.acc_disambig,
        ),
    )
    for name, before, after, limit in falls:
        if before is not None and after is not None and before - after > limit:
            signs.append(LostCapability(name, before, after, f"a fall of at most {limit:g}"))
    return tuple(signs)


def _both_less_likely(pair: ItemPair) -> bool:
    before = pair.before
    after = pair.after
    assert before.ll_b is not None and after.ll_b is not None, pair
    return after.ll_a < before.ll_a and after.ll_b < before.ll_b


def paired(arms: Mapping[ArmName, tuple[Item, ...]], before: ArmName, after: ArmName) -> list[ItemPair]:
    """The items of two arms side by side; empty if an arm was not scored at all.

    Raises:
        UnpairedItems: an item is not the same in both, or only in one.
    """
    if before not in arms or after not in arms:
        return []
    first = {_same(item): item for item in arms[before]}
    second = {_same(item): item for item in arms[after]}
    unpaired = first.keys() ^ second.keys()
    if unpaired:
        raise UnpairedItems(arms[before][0].dataset, (before, after), min(unpaired, key=str)[0])
    return [ItemPair(item, second[key]) for key, item in first.items()]


def _same(item: Item) -> tuple[str, str | None, str, int, int | None]:
    """What the two arms of one item agree about."""
    return (item.id, item.category, item.cluster, item.tokens_a, item.tokens_b)


def _categories(items: Iterable[TableRow]) -> list[str]:
    return sorted({item.category for item in items if item.category is not None})


def in_category(pairs: Sequence[ItemPair], category: str | None) -> list[ItemPair]:
    """The pairs of one category; every pair for None."""
    return [pair for pair in pairs if category is None or pair.before.category == category]
