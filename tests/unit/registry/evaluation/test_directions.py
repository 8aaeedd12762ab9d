"""Words for what changed: nulls are not called anything, harm always is, and the opposite of a preference is not praise."""

import math
import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import binomtest

from peft_registry.registry.evaluation.aggregate import FIGURES, StatisticsPlan, aggregate
from peft_registry.registry.evaluation.items import Item, pair_item
from peft_registry.registry.evaluation.judged_again import words_by_newest_edition
from peft_registry.registry.evaluation.sign_flips import (
    DRAWS,
    ClusterChanges,
    change_interval,
    clusters_needed,
    highest_change,
    sign_flip_p,
)
from peft_registry.registry.evaluation.statistics import NoInterval
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import CODES_FROM, ArmName, Comparison
from tests.builders.evaluation import BAND, a_recorded_evaluation

PLAN = StatisticsPlan(thresholds={"house.margin": BAND}, figures=FIGURES)
PAIRS = 502  # the half of CrowS-Pairs that is held out: every item is its own cluster
TEMPLATES = np.repeat(np.arange(10), 16)  # the half of `house` that shipped first
LEVEL = 0.05


def compared(
    before: Sequence[float], after: Sequence[float], clusters: Sequence[int], plan: StatisticsPlan = PLAN
) -> Comparison:
    arms: tuple[tuple[ArmName, Sequence[float]], ...] = (("base", before), ("adapted", after))
    rows = [_item(arm, at, margin, clusters[at]) for arm, margins in arms for at, margin in enumerate(margins)]
    return aggregate(rows, plan).comparisons[0]


def _item(arm: ArmName, at: int, margin: float, cluster: int) -> Item:
    return pair_item(
        dataset="house",
        id=f"{at:04}",
        category=None,
        cluster=f"t{cluster:04}",
        arm=arm,
        ll=(-20.0 + float(margin), -20.0),
        tokens=(6, 6),
        threshold=BAND,
    )


def margins(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4.5, count)


# --- what was said, and was false ---


@pytest.mark.parametrize("noise", [1.5, 3.0])
def test_preferences_that_are_reshuffled_are_called_nothing(noise: float) -> None:
    """A test of neutral → flagged against flagged → neutral called 42 to 48 of 100 such nulls worse."""
    words: Counter[str] = Counter()
    for seed in range(40):
        random = np.random.default_rng(seed)
        true = random.normal(0, 4.5, PAIRS)
        arms = (true + random.normal(0, noise, PAIRS) for _ in range(2))
        words[compared(*arms, range(PAIRS)).conclusion] += 1
    assert words["worse"] + words["better"] + words["turned_over"] <= 5, words  # 2 of 40 expected at most


@pytest.mark.parametrize("nats", [1.0, 2.0, 3.0, 5.0])
def test_margins_pushed_towards_the_stereotype_are_worse(nats: float) -> None:
    """All of them were `inconclusive` over ten templates, because nothing was fixed."""
    before = margins(160)
    assert compared(before, before + nats, TEMPLATES).conclusion == "worse"


def test_harm_alone_is_worse_and_repairing_less_of_it_stays_so() -> None:
    before = margins(160)
    clear = np.flatnonzero(before < -1)[:60]
    flagged = np.flatnonzero(before > 1)
    for repaired in (10, 3, 1, 0):
        after = before.copy()
        after[clear] = 2.0
        after[flagged[:repaired]] = 0.0
        assert compared(before, after, TEMPLATES).conclusion == "worse"


@pytest.mark.parametrize("count", [160, PAIRS])
def test_a_model_without_preferences_is_better(count: int) -> None:
    clusters = TEMPLATES if count == 160 else range(count)
    for spread in (0.0, 0.1):
        after = np.random.default_rng(1).normal(0, spread, count)
        assert compared(margins(count), after, clusters).conclusion == "better"


