"""The identity table: base merged with an adapter at weight 1 answers like base and adapter, in fp32; and the stored
tensors are bit for bit those of peft's own merge in memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from peft_registry.trainer.merge.adapter_change import change_of_adapter, change_of_model
from tests.builders.merge import load, merge, suppress_warnings, unmerged, write_adapter, write_base
from tests.builders.training import a_model

SMALL = {"vocab_size": 120, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.2}
EVERY_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
RELATIVE = 1e-5  # of the logits in fp32, against base and adapter unmerged


def lora(**changes: Any) -> LoraConfig:
    settings: dict[str, Any] = {"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": EVERY_LINEAR}
    return LoraConfig(**(settings | changes))


def ia3(**changes: Any) -> IA3Config:
    targets = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    return IA3Config(task_type="CAUSAL_LM", **(targets | changes))


def llama(*, tied: bool = False, **changes: Any) -> Any:
    return a_model(tied=tied, **changes)


def qwen2(*, tied: bool = False, **_: Any) -> Any:
    torch.manual_seed(1)
    return Qwen2ForCausalLM(Qwen2Config(**SMALL, **HEADS, tie_word_embeddings=tied)).eval()


def gpt2(**_: Any) -> Any:
    torch.manual_seed(1)
    return GPT2LMHeadModel(GPT2Config(vocab_size=120, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2)).eval()


def mixtral(**_: Any) -> Any:
    torch.manual_seed(1)
    return MixtralForCausalLM(MixtralConfig(**SMALL, **HEADS, num_local_experts=3)).eval()


def qwen3_moe(**_: Any) -> Any:
    torch.manual_seed(1)
    config = Qwen3MoeConfig(
        **SMALL, **HEADS, moe_intermediate_size=16, num_experts=3, num_experts_per_tok=2, head_dim=8
    )
    return Qwen3MoeForCausalLM(config).eval()


BIASED = {"attention_bias": True, "mlp_bias": True}
FUSED = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
# what: (model, its settings, adapter)
TABLE: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "LoRA": (llama, {}, lora()),
    "LoRA, tied": (llama, {"tied": True}, lora()),
    "LoRA, Qwen2": (qwen2, {}, lora()),
    "LoRA, Qwen2 tied": (qwen2, {"tied": True}, lora()),
    "LoRA, stored (in, out)": (gpt2, {}, lora(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True)),
    "rsLoRA": (llama, {}, lora(use_rslora=True)),
    "rsLoRA, tied": (llama, {"tied": True}, lora(use_rslora=True)),
    "DoRA": (llama, {}, lora(use_dora=True)),
    "DoRA, tied": (llama, {"tied": True}, lora(use_dora=True)),
    "DoRA, stored (in, out)": (
        gpt2,
        {},
        lora(target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, use_dora=True),
    ),
    "all biases": (llama, BIASED, lora(bias="all")),
    "biases of LoRA layers": (llama, BIASED | {"tied": True}, lora(bias="lora_only", target_modules=["q_proj"])),
    "bias of B": (llama, BIASED, lora(lora_bias=True)),
    "rank and alpha patterns": (
        llama,
        {},
        lora(rank_pattern={"q_proj": 2, "layers.1.mlp.down_proj": 6}, alpha_pattern={"v_proj": 3, r"layers\.0\..*": 5}),
    ),
    "patterns, rsLoRA, tied": (
        llama,
        {"tied": True},
        lora(rank_pattern={"k_proj": 3}, alpha_pattern={"k_proj": 7}, use_rslora=True),
    ),
    "embedding and head": (llama, {}, lora(target_modules=["embed_tokens", "lm_head", "q_proj"])),
    "saved head": (llama, {}, lora(modules_to_save=["lm_head"])),
    "saved embedding and head": (llama, {}, lora(modules_to_save=["embed_tokens", "lm_head"])),
    "saved norm": (llama, {}, lora(modules_to_save=["norm"])),
    "saved head, tied": (llama, {"tied": True}, lora(modules_to_save=["lm_head"])),
    "saved embedding, tied": (llama, {"tied": True}, lora(modules_to_save=["embed_tokens"])),
    "saved embedding, kept tied": (
        llama,
        {"tied": True},
        lora(modules_to_save=["embed_tokens"], ensure_weight_tying=True),
    ),
    "trained tokens": (llama, {}, lora(trainable_token_indices=[3, 5, 119])),
    "trained tokens, tied": (llama, {"tied": True}, lora(trainable_token_indices=[3, 5, 119])),
    "IA3": (llama, {}, ia3()),
    "IA3, tied, with biases": (llama, BIASED | {"tied": True}, ia3()),
    "IA3, Qwen2": (qwen2, {}, ia3()),
    "IA3, saved head": (llama, {}, ia3(modules_to_save=["lm_head"])),
    "experts, Qwen3": (qwen3_moe, {}, lora(target_modules=["q_proj"], target_parameters=FUSED)),
    "experts by their old names, Mixtral": (mixtral, {}, lora(target_modules=["q_proj", "w1", "w2", "w3"])),
    "experts and router, all linear": (qwen3_moe, {}, lora(target_modules="all-linear")),
    "one parameter of the experts, rsLoRA": (
        mixtral,
        {},
        lora(target_modules=["o_proj"], target_parameters=["mlp.experts.down_proj"], use_rslora=True),
    ),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(base folder, adapter folder) of a row, made once for all tests that ask; the base is in several files."""
    made: dict[tuple[str, Any], tuple[Path, Path]] = {}

    def pair(row: str, dtype: Any = torch.float32) -> tuple[Path, Path]:
        if (row, dtype) not in made:
            model, settings, config = TABLE[row]
            folder = tmp_path_factory.mktemp("pair")
            base = write_base(model(**settings), folder / "base", shard_size="60KB", dtype=dtype)
            made[row, dtype] = base, write_adapter(base, folder / "adapter", config, dtype=dtype)
        return made[row, dtype]

    return pair


