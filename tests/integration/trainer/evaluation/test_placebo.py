"""The placebo is as far from the base as the adapter and knows nothing of it; afterwards the adapter is as it was."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, PromptTuningConfig, get_peft_model, get_peft_model_state_dict

from peft_registry.schemas.methods import METHODS
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.evaluation.arms import base_of
from peft_registry.trainer.evaluation.placebo import has_placebo, placebo, turned, turns_of
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.peft_io import adapter_state, unloaded
from tests.builders.training import VOCABULARY, a_base_folder, a_model, a_training_file

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
# KL of the placebo from the base, as a multiple of the adapter's own: the random differences of these adapters know nothing
# of a text either, so that turning them at random does about the same. Ten times is far below what a wrecked model shows.
HARM = 3.0


def with_biases(model: Any) -> Any:
    """Biases as large as those that Qwen2 has in its attention, and norms that are not one."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.data = 2 * torch.randn(parameter.shape, generator=generator)
    return model


def a_llama() -> Any:
    return with_biases(a_model(attention_bias=True))


def an_untied() -> Any:
    return a_model(tied=False)


def a_mixture() -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=2, initializer_range=0.2,
    )  # fmt: skip
    return MixtralForCausalLM(config).eval()


SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2, "initializer_range": 0.2,
    "pad_token_id": 256,
}  # fmt: skip
EXPERTS = {"lora__target_parameters": ["experts.gate_up_proj", "experts.down_proj"]}


def a_gpt_oss() -> Any:
    from transformers import GptOssConfig, GptOssForCausalLM

    torch.manual_seed(0)
    return GptOssForCausalLM(GptOssConfig(**SIZES, head_dim=8, layer_types=["full_attention"] * 2)).eval()


def a_granite() -> Any:
    from transformers import GraniteMoeConfig, GraniteMoeForCausalLM

    torch.manual_seed(0)
    return GraniteMoeForCausalLM(GraniteMoeConfig(**SIZES)).eval()


@dataclass(frozen=True)
class Case:
    method: str
    changes: dict[str, Any] = field(default_factory=dict)
    base: Callable[[], Any] = a_model


CASES = {
    **{name: Case(name) for name in METHODS if METHODS[name].layout != "model" and name != "qlora"},
    "rslora": Case("lora", {"lora__use_rslora": True}),
    "rank above the width": Case("lora", {"lora__r": 48}),
    "pissa": Case("lora", {"lora__init": "pissa"}),
    "dora": Case("lora", {"lora__use_dora": True}),
    "biases": Case("lora", {"lora__bias": "all"}, a_llama),
    "biases of adapted layers": Case("lora", {"lora__bias": "lora_only"}, a_llama),
    "embeddings": Case("lora", {"lora__target_modules": ["embed_tokens", "q_proj"]}, an_untied),
    "embeddings with dora": Case("lora", {"lora__target_modules": ["embed_tokens"], "lora__use_dora": True}, an_untied),
    "experts": Case("lora", {}, a_mixture),
    "experts of gpt-oss": Case("lora", EXPERTS, a_gpt_oss),
    "experts of granite": Case("lora", EXPERTS, a_granite),
    "bottleneck houlsby": Case("bottleneck", {"bottleneck__placement": "houlsby"}),
    "bottleneck parallel": Case("bottleneck", {"bottleneck__placement": "parallel"}),
    "prefix projection": Case("prefix_tuning", {"prefix_tuning__projection": True}),
    "prefix random": Case("prefix_tuning", {"prefix_tuning__init": "random"}),
}


def hand_built(case: Case, folder: Any, *, spread: float = 0.05) -> Any:
    """An adapter whose numbers differ from its untrained ones at random, saved and loaded on a fresh base."""
    method = implementation(case.method)
    trained = method.prepare(case.base(), a_training_file(method=case.method, **case.changes), seed=1)
    generator = torch.Generator().manual_seed(3)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.data += spread * torch.randn(parameter.shape, generator=generator)
    method.save(trained, folder, base=None)
    return method.load(case.base(), folder)


