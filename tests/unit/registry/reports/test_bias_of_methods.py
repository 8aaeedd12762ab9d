"""What methods did to flagged pairs, by axis and over seeds, as a table; and documents that were kept before it was counted."""

import json

import pytest

from peft_registry.registry.reports.comparison import (
    ANSWER_HEADINGS,
    BIAS_HEADINGS,
    answer_rows,
    bias_rows,
    comparison_page,
    lost_lines,
    plan_line,
)
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.comparison import (
    AnswerChange,
    ArmResult,
    AxisCounts,
    BiasCounts,
    LoggedPlan,
    MethodComparison,
)
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


def answered(*right_after: int) -> MethodComparison:
    """A seed each, of 100 rows, of which 10 were right before and stay so."""
    arms = a_comparison(*[counts(1, 1, 1) for _ in right_after]).arms
    answers = [
        AnswerChange(
            dataset="held-out-classes",
            metric="accuracy",
            before=0.1,
            after=after / 100,
            n=100,
            row_changes=(0,) * 10 + (1_000_000,) * (after - 10) + (0,) * (100 - after),
        )
        for after in right_after
    ]
    arms = tuple(
        arm.revised(answers=(answer,), log_index=10 + place, runs_begun=4)
        for place, (arm, answer) in enumerate(zip(arms, answers, strict=True))
    )
    return a_comparison().revised(arms=arms)


def test_answers_of_all_seeds_are_compared_with_the_base_row_by_row() -> None:
    (row,) = answer_rows(answered(60, 70, 80))
    cells = dict(zip(ANSWER_HEADINGS, row, strict=True))
    assert (cells["before"], cells["after, lowest … highest seed"], cells["rows"]) == ("0.100", "0.600 … 0.800", "100")
    low, high = map(float, cells["change over rows and seeds"].removeprefix("+0.600 (").rstrip(")").split(" … "))
    assert 0.2 < low < 0.5, "three seeds that are ten rows apart have so wide an interval by Student's t alone: ± 0.25"
    assert 0.7 < high < 1
    assert "held-out-classes accuracy" in comparison_page(answered(60, 70, 80))
    (alone,) = answer_rows(answered(60))
    assert alone[-1] == "+0.500 (no interval: 1 seed, needs 3)"


def test_a_plan_says_which_arms_came_after_it_and_which_failed() -> None:
    assert plan_line(answered(60)) is None
    plan = LoggedPlan(statement=Digest.of(b"plan"), log_index=11, appended_at="2026-01-01T00:00:00Z")
    failed = ArmResult(method="ia3", seed=1, learning_rate=1.0, failure="diverged")
    found = answered(60, 70, 80)
    planned = found.revised(plan=plan, arms=(*found.arms, failed))
    text = f"4 arms planned in log entry 11 ({plan.statement.short}); 3 registered, 2 of them before it, 1 failed"
    assert plan_line(planned) == f"{text}; 4 trainings begun with these settings"
    assert "4 arms planned in log entry 11" in comparison_page(planned)
    assert MethodComparison.from_json(planned.to_json()) == planned
