"""Claims against stored results: one rule for every verdict, and figures that come from files alone."""

import json
from pathlib import Path

import pytest
from scipy import stats

from docs.claims.__main__ import main
from docs.claims.judging import MalformedClaims, claims_page, judge_claims, verdict_of
from docs.claims.measures import Figure
from docs.generate import claims
from peft_registry.registry.reports.comparison import introduced_text
from peft_registry.schemas.comparison import ArmResult, BiasCounts, Latency, MethodComparison
from peft_registry.schemas.evaluation import Interval, LossComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import derived, measured, unknown
from tests.processes.interpreter import ROOT

SHA = Digest.of(b"x")
MEASURED = ROOT / "docs" / "measured"


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


SEEDS = (1, 2, 3)
ROWS = tuple(1_000_000 * (1 + place) for place in range(60))  # what a change of −1 is worth in each held-out row


def loss(change: float, half: float = 0.1) -> LossComparison:
    interval = Interval(method="bootstrap", level=0.95, low=change - half, high=change + half)
    return LossComparison(dataset="held-out", before=2.0, after=2.0 + change, change=change, change_ci=interval, n=20)


def an_arm(method: str, seed: int, change: float, *, seconds: float = 10.0, neutral: float = 0.1) -> ArmResult:
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
        latency=latency,
    )


ARMS = (
    *(an_arm("full", seed, -1.0, neutral=0.2) for seed in SEEDS),
    *(an_arm("lora", seed, -0.8 - seed / 100, seconds=12.0 + seed) for seed in SEEDS),
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
        # lora improves by 0.81, 0.82 and 0.83 of what full does, in every row: ± t(2) · 1 / √3
        ("gain_share", {"method": "lora"}, (82.0, 79.516, 84.484)),
        # 30, 40 and 50 %: ± t(2) · 10 / √3
        ("time", {"method": "lora", "against": "full"}, (40.0, 15.159, 64.841)),
        # full, which must be 0, shows 10 ± 1: noise of 11 on top of its own 1
        ("latency", {"method": "lora"}, (10.0, -2.0, 22.0)),
        ("forgotten_less", {"method": "lora"}, (50.0, 50.0, 50.0)),
        # 3 / 2.46, and ± t(2) of what leaving out one of 1 / 0.81, 1 / 0.82 and 1 / 0.83 moves it
        ("better_than", {"method": "full", "others": ["lora"]}, (21.951, 18.26, 25.65)),
        ("gap_closed", {"method": "full", "low": "lora", "high": "full"}, (100.0, 100.0, 100.0)),
    ],
)
def test_a_measure_reads_its_figure_from_the_arms(judge, measure, of, figure) -> None:
    found = judge(measure, [None, None], comparison="c", **of).figure
    assert (found.value, found.low, found.high) == pytest.approx(figure, abs=6e-3)


def test_arms_that_failed_and_seeds_that_are_not_there_are_said_beside_a_figure(judge) -> None:
    failed = ArmResult(method="lora", seed=4, learning_rate=1e-3, failure="diverged")
    judge.arms = (*(an_arm("lora", seed, -1.0) for seed in (1, 2, 5)), failed)
    said = judge("trained_share", [None, None], comparison="c", method="lora").figure.conditions
    assert "1 arm failed and is not in it" in said
    assert "no seed 3, 4" in said
    judge.arms = tuple(an_arm("lora", seed, -1.0) for seed in SEEDS)
    said = judge("trained_share", [None, None], comparison="c", method="lora").figure.conditions
    assert "failed" not in said and "no seed" not in said


def test_seeds_that_differ_widen_a_share_of_improvement_however_alike_its_rows_are(judge) -> None:
    """The range of three seeds' own intervals, each over rows, was 40 to 60."""
    judge.arms = (
        *(an_arm("full", seed, -1.0) for seed in SEEDS),
        *(an_arm("lora", seed, change) for seed, change in zip(SEEDS, (-0.4, -0.5, -0.6), strict=True)),
    )
    found = judge("gain_share", [None, None], comparison="c", method="lora").figure
    # t(2) · 10 / √3
    assert (found.low, found.high) == pytest.approx((50 - 24.841, 50 + 24.841), abs=0.01)


