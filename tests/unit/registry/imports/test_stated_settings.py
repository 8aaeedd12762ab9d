"""What a configuration says of an adapter is what its tensors are; that peft says so is held by tests that import every type."""

import json
import re
from typing import Any

import pytest

from peft_registry.registry.identity.weights import Tensor
from peft_registry.registry.imports.stated_settings import SettingsOfOtherTensors, require_settings_of_tensors
from peft_registry.registry.intake.peft_config import PeftConfig, read_peft_config
from peft_registry.schemas.identity import Digest

LAYERS = "base_model.model.model.layers"
Q, DOWN = f"{LAYERS}.0.self_attn.q_proj", f"{LAYERS}.1.mlp.down_proj"


def config_of(**values: Any) -> PeftConfig:
    stated = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"]}
    return read_peft_config(json.dumps(stated | values).encode())


def tensors_of(shapes: dict[str, tuple[int, ...]], dtype: str = "F32") -> list[Tensor]:
    return [Tensor(name, dtype, shape, Digest.of(b"")) for name, shape in shapes.items()]


def lora(*, rank: int = 8, modules: tuple[str, ...] = (Q, DOWN)) -> dict[str, tuple[int, ...]]:
    factors: dict[str, tuple[int, ...]] = {}
    for module in modules:
        factors |= {f"{module}.lora_A.weight": (rank, 64), f"{module}.lora_B.weight": (32, rank)}
    return factors


MAGNITUDE = {f"{Q}.lora_magnitude_vector": (32,)}
EXPERTS: dict[str, tuple[int, ...]] = {
    f"{LAYERS}.0.mlp.experts.lora_A.weight": (32, 64),
    f"{LAYERS}.0.mlp.experts.lora_B.weight": (32, 32),
}
INNER = f"{LAYERS}.0.mlp.experts.base_layer"
INNER_EXPERTS = {f"{INNER}.lora_A.weight": (64, 64), f"{INNER}.lora_B.weight": (64, 64)}
BASE = {
    f"{Q.removeprefix('base_model.model.')}.weight": (32, 64),
    f"{DOWN.removeprefix('base_model.model.')}.weight": (32, 64),
    "model.layers.0.mlp.experts.down_proj": (4, 32, 64),
    "model.layers.0.mlp.experts.gate_up_proj": (4, 64, 64),
}
EMBEDDING = {
    "base_model.model.model.embed_tokens.lora_embedding_A": (8, 32),
    "base_model.model.model.embed_tokens.lora_embedding_B": (64, 8),
}
IA3 = {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
PROMPT = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 20}

