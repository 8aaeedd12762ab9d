"""Measured learning rates: what a sweep says of a method, and the warning that follows from it."""

import json

import pytest

from docs.learning_rates import TABLE, kept_sweeps, table_text
from peft_registry.schemas.methods import METHOD_NAMES, METHODS
from peft_registry.trainer.methods import learning_rates
from peft_registry.trainer.methods.learning_rates import advice, against_full, best_rate, measured_rates, rates_of
from tests.builders.learning_rates import rates_from

SWEEP = {
    "lora": {1e-5: 1.99, 1e-4: 1.6, 1e-3: 1.0, 1e-2: 1.15, 1e-1: None},
    "full": {1e-5: 1.4, 1e-4: 1.0, 1e-3: 1.9, 1e-2: 3.0, 1e-1: None},
    "ia3": {1e-5: None},
}


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        {"method": method, "learning_rate": rate, "before": 2.0, "after": after}
        for method, found in SWEEP.items()
        for rate, after in found.items()
    ]
    monkeypatch.setattr(learning_rates, "measured_rates", lambda: rates_from([{"base": "tiny", "points": points}]))


def test_the_range_holds_the_rates_that_do_nearly_as_well_as_the_best(sweep: None) -> None:
    (lora,) = rates_of("lora")
    assert (lora.best, lora.low, lora.high) == (1e-3, 1e-3, 1e-2)  # 0.85 of an improvement of 1.0, and 0.4
    assert lora.tried == (1e-5, 1e-1)


def test_a_method_that_never_ran_has_no_range(sweep: None) -> None:
    assert rates_of("ia3") == ()
    assert best_rate("ia3") is None
    assert advice("ia3", 1.0) is None


def test_a_rate_outside_is_advised_against_and_the_side_of_full_fine_tuning_is_told(sweep: None) -> None:
    assert advice("lora", 2e-3) is None
    assert advice("lora", 4e-4) is None  # between two rates that were tried
    text = advice("lora", 1e-5)
    assert text is not None
    assert "0.001 to 0.01 on tiny" in text
    assert "above full fine-tuning's" in text
    assert "full fine-tuning's" not in (advice("full", 1.0) or "")
    assert against_full("lora") == "above"
    assert against_full("ia3") is None


def test_nothing_between_the_measured_range_and_the_published_default_is_advised_against(sweep: None) -> None:
    assert advice("lora", METHODS["lora"].learning_rate) is None  # below 1e-3 by more than half a decade
    assert advice("full", METHODS["full"].learning_rate) is None
    assert advice("full", 1e-6) is not None


def test_no_method_is_warned_of_its_own_default() -> None:
    assert [name for name, method in METHODS.items() if advice(name, method.learning_rate)] == []


def test_the_best_of_every_kept_sweep_has_a_worse_rate_on_either_side() -> None:
    for one in measured_rates():
        assert one.tried[0] < one.best < one.tried[1], (one.method, one.base)


def test_the_kept_sweeps_have_every_method_on_two_bases() -> None:
    kept = {(one.method, one.base) for one in measured_rates()}
    wanted = {(method, base) for method in METHOD_NAMES for base in ("tiny", "smollm2")}
    assert kept == wanted, (
        f"the sweeps of {sorted(wanted - kept)} are missing, those of {sorted(kept - wanted)} have no method: run the lines "
        "with --sweep of docs/measured/measure.sh, and keep what they print with `python -m docs.learning_rates FILE …`"
    )
    assert len(measured_rates()) == len(kept)


def test_the_kept_sweeps_span_four_decades_on_two_bases() -> None:
    kept = measured_rates()
    assert len({one.base for one in kept}) >= 2
    for one in kept:
        assert one.tried[1] / one.tried[0] >= 9.99e3, one
    both = {base: {one.method for one in kept if one.base == base} for base in {one.base for one in kept}}
    assert all({"full", "lora"} <= methods for methods in both.values())


def test_what_the_package_holds_follows_from_the_kept_sweeps() -> None:
    assert TABLE.read_text("utf-8") == table_text(kept_sweeps())
    assert "points" not in TABLE.read_text("utf-8")


def test_the_kept_sweeps_name_their_command_and_their_base() -> None:
    for sweep in kept_sweeps():
        assert "learning_rate" in " ".join(sweep["command"])
        assert sweep["base_weights"].startswith("sha256:")
        assert not any("/" in word for word in json.loads(json.dumps(sweep["command"])))
