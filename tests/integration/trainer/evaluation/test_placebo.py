"""The placebo is as large as the adapter and knows nothing of it; afterwards the adapter is as it was."""

import pytest
import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model, get_peft_model_state_dict

from peft_registry.trainer.evaluation.placebo import has_placebo, placebo, turned
from peft_registry.trainer.methods import METHODS, implementation
from tests.builders.training import a_model, a_training_file

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
CONFIGS = {
    "lora": LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    "ia3": IA3Config(target_modules=["k_proj"], feedforward_modules=[]),
    "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def model(request):
    torch.manual_seed(2)
    found = get_peft_model(a_model(), request.param)
    for parameter in found.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, mean=0.5)
    return found.eval()


def state_of(model):
    return {name: tensor.clone() for name, tensor in get_peft_model_state_dict(model).items()}


def test_every_tensor_keeps_its_norm_and_comes_back_bit_for_bit(model):
    before = state_of(model)
    with placebo(model):
        inside = state_of(model)
    assert all(torch.equal(tensor, state_of(model)[name]) for name, tensor in before.items())
    assert any(not torch.equal(tensor, inside[name]) for name, tensor in before.items())
    for name, tensor in before.items():
        assert float(inside[name].norm()) == pytest.approx(float(tensor.norm()), rel=1e-5)


def test_a_low_rank_product_keeps_its_singular_values():
    torch.manual_seed(4)
    tensors = {"x.lora_A.weight": torch.randn(3, 40), "x.lora_B.weight": torch.randn(50, 3)}
    after = turned(tensors, seed=1)
    old, new = (one["x.lora_B.weight"] @ one["x.lora_A.weight"] for one in (tensors, after))
    assert torch.allclose(torch.linalg.svdvals(old), torch.linalg.svdvals(new), atol=1e-4)
    assert not torch.allclose(old, new)


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.layout == "peft" and name != "qlora"])
def test_scales_that_start_at_one_keep_their_signs(method):
    state = state_of(implementation(method).prepare(a_model(), a_training_file(method=method), seed=1))
    scales = {name: tensor for name, tensor in state.items() if bool((tensor == 1).all())}
    assert all(bool((tensor > 0).all()) for tensor in turned(scales, seed=1).values()), (
        f"{method} trains scales: name its tensors in _turned of trainer/evaluation/placebo.py"
    )


def test_the_seed_decides():
    tensors = {"a": torch.randn(4, 9)}
    assert torch.equal(turned(tensors, seed=1)["a"], turned(tensors, seed=1)["a"])
    assert not torch.equal(turned(tensors, seed=1)["a"], turned(tensors, seed=2)["a"])


def test_a_model_without_an_adapter_has_none():
    assert not has_placebo(a_model())