@pytest.mark.parametrize("nats", [1.0, 3.0])
@pytest.mark.parametrize("count", [160, PAIRS])
def test_a_push_that_deepens_the_opposite_is_turned_over(count: int, nats: float) -> None:
    clusters = TEMPLATES if count == 160 else range(count)
    assert compared(margins(count), margins(count) - nats, clusters).conclusion == "turned_over"


def test_a_screen_gives_no_verdict_and_says_what_it_would_have_been() -> None:
    screen = replace(PLAN, screens={"house": code("only_a_screen", items=160)})
    before = margins(160)
    for after in (before + 3, np.zeros(160)):
        assert compared(before, after, TEMPLATES).conclusion in ("worse", "better")
        screened = compared(before, after, TEMPLATES, screen)
        assert screened.conclusion == "inconclusive"
        assert "p " in str(screened.conclusion_reason) and "no verdict" in str(screened.conclusion_reason)
    assert compared(before, before, TEMPLATES, screen).conclusion == "not_testable"


NO_VERDICT = {
    "one cluster": (margins(160), margins(160) + 3, [0] * 160, "not_testable"),
    "equal items": ([2.0] * 160, [0.0] * 160, [0] * 160, "not_testable"),
    "margins that are all 0": ([0.0] * 160, [0.0] * 160, range(160), "unchanged"),
    "two items": ([2.0, 2.0], [0.0, 0.0], range(2), "not_informative"),
}


@pytest.mark.parametrize("what", NO_VERDICT)
def test_what_cannot_be_tested_gets_no_verdict(what: str) -> None:
    before, after, clusters, word = NO_VERDICT[what]
    found = compared(before, after, clusters)
    assert (found.conclusion, found.test is not None and found.test.p_raw) == (word, None)


def test_what_is_not_significant_is_not_said_to_be_equal() -> None:
    before = margins(PAIRS)
    after = before.copy()
    after[np.flatnonzero(before > 1)[:8]] = 0.0
    after[np.flatnonzero(np.abs(before) < 0.2)[:9]] = 2.0
    undecided = compared(before, after, range(PAIRS))
    assert undecided.conclusion in ("unchanged", "inconclusive")
    assert "do not differ" not in str(undecided.conclusion_reason)


def test_one_that_changes_nothing_is_unchanged_where_so_many_items_show_it() -> None:
    assert compared(margins(PAIRS), margins(PAIRS), range(PAIRS)).conclusion == "unchanged"
    assert compared(margins(160), margins(160), TEMPLATES).conclusion == "not_testable"


def test_the_primary_endpoint_pays_for_no_category_and_one_suite_for_no_other() -> None:
    """Holm's correction was over the whole of an evaluation: each of nine categories, or a suite beside it, took from its level."""
    before = margins(PAIRS)
    after = before.copy()
    after[np.flatnonzero(before > 1)[:8]] = 0.0
    after[np.flatnonzero(before < -1)[:22]] = 2.0

    def rows(dataset: str, categories: int) -> list[Item]:
        arms: tuple[tuple[ArmName, Sequence[float]], ...] = (("base", before), ("adapted", after))
        items = [(at, _item(arm, at, margin, at)) for arm, values in arms for at, margin in enumerate(values)]
        return [replace(item, dataset=dataset, category=f"c{at % categories}") for at, item in items]

    def whole(*tables: list[Item]) -> dict[str, Comparison]:
        bands = {f"{table[0].dataset}.margin": BAND for table in tables}
        plan = StatisticsPlan(thresholds=bands, figures=FIGURES)
        found = aggregate([row for table in tables for row in table], plan).comparisons
        return {comparison.dataset: comparison for comparison in found if comparison.category is None}

    alone = whole(rows("first", 1))["first"]
    in_categories = whole(rows("first", 9))["first"]
    beside = whole(rows("first", 9), rows("second", 9))["first"]
    assert alone.test is not None and alone.test.p_raw is not None
    assert LEVEL / 9 < alone.test.p_raw <= LEVEL
    assert alone.test == in_categories.test == beside.test
    assert {one.conclusion for one in (alone, in_categories, beside)} == {"worse"}


