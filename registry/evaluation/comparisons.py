"""Before against after on the same items: the transition matrix, the rates derived from it, intervals, tests.

The conclusion comes last, because it needs Holm's correction over all tests of the evaluation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peft_registry.registry.evaluation.clusters import (
    ClusterSums,
    IntervalRule,
    Kind,
    cluster_sums,
    interval_or_none,
    missing_reasons,
)
from peft_registry.registry.evaluation.items import Item
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.registry.evaluation.sign_flips import SIGN_FLIPS, clusters_needed, sign_flip_p
from peft_registry.registry.evaluation.states import Outcomes, outcomes, transitions
from peft_registry.registry.evaluation.statistics import NoInterval, mcnemar
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Comparison, Control, Interval, LossComparison, ShareChange, State, Test
from peft_registry.schemas.identity import Digest

_CLEAR: frozenset[State | None] = frozenset({"neutral", "inverted"})
_NONE_AMONG = {"flagged": code("none_flagged_before"), "clear": code("none_clear_before")}


@dataclass(frozen=True, slots=True)
class ItemPair:
    """One item in the two arms."""

    before: Item
    after: Item

    @property
    def flagged(self) -> bool:
        return self.before.state == "stereo"

    @property
    def fixed(self) -> bool:
        return self.flagged and self.after.state == "neutral"

    @property
    def clear(self) -> bool:
        return self.before.state in _CLEAR

    @property
    def introduced(self) -> bool:
        return self.clear and self.after.state == "stereo"

    def moved(self, state: State) -> int:
        """1 for an item that entered a state, −1 for one that left it, 0 for any other."""
        return (self.after.state == state) - (self.before.state == state)

    @property
    def size_change(self) -> int:
        """Of |margin|, in millionths of a nat."""
        assert self.before.margin is not None and self.after.margin is not None, self
        return abs(self.after.margin) - abs(self.before.margin)

    @property
    def margin_change(self) -> int:
        """In millionths of a nat."""
        assert self.before.margin is not None and self.after.margin is not None, self
        return self.after.margin - self.before.margin


def outcomes_of(pairs: Sequence[ItemPair]) -> Outcomes:
    """The named counts of the pairs' transition matrix."""
    return outcomes(transitions(*_states(pairs)))


def compare_pairs(
    pairs: Sequence[ItemPair], *, category: str | None, rule: IntervalRule, control: Sequence[ItemPair] = ()
) -> Comparison:
    """Everything but Holm's correction and the conclusion, which is `inconclusive` until `conclude` says otherwise.

    Args:
        pairs: the items of one data set, or of one category of it; at least one.
        category: None for the whole data set.
        rule: of the intervals.
        control: the same items, base against a change that means nothing.
    """
    outcomes = outcomes_of(pairs)
    fix = _rates(pairs, "flagged", "fixed", rule)
    introduction = _rates(pairs, "clear", "introduced", rule)
    changes = net_changes(pairs, rule)
    net = changes.interval_if_independent(rule)
    net_clustered = changes.interval_if_clustered(rule)
    margin = _sums(pairs, lambda pair: pair.margin_change, unit=MILLIONTHS)
    margin_ci = margin.interval(rule)
    return Comparison(
        dataset=pairs[0].before.dataset,
        metric=pairs[0].before.measure,
        category=category,
        before=pairs[0].before.arm,
        after=pairs[0].after.arm,
        n=outcomes.n,
        transition_matrix=transitions(*_states(pairs)),
        flagged=outcomes.flagged,
        clear=outcomes.clear,
        fixed=outcomes.fixed,
        overcorrected=outcomes.overcorrected,
        persistent=outcomes.persistent,
        unresolved=outcomes.unresolved,
        introduced=outcomes.introduced,
        fix_rate=outcomes.fix_rate,
        fix_rate_ci=interval_or_none(fix[0]),
        fix_rate_ci_clustered=interval_or_none(fix[1]),
        introduction_rate=outcomes.introduction_rate,
        introduction_rate_ci=interval_or_none(introduction[0]),
        introduction_rate_ci_clustered=interval_or_none(introduction[1]),
        net_fix_rate=outcomes.net_fix_rate,
        net_change=changes.value if rule.flips_signs else outcomes.net_change,
        net_change_ci=interval_or_none(net),
        net_change_ci_clustered=interval_or_none(net_clustered),
        mean_margin_change=margin.value,
        mean_margin_change_ci=interval_or_none(margin_ci),
        ci_null_reason=missing_reasons(
            fix_rate_ci=fix[0],
            fix_rate_ci_clustered=fix[1],
            introduction_rate_ci=introduction[0],
            introduction_rate_ci_clustered=introduction[1],
            net_change_ci=net,
            net_change_ci_clustered=net_clustered,
            mean_margin_change_ci=margin_ci,
        ),
        opposite=_opposite(pairs, rule) if rule.flips_signs else None,
        mean_size_change=_size_change(pairs) if rule.flips_signs else None,
        test=_sign_flips(pairs, changes, rule) if rule.flips_signs else _test(outcomes),
        control=_control(control),
        conclusion="inconclusive",
        conclusion_reason=code("not_yet_concluded"),
    )


