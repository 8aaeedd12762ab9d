"""A training file is warned of what measurements, or its own goals, speak against; a file that fits hears nothing."""

import pytest

import peft_registry.trainer.methods.learning_rates
from peft_registry.trainer.inputs.guards import warnings_about, warnings_about_prompt
from tests.builders.learning_rates import rates_from
from tests.builders.training import a_training_file

SWEEP = {
    "base": "some-base",
    "points": [
        {"method": method, "learning_rate": rate, "before": 3.0, "after": after}
        for method, curve in {
            "lora": {1e-5: 2.9, 1e-4: 2.1, 1e-3: 2.0, 1e-2: None},
            "full": {1e-5: 2.0, 1e-4: 2.1, 1e-3: 2.8, 1e-2: None},
        }.items()
        for rate, after in curve.items()
    ],
}


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peft_registry.trainer.methods.learning_rates, "measured_rates", lambda: rates_from([SWEEP]))


def warned(**changes: object) -> dict[str, str]:
    return dict(warnings_about(a_training_file(**changes)))


@pytest.mark.parametrize("rate", [1e-5, 1e-2])
def test_a_learning_rate_outside_the_measured_range_is_warned_of_with_the_range(rate):
    text = warned(training__learning_rate=rate)["learning-rate"]
    assert "0.0001 to 0.001 on some-base (best 0.001)" in text
    assert "its best rate lay above full fine-tuning's" in text


def test_a_learning_rate_inside_the_range_is_not():
    assert warned(training__learning_rate=3e-4) == {}


def test_full_fine_tuning_is_not_compared_with_itself():
    assert "full fine-tuning's" not in warned(method="full", training__learning_rate=1e-3)["learning-rate"]


def test_an_adapter_that_is_not_merged_is_warned_of_where_latency_is_a_goal():
    assert "until it is merged" in warned(goals=["latency"], training__learning_rate=3e-4)["unmerged"]


def test_prompt_tuning_from_one_seed_is_warned_of():
    assert "one-seed" in warned(method="prompt_tuning", prompt_tuning={"seeds": 1})
    assert "one-seed" not in warned(method="prompt_tuning")
    assert "one-seed" not in warned(method="prompt_tuning", continue_from="tutor:1")  # it starts where that one ended


def test_a_method_that_does_not_fit_a_goal_is_warned_of():
    from peft_registry.schemas.methods import METHODS
    from peft_registry.trainer.methods import advice_of

    for name, row in METHODS.items():
        for advice in advice_of(row):
            found = warned(method=name, goals=[advice.goal])
            assert (f"goal-{advice.goal}".replace("_", "-") in found) == (not advice.fits)


def test_many_starts_of_prompt_tuning_at_one_place_are_warned_of():
    several = warned(method="prompt_tuning", prompt_tuning__init="text", prompt_tuning__init_text="x")
    assert set(several) == {"same-start"}
    assert warned(method="prompt_tuning") == warned(method="hybrid") == {}


@pytest.mark.parametrize(
    ("method", "count", "length", "expected"),
    [
        ("prompt_tuning", 64, 100, "beyond 20"),
        ("prefix_tuning", 64, 100, "beyond 20"),
        ("hybrid", 20, 5, "80% of what is computed"),
        ("prefix_tuning", 20, 5, None),
        ("prompt_tuning", 20, 100, None),
        ("lora", 20, 5, None),
    ],
)
def test_a_prompt_that_is_longer_than_it_pays_for_is_warned_of(method, count, length, expected):
    block = "prefix_tuning" if method == "prefix_tuning" else "prompt_tuning"
    config = a_training_file(method=method, **{f"{block}__num_virtual_tokens": count})
    found = [text for _, text in warnings_about_prompt(config, [length] * 4)]
    assert (expected is None) == (found == [])
    assert all(expected in text for text in found)