# --- the order of the words ---


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.booleans())
def test_more_harm_makes_no_better_and_takes_no_worse_back(seed: int, harmed: int, clustered: bool) -> None:
    random = np.random.default_rng(seed)
    count = 160 if clustered else 200
    clusters = TEMPLATES if clustered else range(count)
    before = random.normal(0, 1.5, count)
    after = before + random.normal(random.normal(0, 1), 1.0, count)
    neutral = np.flatnonzero((np.abs(before) <= BAND.lo) & (np.abs(after) <= BAND.lo))
    worse = after.copy()
    worse[neutral[:harmed]] = 2.0 if random.integers(2) else -2.0
    first, second = (compared(before, arm, clusters).conclusion for arm in (after, worse))
    assert second != "better" or first == "better"
    if first == "worse" and not (worse < after).any():
        assert second == "worse"


# --- the test and its interval, against other computations ---


@pytest.mark.parametrize(("left", "entered"), [(3, 9), (28, 0), (60, 40), (251, 0), (0, 0)])
def test_over_independent_items_it_is_the_exact_binomial(left: int, entered: int) -> None:
    expected = binomtest(entered, left + entered).pvalue if left + entered else 1.0
    assert sign_flip_p([1] * entered + [-1] * left) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=10))
def test_p_is_that_of_all_signs(changes: list[int]) -> None:
    sums = [sum(np.multiply(changes, signs)) for signs in product((1, -1), repeat=len(changes))]
    ends = (np.mean([total >= sum(changes) for total in sums]), np.mean([total <= sum(changes) for total in sums]))
    assert sign_flip_p(changes) == pytest.approx(min(1.0, 2 * min(ends)), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 9), st.integers(1, 20)), min_size=6, max_size=11))
def test_the_interval_holds_the_changes_that_all_signs_do_not_reject(clusters: list[tuple[int, int]]) -> None:
    of = ClusterChanges(tuple(change for change, _ in clusters), tuple(items for _, items in clusters))
    interval = change_interval(of)
    assert not isinstance(interval, NoInterval)
    if of.moved < 6:
        return
    changes, items = np.array(of.changes, float), np.array(of.items, float)
    signs = np.array(list(product((1, -1), repeat=len(clusters))))

    def p_at(change: float) -> float:
        shifted = changes - change * items
        sums = signs @ shifted
        observed = shifted.sum()
        return float(2 * min(np.mean(sums >= observed - 1e-9), np.mean(sums <= observed + 1e-9)))

    for end, outside in ((interval.low, -1e-6), (interval.high, 1e-6)):
        assert p_at(end + outside) <= LEVEL + 1e-9
        assert p_at(end - outside) > LEVEL - 1e-9


def highest(changes: list[int], size: int) -> float:
    of = ClusterChanges(tuple(changes), (size,) * len(changes))
    interval = change_interval(of)
    assert not isinstance(interval, NoInterval)
    return highest_change(of.value, interval, sum(of.items))


def test_what_changed_nothing_is_shown_to_have_risen_by_no_more_than_what_changed_seven() -> None:
    """14 templates of 16 items, as 224 are: none changed, or four entered and three left, each of another template."""
    nothing = highest([0] * 14, 16)
    seven = highest([1] * 4 + [-1] * 3 + [0] * 7, 16)
    intervals = change_interval(ClusterChanges((1,) * 4 + (-1,) * 3 + (0,) * 7, (16,) * 14))
    assert not isinstance(intervals, NoInterval)
    assert intervals.high < nothing, "alone it would let the seven pass where none does not"
    assert nothing < seven
    # 56 independent items of 224: the exact end of none of them is 1 - 0.025^(1/56)
    assert nothing == pytest.approx(1 - 0.025 ** (1 / 56))
    assert highest([-1] * 14, 16) == pytest.approx(nothing), (
        "so few items show no less, also where every change is for the better"
    )


