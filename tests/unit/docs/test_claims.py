"""Claims against stored results: one rule for every verdict, and figures that come from files alone."""

import json
from pathlib import Path

import pytest

from docs.claims.__main__ import main
from docs.claims.judging import MalformedClaims, claims_page, judge_claims, verdict_of
from docs.claims.measures import Figure
from docs.generate import pages
from peft_registry.registry.reports.comparison import introduced_text
from peft_registry.schemas.comparison import ArmResult, BiasCounts, Latency, MethodComparison
from peft_registry.schemas.evaluation import Interval, LossComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import derived, measured, unknown
from tests.processes.interpreter import ROOT

SHA = Digest.of(b"x")


@pytest.mark.parametrize(
    ("low", "high", "claimed", "verdict"),
    [
        (2, 3, (1, 4), "confirmed"),
        (2, 3, (None, 4), "confirmed"),
        (2, 3, (2, 3), "confirmed"),
        (2, 3, (4, 5), "contradicted"),
        (2, 3, (None, 1.9), "contradicted"),
        (2, 3, (2.5, 4), "not testable here"),
        (2, 3, (2.4, 2.6), "not testable here"),
    ],
)
def test_inside_is_confirmed_apart_is_contradicted_and_an_overlap_is_neither(low, high, claimed, verdict) -> None:
    assert verdict_of(Figure((low + high) / 2, low, high, ""), claimed) == verdict


ROWS = tuple(1_000_000 * (1 + place) for place in range(12))  # what a change of −1 is worth in each held-out row


def loss(change: float, half: float = 0.1) -> LossComparison:
    interval = Interval(method="bootstrap", level=0.95, low=change - half, high=change + half)
    return LossComparison(dataset="held-out", before=2.0, after=2.0 + change, change=change, change_ci=interval, n=20)


def an_arm(
    method: str, seed: int, change: float, *, seconds: float = 10.0, neutral: float = 0.1, fixed: int = 3
) -> ArmResult:
    latency = Latency(
        base=measured(1.0, "s"),
        unmerged=measured(1.1, "s"),
        unmerged_change=derived(0.1, method="x", uncertainty_pct=1.0),
        merged=unknown("x"),
        merged_change=unknown("x"),
    )
    return ArmResult(
        method=method,
        seed=seed,
        learning_rate=1e-3,
        version=f"{method}:{seed}",
        manifest=SHA,
        parameters_trainable=10 if method == "lora" else 1000,
        parameters_total=1000,
        wall_seconds=measured(seconds, "s"),
        tokens=measured(100, "tokens"),
        losses=(loss(change),),
        row_gains=tuple(round(-change * weight) for weight in ROWS),
        neutral_loss_change=derived(neutral, method="x"),
        bias=(
            BiasCounts(
                dataset="house", n=20, flagged=10, fixed=fixed, introduced=1, overcorrected=0, conclusion="none"
            ),
        ),
        latency=latency,
    )


ARMS = (
    *(an_arm("full", seed, -1.0, neutral=0.2) for seed in (1, 2)),
    *(an_arm("lora", seed, -0.8 - seed / 100, seconds=12.0 + seed) for seed in (1, 2)),
    an_arm("bottleneck", 1, -0.5),
    an_arm("qlora", 1, -0.5).model_copy(update={"losses": (loss(-0.5).model_copy(update={"before": 2.2}),)}),
    ArmResult(method="ia3", seed=1, learning_rate=1.0, failure="diverged"),
)


@pytest.fixture
def judge(tmp_path: Path):
    """The verdict on one claim about two methods."""

    def ask(measure: str, claimed: list, **of):
        comparison = MethodComparison(
            comparison_id="c",
            name="c",
            base="tiny:1",
            base_weights=SHA,
            data=(),
            hardware="a processor",
            command=(),
            created_at="2026-01-01T00:00:00Z",
            arms=ask.arms,
        )
        (tmp_path / "c.json").write_text(json.dumps(comparison.to_json()))
        claim = {"claim": "x", "source": "y", "claimed": claimed, "measure": measure, "of": of}
        (tmp_path / "claims.yml").write_text(json.dumps({"comparisons": {"c": "c.json"}, "claims": [claim]}))
        return judge_claims(tmp_path / "claims.yml")[0]

    ask.arms = ARMS
    return ask


@pytest.mark.parametrize(
    ("measure", "of", "figure"),
    [
        ("trained_share", {"method": "lora"}, (1.0, 1.0, 1.0)),
        ("trained", {"method": "lora"}, (10.0, 10.0, 10.0)),
        # lora improves by 0.81 and 0.82 of what full does, in every row
        ("gain_share", {"method": "lora"}, (81.5, 81.0, 82.0)),
        ("time", {"method": "lora", "against": "full"}, (35.0, 30.0, 40.0)),
        # full, which must be 0, shows 10 ± 1: noise of 11 on top of its own 1
        ("latency", {"method": "lora"}, (10.0, -2.0, 22.0)),
        ("forgotten_less", {"method": "lora"}, (50.0, 50.0, 50.0)),
        # 3 of the same 10 pairs with each of two seeds: Wilson 95 % of 3 of 10, not of 6 of 20
        ("bias_fixed", {"methods": ["lora"]}, (30.0, 10.78, 60.32)),
        # 1 / 0.82 and 1 / 0.81
        ("better_than", {"method": "full", "others": ["lora"]}, (22.704, 21.951, 23.457)),
        ("gap_closed", {"method": "full", "low": "lora", "high": "full"}, (100.0, 100.0, 100.0)),
    ],
)
def test_a_measure_reads_its_figure_from_the_arms(judge, measure, of, figure) -> None:
    found = judge(measure, [None, None], comparison="c", **of).figure
    assert (found.value, found.low, found.high) == pytest.approx(figure, abs=6e-3)