def log_probabilities(model: Any) -> torch.Tensor:
    ids = torch.randint(3, 250, (4, 24), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return torch.log_softmax(model(input_ids=ids).logits[:, -24:].double(), dim=-1)


def divergence(base: torch.Tensor, other: torch.Tensor) -> float:
    """KL of another model from the base, in nats a token."""
    return float((base.exp() * (base - other)).sum(-1).mean())


def parts(model: Any) -> tuple[Any, ...]:
    return getattr(model, "adapter_parts", (model,))


def neutral_of(name: str, tensor: torch.Tensor, base: Any) -> torch.Tensor | None:
    """What the tensor is where the adapter does nothing, from the base's own tensors and the papers; None for a factor that
    the other one multiplies, and for a prompt, which has no such value."""
    plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
    if "lora_magnitude_vector" in name:
        weight = base.get_parameter(plain.replace("lora_magnitude_vector", "weight")).detach()
        return weight.norm(dim=0 if "embed_tokens" in name else 1).reshape(tensor.shape)
    if "ia3_" in name:
        return torch.ones_like(tensor)
    if plain in dict(base.named_parameters()):
        return base.get_parameter(plain).detach()
    at_zero = ("lora_", "bottleneck_up", "vera_lambda", "oft_R", "hada_")
    return torch.zeros_like(tensor) if any(mark in name for mark in at_zero) else None


@pytest.mark.parametrize("name", CASES)
def test_the_placebo_is_as_far_from_the_base_as_the_adapter_and_does_no_more_harm(tmp_path, name):
    case = CASES[name]
    model = hand_built(case, tmp_path)
    assert has_placebo(model)
    before = [{key: tensor.clone() for key, tensor in adapter_state(part).items()} for part in parts(model)]
    adapted = log_probabilities(model)
    with placebo(model):
        inside = [{key: tensor.clone() for key, tensor in adapter_state(part).items()} for part in parts(model)]
        turned_at_random = log_probabilities(model)
    assert torch.equal(log_probabilities(model), adapted)
    base = case.base()
    moved = 0
    for old, new in zip(before, inside, strict=True):
        for key, tensor in old.items():
            neutral = neutral_of(key, tensor, base)
            if neutral is not None:
                expected = float((tensor - neutral).norm())
                assert float((new[key] - neutral).norm()) == pytest.approx(expected, rel=1e-4), key
            moved += not torch.equal(tensor, new[key])
    assert moved >= sum(map(len, before)) / 2
    start = log_probabilities(base)
    assert divergence(start, adapted) > 1e-4  # the adapter does something, or the bound would say nothing
    assert divergence(start, turned_at_random) <= HARM * divergence(start, adapted)


def test_the_placebo_of_qlora_is_that_of_lora_on_the_quantised_base(tmp_path):
    config = a_training_file(method="qlora", quantization={"type": "nf4"})
    folder = a_base_folder(tmp_path / "base", hidden_size=64, intermediate_size=64)

    def base() -> Any:
        return load_base(folder, dtype="fp32", device="cpu", quantization=config.quantization)[0]

    model = hand_built(Case("qlora", {"quantization": {"type": "nf4"}}, base), made(tmp_path / "adapter"))
    start = log_probabilities(base())
    adapted = log_probabilities(model)
    with placebo(model):
        assert divergence(start, log_probabilities(model)) <= HARM * divergence(start, adapted)


def made(folder: Any) -> Any:
    folder.mkdir()
    return folder


def test_a_magnitude_of_dora_never_turns_its_column_round(tmp_path):
    model = hand_built(CASES["dora"], tmp_path, spread=2.0)  # beyond the norms of the base's columns
    with placebo(model):
        magnitudes = [tensor for key, tensor in adapter_state(model).items() if "magnitude" in key]
        assert magnitudes and all(bool((tensor >= 0).all()) for tensor in magnitudes)


@pytest.mark.parametrize("name", ["biases", "biases of adapted layers"])
def test_the_base_arm_of_an_adapter_with_biases_is_the_base(tmp_path, name):
    pristine = log_probabilities(CASES[name].base())
    model = hand_built(CASES[name], tmp_path)
    _, entered = base_of(model, None)
    with entered():
        assert torch.equal(log_probabilities(model), pristine)
    assert not torch.equal(log_probabilities(model), pristine)
    assert torch.equal(log_probabilities(unloaded(model)), pristine)


def test_saved_modules_are_turned_around_the_bases_own(tmp_path):
    torch.manual_seed(2)
    base = an_untied()
    with torch.no_grad():
        base.model.norm.weight += torch.randn(32).abs()
    settings = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["norm", "lm_head"])
    trained = get_peft_model(base, settings)
    own = {"model.norm": base.model.norm.weight, "lm_head": base.lm_head.weight}
    before = {key: tensor.detach().clone() for key, tensor in own.items()}
    for parameter in trained.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape)
    assert has_placebo(trained.eval())
    old = {key: tensor.clone() for key, tensor in get_peft_model_state_dict(trained).items()}
    with placebo(trained):
        new = {key: tensor.clone() for key, tensor in get_peft_model_state_dict(trained).items()}
    for name, neutral in before.items():
        key = next(key for key in old if key.endswith(f"{name}.weight"))
        assert not torch.equal(old[key], new[key])
        assert float((new[key] - neutral).norm()) == pytest.approx(float((old[key] - neutral).norm()), rel=1e-4)


