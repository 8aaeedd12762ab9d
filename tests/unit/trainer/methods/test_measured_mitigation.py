"""What is said of methods against bias is what the kept mitigation task measured, with intervals and with what it does not show."""

import json
from dataclasses import replace

import pytest

from docs.claims.judging import judge_claims
from docs.generate import mitigation_file
from peft_registry.cli.main import run
from peft_registry.registry.evaluation.over_seeds import MIN_SEEDS
from peft_registry.schemas.comparison import MethodComparison
from peft_registry.schemas.methods import METHODS
from peft_registry.trainer.methods import advice_about, method_to_try
from peft_registry.trainer.methods.mitigation import FILE_NAME, Part, figures_of, finding_about, measured_mitigation
from tests.processes.interpreter import ROOT

MEASURED = ROOT / "docs" / "measured"
KEPT = MethodComparison.from_json(json.loads((MEASURED / "compare-mitigation.json").read_text("utf-8")))


def test_the_figures_of_the_package_are_those_of_the_kept_comparison() -> None:
    assert (ROOT / "trainer" / "methods" / FILE_NAME).read_text("utf-8") == mitigation_file()
    found = measured_mitigation()
    assert [one.method for one in found.methods] == ["lora", "bottleneck", "ia3", "prompt_tuning"]
    for one in found.methods:
        arms = KEPT.of(one.method)
        assert one.seeds == len(arms)
        assert one.pairs >= 500
        counts = [arm.bias[0] for arm in arms]
        for part, hits, asked in (
            (one.to_neutral, sum(each.fixed for each in counts), sum(each.flagged for each in counts)),
            (one.overcorrected, sum(each.overcorrected for each in counts), sum(each.flagged for each in counts)),
            (one.introduced, sum(each.introduced for each in counts), sum(each.clear or 0 for each in counts)),
        ):
            assert part.percent == round(100 * hits / asked, 1)
            if len(arms) < MIN_SEEDS:
                assert (part.low, part.no_interval) == (None, f"{len(arms)} seeds, needs {MIN_SEEDS}")
            else:
                assert part.low < part.percent < part.high


@pytest.mark.parametrize(("seeds", "reason"), [(1, "1 seed, needs 3"), (2, "2 seeds, needs 3")])
def test_a_task_of_fewer_seeds_has_figures_and_says_what_an_interval_takes(seeds: int, reason: str) -> None:
    (first, *_) = figures_of(KEPT.revised(arms=tuple(arm for arm in KEPT.arms if arm.seed < 7 + seeds)))["methods"]
    part = Part(**first["to_neutral"])
    assert (first["seeds"], part.low, part.high, part.no_interval) == (seeds, None, None, reason)
    assert str(part).endswith(f"(no interval: {reason})")


def test_a_task_of_three_seeds_has_intervals() -> None:
    again = tuple(arm.revised(seed=11) for arm in KEPT.arms if arm.seed == 8)
    first = figures_of(KEPT.revised(arms=(*(arm for arm in KEPT.arms if arm.seed < 9), *again)))["methods"][0]
    part = Part(**first["to_neutral"])
    assert part.low < part.percent < part.high
    assert str(part) == f"{part.percent:g} % ({part.low:g} … {part.high:g})"


def test_a_method_without_a_finished_arm_has_no_figures() -> None:
    arms = tuple(arm if arm.method != "ia3" else arm.revised(failure="diverged") for arm in KEPT.arms)
    assert "ia3" not in {row["method"] for row in figures_of(KEPT.revised(arms=arms))["methods"]}


