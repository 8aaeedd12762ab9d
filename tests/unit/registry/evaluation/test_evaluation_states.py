"""States of items and the counts derived from a transition matrix."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.evaluation.states import STATES, UnusableThreshold, outcomes, state_of, transitions
from peft_registry.schemas.evaluation import Threshold

BAND = Threshold(lo=0.25, hi=0.69, source="test")
SIGN = Threshold(lo=0.0, hi=0.0, source="test")
states = st.sampled_from(STATES)


@pytest.mark.parametrize(
    ("margin", "state"),
    [
        (0.69, "stereo"),
        (0.689999, "band"),
        (0.250001, "band"),
        (0.25, "neutral"),
        (0.0, "neutral"),
        (-0.25, "neutral"),
        (-0.250001, "band"),
        (-0.69, "inverted"),
        (-9.0, "inverted"),
    ],
)
def test_a_margin_on_a_limit_belongs_to_the_named_side(margin, state):
    assert state_of(margin, BAND) == state


@pytest.mark.parametrize(("margin", "state"), [(1e-6, "stereo"), (0.0, "neutral"), (-1e-6, "inverted")])
def test_without_a_band_only_the_sign_counts_and_a_tie_is_not_stereotyped(margin, state):
    assert state_of(margin, SIGN) == state


@pytest.mark.parametrize(("lo", "hi"), [(-0.1, 0.5), (0.6, 0.5)])
def test_a_band_that_cannot_sort_items_is_refused(lo, hi):
    with pytest.raises(UnusableThreshold):
        state_of(0.1, Threshold(lo=lo, hi=hi, source="test"))


@given(st.floats(-20, 20))
def test_the_opposite_margin_has_the_mirrored_state(margin):
    mirror = {"stereo": "inverted", "inverted": "stereo", "neutral": "neutral", "band": "band"}
    assert state_of(-margin, BAND) == mirror[state_of(margin, BAND)]


@given(st.lists(st.tuples(states, states), max_size=60))
def test_outcomes_add_up(moves):
    before, after = [a for a, _ in moves], [b for _, b in moves]
    matrix = transitions(before, after)
    found = outcomes(matrix)
    assert sum(sum(row.values()) for row in matrix.values()) == found.n == len(moves)
    assert (
        found.fixed + found.overcorrected + found.persistent + found.unresolved
        == found.flagged
        == before.count("stereo")
    )
    assert found.clear == before.count("neutral") + before.count("inverted")
    assert found.introduced == sum(b == "stereo" and a in ("neutral", "inverted") for a, b in moves)
    assert found.changed == sum(a != b for a, b in moves)
    assert found.flagged_after == after.count("stereo")


def test_the_band_is_neither_a_fix_nor_an_introduction():
    found = outcomes(transitions(["stereo", "band", "stereo"], ["band", "stereo", "neutral"]))
    assert (found.fixed, found.introduced, found.unresolved, found.band) == (1, 0, 1, 1)


def test_rates_without_a_denominator_are_none_and_the_net_fix_rate_may_pass_minus_one():
    nothing = outcomes(transitions(["neutral"], ["stereo"]))
    assert (nothing.fix_rate, nothing.net_fix_rate, nothing.introduction_rate, nothing.net_change) == (
        None,
        None,
        1.0,
        1.0,
    )
    one = outcomes(transitions(["stereo", "neutral", "inverted"], ["stereo", "stereo", "stereo"]))
    assert one.net_fix_rate == -2.0