def test_an_adapter_whose_neutral_values_are_not_known_has_no_placebo():
    trained = get_peft_model(a_llama(), LoraConfig(r=2, target_modules=["q_proj"], bias="all"))
    assert not has_placebo(trained)  # its biases were trained in place, and nobody kept the base's


def test_a_low_rank_product_keeps_its_singular_values():
    torch.manual_seed(4)
    model = get_peft_model(a_model(), LoraConfig(r=48, target_modules=["up_proj"], init_lora_weights=False))
    tensors = {key: tensor for key, tensor in adapter_state(model).items() if ".layers.0." in key}
    after = turned(tensors, turns_of(model), seed=1)
    name = "base_model.model.model.layers.0.mlp.up_proj.lora_{}.weight"
    old, new = (one[name.format("B")] @ one[name.format("A")] for one in (tensors, after))
    assert torch.allclose(torch.linalg.svdvals(old), torch.linalg.svdvals(new), atol=1e-3)
    assert not torch.allclose(old, new)


def test_an_elementwise_product_keeps_its_singular_values():
    torch.manual_seed(4)
    model = get_peft_model(a_model(), LoHaConfig(r=4, target_modules=["up_proj"], init_weights=False))
    tensors = {key: tensor for key, tensor in adapter_state(model).items() if ".layers.0." in key}
    after = turned(tensors, turns_of(model), seed=1)
    old, new = (
        (one[f"{name}.hada_w1_a"] @ one[f"{name}.hada_w1_b"]) * (one[f"{name}.hada_w2_a"] @ one[f"{name}.hada_w2_b"])
        for one in (tensors, after)
        for name in ["base_model.model.model.layers.0.mlp.up_proj"]
    )
    assert torch.allclose(torch.linalg.svdvals(old), torch.linalg.svdvals(new), atol=1e-3)
    assert not torch.allclose(old, new)


def test_equal_scales_are_told_apart_from_their_placebo():
    model = get_peft_model(a_model(), IA3Config(target_modules=["k_proj"], feedforward_modules=[]))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.fill_(0.8)  # permuted without signs this would be the adapter again
    with placebo(model):
        scales = torch.cat([tensor.flatten() for tensor in adapter_state(model).values()])
    assert {round(float(scale), 4) for scale in scales} == {0.8, 1.2}


def test_the_seed_decides():
    model = get_peft_model(a_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    tensors, turns = adapter_state(model), turns_of(model)
    first, again, other = (turned(tensors, turns, seed=seed)["prompt_embeddings"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_model_without_an_adapter_has_none():
    assert not has_placebo(a_model())
