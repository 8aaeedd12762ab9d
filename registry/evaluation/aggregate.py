"""Every figure of an evaluation, from the item table alone.

The same bytes and the same plan give the same figures on every machine; that is what makes them checkable later.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from registry.evaluation.clusters import Bootstrap
from registry.evaluation.comparisons import Pair, compare_losses, compare_pairs, outcomes_of
from registry.evaluation.conclusions import conclude, conclude_control, with_holm
from registry.evaluation.items import Item, Metric
from registry.evaluation.results import loss_result, pair_results
from registry.evaluation.statistics import DEFAULT_DRAWS
from schemas.errors import IntegrityBroken
from schemas.evaluation import ArmName, Comparison, Guards, LossComparison, Result, Threshold

NEUTRAL = "neutral"  # the data set of everyday sentences whose loss is the capability guard
CONTROLS: tuple[ArmName, ...] = ("noise", "placebo")
NEUTRAL_LOSS_RATIO = 1.05  # after / before: 5 % is a starting value; an organisation's policy may set another


class UnpairedItems(IntegrityBroken):
    reference = "unpaired-items"

    def __init__(self, dataset: str, arms: tuple[str, str], item: str) -> None:
        super().__init__(
            what=f"item {item} of {dataset} is not in both arms, {arms[0]} and {arms[1]}",
            why="before and after are compared on the same items with the same token counts, or not at all",
            fix="score both arms on the same rows, or fetch the item table again from the registry",
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is fixed before the after arm is scored.

    `thresholds` is keyed by `threshold_key`; `neutral_loss_ratio` is where rising loss on neutral text counts as lost
    capability.
    """

    thresholds: Mapping[str, Threshold]
    before: ArmName = "base"
    after: ArmName = "adapted"
    seed: int = 0
    draws: int = DEFAULT_DRAWS
    level: float = 0.95
    neutral_loss_ratio: float = NEUTRAL_LOSS_RATIO

    @property
    def bootstrap(self) -> Bootstrap:
        return Bootstrap(seed=self.seed, draws=self.draws, level=self.level)


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is computed from the items."""

    results: tuple[Result, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    losses: tuple[LossComparison, ...] = ()
    guards: Guards = field(default_factory=Guards)


def threshold_key(dataset: str) -> str:
    """The name of a data set's dead band in the protocol."""
    return f"{dataset}.margin"


def aggregate(items: Sequence[Item], plan: Plan) -> Figures:
    """Results of every arm, comparisons of before and after, losses and guards.

    Raises:
        UnpairedItems: an item is in one arm only.
        KeyError: a data set of pairs has no dead band in the plan.
    """
    table = _grouped(items)
    losses = tuple(_losses(table, plan))
    guards = _guards(table, plan, losses)
    return Figures(
        results=tuple(_results(table, plan)),
        comparisons=(*_comparisons(table, plan, guards), *_controls(table, plan)),
        losses=losses,
        guards=guards,
    )


_Table = Mapping[tuple[str, Metric], Mapping[ArmName, tuple[Item, ...]]]


def _grouped(items: Iterable[Item]) -> _Table:
    """Items by data set and metric, then by arm; both in sorted order, arms in the order of the schema."""
    groups: dict[tuple[str, Metric], dict[ArmName, list[Item]]] = {}
    for item in sorted(items, key=lambda item: item.key):
        groups.setdefault((item.dataset, item.metric), {}).setdefault(item.arm, []).append(item)
    return {
        key: {arm: tuple(groups[key][arm]) for arm in get_args(ArmName) if arm in groups[key]} for key in sorted(groups)
    }


def _of_metric(table: _Table, metric: Metric) -> Iterator[Mapping[ArmName, tuple[Item, ...]]]:
    return (arms for (_, found), arms in table.items() if found == metric)


def _results(table: _Table, plan: Plan) -> Iterator[Result]:
    for arms in _of_metric(table, "margin"):
        for arm, items in arms.items():
            yield from pair_results(items, category=None, how=plan.bootstrap)
            for category in [] if arm in CONTROLS else _categories(items):
                chosen = [item for item in items if item.category == category]
                yield from pair_results(chosen, category=category, how=plan.bootstrap)
    for arms in _of_metric(table, "loss"):
        for items in arms.values():
            yield loss_result(items, how=plan.bootstrap)


