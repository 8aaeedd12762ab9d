"""What methods did to flagged pairs, by axis and over seeds, as a table; and documents that were kept before it was counted."""

import json

import pytest

from peft_registry.registry.reports.comparison import BIAS_HEADINGS, bias_rows, comparison_page, lost_lines
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.comparison import ArmResult, AxisCounts, BiasCounts, MethodComparison
from peft_registry.schemas.evaluation import LossComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import derived
from tests.processes.interpreter import ROOT


def counts(fixed: int, overcorrected: int, introduced: int) -> BiasCounts:
    axis = AxisCounts(
        axis="gender", n=20, flagged=10, clear=8, fixed=fixed, introduced=introduced, overcorrected=overcorrected
    )
    return BiasCounts(
        dataset="pairs",
        n=200,
        flagged=100,
        clear=80,
        fixed=10 * fixed,
        introduced=10 * introduced,
        overcorrected=10 * overcorrected,
        conclusion="inconclusive",
        axes=(axis, axis.revised(axis="religion", fixed=0)),
    )


def a_comparison(*bias: BiasCounts) -> MethodComparison:
    arms = tuple(
        ArmResult(
            method="lora",
            seed=seed,
            learning_rate=1e-3,
            version=f"lora:{seed}",
            neutral_loss_change=derived(0.1 * seed, "nats/token", method="x"),
            losses=(LossComparison(dataset="held-out", before=2.0, after=1.0, change=-1.0, change_ci=None, n=20),),
            bias=(one,),
        )
        for seed, one in enumerate(bias, 1)
    )
    return MethodComparison(
        comparison_id="c",
        name="c",
        base="tiny:1",
        base_weights=Digest.of(b"x"),
        data=(),
        hardware="a processor",
        command=(),
        created_at="2026-01-01T00:00:00Z",
        arms=arms,
    )


def test_to_neutral_over_corrected_introduced_and_neutral_loss_stand_apart_by_axis_and_over_seeds() -> None:
    three = a_comparison(counts(1, 4, 2), counts(2, 4, 2), counts(3, 4, 2))
    rows = [dict(zip(BIAS_HEADINGS, row, strict=True)) for row in bias_rows(three)]
    whole, gender, religion = rows
    assert [row["method, axis"] for row in rows] == ["lora", "lora, gender", "lora, religion"]
    # seeds that agree are as sure as the items of one of them; seeds that are 10 to 30 of 100 apart are less so
    assert whole["over-corrected"].startswith("40 of 100, 40.0 % (30")
    assert whole["introduced"].startswith("20 of 80, 25.0 % (1")
    low, high = map(float, whole["to neutral"].removeprefix("10 … 30 of 100, 20.0 % (").rstrip(")").split(" … "))
    assert low < 10 and high > 35
    assert whole["neutral loss"] == "+0.200"
    assert (gender["to neutral"], gender["over-corrected"], gender["introduced"]) == (
        "1 … 3 of 10",
        "4 of 10",
        "2 of 8",
    )
    assert religion["to neutral"] == "0 of 10"
    assert "over-corrected" in comparison_page(a_comparison(counts(1, 4, 2)))


def test_what_two_seeds_have_between_them_is_not_printed_as_an_interval() -> None:
    (row, *_) = bias_rows(a_comparison(counts(1, 4, 2), counts(3, 4, 2)))
    assert dict(zip(BIAS_HEADINGS, row, strict=True))["to neutral"] == (
        "10 … 30 of 100, 20.0 % (no interval: 2 seeds, needs 3)"
    )


def test_a_document_without_axes_keeps_its_bytes() -> None:
    kept = counts(1, 1, 1).revised(axes=())
    assert "axes" not in kept.to_json()
    assert MethodComparison.from_json(a_comparison(kept).to_json()) == a_comparison(kept)
    assert bias_rows(a_comparison(kept.revised(clear=None)))[0][6] == "10"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "measured").glob("compare-*.json")), ids=lambda path: path.stem
)
def test_a_comparison_that_was_kept_is_read_and_its_counts_are_written_as_they_were(path) -> None:
    raw = json.loads(path.read_text("utf-8"))
    read = MethodComparison.from_json(raw)
    for before, arm in zip(raw["arms"], read.arms, strict=True):
        for was, now in zip(before["bias"], arm.to_json()["bias"], strict=True):
            assert canonical_bytes({"clear": None} | was) == canonical_bytes(now)


def test_an_arm_that_became_worse_at_something_is_named_with_it() -> None:
    comparison = a_comparison(counts(1, 4, 2), counts(3, 4, 2))
    worse = LossComparison(dataset="neutral", before=2.0, after=2.2, change=0.2, change_ci=None, n=20)
    first, second = comparison.arms
    (line,) = lost_lines(comparison.revised(arms=(first, second.revised(losses=(*second.losses, worse)))))
    assert line.startswith("lora:2: loss on neutral 2 → 2.2 (perplexity 7.389 → 9.025)")
