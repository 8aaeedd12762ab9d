"""Whole models beside registered ones: by what they change in their common base, and not by what they share with it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from peft_registry.registry.imports.near_results import agreement_of
from peft_registry.schemas.identity import Digest

Weights = dict[str, Any]
SEED = Digest.of(b"offered")


def noise(seed: int, strength: float) -> Weights:
    random = np.random.default_rng(seed)
    return {f"layers.{at}.weight": strength * random.standard_normal((24, 24)) for at in range(3)}


def added(first: Weights, second: Weights) -> Weights:
    return {name: (value + second[name]).astype(np.float32) for name, value in first.items()}


BASE = noise(1, 0.02)
RESULT = added(BASE, noise(2, 0.002))


def one_bit(weights: Weights) -> Weights:
    changed = {name: value.copy() for name, value in weights.items()}
    for value in changed.values():
        value.view(np.uint32).flat[5] ^= 1 << 30
    return changed


OFFERED: dict[str, tuple[Weights, str]] = {
    "itself with a bit of each tensor changed": (one_bit(RESULT), "the same"),
    "itself with noise far below its change": (added(RESULT, noise(3, 2e-8)), "the same"),
    "trained on from it": (added(RESULT, noise(4, 0.0004)), "near"),
    "another fine-tune of the base": (added(BASE, noise(5, 0.002)), "neither"),
    "the base": (added(BASE, noise(6, 0.0)), "neither"),
}


@pytest.mark.parametrize("offered", OFFERED)
def test_a_whole_model_is_told_by_its_change(tmp_path: Path, offered: str) -> None:
    weights, verdict = OFFERED[offered]
    base = {name: value.astype(np.float32) for name, value in BASE.items()}
    for name, tensors in (("base", base), ("result", RESULT), ("offered", weights)):
        save_file(tensors, tmp_path / f"{name}.safetensors")
    files = [[tmp_path / f"{name}.safetensors"] for name in ("offered", "result", "base")]
    agreement = agreement_of(files[0], files[1], seed=SEED, base=files[2])
    assert agreement is not None
    assert agreement.verdict == verdict


def test_adapters_that_share_their_first_factors_are_not_near(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    first = random.standard_normal((2, 16)).astype(np.float32)
    for name in ("one", "other"):
        second = random.standard_normal((8, 2)).astype(np.float32)
        save_file({"m.lora_A.weight": first, "m.lora_B.weight": second}, tmp_path / f"{name}.safetensors")
    agreement = agreement_of([tmp_path / "one.safetensors"], [tmp_path / "other.safetensors"], seed=SEED)
    assert agreement is not None
    assert agreement.verdict == "neither"


def test_an_adapter_that_was_never_trained_says_nothing(tmp_path: Path) -> None:
    first = np.ones((2, 16), np.float32)
    save_file({"m.lora_A.weight": first, "m.lora_B.weight": np.zeros((8, 2), np.float32)}, tmp_path / "a.safetensors")
    assert agreement_of([tmp_path / "a.safetensors"], [tmp_path / "a.safetensors"], seed=SEED) is None
