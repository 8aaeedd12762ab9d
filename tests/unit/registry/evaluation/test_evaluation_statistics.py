"""Closed forms and the bootstrap against scipy, published figures and their laws."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from peft_registry.registry.evaluation.statistics import (
    NoInterval,
    agresti_min,
    cluster_bootstrap,
    holm,
    mcnemar,
    mcnemar_corrected,
    mcnemar_exact,
    wilson,
)
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Interval

counts = st.integers(0, 60)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys_wilson(k_of_n):
    k, n = k_of_n
    ours = wilson(k, n)
    theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert isinstance(ours, Interval)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 5, 240])
def test_wilson_touches_its_ends_exactly(n):
    assert wilson(0, n).low == 0.0
    assert wilson(n, n).high == 1.0
    assert wilson(0, n).high > 0.0


def test_wilson_of_nothing_is_a_reason():
    assert wilson(0, 0) == NoInterval(code("no_items"))


@pytest.mark.parametrize(("n", "points"), [(50, 13.4), (100, 9.6), (500, 4.4), (1000, 3.1)])
def test_wilson_half_widths_as_published(n, points):
    found = wilson(n // 2, n)
    assert round((found.high - found.low) * 50, 1) == points


@given(counts, counts)
def test_the_exact_mcnemar_is_scipys_binomial_test(b, c):
    assume(b + c)
    assert mcnemar_exact(b, c) == pytest.approx(stats.binomtest(b, b + c, 0.5).pvalue, rel=1e-9)


@given(counts, counts)
def test_the_corrected_mcnemar_is_scipys_chi_square(b, c):
    assume(b + c)
    expected = stats.chi2.sf(max(0, abs(b - c) - 1) ** 2 / (b + c), df=1)
    assert mcnemar_corrected(b, c) == pytest.approx(expected, rel=1e-9)


@given(counts, counts)
def test_mcnemar_does_not_care_which_side_is_which(b, c):
    assert mcnemar(b, c) == mcnemar(c, b)


def test_mcnemar_says_when_nothing_could_be_found():
    assert mcnemar(5, 0).p is None
    assert mcnemar(5, 0).null_reason == code("not_testable", discordant=5, needs=6)
    assert mcnemar(6, 0).p == pytest.approx(2 / 64)
    assert (mcnemar(24, 0).name, mcnemar(25, 0).name) == (code("mcnemar_exact"), code("mcnemar_chi2_corrected"))


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_never_below_the_raw_value_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(raw <= one <= 1 for raw, one in zip(p_values, adjusted, strict=True))
    by_raw = [adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]
    assert by_raw == sorted(by_raw)


def test_holm_by_hand():
    # 3 × 0.01, then max(0.03, 2 × 0.04), then max(0.08, 0.03 → rank 2): sorted 0.01, 0.03, 0.04
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))


def test_agresti_min_by_hand():
    # b 12, c 3, n 100: d = −9/102; SE = sqrt(16 − 81/102)/102
    found = agresti_min(12, 3, 100)
    centre, error = -9 / 102, (16 - 81 / 102) ** 0.5 / 102
    z = stats.norm.ppf(0.975)
    assert (found.low, found.high) == pytest.approx((centre - z * error, centre + z * error))


@given(counts, counts, st.integers(0, 200))
def test_agresti_min_is_mirrored_when_the_sides_are_swapped(b, c, rest):
    if b + c + rest == 0:
        return
    one, other = agresti_min(b, c, b + c + rest), agresti_min(c, b, b + c + rest)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_agresti_min_does_not_collapse_when_nothing_moved():
    found = agresti_min(0, 0, 224)
    assert found.low < 0 < found.high


def test_the_bootstrap_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(3).integers(-500, 900, size=120)
    ours = cluster_bootstrap(values.tolist(), [1] * 120, seed=5, draws=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert isinstance(ours, Interval)
    spread = values.std() / 120**0.5
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.05 * spread)
    assert ours.clusters == 120


def test_the_bootstrap_resamples_clusters_and_not_items():
    # ten templates of twenty equal items each: the mean is as uncertain as ten numbers are, not two hundred
    per_cluster = [0, 20] * 5
    clustered = cluster_bootstrap(per_cluster, [20] * 10, seed=1)
    by_item = cluster_bootstrap([0] * 100 + [1] * 100, [1] * 200, seed=1)
    assert clustered.high - clustered.low > 3 * (by_item.high - by_item.low)


def test_the_bootstrap_is_the_same_every_year():
    # PCG64's raw stream is fixed by numpy's compatibility policy; so are these figures
    found = cluster_bootstrap([3, -1, 4, 1, -5, 9, 2, 6, -5, 3, 5, 8], [1] * 12, seed=7, draws=2000)
    # (a plain loop over the raw numbers gave them)
    assert (found.low, found.high) == (0.0, 4.833333333333333)


@pytest.mark.parametrize("chunk", [1, 12, 100])
def test_working_in_pieces_changes_nothing(monkeypatch, chunk):
    arguments = ([3, -1, 4, 1, -5, 9, 2, 6, -5, 3, 5, 8], [1] * 12)
    whole = cluster_bootstrap(*arguments, seed=7, draws=50)
    monkeypatch.setattr("peft_registry.registry.evaluation.statistics._INDICES_AT_ONCE", chunk)
    assert cluster_bootstrap(*arguments, seed=7, draws=50) == whole


def test_few_clusters_or_empty_draws_give_a_reason_instead():
    nine = NoInterval(code("too_few_clusters", clusters=9, needs=10))
    assert cluster_bootstrap([1] * 9, [1] * 9, seed=1) == nine
    assert cluster_bootstrap([1] * 9 + [0] * 90, [1] * 9 + [0] * 90, seed=1) == nine


@settings(max_examples=25)
@given(st.lists(st.integers(-1000, 1000), min_size=10, max_size=40), st.integers(0, 2**32))
def test_the_bootstrap_stays_between_the_smallest_and_the_largest_cluster(values, seed):
    found = cluster_bootstrap(values, [1] * len(values), seed=seed, draws=100)
    assert min(values) <= found.low <= found.high <= max(values)
