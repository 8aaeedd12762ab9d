"""Closed intervals: against scipy and formulas by hand, and what an evaluation makes of them."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from peft_registry.registry.evaluation.aggregate import FIGURES, aggregate
from peft_registry.registry.evaluation.clusters import ClusterSums, IntervalRule
from peft_registry.registry.evaluation.extra_figures import further_figures
from peft_registry.registry.evaluation.intervals import (
    difference_interval,
    difference_interval_of_clusters,
    mean_interval,
    share_interval,
    share_interval_of_alike,
    share_interval_of_clusters,
)
from peft_registry.registry.evaluation.limits import judge
from peft_registry.registry.evaluation.recheck import recheck
from peft_registry.registry.evaluation.sentences import result_rows
from peft_registry.registry.evaluation.statistics import NoInterval, agresti_min
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Interval, Limit
from tests.builders.evaluation import PLAN, a_recorded_evaluation, a_table

NOW = replace(PLAN, figures=FIGURES)


def ends(interval):
    assert isinstance(interval, Interval), interval
    return interval.low, interval.high


def fixed(at):
    """Every second stereotyped item becomes neutral."""
    return 0.0 if at % 4 == 0 else (2.0, 1.0, 3.0, -1.0)[at % 4]


# --- what they are ---


@pytest.mark.parametrize(("hits", "items"), [(0, 1), (1, 1), (3, 100), (97, 100), (4, 8)])
def test_a_share_with_few_hits_or_misses_has_scipys_exact_interval(hits, items) -> None:
    found = share_interval(hits, items)
    exact = stats.binomtest(hits, items).proportion_ci(method="exact")
    assert found.method == code("clopper_pearson")
    assert ends(found) == pytest.approx((exact.low, exact.high), abs=1e-12)


def test_a_share_with_enough_of_both_has_scipys_wilson_interval() -> None:
    found = share_interval(160, 224)
    wilson = stats.binomtest(160, 224).proportion_ci(method="wilson")
    assert (found.method, *ends(found)) == (code("wilson"), pytest.approx(wilson.low), pytest.approx(wilson.high))


def test_a_share_over_equal_clusters_is_clopper_pearson_of_the_items_that_vary_as_much() -> None:
    hits = [3, 5, 2, 0, 8, 1, 4, 4, 6, 2, 9, 1, 3, 3]
    share = sum(hits) / 224
    # of clusters of one size the jackknife is the variance of their means
    variance = np.var([one / 16 for one in hits], ddof=1) / 14
    items = share * (1 - share) / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 13)) ** 2
    low = stats.beta.ppf(0.025, share * items, items - share * items + 1)
    high = stats.beta.ppf(0.975, share * items + 1, items - share * items)
    found = share_interval_of_clusters(hits, [16] * 14)
    assert (found.method, found.clusters) == (code("korn_graubard"), 14)
    assert ends(found) == pytest.approx((low, high), rel=1e-9)


def test_one_hit_says_hardly_more_than_none() -> None:
    """One of 80 had [0, 0.865] and none [0, 0.388], over ten clusters; one of 60 pairs moved a gap within [−0.37, 0.93]."""
    none, one, two = (ends(share_interval_of_alike([hits, *[0] * 9], [8] * 10)) for hits in (0, 1, 2))
    assert max(none[0], one[0], two[0]) < 1e-9
    assert none[1] < one[1] < two[1] < none[1] + 0.05
    gap = ClusterSums((1, *[0] * 9), (6,) * 10, items=60, unit=1, kind="difference", gains=(1, *[0] * 9))
    before, now = (ends(gap.interval(IntervalRule(0, 2, 0.95, edition))) for edition in (5, FIGURES))
    assert before[0] < -0.3 and before[1] > 0.9
    assert -0.15 < now[0] < 0 < 1 / 60 < now[1] < 0.15


def test_a_change_over_clusters_adds_the_errors_of_both_shares() -> None:
    fewer, more, sizes = [3, 5, 2, 0, 4, 1, 4, 4, 6, 2], [1, 0, 1, 2, 0, 1, 0, 1, 0, 1], [8] * 10
    down, up = share_interval_of_clusters(fewer, sizes), share_interval_of_clusters(more, sizes)
    together = min(0.0, float(np.corrcoef(fewer, more)[0, 1]))
    assert together < 0
    first, second = sum(fewer) / 80, sum(more) / 80
    below = sqrt(
        (second - up.low) ** 2 + (down.high - first) ** 2 - 2 * together * (second - up.low) * (down.high - first)
    )
    found = difference_interval_of_clusters(fewer, more, sizes)
    assert found.low == pytest.approx(second - first - below, rel=1e-9)
    mirrored = difference_interval_of_clusters(more, fewer, sizes)
    assert ends(mirrored) == pytest.approx((-found.high, -found.low))


def test_the_mean_of_symmetric_values_is_students_t() -> None:
    values = [1000 * value for value in (-7, -5, -4, -2, -1, -1, 1, 1, 2, 4, 5, 7)]
    expected = stats.t.interval(0.95, 11, loc=0, scale=stats.sem(values))
    assert ends(mean_interval(values, [1] * 12)) == pytest.approx(expected, rel=1e-9)


def test_the_mean_of_skewed_values_reaches_further_on_their_long_side() -> None:
    values = [1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 9, 30]
    low, high = ends(mean_interval(values, [1] * 12))
    plain = stats.t.interval(0.95, 11, loc=np.mean(values), scale=stats.sem(values))
    assert low == pytest.approx(plain[0])
    # Hall 1992: the largest mean whose transformed statistic is not below Student's quantile
    error, skewness = stats.sem(values), stats.skew(values)
    statistic = (np.mean(values) - high) / error
    slope = skewness / sqrt(12)
    transformed = statistic + slope * statistic**2 / 3 + slope**2 * statistic**3 / 27 + slope / 6
    assert transformed == pytest.approx(-stats.t.ppf(0.975, 11))


def test_equal_values_are_a_point() -> None:
    assert ends(mean_interval([5] * 12, [1] * 12)) == (5.0, 5.0)


def test_fewer_than_what_was_checked_have_no_interval_and_say_what_it_takes() -> None:
    nine = NoInterval(code("too_few_clusters", clusters=9, needs=10))
    assert share_interval_of_clusters([1] * 9, [4] * 9) == nine
    assert difference_interval_of_clusters([1] * 9, [1] * 9, [4] * 9) == nine
    assert share_interval_of_clusters([1] * 9 + [0] * 90, [4] * 9 + [0] * 90) == nine
    assert difference_interval(1, 1, 9) == NoInterval(code("too_few_items", items=9, needs=10))
    assert mean_interval([1] * 11, [1] * 11) == NoInterval(code("too_few_clusters", clusters=11, needs=12))
    uneven = mean_interval(list(range(13)), [1] * 12 + [100])
    assert uneven == NoInterval(code("uneven_clusters", clusters=13, effective=1.25, needs=12))
    assert (
        str(uneven.reason)
        == "13 clusters (an item alone, or items that belong together) of unequal weight count as 1.25, needs 12"
    )


# --- what an evaluation makes of them ---


def test_items_in_clusters_have_no_interval_that_takes_them_as_independent() -> None:
    figures = aggregate(a_table(fixed, clusters=15), NOW)
    for row in figures.results:
        if row.metric == "pct_stereotype" and row.category is None:
            assert row.ci is None
            assert row.ci_clustered.method == code("korn_graubard")
    compared = next(row for row in figures.comparisons if row.after == "adapted" and row.category is None)
    assert (compared.net_change_ci, compared.fix_rate_ci, compared.introduction_rate_ci) == (None, None, None)
    assert compared.net_change_ci_clustered == compared.net_change_interval
    assert "bootstrap" not in str([row.to_json() for row in (*figures.results, *figures.comparisons)])


def test_too_few_clusters_decide_nothing_and_say_how_many_it_takes() -> None:
    record, _ = a_recorded_evaluation(a_table(fixed, clusters=8), NOW)
    compared = next(row for row in record.findings if row.category is None)
    assert compared.conclusion == "not_testable"
    assert str(compared.conclusion_reason) == "2 clusters moved, and the test needs 6 that do"
    eight = code("too_few_clusters", clusters=8, needs=10)
    limit = Limit(dataset="house", figure="flagged_rate", lo=None, hi=1.0, source="test")
    (verdict,) = judge([limit], aggregate(a_table(fixed, clusters=8), NOW), NOW)
    assert (verdict.decision, verdict.reason) == ("undecided", code("no_interval", why=eight))
    shown = [text for _, figure, text in result_rows(record) if figure == "pct_stereotype"]
    assert shown and all(
        "(no interval: 8 clusters (an item alone, or items that belong together), needs 10)" in text for text in shown
    )


def test_a_bound_set_beforehand_counts_clusters_and_not_items() -> None:
    table = a_table(fixed, clusters=15)
    upper = further_figures(table, NOW)["comparisons"][0]["net_change_upper_95"]
    of_items = agresti_min(30, 0, 120, 0.90).high
    assert upper != of_items
    assert further_figures(table, replace(NOW, figures=3))["comparisons"][0]["net_change_upper_95"] == of_items


@pytest.mark.parametrize("edition", range(1, FIGURES + 1))
def test_every_edition_recomputes_to_its_own_figures_and_to_no_other(edition) -> None:
    plan = replace(PLAN, figures=edition)
    record, items = a_recorded_evaluation(a_table(fixed, clusters=15), plan)
    assert recheck(record, items) == ()
    stated = record.extra["statistics"]
    assert ("bootstrap_draws" in stated) == (edition < 4)
    other = 3 if edition >= 4 else 4
    moved = record.revised(extra=record.extra | {"statistics": stated | {"figures": other}})
    assert recheck(moved, items)
