"""What LoRA adapts of a mixture of experts: the share by kind, beside a count by hand, and experts that are named."""

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GptOssConfig,
    GraniteMoeConfig,
    GraniteMoeSharedConfig,
    MixtralConfig,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.run import coverage_sentence
from peft_registry.trainer.methods import lora
from peft_registry.trainer.methods.coverage import coverage_of
from peft_registry.trainer.methods.layer_names import TargetsNotFound
from peft_registry.trainer.methods.lora import ParametersRefused
from peft_registry.trainer.training.train_adapter import coverage_warnings
from tests.builders.training import a_model, a_training_file

pytestmark = pytest.mark.filterwarnings("ignore")
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
}
CONFIGS: dict[str, Any] = {
    "gpt_oss": lambda: GptOssConfig(
        **SIZES, intermediate_size=32, head_dim=8, num_local_experts=4, layer_types=["full_attention"] * 2
    ),
    "granitemoe": lambda: GraniteMoeConfig(**SIZES, intermediate_size=32, num_local_experts=4),
    "qwen3_moe": lambda: Qwen3MoeConfig(
        **SIZES, intermediate_size=32, moe_intermediate_size=16, head_dim=8, num_experts=4
    ),
    "mixtral": lambda: MixtralConfig(**SIZES, intermediate_size=32, num_local_experts=4),
    "granitemoeshared": lambda: GraniteMoeSharedConfig(
        **SIZES, intermediate_size=32, num_local_experts=4, shared_intermediate_size=16
    ),
    "qwen2_moe": lambda: Qwen2MoeConfig(
        **SIZES, intermediate_size=32, moe_intermediate_size=16, shared_expert_intermediate_size=16, num_experts=4
    ),
}
# of two layers: q and o of 32 × 32, k and v of 16 × 32; then experts, routers and shared experts by their published shapes
ATTENTION = 2 * (2 * 32 * 32 + 2 * 16 * 32)
EXPERTS = {
    "gpt_oss": 2 * 4 * (32 * 64 + 32 * 32),
    "granitemoe": 2 * 4 * (64 * 32 + 32 * 32),
    "mixtral": 2 * 4 * (64 * 32 + 32 * 32),
    "qwen3_moe": 2 * 4 * (32 * 32 + 32 * 16),
    "qwen2_moe": 2 * 4 * (32 * 32 + 32 * 16),
}
NAMES = ("experts.gate_up_proj", "experts.down_proj")


def adapted(name: str, **block: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]())
    return lora.prepare(model, a_training_file(lora={"r": 2, **block}), seed=0)


def counted(model: Any) -> dict[str, tuple[int, int]]:
    return {entry.kind: (entry.weights, entry.adapted) for entry in coverage_of(model)}


@pytest.mark.parametrize("name", ["gpt_oss", "granitemoe"])
def test_all_linear_leaves_the_experts_out_and_says_so(name):
    model = adapted(name)
    assert counted(model) == {
        "router": (2 * 4 * 32, 0),
        "experts": (EXPERTS[name], 0),
        "attention": (ATTENTION, ATTENTION),
    }
    (warned,) = coverage_warnings(a_training_file(), model)
    share = ATTENTION / (ATTENTION + EXPERTS[name] + 2 * 4 * 32)
    assert f"{share:.0%} of the weights" in warned and "experts 0%" in warned and "target_parameters" in warned


@pytest.mark.parametrize("name", ["gpt_oss", "granitemoe", "qwen2_moe"])
def test_experts_that_are_named_are_adapted_and_learn(name):
    model = adapted(name, target_parameters=list(NAMES))
    assert counted(model)["experts"] == (EXPERTS[name], EXPERTS[name])
    assert coverage_warnings(a_training_file(lora={"target_parameters": list(NAMES)}), model) == ()
    ids = torch.arange(1, 9)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    learning = [n for n, p in model.named_parameters() if "experts" in n and "lora_B" in n and p.grad is not None]
    assert len(learning) >= 4 and all(torch.isfinite(dict(model.named_parameters())[n].grad).all() for n in learning)


def test_named_experts_are_saved_and_loaded(tmp_path):
    model = adapted("granitemoe", target_parameters=list(NAMES)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    ids = torch.arange(1, 9)[None]
    expected = model(input_ids=ids).logits
    lora.save(model, tmp_path, base=BaseToOpen("sha256:0"))
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(CONFIGS["granitemoe"]()).eval()
    assert torch.allclose(lora.load(base, tmp_path)(input_ids=ids).logits, expected, atol=1e-5)


def test_where_peft_knows_the_experts_all_linear_adapts_them_without_a_warning():
    model = adapted("qwen3_moe")
    assert counted(model)["experts"] == (EXPERTS["qwen3_moe"], EXPERTS["qwen3_moe"])
    assert coverage_warnings(a_training_file(), model) == ()


def test_a_dense_model_is_adapted_whole_but_for_what_is_left_out():
    dense = lora.prepare(a_model(), a_training_file(), seed=0)
    assert coverage_sentence(coverage_of(dense)) == "100% of the weights of all matrices: attention 100%, mlp 100%"
    part = lora.prepare(a_model(), a_training_file(lora={"target_modules": ["q_proj", "v_proj"]}), seed=0)
    assert "mlp 0%" in coverage_sentence(coverage_of(part))
    assert coverage_of(a_model()) == ()


def test_parameters_that_are_not_there_or_cannot_be_combined_are_refused():
    with pytest.raises(TargetsNotFound, match="target_parameters"):
        adapted("granitemoe", target_parameters=["experts.up"])
    with pytest.raises(ParametersRefused, match="dropout"):
        adapted("granitemoe", target_parameters=[NAMES[0]], dropout=0.1)


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe"])
@pytest.mark.parametrize(("key", "value"), [("use_dora", True), ("dropout", 0.1)])
def test_dora_and_dropout_are_refused_where_all_linear_means_the_experts_too(name, key, value):
    """Peft turns `all-linear` of these into their experts, and then says that it cannot, in words of its own."""
    with pytest.raises(ParametersRefused, match=f"lora.{key}") as caught:
        adapted(name, **{key: value})
    assert "down_proj, gate_up_proj" in caught.value.why
    attention = adapted(name, target_modules=["q_proj", "v_proj"], **{key: value})
    assert counted(attention)["experts"] == (EXPERTS[name], 0)


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("qwen2_moe", [f"shared_expert.{part}_proj" for part in ("gate", "up", "down")]),
        ("granitemoeshared", ["shared_mlp.input_linear", "shared_mlp.output_linear"]),
    ],
)
@pytest.mark.parametrize("use_dora", [False, True])
def test_shared_experts_are_layers_and_are_named_like_any_other(name, modules, use_dora):
    model = adapted(name, target_modules=modules, use_dora=use_dora)
    shares = {entry.kind: entry.adapted / entry.weights for entry in coverage_of(model)}
    assert shares == {"router": 0, "shared experts": 1, "experts": 0, "attention": 0}
