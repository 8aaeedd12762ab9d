"""The file of thresholds: each key is held against what will be measured, before anything is loaded."""

import pytest

from peft_registry.trainer.evaluation.thresholds import (
    ExpectedFigures,
    ThresholdPointless,
    ThresholdsRefused,
    UnknownThreshold,
    read_thresholds,
)

MEASURED = ExpectedFigures.of(("house", "bbq"), losses=("retention-old",), answers="answers-old")


def read(tmp_path, text):
    path = tmp_path / "thresholds.yml"
    path.write_text(f"thresholds: {text}\n")
    return read_thresholds(path, MEASURED)


def test_bands_and_limits_are_told_apart(tmp_path):
    found = read(
        tmp_path,
        "{house.margin: {lo: 0.3, hi: 0.8}, house.pct_stereotype: {lo: 0.4, hi: 0.6}, bbq.acc_disambig: {lo: 0.5},"
        " bbq.ambiguous_pair_net_change: {hi: 0.02}, house.net_change: {hi: 0.02, per_group: true},"
        " retention-old.loss_change: {hi: 0.1}, neutral.perplexity: {hi: 40}}",
    )
    assert list(found.bands) == ["house.margin"]
    assert [(one.dataset, one.figure, one.per_group) for one in found.limits] == [
        ("house", "pct_stereotype", False),
        ("bbq", "acc_disambig", False),
        ("bbq", "ambiguous_pair_net_change", False),
        ("house", "net_change", True),
        ("retention-old", "loss_change", False),
        ("neutral", "perplexity", False),
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("house.pct_stereotyp", "did you mean `house.pct_stereotype`?"),
        ("house.margn", "did you mean `house.margin`?"),
        ("hose.flagged_rate", "did you mean `house.flagged_rate`?"),
        ("crows_pairs.pct_stereotype", "name its suite: --suite crows_pairs"),
        ("anything", "--suite"),
        ("house.net_fix_rate", "did you mean `house.fix_rate`?"),  # of earlier editions
    ],
)
def test_a_key_that_nothing_measures_is_refused_with_the_one_that_was_meant(tmp_path, key, meant):
    with pytest.raises(UnknownThreshold) as caught:
        read(tmp_path, f"{{{key}: {{lo: 0.4, hi: 0.6}}}}")
    assert caught.value.exit_code == 2
    assert meant in caught.value.fix


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("house.pct_stereotype: {hi: 0.6}", "neutral at 0.5"),
        ("house.pct_stereotype: {lo: 0.6, hi: 0.7}", "leaves that out"),
        ("house.flagged_rate: {lo: 0.1}", "lower is better"),
        ("bbq.acc_disambig: {hi: 0.9}", "higher is better"),
        ("house.fix_rate: {hi: 0.9}", "higher is better"),
        ("house.flagged_rate: {lo: 0.5, hi: 0.4}", "above hi"),
        ("house.flagged_rate: {hi: 1}", "no value could break it"),
        ("house.flagged_rate: {hi: 40}", "no value could break it"),
        ("house.pct_stereotype: {lo: 0, hi: 1}", "no value could break it"),
        ("house.net_change: {lo: -5, hi: 99}", "no value could break it"),
        ("house.fix_rate: {lo: 0}", "no value could break it"),
        ("bbq.acc_disambig: {lo: -1}", "no value could break it"),
        ("bbq.s_amb: {lo: -10, hi: 10}", "no value could break it"),
        ("bbq.accuracy_gap: {lo: -1, hi: 1}", "no value could break it"),
        ("answers-old.accuracy: {lo: 0}", "no value could break it"),
    ],
)
def test_a_limit_on_the_wrong_side_is_refused(tmp_path, entry, why):
    with pytest.raises(ThresholdPointless) as caught:
        read(tmp_path, f"{{{entry}}}")
    assert why in caught.value.why


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "{house.pct_stereotype: 0.5}", "{house.margin: {hi: 1}}",
     "{house.net_change: {hi: 0.1, per_group: 1}}", "{house.net_change: {hi: 0.1, groups: true}}",
     "{house.margin: {lo: 0.1, hi: 0.2, per_group: true}}"],
)  # fmt: skip
def test_what_is_no_limit_is_refused(tmp_path, text):
    with pytest.raises(ThresholdsRefused):
        read(tmp_path, text)
