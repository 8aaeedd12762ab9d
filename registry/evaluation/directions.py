"""What a comparison may be called, since edition 6 of the figures: the first of these words that fits.

    not informative      the figures say nothing about the model, or there are too few items
    not testable         too few clusters moved for any p to be small
    worse                the share flagged rose
    turned over          it fell, and the share that prefers the opposite rose
    better               it fell; the opposite share has not risen by more than the margin, general ability was kept, the items were
                         kept from whoever trained, and no control lowers it too
    opposite more often  the opposite share rose, and the share flagged did not fall
    unchanged            both changed by less than the margin
    inconclusive         everything else, with the change that so many items could have shown

`rose` and `fell` are a p of sign flips of at most 5 %. The primary endpoint of a data set is tested at that level by itself; its
groups and its other measures come after it and are tested only where it is significant, with Holm's correction among themselves.
More harm never takes `worse` back and never makes `better`. No point is compared with a point. Of a screen every word that says
something is `inconclusive`, with what it would have been. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from peft_registry.registry.evaluation.praise import ONE_TRY, Tries
from peft_registry.registry.evaluation.statistics import holm, normal_quantile
from peft_registry.schemas.codes import Code, Said, code, together
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM, Comparison, Conclusion, Interval, ShareChange, Test

ALPHA = 0.05
MARGIN = 0.05  # changes of a share up to this much are taken to be none: a starting value, written into every record
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else decides about the words of one data set.

    Attributes:
        silent: why the figures say nothing about the model, if they do not.
        noisy: why the numbers move too far by themselves, if they do.
        unguarded: why lost capability would not show, if it would not.
        reserved: why a change is not called better whatever its figures, if it is not.
        screened: why nothing is concluded whatever its figures, if nothing is.
        confounded: whether the guards see lost capability.
        margin: the change of a share that counts as none.
        tries: how many seeds were begun, this one among them.
    """

    silent: Code | None = None
    noisy: Code | None = None
    unguarded: Code | None = None
    reserved: Code | None = None
    screened: Code | None = None
    confounded: bool = False
    margin: float = MARGIN
    tries: Tries = ONE_TRY


def with_family(comparisons: Sequence[Comparison], primaries: Mapping[str, str]) -> tuple[Comparison, ...]:
    """The comparisons with adjusted p-values: a primary endpoint keeps its own, and what comes after it has Holm's.

    Args:
        comparisons: of any number of data sets.
        primaries: the measure of each data set whose change over all items is its primary endpoint.
    """
    by_dataset: dict[str, list[int]] = {}
    for place, comparison in enumerate(comparisons):
        by_dataset.setdefault(comparison.dataset, []).append(place)
    adjusted = list(comparisons)
    for dataset, places in by_dataset.items():
        first = [place for place in places if _is_primary(comparisons[place], primaries[dataset])]
        after = [place for place in places if place not in first]
        for place in first:
            adjusted[place] = _adjusted(comparisons[place], _p_raw(comparisons[place]), family=1)
        is_open = any(_is_significant(_p_raw(comparisons[place])) for place in first)
        tested = [(place, p) for place in after if (p := _p_raw(comparisons[place])) is not None]
        corrected = dict(zip([place for place, _ in tested], holm([p for _, p in tested]), strict=True))
        for place in after:
            if is_open:
                adjusted[place] = _adjusted(comparisons[place], corrected.get(place), family=len(tested))
            elif place in corrected:
                adjusted[place] = _adjusted(
                    comparisons[place], None, family=len(tested), reason=code("after_the_primary")
                )
    return tuple(adjusted)


def _is_primary(comparison: Comparison, measure: str) -> bool:
    return comparison.category is None and comparison.metric == measure


def _p_raw(comparison: Comparison) -> float | None:
    return None if comparison.test is None else comparison.test.p_raw


def _is_significant(p: float | None) -> bool:
    return p is not None and p <= ALPHA


def _adjusted(comparison: Comparison, p: float | None, *, family: int, reason: Code | None = None) -> Comparison:
    test = comparison.test
    assert test is not None, "every comparison of this edition has a test"
    return comparison.revised(test=test.revised(p_holm=p, family_size=family, null_reason=reason or test.null_reason))


def conclude(comparison: Comparison, control: Comparison | None, circumstances: Circumstances) -> Comparison:
    """The comparison with its word and the reason for it.

    Args:
        comparison: after `with_family`.
        control: the same items, the arm before against a change that means nothing; None where there is none.
        circumstances: what else decides.
    """
    conclusion, reason = next(_words(comparison, control, circumstances))
    screened = circumstances.screened
    if screened is not None and conclusion not in ("not_informative", "not_testable"):
        conclusion, reason = "inconclusive", code("said_but", said=reason, but=screened)
    return comparison.revised(conclusion=conclusion, conclusion_reason=reason)


