"""A result is known again in other numbers, and another one is not taken for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from peft_registry.registry.imports.sketches import (
    BaseOfAdapter,
    Probes,
    Sketch,
    likeness,
    parts_of,
    sketch_of_adapter,
    sketch_of_model,
)
from peft_registry.registry.intake.peft_config import read_peft_config
from tests.builders.sketched import (
    CONFIG,
    PREFIX,
    TRANSFORMS,
    WEIGHTS,
    added_up,
    an_adapter,
    as_whole_modules,
    folded,
    transformed,
    with_layers_of,
    with_shorter_names,
    with_units_in_another_order,
)

SHAPES = {"self_attn.q_proj": (48, 48), "mlp.up_proj": (96, 48), "mlp.gate_proj": (96, 48), "mlp.down_proj": (48, 96)}
MODULES = {f"model.layers.{layer}.{name}": shape for layer in range(3) for name, shape in SHAPES.items()}


def a_lora(folder: Path, seed: int, rank: int = 4) -> Path:
    random = np.random.default_rng(seed)
    tensors = {}
    for module, (rows, columns) in MODULES.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = random.standard_normal((rank, columns)).astype(np.float32)
        tensors[f"base_model.model.{module}.lora_B.weight"] = random.standard_normal((rows, rank)).astype(np.float32)
    targets = sorted({name.rpartition(".")[2] for name in SHAPES})
    return an_adapter(
        folder, tensors, {"peft_type": "LORA", "r": rank, "lora_alpha": 0.02 * rank, "target_modules": targets}
    )


PROBES = Probes(b"a secret")


def sketch(folder: Path, base: Sketch | None = None) -> Sketch:
    config = read_peft_config((folder / CONFIG).read_bytes())
    elements = {f"{module}.weight": rows * columns for module, (rows, columns) in MODULES.items()}
    made = sketch_of_adapter(folder / WEIGHTS, config, PROBES, BaseOfAdapter(elements, lambda: base))
    assert made is not None
    return made


def model_sketch(folder: Path, weights: dict[str, Any]) -> Sketch:
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    made = sketch_of_model([folder / "model.safetensors"], PROBES)
    assert made is not None
    return made


def a_base() -> dict[str, Any]:
    random = np.random.default_rng(99)
    weights = {f"{name}.weight": random.standard_normal(shape).astype(np.float32) for name, shape in MODULES.items()}
    return weights | {"model.norm.weight": np.ones(48, np.float32)}


@pytest.fixture
def recalled(tmp_path: Path) -> Path:
    return a_lora(tmp_path / "recalled", seed=1)


@pytest.mark.parametrize("how", TRANSFORMS)
def test_an_adapter_in_other_numbers_is_the_same(recalled: Path, tmp_path: Path, how: str) -> None:
    found = likeness(sketch(transformed(recalled, tmp_path / "offered", how)), sketch(recalled), None)
    assert found is not None
    assert found.verdict == "the same", found


THE_SAME = [
    "factors turned, then rounded to bfloat16",
    "other scales by patterns, rank-stabilized",
    "as parameters by themselves",
    "names without the model's own",
    "as AdaLoRA",
    "as LoHa",
    "as LoKr",
]
NEAR = ["half of its ranks by singular values", "every other rank", "a little along known signs"]


@pytest.mark.parametrize("how", [*THE_SAME, *NEAR])
def test_an_adapter_in_other_clothes_is_the_same_or_near(recalled: Path, tmp_path: Path, how: str) -> None:
    offered = sketch(transformed(recalled, tmp_path / "offered", how))
    found = likeness(offered, sketch(recalled), None)
    assert found is not None
    assert found.verdict == ("the same" if how in THE_SAME else "near"), found


def test_modules_that_an_adapter_holds_whole_are_compared_as_what_they_add_to_the_base(
    recalled: Path, tmp_path: Path
) -> None:
    base = a_base()
    before = model_sketch(tmp_path / "base", base)
    offered = sketch(as_whole_modules(recalled, base, tmp_path / "offered"), before)
    found = likeness(offered, sketch(recalled), None)
    assert found is not None
    assert found.verdict == "the same", found


def test_two_adapters_with_modules_that_were_only_rounded_are_not_alike(tmp_path: Path) -> None:
    base = a_base()
    before = model_sketch(tmp_path / "base", base)
    untrained = {f"{PREFIX}{name}": value.astype(np.float16) for name, value in base.items() if "gate_proj" in name}
    made = []
    for seed in (1, 2):
        folder = a_lora(tmp_path / str(seed), seed)
        own = load_file(folder / WEIGHTS)
        small = {name: 1e-3 * value for name, value in own.items() if "q_proj" in name}
        save_file(small | untrained, folder / WEIGHTS)
        made.append(sketch(folder, before))
    found = likeness(made[0], made[1], None)
    assert found is not None
    assert found.verdict == "neither", found


def test_a_layer_of_a_result_among_those_of_another_is_near(recalled: Path, tmp_path: Path) -> None:
    mixed = with_layers_of(recalled, a_lora(tmp_path / "other", seed=2), tmp_path / "mixed")
    found = likeness(sketch(mixed), sketch(recalled), None)
    assert found is not None
    assert found.verdict == "near", found
    assert found.near < 0.5 and "cosine at least 0.995" in found.figures


def test_a_product_that_is_larger_than_its_weight_is_not_computed_and_none_is_computed_without_end(
    tmp_path: Path,
) -> None:
    """Three small tensors can stand for a matrix that no memory holds, and many small ones for many of the base's size."""
    modules = list(MODULES)[:2]
    one, side = np.ones((1, 1), np.float32), np.ones((1_000_000, 1), np.float32)
    whole = {"lokr_w1": one, "lokr_w2": np.ones(MODULES[modules[0]], np.float32)}
    tensors = {
        f"{PREFIX}{tower}{modules[0]}.{name}": value
        for tower in ("", "a.", "b.", "c.", "d.", "e.")
        for name, value in whole.items()
    }
    beyond = {"lokr_w1": one, "lokr_w2_a": side, "lokr_w2_b": side.T}
    tensors |= {f"{PREFIX}{modules[1]}.{name}": value for name, value in beyond.items()}
    stated = {"peft_type": "LOKR", "r": 1, "alpha": 1, "target_modules": [name.rpartition(".")[2] for name in modules]}
    names = sketch(an_adapter(tmp_path / "small", tensors, stated)).names
    assert names[0] == f"{modules[0]}.weight" and len(names) == 4