def test_the_swing_of_accuracy_is_the_mean_range_of_so_many_seeds_and_as_unsure_as_their_deviation(tmp_path) -> None:
    """24, 27, 15, 20 and 19 %: a deviation of 4.637; its interval by chi-square of four degrees of freedom."""

    def rows(method: str, counts: list[int], base: int = 10) -> list[dict]:
        return [
            {
                "method": method,
                "seed": seed,
                "version": f"x:{seed}",
                "right": right,
                "rows": 100,
                "base": base,
                "seconds": 1,
            }
            for seed, right in enumerate(counts)
        ]

    kept = [*rows("prompt_tuning", [24, 27, 15, 20, 19]), *rows("lora", [80, 80, 80, 80, 81]), *rows("full", [1, 2])]
    kept += rows("ia3", [24, 27, 15, 20, 19], base=21)
    (tmp_path / "a.json").write_text(json.dumps(kept))

    def judged(method: str):
        of = {"accuracy": "a", "method": method, "against": "lora"}
        claim = {"claim": "x", "source": "y", "claimed": [11, 13], "measure": "swing", "of": of}
        (tmp_path / "claims.yml").write_text(json.dumps({"accuracies": {"a": "a.json"}, "claims": [claim]}))
        return judge_claims(tmp_path / "claims.yml")[0]

    found = judged("prompt_tuning")
    assert found.figure is not None
    ends = [10.7852 * (4 / stats.chi2.ppf(share, 4)) ** 0.5 for share in (0.975, 0.025)]
    assert (found.figure.value, found.figure.low, found.figure.high) == pytest.approx((10.7852, *ends), abs=2e-3)
    assert found.verdict == "not testable here"
    assert "lora 1 points" in found.figure.conditions
    assert judged("lora").verdict == "contradicted"
    assert "2 seeds of full are measured" in judged("full").why
    untaught = judged("ia3")
    assert (untaught.verdict, untaught.figure) == ("not testable here", None)
    assert "ia3 learned nothing: 21 % are right on average after training, and 21 % before" in untaught.why


def test_memory_shares_and_latencies_of_claims_come_from_estimates_and_timings() -> None:
    judged = {one.claim.claim: one for one in judge_claims(MEASURED / "claims.yml")}
    qlora = judged["QLoRA fine-tunes a 65B model in 48 GB"]
    estimate = json.loads((MEASURED / "estimate-65b-qlora.json").read_text("utf-8"))
    assert qlora.figure is not None
    assert qlora.figure.value == max(estimate["moments"][one]["total"] for one in ("backward", "optimizer")) / 1e9
    # rank 8 on the seven matrices of 32 layers: 8 × (4 × 8192 + 3 × 15104) × 32 of 6.738 G and themselves
    share = judged["LoRA trains 0.5 to 1.5 % of the parameters (7B, rank 8)"]
    assert share.figure is not None
    assert round(share.figure.value, 2) == 0.30
    assert share.verdict == "contradicted"
    for name in ("LoRA", "IA3"):
        unmerged = judged[f"{name} adds no latency, as it runs unmerged"]
        assert unmerged.figure is not None
        assert "unmerged" in unmerged.figure.conditions


def test_what_a_paper_counts_in_16_bits_is_not_held_against_a_training_in_32() -> None:
    judged = {one.claim.claim: one for one in judge_claims(MEASURED / "claims.yml")}
    for claim in ("needs more than 780 GB", "needs 780 GB"):
        one = judged[f"Full fine-tuning of a 65B model {claim}"]
        assert one.figure is not None
        # LLaMA's 65,285,660,672 parameters, 2 bytes a weight, 2 a gradient, 8 of Adam: 783.4 GB
        assert (round(one.figure.value, 1), one.verdict) == (783.4, "confirmed")
        assert "in 32 bits, estimated at 1,049 GB" in one.figure.conditions