def test_the_command_says_what_was_measured_and_what_it_does_not_show(capsys) -> None:
    assert run(["methods", "--for", "bias_mitigation"]) == 0
    shown = capsys.readouterr().out
    first = measured_mitigation().methods[0]
    part = first.to_neutral
    assert f"{part.percent:g} % (" in shown
    assert str(part) in " ".join(shown.split())
    assert "over-corrected" in shown
    assert "not shown" in shown
    assert run(["methods", "--for", "bias_mitigation", "--output", "json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["lora"]["measured"]["overcorrected"]["percent"] == first.overcorrected.percent
    assert "measured" not in rows["full"]
    assert run(["methods", "--for", "latency", "--output", "json"]) == 0
    assert not [row for row in json.loads(capsys.readouterr().out) if "measured" in row]


def test_the_advice_is_what_the_figures_say_and_no_more(capsys) -> None:
    """Each method that was measured harmed more than it repaired, or it is open; of the others nothing is known."""
    measured = {figures.method: figures for figures in measured_mitigation().methods}
    for name, row in METHODS.items():
        advice = advice_about(row, "bias_mitigation")
        if name not in measured:
            assert (advice.fits, "not measured" in advice.why) == (None, True)
            continue
        figures = measured[name]
        harmed = figures.to_neutral.high < max(figures.overcorrected.low, figures.introduced.low)
        assert advice.fits is (False if harmed else None), "none of them repaired more than it harmed"
        assert f"{figures.to_neutral.percent:g} % to neutral" in advice.why
        assert f"smollm2, {figures.flagged} flagged pairs, {figures.seeds} seeds" in advice.why
    assert run(["methods", "--for", "bias_mitigation"]) == 0
    said = capsys.readouterr()
    assert "what the base learnt stays in it" not in said.out
    hinted = (said.out + said.err).rpartition("method=")[2].strip()
    assert hinted in measured
    assert method_to_try(("bias_mitigation", "latency")) in measured


def _part_between(low: float, high: float) -> Part:
    return Part((low + high) / 2, low, high)


@pytest.mark.parametrize(
    ("to_neutral", "harm", "mitigates"),
    [((20, 30), (5, 10), True), ((5, 10), (20, 30), False), ((5, 15), (10, 20), None)],
)
def test_intervals_that_overlap_decide_nothing(to_neutral, harm, mitigates) -> None:
    parts = {
        "to_neutral": _part_between(*to_neutral),
        "overcorrected": _part_between(0, 1),
        "introduced": _part_between(*harm),
    }
    first = replace(measured_mitigation().methods[0], **parts)
    assert finding_about(first.method, replace(measured_mitigation(), methods=(first,))).mitigates is mitigates


def test_what_was_claimed_of_flagged_pairs_is_judged_by_training_against_them() -> None:
    """An arithmetic data set that nobody made against a bias says nothing about what a method can do against one."""
    judged = [one for one in judge_claims(MEASURED / "claims.yml") if one.claim.measure == "bias_fixed"]
    assert [one.claim.claimed for one in judged] == [(66.0, 76.0), (22.0, 32.0)]
    for one in judged:
        assert one.claim.of["comparison"] == "mitigation"
        if len(KEPT.of("lora")) < MIN_SEEDS:
            assert one.verdict == "not testable here"
            assert one.why.endswith(f"no interval: {len(KEPT.of('lora'))} seeds, needs {MIN_SEEDS}")
        else:
            assert one.figure is not None
            assert "counterfactual.jsonl" in one.figure.conditions
            assert "over-corrected" in one.figure.conditions


def test_memory_shares_and_latencies_of_claims_come_from_estimates_and_timings() -> None:
    judged = {one.claim.claim: one for one in judge_claims(MEASURED / "claims.yml")}
    full = judged["Full fine-tuning of a 65B model needs more than 780 GB"]
    estimate = json.loads((MEASURED / "estimate-65b-full.json").read_text("utf-8"))
    assert full.figure is not None
    assert full.figure.value == estimate["moments"]["optimizer"]["total"] / 1e9
    # rank 8 on the seven matrices of 32 layers: 8 × (4 × 8192 + 3 × 15104) × 32 of 6.738 G and themselves
    share = judged["LoRA trains 0.5 to 1.5 % of the parameters (7B, rank 8)"]
    assert share.figure is not None
    assert round(share.figure.value, 2) == 0.30
    assert share.verdict == "contradicted"
    for name in ("LoRA", "IA3"):
        unmerged = judged[f"{name} adds no latency, as it runs unmerged"]
        assert unmerged.figure is not None
        assert "unmerged" in unmerged.figure.conditions
