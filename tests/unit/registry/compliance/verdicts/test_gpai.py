"""Compute figures against the examples of the Commission's guidelines (annex A.3), and the one-third band."""

import pytest

from peft_registry.registry.compliance.verdicts.gpai import ThirdRatio, dense_flop, one_third, one_third_ratio


@pytest.mark.parametrize(
    ("parameters", "tokens", "printed"),
    [
        pytest.param(3.8e9, 3.3e12, 7.5e22, id="A"),
        pytest.param(0.6e9, 36e12, 1.3e23, id="C"),
        pytest.param(1.54e9, 18e12, 1.66e23, id="D"),
        pytest.param(1.7e9, 36e12, 3.7e23, id="E"),
        pytest.param(2.5e9, 12e12, 1.8e23, id="F"),
        pytest.param(2.6e9, 61e9 * 164, 1.56e23, id="G: 61 B tokens over 164 epochs"),
    ],
)
def test_dense_compute_gives_the_guidelines_examples_in_two_figures(parameters, tokens, printed):
    assert dense_flop(parameters, tokens) == pytest.approx(printed, rel=0.01)


def test_the_band_is_thirty_percent_on_both_figures():
    third = one_third_ratio(1.0, 1.0)
    assert (third.ratio, third.low, third.high) == pytest.approx((1.0, 0.538, 1.857), abs=1e-3)


@pytest.mark.parametrize(
    ("ratio", "straddles"), [(0.17, False), (0.19, True), (1 / 3, True), (0.61, True), (0.63, False), (7e-7, False)]
)
def test_the_band_straddles_a_third_between_0_18_and_0_62(ratio, straddles):
    assert one_third_ratio(ratio, 1.0).straddles(one_third()) is straddles


def test_fifteen_million_tokens_on_a_7b_model_trained_on_15t_are_a_millionth():
    third = one_third_ratio(dense_flop(7e9, 15e6), dense_flop(7e9, 15e12))
    assert third.ratio == pytest.approx(1e-6)


@pytest.mark.parametrize(("own", "original"), [(1.0, 0.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 5e-324), (1.7e308, 1.0)])
def test_there_is_no_ratio_to_nothing_and_none_beyond_every_number(own, original):
    assert one_third_ratio(own, original) is None


@pytest.mark.parametrize(("share", "straddles"), [(0.25, True), (0.24, False), (0.75, False), (0.74, True)])
def test_a_band_holds_its_lower_end_and_not_its_upper_one(share, straddles):
    assert ThirdRatio(ratio=0.5, low=0.25, high=0.75).straddles(share) is straddles


def test_a_modification_that_took_no_compute_has_the_ratio_nought():
    assert one_third_ratio(0.0, 1.0).ratio == 0.0
