"""Training against stereotypes: which rows are taken, what a method may be called, and that the page tells every training."""

import json

import pytest

from docs.claims.judging import judge_claims
from docs.measured.mitigation import DOSES, METHODS, RATES, Arm, Kept, Pooled, kept, question, rows
from docs.mitigation_page import MOVED, judged_methods
from peft_registry.registry.evaluation.aggregate import FIGURES, StatisticsPlan
from peft_registry.registry.evaluation.comparisons import ItemPair, compare_pairs
from peft_registry.registry.evaluation.halves import half_of
from peft_registry.registry.evaluation.items import Item, pair_item
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.evaluation import ArmName
from peft_registry.schemas.methods import METHODS as DECLARED
from peft_registry.trainer.evaluation.suites.house import shipped_pairs
from peft_registry.trainer.inputs.training_file import load_training_file
from peft_registry.trainer.methods import advice_of
from tests.builders.evaluation import BAND
from tests.processes.interpreter import ROOT

MEASURED = ROOT / "docs" / "measured"
RULE = StatisticsPlan(thresholds={"house.margin": BAND}, figures=FIGURES).interval_rule
LEARNED, NOT_LEARNED = (60, 90, 128), (60, 60, 128)


def test_rows_contradict_stereotypes_and_none_is_of_the_test_half_or_of_a_held_out_template() -> None:
    pairs = {pair["sent_less"]: pair for pair in map(json.loads, shipped_pairs().read_text("utf-8").splitlines())}
    found = rows()
    held_out = {pair["template"] for pair in found.pairs}
    assert len(held_out) == len({pair["axis"] for pair in found.pairs}) == 8
    assert len(found.pairs) == 16 * len(held_out)
    for text in (*found.trained, *found.held_out):
        assert half_of("house", pairs[text]["template"]) == "development"
        assert (pairs[text]["template"] in held_out) == (text in found.held_out)
    assert len(found.trained) > 200


def test_a_pair_is_asked_from_where_its_sentences_differ() -> None:
    asked = question({"id": "x", "sent_more": "The girl likes dolls.", "sent_less": "The boy likes dolls."})
    assert (asked["prompt"], asked["answers"]) == ("The", "boy likes dolls.")
    assert asked["choices"] == ["boy likes dolls.", "girl likes dolls."]


def test_the_training_file_asks_no_suite_and_every_method_has_a_rate() -> None:
    config = load_training_file(MEASURED / "mitigation.yml").config
    assert isinstance(config, TrainingFile)
    assert config.evaluation.bias == ()
    assert set(RATES) == set(METHODS)


def an_item(arm: ArmName, template: int, place: int, margin: float) -> Item:
    return pair_item(
        dataset="house",
        id=f"{template}-{place}",
        category=None,
        cluster=f"t{template}",
        arm=arm,
        ll=(margin - 20.0, -20.0),
        tokens=(6, 6),
        threshold=BAND,
    )


def changed(fixed: int = 0, *, opposite: int = 0, flagged: int = 0, arm: ArmName = "adapted") -> dict:
    """Forty templates of eight flagged and eight neutral items; in ten of them so many flagged became neutral, and so many neutral
    prefer the opposite, or the stereotype."""
    pairs = []
    for template in range(40):
        for place in range(16):
            before = 3.0 if place < 8 else 0.0
            after = before
            if template >= 10:
                pass
            elif place < fixed:
                after = 0.0
            elif 8 <= place < 8 + opposite:
                after = -3.0
            elif 8 <= place < 8 + flagged:
                after = 3.0
            pairs.append(ItemPair(an_item("base", template, place, before), an_item(arm, template, place, after)))
    return compare_pairs(pairs, category=None, rule=RULE).to_json()


def said(
    comparison: dict, *, placebo: dict | None = None, learned: tuple = LEARNED, neutral: float = 3.0, methods: int = 1
) -> str:
    names = [f"method-{at}" for at in range(methods)]
    arms = tuple(Arm(name, 7, f"{name}:1", learned, (3.0, neutral), comparison) for name in names)
    control = placebo or changed(arm="placebo")
    pooled = [Pooled(name, comparison if at == 0 else changed(), control) for at, name in enumerate(names)]
    return judged_methods(Kept((), arms, tuple(pooled)))["method-0"].conclusion


@pytest.mark.parametrize(
    ("word", "comparison", "others"),
    [
        ("better", changed(fixed=3), {}),
        ("turned_over", changed(fixed=3, opposite=3), {}),
        ("worse", changed(flagged=3), {}),
        ("unchanged", changed(), {}),
        ("not_testable", changed(fixed=3), {"learned": NOT_LEARNED}),
        ("inconclusive", changed(fixed=3), {"neutral": 3.2}),  # 6.7 % more
        ("inconclusive", changed(fixed=3), {"placebo": changed(fixed=2, arm="placebo")}),
        # ten templates that all fell have p 2/1024: Holm over 26 methods leaves it above 5 %
        ("inconclusive", changed(fixed=3), {"methods": 26}),
    ],
)
def test_a_method_is_called_what_its_trainings_together_show(word, comparison, others) -> None:
    assert said(comparison, **others) == word


def test_claims_about_bias_and_advice_against_it_stand_only_where_a_kept_training_moved_something() -> None:
    judged = judged_methods(kept(MEASURED / "mitigation.json"))
    has_moved = any(comparison.conclusion in MOVED for comparison in judged.values())
    claims = [one.claim.claim for one in judge_claims(MEASURED / "claims.yml") if "bias" in one.claim.claim]
    advised = [advice for method in DECLARED.values() for advice in advice_of(method) if advice.fits is not None]
    assert bool(claims) == has_moved
    assert any(advice.goal == "bias_mitigation" for advice in advised) == has_moved


def test_a_training_with_a_dose_of_the_plan_is_kept_for_each_method() -> None:
    found = kept(MEASURED / "mitigation.json")
    assert [(dose.epochs, dose.rate) for dose in found.doses] == list(DOSES)
    assert {arm.method for arm in found.arms} == {one.method for one in found.pooled} == set(METHODS)
    for one in found.pooled:
        seeds = sum(arm.method == one.method for arm in found.arms)
        assert one.comparison["n"] == seeds * rows().tested
