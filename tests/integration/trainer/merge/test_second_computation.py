"""The second computation of a merge agrees with the engine on every kind of change, and says where it does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig
from transformers import MixtralConfig, MixtralForCausalLM

from peft_registry.trainer.merge.names import model_names
from peft_registry.trainer.merge.second_computation import (
    MergeNotComparable,
    MergeNotReproduced,
    Part,
    Reproduced,
    changed_by_peft,
    drawn_tensors,
    places_in_model,
    reproduce,
    require_best_approximation,
    tensors_of,
)
from peft_registry.trainer.merge.tensors import checkpoint_tensors
from tests.builders.merge import load, merge, plan_of, write_adapter, write_base
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


BASES: dict[str, Any] = {"llama": lambda: a_model(tied=False, attention_bias=True), "mixture": a_mixture}
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
}


def second(folder: Path, base: Path, *, algorithm: Any, weights: tuple[float, ...], seed: int) -> Reproduced:
    density = 1.0 if algorithm == "linear" else 0.4
    plan = plan_of(
        base, folder / "a", folder / "b", algorithm=algorithm, weights=weights, densities=(density,) * 2, seed=seed
    )
    places = places_in_model(model_names(base, checkpoint_tensors(base)), [job.name for job in plan.touched])
    drawn = drawn_tensors([*places], {job.name: job.parameters for job in plan.touched}, places, seed=seed)
    parts = [Part(folder / name, name, weight, density) for name, weight in zip(("a", "b"), weights, strict=True)]
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
    for algorithm in ("linear", "ties", "dare_ties"):
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
