"""A figure over several trainings of the same items is no surer than the items, nor than the trainings agree."""

import numpy as np
import pytest
from scipy import stats

from peft_registry.registry.evaluation.over_seeds import (
    change_over_seeds,
    mean_over_seeds,
    ratio_over_rows_and_seeds,
    share_over_seeds,
)
from peft_registry.registry.evaluation.statistics import NoInterval
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import Interval


def ends(interval: Interval | NoInterval) -> tuple[float, float]:
    assert isinstance(interval, Interval), interval
    return interval.low, interval.high


def share(*counts: tuple[int, int]) -> tuple[float, float]:
    found = share_over_seeds(counts)
    assert found is not None
    return ends(found.interval)


def test_the_range_of_two_seeds_is_no_interval() -> None:
    """Two draws have the mean of all draws between them every other time."""
    found = share_over_seeds([(3, 10), (5, 10)])
    assert found is not None
    assert (found.value, found.lowest, found.highest) == (0.4, 0.3, 0.5)
    for interval in (
        found.interval,
        mean_over_seeds([0.3, 0.5]),
        ratio_over_rows_and_seeds([[1] * 60, [2] * 60], [[3] * 60, [3] * 60]),
    ):
        assert interval == NoInterval(code("too_few_seeds", seeds=2, needs=3))


def test_the_interval_of_seeds_that_agree_is_that_of_the_items_of_one() -> None:
    # Clopper and Pearson's ends for 3 of 10, fewer by the z of 95 % over the t of nine degrees of freedom; not of 9 of 30
    items = 10 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 9)) ** 2
    low = stats.beta.ppf(0.025, 0.3 * items, 0.7 * items + 1)
    high = stats.beta.ppf(0.975, 0.3 * items + 1, 0.7 * items)
    assert share(*[(3, 10)] * 3) == pytest.approx((low, high))
    assert share(*[(3, 10)] * 30) == pytest.approx((low, high))


def test_seeds_that_are_far_apart_widen_it() -> None:
    low, high = share((0, 10), (0, 10), (9, 10))
    assert low < 0.01
    assert high > 0.9


def test_a_share_that_every_seed_has_whole_or_not_at_all_is_as_sure_as_its_items() -> None:
    low, high = share(*[(0, 10)] * 3)
    assert low == 0
    assert 0.3 < high < 0.5
    assert share(*[(10, 10)] * 3) == pytest.approx((1 - high, 1))


def test_the_mean_over_seeds_has_students_interval() -> None:
    half = stats.t.ppf(0.975, 2) * 10 / 3**0.5
    assert ends(mean_over_seeds([30, 40, 50])) == pytest.approx((40 - half, 40 + half))


def test_rows_and_seeds_both_widen_a_ratio() -> None:
    rows = [place % 3 for place in range(60)]  # of variance 2/3 about 1
    only_rows = ends(ratio_over_rows_and_seeds([rows] * 3, [[1] * 60] * 3))
    error = (2 / 3 / 59) ** 0.5
    assert only_rows == pytest.approx((1 - stats.t.ppf(0.975, 59) * error, 1 + stats.t.ppf(0.975, 59) * error))
    only_seeds = ends(ratio_over_rows_and_seeds([[1] * 60, [2] * 60, [3] * 60], [[1] * 60] * 3))
    half = stats.t.ppf(0.975, 2) / 3**0.5
    assert only_seeds == pytest.approx((2 - half, 2 + half))


def test_a_ratio_over_few_rows_has_none() -> None:
    assert ratio_over_rows_and_seeds([[1] * 8] * 3, [[1] * 8] * 3) == NoInterval(code("too_few_rows", rows=8, needs=50))
    assert isinstance(ratio_over_rows_and_seeds([[1] * 50] * 3, [[1] * 50] * 3), Interval)


def test_a_share_of_few_items_has_none() -> None:
    found = share_over_seeds([(3, 9)] * 3)
    assert found is not None
    assert found.interval == NoInterval(code("too_few_items", items=9, needs=10))


def test_where_seeds_differ_most_an_interval_is_as_unsure_as_their_number() -> None:
    """Satterthwaite's number of so few seeds is often far too large."""
    low, high = ends(
        ratio_over_rows_and_seeds([[2 * seed + row % 2 * 3 for row in range(60)] for seed in (0, 1, 2)], [[1] * 60] * 3)
    )
    rows, seeds = 2.25 / 59, 4 / 3
    assert high - low == pytest.approx(2 * stats.t.ppf(0.975, 2) * (rows + seeds) ** 0.5)


def test_nothing_asked_has_no_share() -> None:
    assert share_over_seeds([]) is None
    assert share_over_seeds([(0, 0)]) is None


def test_answers_that_did_not_change_are_as_sure_as_the_rows_and_not_certain() -> None:
    # nobody of 120 changed: the exact end of such a share, at the Student's t of 119 degrees of freedom
    rows = 120 * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 119)) ** 2
    most = stats.beta.ppf(0.975, 1, rows)
    assert ends(change_over_seeds([[0] * 120] * 5, 1)) == pytest.approx((-most, most))
    one_better = [[1_000_000] + [0] * 119] * 5
    low, high = ends(change_over_seeds(one_better, 1_000_000))
    assert low == pytest.approx(-most)
    assert high > most


def test_figures_that_are_no_answers_have_no_interval_where_few_rows_changed() -> None:
    halves = [[500_000] * 5 + [0] * 115] * 3
    assert change_over_seeds(halves, 1_000_000) == NoInterval(code("too_few_clusters", clusters=5, needs=6))
    assert isinstance(change_over_seeds([[500_000] * 6 + [0] * 114] * 3, 1_000_000), Interval)


@pytest.mark.parametrize(("up", "down", "of_rows"), [(0.001, 0.001, 1.0), (0.02, 0.001, 2.0), (0.3, 0.1, 1.0)])
def test_the_interval_of_a_change_covers_it_in_most_draws_of_rows_and_seeds(
    up: float, down: float, of_rows: float
) -> None:
    random = np.random.default_rng(7)

    def drawn(rows: int, seeds: int) -> np.ndarray:
        shift = random.normal(0, of_rows, rows) + random.normal(0, 0.2, (seeds, 1))
        better, worse = (1 / (1 + np.exp(-(np.log(p / (1 - p)) + sign * shift))) for p, sign in ((up, 1), (down, -1)))
        chosen = random.random((seeds, rows)) * np.maximum(1, better + worse)
        return np.where(chosen < better, 1, np.where(chosen < better + worse, -1, 0))

    truth = drawn(20_000, 200).mean()
    intervals = [ends(change_over_seeds(drawn(120, 5).tolist(), 1)) for _ in range(100)]
    assert sum(low <= truth <= high for low, high in intervals) >= 93