def test_what_is_longer_than_any_model_has_takes_no_memory_and_is_left_out(tmp_path: Path) -> None:
    """Signs of ten million numbers would take ten gigabytes."""
    long = {
        "model.norm.weight": np.zeros(10_000_000, np.int8).view(np.float16),
        "model.long": np.ones((10**7, 1), "f2"),
    }
    assert model_sketch(tmp_path / "model", long | {"lm_head.weight": np.ones((4, 3), "f4")}).names == (
        "lm_head.weight",
    )


def test_another_adapter_is_neither_the_same_nor_near(recalled: Path, tmp_path: Path) -> None:
    for seed in range(2, 22):
        found = likeness(sketch(a_lora(tmp_path / str(seed), seed)), sketch(recalled), None)
        assert found is not None
        assert found.verdict == "neither", found


def test_adapters_that_were_added_up_are_found_in_the_sum_and_nothing_is_found_in_another(
    recalled: Path, tmp_path: Path
) -> None:
    other = a_lora(tmp_path / "other", seed=2)
    known = [(sketch(recalled), None), (sketch(other), None)]
    summed = sketch(added_up({recalled: 0.3, other: 0.7}, tmp_path / "sum"))
    whole = np.hypot(0.3, 0.7)  # the two are as long, and nearly at right angles
    assert parts_of(summed, known) == pytest.approx((0.3 / whole, 0.7 / whole), abs=0.05)
    assert parts_of(sketch(a_lora(tmp_path / "third", seed=3)), known) == (0.0, 0.0)


FOLDED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "as it is": lambda weights: weights,
    "without the name of the model": with_shorter_names,
    "in half precision": lambda weights: {name: value.astype(np.float16) for name, value in weights.items()},
    "with noise of a thousandth": lambda weights: {
        name: (value * (1 + 1e-3 * np.random.default_rng(4).standard_normal(value.shape))).astype(np.float32)
        for name, value in weights.items()
    },
    "with its units in another order": with_units_in_another_order,
}


@pytest.mark.parametrize("how", FOLDED)
def test_a_base_with_a_result_folded_in_is_that_result(recalled: Path, tmp_path: Path, how: str) -> None:
    base = a_base()
    merged = folded(base, recalled)
    offered = model_sketch(tmp_path / "offered", FOLDED[how](merged))
    before = model_sketch(tmp_path / "base", base)
    result = model_sketch(tmp_path / "merged", merged)
    found = likeness(offered, result, before)
    assert found is not None
    assert found.verdict == "the same", found
    if how != "with its units in another order":
        by_adapter = likeness(offered, sketch(recalled), before)
        assert by_adapter is not None
        assert by_adapter.verdict == "the same", by_adapter


def test_the_base_another_model_of_it_and_an_unrelated_one_are_no_result(recalled: Path, tmp_path: Path) -> None:
    base = a_base()
    before = model_sketch(tmp_path / "base", base)
    result = model_sketch(tmp_path / "merged", folded(base, recalled))
    unrelated = {name: np.random.default_rng(7).standard_normal(value.shape) for name, value in base.items()}
    others = {
        "the base in half precision": {name: value.astype(np.float16) for name, value in base.items()},
        "another model of it": folded(base, a_lora(tmp_path / "other", seed=2)),
        "units in another order": with_units_in_another_order(base),
        "unrelated": {name: value.astype(np.float32) for name, value in unrelated.items()},
    }
    for number, (how, weights) in enumerate(others.items()):
        for known in (result, sketch(recalled)):
            found = likeness(model_sketch(tmp_path / f"{number}-{known.is_change}", weights), known, before)
            assert found is not None
            assert found.verdict == "neither", (how, found)


def test_a_sketch_is_kept_as_it_is_and_bytes_that_are_none_are_not_one(recalled: Path) -> None:
    made = sketch(recalled)
    again = Sketch.from_bytes(made.to_bytes(), PROBES)
    assert again is not None
    assert again.names == made.names and again.is_change and np.array_equal(again.values, made.values)
    data = made.to_bytes()
    for broken in (b"", b"PK", data[: len(data) // 2], data[:40] + b"\xff" * 20 + data[60:]):
        assert Sketch.from_bytes(broken, PROBES) is None
    assert Sketch.from_bytes(data, Probes(b"another secret")) is None
