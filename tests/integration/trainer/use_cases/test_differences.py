"""`registry diff`: every pair of versions that there is, with norms computed another way; what cannot be compared says why."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, VeraConfig

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.pull_base import BaseChanged, WrongBase
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.methods import hybrid
from peft_registry.schemas.progress import Started
from peft_registry.trainer.differences.weights import ModuleDifference
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.diff import VersionComparison, compare_versions
from peft_registry.trainer.use_cases.merge import merge_and_register
from tests.builders.homes import a_home
from tests.builders.merge import load, register_adapter, unmerged, write_adapter
from tests.builders.training import a_base_folder

Q, V, DOWN = (f"model.layers.0.{module}" for module in ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"))
LORA: dict[str, Any] = {"task_type": "CAUSAL_LM", "lora_alpha": 8, "r": 4}
ADAPTERS = {
    "a": LoraConfig(**LORA, target_modules=["q_proj", "down_proj"]),
    "b": LoraConfig(**LORA, target_modules=["q_proj", "v_proj"], use_rslora=True),
    "dora": LoraConfig(**LORA, target_modules=["q_proj"], use_dora=True),
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "vera": VeraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj"]),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Path]]:
    """Two bases, of which the second is wider; adapters of the first, one of the second (`far`), a hybrid, and merges."""
    folder = tmp_path_factory.mktemp("differences")
    base = a_base_folder(folder / "base", tied=False)
    wider = a_base_folder(folder / "wider", tied=False, intermediate_size=96, seed=5)
    with a_home(folder / "home") as registry:
        origin = BaseOrigin(format="huggingface", source="tiny")
        tiny = add_base(registry, base, name="tiny", origin=origin)
        other = add_base(registry, wider, name="wider", origin=origin)
        for seed, (name, config) in enumerate(ADAPTERS.items()):
            register_adapter(registry, write_adapter(base, folder / name, config, seed=seed), tiny, name)
        register_adapter(registry, write_adapter(wider, folder / "far", ADAPTERS["a"], seed=9), other, "far")
        (folder / "hybrid").mkdir()
        for part, name in ((hybrid.LORA_FOLDER, "a"), (hybrid.PROMPT_FOLDER, "prompt")):
            write_adapter(base, folder / "hybrid" / part, ADAPTERS[name], seed=3)
            (folder / "hybrid" / part / "README.md").unlink()
        register_adapter(registry, folder / "hybrid", tiny, "hybrid", method="hybrid")
        merge_and_register(registry, MergeRequest(("a",), name="merged-a"))
        merge_and_register(registry, MergeRequest(("a", "b"), name="merged-ab", weights=(0.75, 0.25)))
        merge_and_register(registry, MergeRequest(("hybrid",), name="merged-hybrid"))
        yield registry, folder


def compared(
    place: tuple[Registry, Path], first: str, second: str
) -> tuple[VersionComparison, dict[str, ModuleDifference]]:
    found = compare_versions(place[0], first, second)
    json.dumps(found.to_json(), allow_nan=False)
    assert "\n".join(found.lines())
    return found, {one.name.removesuffix(".weight"): one for one in found.modules}


def delta(place: tuple[Registry, Path], adapter: str, module: str) -> torch.Tensor:
    """What peft says that the adapter adds, in fp64."""
    layer = unmerged(place[1] / "base", place[1] / adapter).base_model.model.get_submodule(module)
    return (
        layer.get_delta_weight("default").double()
        if hasattr(layer, "lora_A")
        else torch.zeros(layer.weight.shape).double()
    )


def require_figures(one: ModuleDifference, first: torch.Tensor, second: torch.Tensor, *, rel: float = 1e-4) -> None:
    """Each figure of a module by its definition."""
    difference = second - first
    assert one.shape == tuple(first.shape)
    assert one.first_norm == pytest.approx(float(first.norm()), rel=rel)
    assert one.second_norm == pytest.approx(float(second.norm()), rel=rel)
    assert one.difference_norm == pytest.approx(float(difference.norm()), rel=rel, abs=1e-6)
    assert one.spectral_norm == pytest.approx(float(torch.linalg.matrix_norm(difference, ord=2)), rel=rel, abs=1e-6)
    if first.norm() and second.norm():
        assert one.cosine == pytest.approx(float((first * second).sum() / first.norm() / second.norm()), abs=1e-5)
    else:
        assert one.cosine is None


def test_two_adapters_by_what_each_adds_to_a_module(place: tuple[Registry, Path]) -> None:
    found, modules = compared(place, "a", "b")
    assert found.weights_note == "what each adds to a module, s·B·A"
    assert len(modules) == 6
    for module in (Q, V, DOWN):
        require_figures(modules[module], delta(place, "a", module), delta(place, "b", module))
    assert modules[V].relative_norm is None, "a adds nothing there"
    assert modules[DOWN].relative_norm == pytest.approx(1.0), "b adds nothing there"


def test_an_adapter_and_a_merge_of_it_alone_add_the_same(place: tuple[Registry, Path]) -> None:
    found, modules = compared(place, "a", "merged-a")
    assert found.weights_note == "what each adds to the base that both stand on"
    assert len(modules) == 4
    for one in modules.values():
        assert one.cosine == pytest.approx(1.0, abs=1e-6)
        assert one.difference_norm <= 1e-5 * one.first_norm
    made = next(fact for fact in found.facts if fact.name == "made by")
    assert made.second == "merge by linear of a:1 × 1 (original base, float32)"


@pytest.mark.parametrize("swapped", [False, True], ids=["adapter first", "merge first"])
def test_an_adapter_and_a_merge_of_several(swapped: bool, place: tuple[Registry, Path]) -> None:
    pair = ("merged-ab", "a") if swapped else ("a", "merged-ab")
    _, modules = compared(place, *pair)
    for module in (Q, V, DOWN):
        a, b = delta(place, "a", module), delta(place, "b", module)
        both = 0.75 * a + 0.25 * b
        require_figures(modules[module], *((both, a) if swapped else (a, both)))


def test_a_base_and_a_merge_tensor_by_tensor(place: tuple[Registry, Path]) -> None:
    found, modules = compared(place, "tiny", "merged-ab")
    assert found.weights_note == "tensor by tensor"
    assert len(modules) == 21
    assert sum(one.difference_norm > 0 for one in modules.values()) == 6
    weight = load(place[1] / "base").state_dict()[f"{Q}.weight"].double()
    change = 0.75 * delta(place, "a", Q) + 0.25 * delta(place, "b", Q)
    require_figures(modules[Q], weight, weight + change)
    assert modules[Q].changed_share == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("adapter", ["a", "dora"])
def test_a_base_and_its_adapter(adapter: str, place: tuple[Registry, Path]) -> None:
    found, modules = compared(place, "tiny", adapter)
    assert found.weights_note == "the base, and what it becomes with the adapter"
    theirs = unmerged(place[1] / "base", place[1] / adapter).merge_and_unload().state_dict()
    weight = load(place[1] / "base").state_dict()[f"{Q}.weight"].double()
    require_figures(modules[Q], weight, theirs[f"{Q}.weight"].double())
    changed = {name for name, one in modules.items() if one.difference_norm}
    assert len(changed) == (4 if adapter == "a" else 2)


def test_an_adapter_of_another_kind_beside_a_plain_one(place: tuple[Registry, Path]) -> None:
    _, modules = compared(place, "a", "dora")
    weight = load(place[1] / "base").state_dict()[f"{Q}.weight"].double()
    new = unmerged(place[1] / "base", place[1] / "dora").merge_and_unload().state_dict()[f"{Q}.weight"].double()
    require_figures(modules[Q], delta(place, "a", Q), new - weight, rel=1e-3)


def test_a_hybrid_by_its_lora_and_its_merge_by_the_folded_model(place: tuple[Registry, Path]) -> None:
    _, modules = compared(place, "hybrid", "merged-hybrid")
    assert len(modules) == 4
    assert all(one.difference_norm <= 1e-5 * one.first_norm for one in modules.values())
    assert len(compared(place, "tiny", "merged-hybrid")[1]) == 21


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("prompt", "a", "not compared: prompt:1: learned embeddings in front of the text are no change of any weight"),
        ("vera", "a", "not compared: vera:1: what this kind of adapter adds to the weights is not computed here"),
        ("a", "far", "what each adds to a module, s·B·A; they stand on different bases; 2 not compared: another shape"),
        ("far", "merged-a", "not compared: they stand on different bases"),
        ("tiny", "far", "not compared: they stand on different bases"),
        ("tiny", "wider", "tensor by tensor; 6 not compared: another shape"),
    ],
)
def test_what_is_not_compared_says_why(first: str, second: str, said: str, place: tuple[Registry, Path]) -> None:
    found, _ = compared(place, first, second)
    assert found.weights_note.startswith(said)
    assert bool(found.modules) == (not said.startswith("not compared"))
    bases = [fact for fact in found.facts if fact.section == "identity" and fact.name == "base"]
    assert bool(bases) == ({first, second} & {"far", "wider"} != set())


def test_a_version_beside_itself(place: tuple[Registry, Path]) -> None:
    found, modules = compared(place, "merged-ab", "merged-ab")
    assert found.facts == ()
    assert found.relative_norm == 0
    assert modules == {}
    assert any("the same bytes" in line for line in found.lines())
    assert "configuration, data and evaluations are the same" in found.lines()


def test_two_merges_by_their_weights(place: tuple[Registry, Path]) -> None:
    found, _ = compared(place, "merged-a", "merged-ab")
    facts = {fact.name: (fact.first, fact.second) for fact in found.facts}
    assert facts["weight of a:1"] == (1.0, 0.75)
    assert facts["weight of b:1"] == (None, 0.25)


@pytest.mark.parametrize(("first", "second"), [("tiny", "wider"), ("a", "dora"), ("a", "tiny")])
def test_a_base_that_was_altered_stops_the_comparison(place: tuple[Registry, Path], first: str, second: str) -> None:
    weights = place[1] / "base" / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        with pytest.raises(WrongBase, match="tensor"):
            compare_versions(place[0], first, second)
    finally:
        weights.write_bytes(good)


@pytest.mark.parametrize(("first", "second"), [("tiny", "wider"), ("a", "dora")])
def test_a_base_that_is_exchanged_while_it_is_read_stops_the_comparison(
    place: tuple[Registry, Path], first: str, second: str
) -> None:
    def exchange(event: object) -> None:
        if isinstance(event, Started):
            os.utime(place[1] / "base" / "model.safetensors")

    with pytest.raises(BaseChanged):
        compare_versions(place[0], first, second, observe=exchange)