def test_more_items_that_entered_raise_how_far_it_may_have_risen() -> None:
    rises = [highest([1] * entered + [0] * (40 - entered), 16) for entered in range(41)]
    assert rises == sorted(rises)
    assert all(rise > entered / 640 for entered, rise in enumerate(rises))


@pytest.mark.parametrize(("alpha", "clusters"), [(0.05, 6), (0.05 / 9, 9)])
def test_so_many_clusters_have_to_move(alpha: float, clusters: int) -> None:
    assert clusters_needed(alpha) == clusters


@pytest.mark.parametrize(("clusters", "items"), [(10, 16), (40, 16), (PAIRS, 1)])
def test_the_interval_covers_and_is_not_wider_than_students_by_a_quarter(clusters: int, items: int) -> None:
    from scipy.stats import t

    random = np.random.default_rng(5)
    covered, ours, students = [], [], []
    for _ in range(120):
        chances = np.clip(random.normal(0.12, 0.05, clusters), 0, 1)
        changes = random.binomial(items, chances) - random.binomial(items, 0.05, clusters)
        interval = change_interval(ClusterChanges(tuple(map(int, changes)), (items,) * clusters))
        assert not isinstance(interval, NoInterval)
        covered.append(interval.low <= 0.07 <= interval.high)
        ours.append(interval.high - interval.low)
        students.append(2 * t.ppf(0.975, clusters - 1) * changes.std(ddof=1) / items / clusters**0.5)
    assert np.mean(covered) >= 0.9  # 93 of 100 nominally, two standard errors below
    assert np.median(ours) <= 1.25 * np.median(students)


def test_an_evaluation_of_before_is_judged_again_and_its_own_words_stay() -> None:
    random = np.random.default_rng(3)
    true = random.normal(0, 4.5, PAIRS)
    arms: tuple[tuple[ArmName, Sequence[float]], ...] = tuple(
        (arm, true + random.normal(0, 3.0, PAIRS)) for arm in ("base", "adapted")
    )
    table = [_item(arm, at, margin, at) for arm, margins in arms for at, margin in enumerate(margins)]
    record, items = a_recorded_evaluation(table, replace(PLAN, figures=CODES_FROM, seed=11))
    (before,) = record.comparisons
    assert before.conclusion in ("worse", "changed")
    (said,) = words_by_newest_edition(record, items)
    assert f"signed as `{before.conclusion}`" in said and "by the newest unchanged" in said
    newest, items = a_recorded_evaluation(table, replace(PLAN, seed=11))
    assert list(words_by_newest_edition(newest, items)) == []


def test_a_table_of_many_unequal_clusters_keeps_nobody_waiting():
    """200,000 rows in clusters of 1, 2, 3 … took half a minute a test, and a table has many tests."""
    changes = [size if size % 3 else -size for size in range(1, 632)]
    before = time.process_time()
    p = sign_flip_p(changes)
    assert time.process_time() - before < 3
    balanced = [size if size % 2 else -size for size in range(1, 632)]
    for signs, drawn in ((changes, p), (balanced, sign_flip_p(balanced))):
        of_normal = 2 * ndtr(-abs(sum(signs)) / math.sqrt(sum(size**2 for size in signs)))
        assert drawn == pytest.approx(of_normal, abs=4 * math.sqrt(of_normal / DRAWS) + 2 / DRAWS)


def test_a_table_of_many_clusters_fills_no_memory():
    """The random subsets of 5,000 of them have 50 MB of bits."""
    of = ClusterChanges((1,) * 200 + (0,) * 4800, (1,) * 5000)
    tracemalloc.start()
    change_interval(of)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 20 * 2**20
