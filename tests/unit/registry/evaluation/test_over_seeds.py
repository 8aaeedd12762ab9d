"""A share over several trainings of the same items is no surer than the items of one of them, nor than the trainings agree."""

import pytest

from peft_registry.registry.evaluation.over_seeds import share_over_seeds


def test_the_interval_is_that_of_the_items_of_one_training() -> None:
    found = share_over_seeds([(3, 10), (3, 10), (3, 10)])
    assert found is not None
    # Wilson 95 % of 3 of 10, from Wilson's own formula by hand: centre 0.3556, half 0.2479
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.1078, 0.6032), abs=1e-4)


def test_trainings_that_are_far_apart_widen_it() -> None:
    found = share_over_seeds([(0, 10), (9, 10)])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.0, 0.9))
    assert (found.lowest, found.highest) == (0.0, 0.9)


def test_nothing_asked_has_no_share() -> None:
    assert share_over_seeds([]) is None
    assert share_over_seeds([(0, 0)]) is None