def _comparisons(table: _Table, plan: Plan, guards: Guards) -> Iterator[Comparison]:
    drafts: list[tuple[Comparison, list[Pair], list[Pair]]] = []
    for arms in _of_metric(table, "margin"):
        pairs = _pairs(arms, plan.before, plan.after)
        control = next((_pairs(arms, plan.before, arm) for arm in CONTROLS if arm in arms), [])
        for category in [None, *_categories(pair.before for pair in pairs)] if pairs else []:
            chosen, beside = _in_category(pairs, category), _in_category(control, category)
            drafts.append(
                (compare_pairs(chosen, category=category, how=plan.bootstrap, control=beside), chosen, beside)
            )
    corrected = with_holm([draft for draft, _, _ in drafts])
    for one, (_, pairs, control) in zip(corrected, drafts, strict=True):
        yield conclude(
            one,
            found=outcomes_of(pairs),
            noise=outcomes_of(control) if control else None,
            threshold=plan.thresholds[threshold_key(one.dataset)],
            is_clustered=len({pair.before.cluster for pair in pairs}) < len(pairs),
            confounded=guards.confounded,
        )


def _controls(table: _Table, plan: Plan) -> Iterator[Comparison]:
    for arms in _of_metric(table, "margin"):
        for arm in CONTROLS:
            pairs = _pairs(arms, plan.before, arm)
            if pairs:
                yield conclude_control(
                    compare_pairs(pairs, category=None, how=plan.bootstrap), found=outcomes_of(pairs)
                )


def _losses(table: _Table, plan: Plan) -> Iterator[LossComparison]:
    for arms in _of_metric(table, "loss"):
        pairs = _pairs(arms, plan.before, plan.after)
        found = compare_losses(pairs, plan.bootstrap) if pairs else None
        if found is not None:
            yield found


def _guards(table: _Table, plan: Plan, losses: Iterable[LossComparison]) -> Guards:
    pairs = [pair for arms in _of_metric(table, "margin") for pair in _pairs(arms, plan.before, plan.after)]
    less_likely = sum(_both_less_likely(pair) for pair in pairs)
    neutral = next((one for one in losses if one.dataset == NEUTRAL), None)
    return Guards(
        neutral_loss_before=neutral.before if neutral else None,
        neutral_loss_after=neutral.after if neutral else None,
        both_options_less_likely_share=less_likely / len(pairs) if pairs else None,
        confounded=neutral is not None and neutral.after > neutral.before * plan.neutral_loss_ratio,
    )


def _both_less_likely(pair: Pair) -> bool:
    before, after = pair.before, pair.after
    assert before.ll_b is not None and after.ll_b is not None, pair
    return after.ll_a < before.ll_a and after.ll_b < before.ll_b


def _pairs(arms: Mapping[ArmName, tuple[Item, ...]], before: ArmName, after: ArmName) -> list[Pair]:
    """The items of two arms side by side; empty if an arm was not scored at all."""
    if before not in arms or after not in arms:
        return []
    first, second = ({_same(item): item for item in arms[arm]} for arm in (before, after))
    unpaired = first.keys() ^ second.keys()
    if unpaired:
        raise UnpairedItems(arms[before][0].dataset, (before, after), min(unpaired, key=str)[0])
    return [Pair(item, second[key]) for key, item in first.items()]


def _same(item: Item) -> tuple[str, str | None, str, int, int | None]:
    """What the two arms of one item agree about."""
    return (item.id, item.category, item.cluster, item.tokens_a, item.tokens_b)


def _categories(items: Iterable[Item]) -> list[str]:
    return sorted({item.category for item in items if item.category is not None})


def _in_category(pairs: Sequence[Pair], category: str | None) -> list[Pair]:
    return [pair for pair in pairs if category is None or pair.before.category == category]