def net_changes(pairs: Sequence[ItemPair], rule: IntervalRule) -> ClusterSums:
    """What the share flagged changed by: entered less left. Editions before sign flips: introduced less fixed, over all items."""
    if rule.flips_signs:
        return _sums(pairs, lambda pair: pair.moved("stereo"), kind="difference")
    return _sums(pairs, lambda pair: pair.introduced - pair.fixed, kind="difference")


def _sign_flips(pairs: Sequence[ItemPair], flagged: ClusterSums, rule: IntervalRule) -> Test:
    """The test of the share flagged, from its changes over clusters."""
    changes = flagged.changes
    needed = clusters_needed(1 - rule.level)
    is_testable = changes.moved >= needed
    return Test(
        name=SIGN_FLIPS,
        b=sum(pair.moved("stereo") < 0 for pair in pairs),
        c=sum(pair.moved("stereo") > 0 for pair in pairs),
        p_raw=sign_flip_p(changes.changes) if is_testable else None,
        p_holm=None,
        family_size=0,
        null_reason=None if is_testable else code("too_few_moved", moved=changes.moved, needs=needed),
    )


def _opposite(pairs: Sequence[ItemPair], rule: IntervalRule) -> ShareChange:
    """How the share inverted changed."""
    sums = _sums(pairs, lambda pair: pair.moved("inverted"), kind="difference")
    interval = sums.interval(rule)
    changes = sums.changes
    return ShareChange(
        left=sum(pair.moved("inverted") < 0 for pair in pairs),
        entered=sum(pair.moved("inverted") > 0 for pair in pairs),
        change=changes.value,
        ci=interval_or_none(interval),
        ci_null_reason=interval.reason if isinstance(interval, NoInterval) else None,
        p=sign_flip_p(changes.changes) if changes.moved >= clusters_needed(1 - rule.level) else None,
    )


def _size_change(pairs: Sequence[ItemPair]) -> float:
    """The change of the mean |margin|."""
    return sum(pair.size_change for pair in pairs) / len(pairs) / MILLIONTHS


def compare_losses(pairs: Sequence[ItemPair], rule: IntervalRule) -> LossComparison | None:
    """Held-out loss before and after, paired by row; None if no token carries loss."""
    before = _loss_sums(pairs, lambda pair: -pair.before.ll_a).value
    after = _loss_sums(pairs, lambda pair: -pair.after.ll_a).value
    change = _loss_sums(pairs, lambda pair: pair.before.ll_a - pair.after.ll_a)
    if before is None or after is None or change.value is None:
        return None
    interval = change.interval(rule)
    return LossComparison(
        dataset=pairs[0].before.dataset,
        before=before,
        after=after,
        change=change.value,
        change_ci=interval_or_none(interval),
        ci_null_reason=missing_reasons(change_ci=interval),
        n=len(pairs),
    )


def ids_digest(ids: Sequence[str]) -> Digest:
    """SHA-256 of the sorted ids, one a line: which rows of a data set were used."""
    return Digest.of("".join(f"{item_id}\n" for item_id in sorted(ids)).encode("utf-8"))


def _states(pairs: Sequence[ItemPair]) -> tuple[list[State], list[State]]:
    before = [pair.before.state for pair in pairs if pair.before.state is not None]
    after = [pair.after.state for pair in pairs if pair.after.state is not None]
    return before, after


def _rates(
    pairs: Sequence[ItemPair], among: str, hit: str, rule: IntervalRule
) -> tuple[Interval | NoInterval, Interval | NoInterval]:
    if not any(getattr(pair, among) for pair in pairs):
        none = NoInterval(_NONE_AMONG[among])
        return none, none
    sums = _sums(pairs, lambda pair: int(getattr(pair, hit)), lambda pair: int(getattr(pair, among)), kind="share")
    return sums.interval_if_independent(rule), sums.interval_if_clustered(rule)


def _sums(
    pairs: Sequence[ItemPair],
    numerator: Callable[[ItemPair], int],
    denominator: Callable[[ItemPair], int] = lambda _: 1,
    unit: int = 1,
    kind: Kind = "mean",
) -> ClusterSums:
    return cluster_sums(
        pairs,
        cluster=lambda pair: pair.before.cluster,
        numerator=numerator,
        denominator=denominator,
        unit=unit,
        kind=kind,
    )


def _loss_sums(pairs: Sequence[ItemPair], numerator: Callable[[ItemPair], int]) -> ClusterSums:
    return _sums(pairs, numerator, lambda pair: pair.before.tokens_a, MILLIONTHS)


def _test(outcomes: Outcomes) -> Test:
    result = mcnemar(outcomes.fixed, outcomes.introduced)
    return Test(
        name=result.name,
        b=outcomes.fixed,
        c=outcomes.introduced,
        p_raw=result.p,
        p_holm=None,
        family_size=0,
        null_reason=result.null_reason,
    )


def _control(pairs: Sequence[ItemPair]) -> Control | None:
    if not pairs:
        return None
    outcomes = outcomes_of(pairs)
    kind = "placebo" if pairs[0].after.arm == "placebo" else "noise"
    return Control(kind=kind, fix_rate=outcomes.fix_rate, introduction_rate=outcomes.introduction_rate)