def test_trainings_that_left_the_model_below_its_base_say_nothing_about_seeds() -> None:
    judged = {one.claim.claim: one for one in judge_claims(MEASURED / "claims.yml")}
    swing = judged["Prompt tuning swings 12 points of accuracy with the seed, LoRA does not"]
    assert (swing.verdict, swing.figure) == ("not testable here", None)
    assert "prompt_tuning learned nothing: 21.3 % are right on average after training, and 30.5 % before" in swing.why


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
    assert "no interval: 1 seed, needs 3" in judged.why


def test_a_share_is_as_unsure_as_the_rows_are_unlike_and_no_more(judge) -> None:
    """Rows count in pairs: how hard a row is for both does not widen the interval, how differently they do in it does."""
    here = [1_000_000 * (4 + place % 3) for place in range(60)]
    there = [one // 2 + (-1) ** place * 400_000 for place, one in enumerate(here)]
    arms = {
        "full": here,
        "lora": there,
        "ia3": [-one for one in here],
    }
    judge.arms = tuple(
        an_arm(method, seed, -1.0).model_copy(update={"row_gains": tuple(rows)})
        for method, rows in arms.items()
        for seed in SEEDS
    )
    found = judge("gain_share", [None, None], comparison="c", method="lora").figure
    # 150 of 300, in each seed the same: the standard error of a ratio of sums over 60 rows, 0.4·√60 / 300 = 1.03 points, is ± 2.07
    # with t(59)
    assert (found.value, found.low, found.high) == pytest.approx((50.0, 47.93, 52.07), abs=0.1)
    judged = judge("gain_share", [None, None], comparison="c", method="lora", against="ia3")
    assert "ia3 did not surely improve" in judged.why


def test_two_seeds_have_no_interval_and_say_what_it_takes(judge) -> None:
    judge.arms = tuple(arm for arm in ARMS if arm.seed < 3)
    for measure, of in (
        ("time", {"method": "lora", "against": "full"}),
        ("gain_share", {"method": "lora"}),
    ):
        judged = judge(measure, [None, None], comparison="c", **of)
        assert (judged.verdict, judged.figure) == ("not testable here", None)
        assert "and no interval: 2 seeds, needs 3" in judged.why


def test_twenty_rows_have_no_interval_and_say_what_it_takes(judge) -> None:
    judge.arms = tuple(arm.revised(row_gains=arm.row_gains[:20]) if arm.row_gains else arm for arm in ARMS)
    judged = judge("gain_share", [None, None], comparison="c", method="lora")
    assert (judged.verdict, judged.figure) == ("not testable here", None)
    assert "and no interval: 20 rows, needs 50" in judged.why


@pytest.mark.parametrize(
    ("claimed", "times"),
    [
        # ours is 82 ± 2.484
        ([80.75, 90.0], "about 4 times"),  # half the width
        ([0.0, 80.75], "about 4 times"),
        ([81.17, 83.0], "about 9 times"),  # a third of it
    ],
)
def test_an_interval_that_is_too_wide_says_how_much_more_data_it_takes(judge, claimed, times) -> None:
    judged = judge("gain_share", claimed, comparison="c", method="lora")
    assert judged.verdict == "not testable here"
    assert f"it would take {times} as many rows and seeds" in judged.why


def test_improvements_from_different_starts_are_not_compared(judge) -> None:
    assert "start from another loss" in judge("gain_share", [0, 1], comparison="c", method="qlora").why


@pytest.mark.parametrize(("measure", "of"), [("no-such", {}), ("time", {"wrong": 1})])
def test_a_claim_that_cannot_be_read_is_refused(judge, measure, of) -> None:
    with pytest.raises(MalformedClaims):
        judge(measure, [0, 1], **of)


def test_the_page_of_claims_is_what_the_kept_results_say() -> None:
    judged = judge_claims(ROOT / "docs" / "measured" / "claims.yml")
    page = (ROOT / "docs" / "explanation" / "claims.md").read_text("utf-8")
    assert page == claims_page(judged) == claims()
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