CONTRADICTIONS: dict[str, tuple[dict[str, Any], list[Tensor], str]] = {
    "a larger rank": ({"r": 64}, tensors_of(lora()), r"`r` is 64, .*\[8, 64\]: 8 there"),
    "a rank of thirty digits": ({"r": 10**30}, tensors_of(lora()), "8 there"),
    "a rank that is no number": ({"r": True}, tensors_of(lora()), "not a number of dimensions"),
    "a pattern of ranks": ({"rank_pattern": {"down_proj": 4}}, tensors_of(lora()), "`r` is 4"),
    "modules that it does not adapt": ({"target_modules": ["lm_head"]}, tensors_of(lora()), "of another module"),
    "modules by an expression": ({"target_modules": r".*\.up_proj"}, tensors_of(lora()), "of another module"),
    "an adapted module that it excludes": ({"exclude_modules": ["q_proj"]}, tensors_of(lora()), "of another module"),
    "other layers": ({"layers_to_transform": [0]}, tensors_of(lora()), "down_proj.*of another module"),
    "experts of another rank": (
        {"target_modules": ["q_proj"], "target_parameters": ["down_proj"], "r": 24},
        tensors_of(EXPERTS),
        "`r` is 24",
    ),
    "parameters that its modules do not have": (
        {"target_modules": ["lm_head"], "target_parameters": ["x"]},
        tensors_of(lora()),
        r"`target_parameters` \['x'\], and the tensor .*of another module",
    ),
    "parameters of other modules alone": (
        {"target_modules": None, "target_parameters": ["experts.down_proj"]},
        tensors_of(lora()),
        "of another module",
    ),
    "a parameter of another rank": (
        {
            "target_modules": ["q_proj"],
            "target_parameters": ["down_proj.weight"],
            "rank_pattern": {"down_proj.weight": 4},
        },
        tensors_of(lora()),
        "`r` is 4",
    ),
    "experts of which each has another rank": (
        {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"], "r": 4},
        tensors_of(EXPERTS),
        "`r` is 4",
    ),
    "a layer of another rank beside experts": (
        {"target_parameters": ["down_proj"], "r": 4},
        tensors_of(lora()),
        "`r` is 4",
    ),
    "magnitudes that are not there": ({"use_dora": True}, tensors_of(lora()), "2 of its modules have no magnitudes"),
    "one magnitude too few": ({"use_dora": True}, tensors_of(lora() | MAGNITUDE), "1 of its modules"),
    "no magnitudes where there are some": ({}, tensors_of(lora() | MAGNITUDE), "`use_dora` is not true"),
    "bits": ({}, tensors_of(lora(), "BOOL"), "in the format BOOL"),
    "four bits": ({}, tensors_of(lora(), "F4"), "in the format F4"),
    "a scale of nothing": ({"lora_alpha": 0}, tensors_of(lora()), "`lora_alpha` is 0"),
    "a scale beyond any": ({"lora_alpha": 1e9}, tensors_of(lora()), r"multiplies its product by 1\.25e\+08"),
    "a scale of a module beyond any": (
        {"alpha_pattern": {r"mlp\.down_proj": 1e9}},
        tensors_of(lora()),
        r"down_proj', which multiplies its product by 1\.25e\+08",
    ),
    "a scale in words": ({"lora_alpha": "16"}, tensors_of(lora()), "`lora_alpha` is '16'"),
    "a scale of a module": ({"alpha_pattern": {"q_proj": None}}, tensors_of(lora()), "`alpha_pattern` has None"),
    "a type of which it has nothing": ({}, tensors_of({"base_model.model.lm_head.weight": (9, 9)}), "no tensor of one"),
    "the other side of a layer": (IA3, tensors_of({f"{DOWN}.ia3_l": (32, 1)}), "scales what .*down_proj' reads"),
    "a longer prompt": (PROMPT, tensors_of({"prompt_embeddings": (8, 64)}), "`num_virtual_tokens` is 20"),
    "another rank of LoHa": (
        {"peft_type": "LOHA"},
        tensors_of({f"{Q}.hada_w1_a": (64, 4), f"{Q}.hada_w1_b": (4, 64)}),
        "`r` is 8",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_setting_that_contradicts_the_tensors_is_refused_by_name(case: str) -> None:
    values, tensors, said = CONTRADICTIONS[case]
    with pytest.raises(SettingsOfOtherTensors, match="helper is not what its") as refused:
        require_settings_of_tensors("helper", config_of(**values), tensors, tensors_of(BASE))
    assert refused.value.exit_code == 2
    assert re.search(said, refused.value.why), refused.value.why


AGREEING: dict[str, tuple[dict[str, Any], list[Tensor]]] = {
    "as peft writes it": ({}, tensors_of(lora())),
    "eight bits, which peft computes with as sixteen": ({}, tensors_of(lora(), "F8_E4M3")),
    "an expression": ({"target_modules": r".*\.(q_proj|down_proj)"}, tensors_of(lora())),
    "all linear layers": ({"target_modules": "all-linear"}, tensors_of(lora())),
    "targets of which the base has none": ({"target_modules": ["q_proj", "down_proj", "w1"]}, tensors_of(lora())),
    "a rank for each": ({"r": 4, "rank_pattern": {r"self_attn\.\w+": 8, "down_proj": 8}}, tensors_of(lora())),
    "layers by number": ({"layers_to_transform": [0, 1], "layers_pattern": "layers"}, tensors_of(lora())),
    "a scale below zero": ({"lora_alpha": -16}, tensors_of(lora())),
    "DoRA": ({"use_dora": True}, tensors_of(lora(modules=(Q,)) | MAGNITUDE)),
    "experts in one tensor": (
        {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.down_proj"]},
        tensors_of(lora(modules=(Q,)) | EXPERTS),
    ),
    "experts in two tensors, which peft names without the module": (
        {
            "target_modules": ["q_proj"],
            "target_parameters": ["down_proj", "gate_up_proj"],
            "rank_pattern": {r".*\.gate_up_proj": 16},
        },
        tensors_of(lora(modules=(Q,)) | EXPERTS | INNER_EXPERTS),
    ),
    "parameters alone, under the names of a model without its head": (
        {"target_modules": None, "target_parameters": ["down_proj.weight"]},
        tensors_of(lora(modules=("base_model.model.layers.1.mlp.down_proj",))),
    ),
    "both layers of an attention of torch": (
        {"target_modules": ["attn"]},
        tensors_of(lora(modules=("base_model.model.attn", "base_model.model.attn.base_layer.out_proj"))),
    ),
    "a head that is tied to the embedding": (
        {"target_modules": ["embed_tokens"], "ensure_weight_tying": True},
        tensors_of(EMBEDDING | lora(modules=("base_model.model.lm_head",))),
    ),
    "HiRA, of which peft does not follow the pattern": (
        {"peft_type": "HIRA", "rank_pattern": {"q_proj": 2}},
        tensors_of({f"{Q}.hira_A": (8, 64), f"{Q}.hira_B": (32, 8)}),
    ),
    "the two sides of IA3": (
        IA3,
        tensors_of({f"{DOWN}.ia3_l": (1, 64), f"{LAYERS}.0.self_attn.k_proj.ia3_l": (32, 1)}),
    ),
}


@pytest.mark.parametrize("case", AGREEING)
def test_settings_that_are_those_of_the_tensors_pass(case: str) -> None:
    values, tensors = AGREEING[case]
    for base in (tensors_of(BASE), ()):
        require_settings_of_tensors("helper", config_of(**values), tensors, base)