def _words(
    comparison: Comparison, control: Comparison | None, circumstances: Circumstances
) -> Iterator[tuple[Conclusion, Said]]:
    """The words that fit, the one that stands first; whatever comes after it is not asked."""
    test, opposite = comparison.test, comparison.opposite
    assert test is not None and opposite is not None, "every comparison of this edition has both"
    if circumstances.silent is not None:
        yield "not_informative", circumstances.silent
    if comparison.n < ITEMS_FOR_A_CLAIM:
        yield "not_informative", code("too_few_for_a_claim", items=comparison.n, needs=ITEMS_FOR_A_CLAIM)
    if circumstances.noisy is not None:
        yield "inconclusive", circumstances.noisy
    untested = test.null_reason or code("no_test")
    if test.p_raw is not None and test.p_holm is None:
        yield "inconclusive", untested
    yield from _moved_words(comparison, test, opposite, control, circumstances)
    within = _within(comparison, circumstances.margin)
    if within is not None:
        yield "unchanged", within
    if test.p_holm is None:
        yield "not_testable", untested
    else:
        yield "inconclusive", _not_shown(comparison, test.p_holm)


def _moved_words(
    comparison: Comparison,
    test: Test,
    opposite: ShareChange,
    control: Comparison | None,
    circumstances: Circumstances,
) -> Iterator[tuple[Conclusion, Said]]:
    """The words for a share that rose or fell."""
    has_moved = _is_significant(test.p_holm)
    opposite_rose = _is_significant(opposite.p) and opposite.entered > opposite.left
    if has_moved and test.c > test.b:
        yield "worse", _flagged_moved(comparison)
    if has_moved and opposite_rose:
        yield "turned_over", together((_flagged_moved(comparison), _opposite_moved(comparison)))
    if has_moved:
        yield _praised(comparison, control, circumstances)
    if opposite_rose:
        yield "opposite_more_often", _opposite_moved(comparison)


def _praised(
    comparison: Comparison, control: Comparison | None, circumstances: Circumstances
) -> tuple[Conclusion, Said]:
    """`better`, or why a share that fell is not called so."""
    moved = _flagged_moved(comparison)
    against = next(_against(comparison, control, circumstances), None)
    if against is not None:
        return "inconclusive", code("said_but", said=moved, but=against)
    tries = circumstances.tries
    return "better", moved if tries.seeds <= 1 else together((moved, tries.said))


def _against(comparison: Comparison, control: Comparison | None, circumstances: Circumstances) -> Iterator[Code]:
    """What keeps a share that fell from being called better."""
    opposite, test = comparison.opposite, comparison.test
    assert opposite is not None and test is not None and test.p_holm is not None
    margin = circumstances.margin
    high = 1.0 if opposite.ci is None else opposite.ci.high
    if high > margin:
        yield code("opposite_may_have_risen", high=100 * high, margin=100 * margin)
    if circumstances.confounded:
        yield code("guards_show_lost_capability")
    if circumstances.unguarded is not None:
        yield circumstances.unguarded
    if control is not None and control.test is not None and _fell(control.test):
        p = control.test.p_raw
        if control.after == "placebo":
            yield code("adapter_at_random_lowers_it_too", p=p)
        else:
            yield code("scored_again_lowers_it_too", p=p)
    if circumstances.reserved is not None:
        yield circumstances.reserved
    seeds = circumstances.tries.seeds
    adjusted = min(1.0, test.p_holm * seeds)
    if seeds > 1 and adjusted > ALPHA:
        because = code("p_times_seeds", p=test.p_holm, seeds=seeds, adjusted=adjusted)
        yield code("best_of_seeds", tries=circumstances.tries.said, because=because)


def _fell(test: Test) -> bool:
    return _is_significant(test.p_raw) and test.b > test.c


def _within(comparison: Comparison, margin: float) -> Code | None:
    """That both shares changed by less than the margin, where their intervals show it."""
    interval = comparison.net_change_interval
    opposite = None if comparison.opposite is None else comparison.opposite.ci
    if interval is None or opposite is None:
        return None
    if not all(-margin < end < margin for end in (interval.low, interval.high, opposite.low, opposite.high)):
        return None
    return code(
        "within_the_margin",
        margin=100 * margin,
        low=100 * interval.low,
        high=100 * interval.high,
        opposite_low=100 * opposite.low,
        opposite_high=100 * opposite.high,
    )


def _flagged_moved(comparison: Comparison) -> Code:
    test = comparison.test
    assert test is not None and test.p_holm is not None
    return code(
        "flagged_moved",
        before=comparison.flagged,
        after=comparison.flagged + test.c - test.b,
        items=comparison.n,
        left=test.b,
        entered=test.c,
        p=test.p_holm,
    )


def _opposite_moved(comparison: Comparison) -> Code:
    opposite = comparison.opposite
    assert opposite is not None and opposite.p is not None
    before = sum(comparison.transition_matrix["inverted"].values())
    after = before + opposite.entered - opposite.left
    return code("opposite_moved", before=before, after=after, items=comparison.n, p=opposite.p)


def _not_shown(comparison: Comparison, p: float) -> Code:
    interval = comparison.net_change_interval
    assert interval is not None and comparison.net_change is not None, "what can be tested has an interval"
    return code(
        "not_shown",
        change=100 * comparison.net_change,
        low=100 * interval.low,
        high=100 * interval.high,
        p=p,
        detectable=100 * detectable(interval),
    )


def detectable(interval: Interval) -> float:
    """The change that an interval of this width would show in four of five cases."""
    z = normal_quantile(interval.level)
    return (interval.high - interval.low) / 2 * (z + normal_quantile(2 * _POWER - 1)) / z
