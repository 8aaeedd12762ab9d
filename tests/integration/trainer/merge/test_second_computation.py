"""The second computation of a merge agrees with the engine on every kind of change, and says where it does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig
from safetensors.torch import load_file
from transformers import (
    GptOssConfig,
    GptOssForCausalLM,
    GraniteMoeConfig,
    GraniteMoeForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
)

from peft_registry.registry.verification.merge_definitions import MergedPart
from peft_registry.trainer.merge.adapter import read_adapter
from peft_registry.trainer.merge.concatenate import NotConcatenable, require_plain
from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.second_computation import (
    MergeNotComparable,
    MergeNotReproduced,
    Reproduced,
    changed_by_peft,
    drawn_tensors,
    places_in_model,
    reproduce,
    require_best_approximation,
    tensors_of,
)
from peft_registry.trainer.merge.tensors import checkpoint_tensors
from tests.builders.merge import load, merge, plan_of, unmerged, write_adapter, write_base
from tests.builders.training import a_model

LORA: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 8}


def a_mixture() -> Any:
    torch.manual_seed(0)
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
        )
    )  # fmt: skip


TINY: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip


def a_gpt_oss() -> Any:
    torch.manual_seed(0)
    layers = {"layer_types": ["full_attention"], "head_dim": 8}
    return GptOssForCausalLM(GptOssConfig(**TINY, **layers, intermediate_size=24, num_local_experts=4))


def a_granite() -> Any:
    torch.manual_seed(0)
    return GraniteMoeForCausalLM(GraniteMoeConfig(**TINY, intermediate_size=24, num_local_experts=4))


def a_qwen_with_a_shared_expert() -> Any:
    torch.manual_seed(0)
    sizes = {"intermediate_size": 24, "moe_intermediate_size": 12, "shared_expert_intermediate_size": 12}
    return Qwen2MoeForCausalLM(Qwen2MoeConfig(**TINY, **sizes, num_experts=4, num_experts_per_tok=2))


UP, DOWN = "experts.gate_up_proj", "experts.down_proj"


def on_experts(*parameters: str, modules: tuple[str, ...] = ()) -> LoraConfig:
    return LoraConfig(**LORA, target_modules=list(modules), target_parameters=list(parameters))


BASES: dict[str, Any] = {
    "gpt-oss": a_gpt_oss,
    "granite": a_granite,
    "qwen": a_qwen_with_a_shared_expert,
    "llama": lambda: a_model(tied=False, attention_bias=True),
    "mixture": a_mixture,
}
CASES: dict[str, tuple[str, tuple[Any, Any]]] = {
    "dora and a scale": (
        "llama",
        (
            LoraConfig(**LORA, use_dora=True, target_modules=["q_proj", "down_proj"]),
            IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]),
        ),
    ),
    "biases and saved modules": (
        "llama",
        (
            LoraConfig(**LORA, bias="all", target_modules=["q_proj"]),
            LoraConfig(**LORA, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        ),
    ),
    "embeddings and tokens": (
        "llama",
        (
            LoraConfig(**LORA, target_modules=["embed_tokens"]),
            LoraConfig(**LORA, target_modules=["v_proj"], trainable_token_indices={"embed_tokens": [3, 7]}),
        ),
    ),
    "experts": (
        "mixture",
        (
            LoraConfig(**LORA, target_modules=[], target_parameters=["mlp.experts.gate_up_proj"]),
            LoraConfig(**LORA, target_modules=["q_proj"], target_parameters=["mlp.experts.down_proj"]),
        ),
    ),
    "experts of gpt-oss": ("gpt-oss", (on_experts(UP, DOWN), on_experts(DOWN, modules=("q_proj",)))),
    "experts of granite": ("granite", (on_experts(UP, DOWN), on_experts(UP, modules=("v_proj",)))),
    "experts of qwen and the shared one": (
        "qwen",
        (on_experts(UP, DOWN), on_experts(DOWN, modules=("shared_expert.up_proj", "shared_expert.down_proj"))),
    ),
}


def second(folder: Path, base: Path, *, algorithm: Any, weights: tuple[float, ...], seed: int) -> Reproduced:
    density = 1.0 if algorithm == "linear" else 0.4
    plan = plan_of(
        base, folder / "a", folder / "b", algorithm=algorithm, weights=weights, densities=(density,) * 2, seed=seed
    )
    places = places_in_model(model_names(base, checkpoint_tensors(base)), [job.name for job in plan.touched])
    drawn = drawn_tensors([*places], {job.name: job.parameters for job in plan.touched}, places, seed=seed)
    parts = [MergedPart(folder / name, name, weight, density) for name, weight in zip(("a", "b"), weights, strict=True)]
    return reproduce(
        algorithm,
        base=tensors_of(load(base).state_dict(), drawn),
        changed=[(part, changed_by_peft(load(base), part.folder, drawn)) for part in parts],
        written=tensors_of(load(folder / algorithm).state_dict(), drawn),
        touched=len(places),
        seed=seed,
    )


@pytest.mark.parametrize("name", CASES)
def test_the_engine_and_the_definition_agree_on_every_kind_of_change(name: str, tmp_path: Path) -> None:
    kind, configs = CASES[name]
    base = write_base(BASES[kind](), tmp_path / "base")
    for seed, (part, config) in enumerate(zip(("a", "b"), configs, strict=True)):
        write_adapter(base, tmp_path / part, config, seed=seed)
    for algorithm in ("linear", "ties", "dare", "dare_ties"):
        density = 1.0 if algorithm == "linear" else 0.4
        choices: dict[str, Any] = {"weights": (0.8, -0.5), "densities": (density,) * 2, "seed": 5}
        merge(base, tmp_path / "a", tmp_path / "b", into=tmp_path / algorithm, algorithm=algorithm, **choices)
        found = second(tmp_path, base, algorithm=algorithm, weights=(0.8, -0.5), seed=5)
        assert len(found.values) == found.touched  # small enough to draw them all
        assert found.undecided <= 0.01 * found.compared
        with pytest.raises(MergeNotReproduced):
            second(tmp_path, base, algorithm=algorithm, weights=(0.8, 0.5), seed=5)
    with pytest.raises(MergeNotReproduced):  # another choice at random
        second(tmp_path, base, algorithm="dare_ties", weights=(0.8, -0.5), seed=6)


@pytest.mark.parametrize("kind", ["gpt-oss", "granite", "qwen", "mixture"])
def test_a_merge_of_experts_is_the_sum_of_what_the_factors_mean(kind: str, tmp_path: Path) -> None:
    """By the definition alone, s·B·A of each expert from the factors of the file, and as peft runs it."""
    base = write_base(BASES[kind](), tmp_path / "base")
    for seed, part in enumerate("ab"):
        write_adapter(base, tmp_path / part, on_experts(UP, DOWN), seed=seed)
    merge(base, tmp_path / "a", tmp_path / "b", into=tmp_path / "merged", weights=(0.8, -0.5))
    before, after = load(base).state_dict(), load(tmp_path / "merged").state_dict()
    experts = [name for name in before if name.endswith((UP, DOWN))]
    assert len(experts) == 2
    for name in experts:
        sums = sum(
            weight * change_of_experts(tmp_path / part, before[name].shape, is_outer=name.endswith(DOWN))
            for weight, part in ((0.8, "a"), (-0.5, "b"))
        )
        torch.testing.assert_close(after[name], before[name] + sums, atol=1e-5, rtol=1e-5)
    merge(base, tmp_path / "a", into=tmp_path / "alone")
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        expected = unmerged(base, tmp_path / "a")(input_ids=ids).logits
        torch.testing.assert_close(load(tmp_path / "alone")(input_ids=ids).logits, expected, atol=1e-4, rtol=1e-4)


def change_of_experts(folder: Path, shape: tuple[int, ...], *, is_outer: bool) -> torch.Tensor:
    """s·B·A of each expert: of the pairs of factors in the file the one whose sizes fit, the rows of A in groups of an expert's
    rank, the columns of B interleaved over the experts, as peft lays them out."""
    tensors = load_file(folder / "adapter_model.safetensors")
    names = sorted(name for name in tensors if name.endswith("lora_A.weight"))
    # peft wraps the first parameter of a module innermost, whose name is the longer one
    name = min(names, key=len) if is_outer else max(names, key=len)
    a, b = tensors[name], tensors[name.replace("lora_A", "lora_B")]
    count, rank, scale = shape[0], LORA["r"], LORA["lora_alpha"] / LORA["r"]
    factors = zip(a.view(count, rank, -1), b.view(len(b), rank, count).permute(2, 0, 1), strict=True)
    each = torch.stack([scale * up @ down for down, up in factors])
    return each if tuple(each.shape) == tuple(shape) else each.transpose(1, 2)


@pytest.mark.parametrize("kind", ["gpt-oss", "mixture"])
def test_adapters_of_experts_are_not_concatenated_and_the_sentence_says_so(kind: str, tmp_path: Path) -> None:
    base = write_base(BASES[kind](), tmp_path / "base")
    write_adapter(base, tmp_path / "a", on_experts(UP, DOWN))
    with pytest.raises(NotConcatenable, match="target_parameters"):
        require_plain(read_adapter(tmp_path / "a"), "a:1")


def test_nothing_to_compare_is_not_agreement() -> None:
    with pytest.raises(MergeNotComparable):
        reproduce("ties", base={}, changed=[], written={}, touched=0, seed=0)


def test_a_low_rank_result_is_held_to_the_best_of_its_rank() -> None:
    random = np.random.default_rng(1)
    exact = random.standard_normal((12, 4)) @ random.standard_normal((4, 9))
    left, values, right = np.linalg.svd(exact, full_matrices=False)
    best = (left[:, :2] * values[:2]) @ right[:2]
    require_best_approximation(exact, best, algorithm="svd", tensor="t", rank=2)
    require_best_approximation(exact, exact, algorithm="concatenate", tensor="t", rank=None)
    second_best = (left[:, 1:3] * values[1:3]) @ right[1:3]
    for result, rank in ((second_best, 2), (best, None), (np.full_like(exact, np.nan), 2)):
        with pytest.raises(MergeNotReproduced):
            require_best_approximation(exact, result, algorithm="svd", tensor="t", rank=rank)


def test_a_merge_of_which_no_entry_is_decided_does_not_pass_as_compared() -> None:
    """A difference far below the rounding of its weights: whatever was written would agree."""
    weights = np.ones((4, 4))
    nothing = weights + 1e-9 * np.arange(1.0, 17.0).reshape(4, 4)
    part = MergedPart(Path("adapter"), "adapter", 1.0, 0.5)
    with pytest.raises(MergeNotComparable, match="last bits"):
        reproduce(
            "ties",
            base={"w": weights},
            changed=[(part, {"w": nothing})],
            written={"w": -weights},
            touched=1,
            seed=0,
        )
