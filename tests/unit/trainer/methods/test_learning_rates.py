"""Measured learning rates: what a sweep says of a method, and the warning that follows from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from docs.learning_rates import POINTS, TABLE, all_sweeps, main, table_text
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


def test_every_method_was_swept_on_the_base_that_ships_and_no_other_name_was() -> None:
    kept = {path.stem for path in POINTS.glob("*.json")}
    swept = {rates.method for rates in measured_rates() if rates.base == "tiny"}
    assert kept == swept == set(METHOD_NAMES), (
        f"not swept: {sorted(set(METHOD_NAMES) - swept)}; no method: {sorted(kept - set(METHOD_NAMES))}. Run the first line with "
        "--sweep of docs/measured/measure.sh with --methods NAME, and keep what it prints: `python -m docs.learning_rates FILE`"
    )


def test_the_kept_sweeps_span_four_decades_and_compare_methods_on_a_real_base() -> None:
    kept = measured_rates()
    for rates in kept:
        assert rates.tried[1] / rates.tried[0] >= 9.99e3, rates
    assert {"full", "lora", "qlora", "ia3", "bottleneck"} <= {rates.method for rates in kept if rates.base == "smollm2"}


def test_what_the_package_holds_follows_from_the_kept_sweeps() -> None:
    assert TABLE.read_text("utf-8") == table_text(all_sweeps())
    assert "points" not in TABLE.read_text("utf-8")


def test_a_new_sweep_takes_the_place_of_its_methods_on_its_base_alone(tmp_path: Path) -> None:
    def sweep(base: str, best: float, *methods: str) -> dict[str, Any]:
        rates = (best / 100, best, best * 100)
        points = [
            {"method": method, "learning_rate": rate, "before": 2.0, "after": 1.0 if rate == best else 1.9}
            for method in methods
            for rate in rates
        ]
        return {"base": base, "parameters": 10 if base == "tiny" else 1000, "points": points}

    def keep(answer: dict[str, Any]) -> dict[tuple[str, str], float]:
        (tmp_path / "answer.json").write_text(json.dumps(answer))
        main([str(tmp_path / "answer.json")], tmp_path / "kept", tmp_path / "table.json")
        rows = json.loads((tmp_path / "table.json").read_text())["rates"]
        return {(row["method"], row["base"]): row["best"] for row in rows}

    (tmp_path / "kept").mkdir()
    keep(sweep("large", 1e-4, "full", "lora"))
    assert keep(sweep("tiny", 1e-3, "lora", "ia3")) == {
        ("full", "large"): 1e-4,
        ("lora", "tiny"): 1e-3,
        ("lora", "large"): 1e-4,
        ("ia3", "tiny"): 1e-3,
    }
    before = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    assert keep(sweep("tiny", 1e-2, "ia3"))["ia3", "tiny"] == 1e-2
    after = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"ia3.json"}


def test_the_kept_sweeps_name_their_command_and_their_base() -> None:
    for sweep in all_sweeps():
        assert "learning_rate" in " ".join(sweep["command"])
        assert sweep["base_weights"].startswith("sha256:")
        assert not any("/" in word for word in json.loads(json.dumps(sweep["command"])))