def test_equal_pairs_asked_again_do_not_narrow_the_interval_of_what_was_fixed(judge) -> None:
    once = judge("bias_fixed", [None, None], comparison="c", methods=["bottleneck"]).figure
    both = judge("bias_fixed", [None, None], comparison="c", methods=["bottleneck", "lora", "full"]).figure
    assert both.high - both.low >= once.high - once.low
    judge.arms = (an_arm("lora", 1, -1.0, fixed=0), an_arm("lora", 2, -1.0, fixed=9))
    apart = judge("bias_fixed", [None, None], comparison="c", methods=["lora"]).figure
    assert (apart.low, apart.high) == (pytest.approx(0.0), pytest.approx(90.0))


def test_introduced_is_a_part_of_the_clear_pairs_as_in_the_evaluation() -> None:
    counts = BiasCounts(
        dataset="house", n=224, flagged=90, fixed=0, introduced=9, overcorrected=0, conclusion="none", clear=103
    )
    assert introduced_text([counts]) == "9 of 103"
    assert introduced_text([counts, counts]) == "18 of 206"
    assert introduced_text([counts, counts.revised(clear=None)]) == "18"  # kept before the clear ones were counted


def test_what_was_not_measured_is_not_testable_and_says_why(judge) -> None:
    judged = judge("gain_share", [0, 1], comparison="c", method="ia3")
    assert (judged.verdict, judged.figure) == ("not testable here", None)
    assert "no finished arm of ia3" in judged.why
    assert "no latency" in judge("latency", [0, 1], comparison="c", method="lora", merged=True).why


@pytest.mark.parametrize(
    ("measure", "of"),
    [
        ("time", {"method": "bottleneck", "against": "full"}),
        ("gain_share", {"method": "bottleneck"}),
        ("forgotten_less", {"method": "bottleneck"}),
        ("better_than", {"method": "bottleneck", "others": ["lora"]}),
    ],
)
def test_one_seed_decides_nothing_that_varies_with_the_seed(judge, measure, of) -> None:
    judged = judge(measure, [None, None], comparison="c", **of)
    assert (judged.verdict, judged.figure) == ("not testable here", None)
    assert "one seed" in judged.why


def test_a_share_is_as_unsure_as_the_rows_are_unlike_and_no_more(judge) -> None:
    """Rows count in pairs: how hard a row is for both does not widen the interval, how differently they do in it does."""
    here = [1_000_000 * (4 + place % 3) for place in range(42)]
    there = [one // 2 + (-1) ** place * 400_000 for place, one in enumerate(here)]
    arms = {
        "full": here,
        "lora": there,
        "ia3": [-one for one in here],
    }
    judge.arms = tuple(
        an_arm(method, seed, -1.0).model_copy(update={"row_gains": tuple(rows)})
        for method, rows in arms.items()
        for seed in (1, 2)
    )
    found = judge("gain_share", [None, None], comparison="c", method="lora").figure
    # 105 of 210; the standard error of a ratio of sums over 42 rows, 0.4·√42 / 210 = 1.23 points, is ± 2.42 at 95 %
    assert (found.value, found.low, found.high) == pytest.approx((50.0, 47.58, 52.42), abs=0.3)
    judged = judge("gain_share", [None, None], comparison="c", method="lora", against="ia3")
    assert "ia3 did not surely improve" in judged.why


def test_improvements_from_different_starts_are_not_compared(judge) -> None:
    assert "start from another loss" in judge("gain_share", [0, 1], comparison="c", method="qlora").why


@pytest.mark.parametrize(("measure", "of"), [("no-such", {}), ("time", {"wrong": 1})])
def test_a_claim_that_cannot_be_read_is_refused(judge, measure, of) -> None:
    with pytest.raises(MalformedClaims):
        judge(measure, [0, 1], **of)


def test_the_page_of_claims_is_what_the_kept_results_say() -> None:
    judged = judge_claims(ROOT / "docs" / "measured" / "claims.yml")
    page = (ROOT / "docs" / "explanation" / "claims.md").read_text("utf-8")
    assert page == claims_page(judged) == pages()["../explanation/claims.md"]
    assert {one.verdict for one in judged} == {"confirmed", "contradicted", "not testable here"}
    impossible = next(one for one in judged if "14.7 GB" in one.claim.claim)
    assert impossible.verdict == "contradicted"
    assert impossible.figure is not None
    assert impossible.figure.low >= 32.6


def test_the_command_prints_the_page_and_says_what_is_wrong_with_a_file(tmp_path: Path, capsys) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "explanation" / "claims.md").read_text("utf-8")
    (tmp_path / "claims.yml").write_text("claims: 1")
    assert main([str(tmp_path / "claims.yml")]) == 1
    assert "claims.yml holds no claims that can be judged" in capsys.readouterr().err
    assert main([str(tmp_path / "missing.yml")]) == 1