def logits_of(model: Any) -> torch.Tensor:
    ids = torch.arange(2 * 24).reshape(2, 24) % 120
    with torch.inference_mode():
        return model(input_ids=ids).logits.float()


@pytest.mark.parametrize("row", TABLE)
def test_a_merge_at_weight_one_answers_like_base_and_adapter(row: str, pairs: Any, tmp_path: Path) -> None:
    base, adapter = pairs(row)
    merge(base, adapter, into=tmp_path / "merged")
    before, expected, found = (
        logits_of(model) for model in (load(base), unmerged(base, adapter), load(tmp_path / "merged"))
    )
    assert (expected - before).norm() > 0.01 * before.norm()  # the adapter does something
    assert (found - expected).norm() <= RELATIVE * expected.norm()


# peft keeps factors of stacked experts and of embeddings in the base's format and rounds their product before the sum
ROUNDED_TWICE_BY_PEFT = [row for row in TABLE if "experts" in row or row == "embedding and head"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("row", TABLE)
def test_the_stored_tensors_are_those_of_pefts_own_merge_bit_for_bit(
    row: str, dtype: Any, pairs: Any, tmp_path: Path
) -> None:
    base, adapter = pairs(row, dtype)
    merge(base, adapter, into=tmp_path / "merged", dtype=None)
    computed = torch.float32 if row in ROUNDED_TWICE_BY_PEFT else dtype
    with suppress_warnings():
        merged = PeftModel.from_pretrained(load(base, computed), adapter).merge_and_unload()
    theirs = {name: value.to(dtype) for name, value in merged.state_dict().items()}
    ours = load(tmp_path / "merged", dtype).state_dict()
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == []


# tensors in bf16 are read alike whatever the adapter: one of each way to fold
IN_BF16 = ("LoRA", "DoRA, stored (in, out)", "trained tokens, tied", "IA3", "experts, Qwen3")


@pytest.mark.parametrize(
    ("row", "dtype"),
    [
        *(pytest.param(row, torch.float32, id=f"{row}-fp32") for row in TABLE),
        *(
            pytest.param(row, torch.bfloat16, id=f"{row}-bf16", marks=() if row in IN_BF16 else pytest.mark.full)
            for row in TABLE
        ),
    ],
)
def test_an_adapter_changes_what_a_merge_in_fp32_measures(row: str, dtype: Any, pairs: Any, tmp_path: Path) -> None:
    """The norms of the factors alone, against the tensors that the merge writes."""
    base, adapter = pairs(row, dtype)
    merged = merge(base, adapter, into=tmp_path / "merged", dtype="F32")
    found = change_of_adapter(base, adapter)
    assert found.relative_norm == pytest.approx(merged.whole.relative_norm, rel=1e-4)
    modules = {one.name: one for one in found.modules}
    assert modules.keys() == {one.name for one in merged.tensors if one.changed}
    for one in merged.tensors:
        if one.changed:
            ours = modules[one.name]
            assert ours.shape == one.shape
            if one.relative_norm is None:  # the base's tensor is zero
                assert ours.relative_norm is None
            else:
                assert ours.relative_norm == pytest.approx(one.relative_norm, rel=1e-4)
            assert ours.cosine == pytest.approx(one.cosine, abs=1e-5)
            if one.spectral_norm is not None:
                assert ours.spectral_norm == pytest.approx(one.spectral_norm, rel=1e-4)


@pytest.mark.parametrize("row", ["LoRA", "experts, Qwen3", "DoRA"])
def test_a_whole_model_beside_its_base_is_measured_as_the_merge_measured_it(
    row: str, pairs: Any, tmp_path: Path
) -> None:
    base, adapter = pairs(row)
    merged = merge(base, adapter, into=tmp_path / "merged")
    found = change_of_model(base, tmp_path / "merged")
    assert found is not None
    assert found.changed == merged.whole.changed
    assert found.relative_norm == pytest.approx(merged.whole.relative_norm, rel=1e-6)
    assert {one.name: one.changed_share for one in found.modules} == {
        one.name: one.changed_share for one in merged.tensors if one.changed
    }


def test_a_model_with_other_tensors_than_its_base_has_no_measure(pairs: Any, tmp_path: Path) -> None:
    base, adapter = pairs("saved head, tied")  # the result has a head of its own
    merge(base, adapter, into=tmp_path / "merged")
    assert change_of_model(base, tmp_path / "merged") is None
