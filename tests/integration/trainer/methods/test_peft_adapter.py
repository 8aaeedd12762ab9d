"""Methods that peft does alone: what is prepared is what peft prepares, does what the declaration's formula says, or is refused."""

from typing import Any

import pytest
import torch
from peft import LoHaConfig, OFTConfig, TaskType, VeraConfig, get_peft_model

from peft_registry.schemas.methods import METHODS
from peft_registry.trainer.machine.seeding import seed_of
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.layer_names import TargetsNotFound, TiedTarget
from peft_registry.trainer.methods.peft_adapter import SettingReplaced
from peft_registry.trainer.methods.peft_io import BaseNotAdaptable, adapter_state
from peft_registry.trainer.methods.targets import all_linear
from tests.builders.training import VOCABULARY, a_model, a_training_file

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
NAMES = tuple(name for name, method in METHODS.items() if method.module == "peft_adapter")
OF_LLAMA = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
# the same in peft's own words
PEFTS = {
    "vera": lambda: VeraConfig(r=4, d_initial=0.2, target_modules=OF_LLAMA, task_type=TaskType.CAUSAL_LM),
    "oft": lambda: OFTConfig(oft_block_size=8, target_modules=OF_LLAMA, task_type=TaskType.CAUSAL_LM),
    "loha": lambda: LoHaConfig(r=4, alpha=2, target_modules=OF_LLAMA, task_type=TaskType.CAUSAL_LM),
}
OURS: dict[str, dict[str, Any]] = {
    "vera": {"vera__r": 4, "vera__d_initial": 0.2},
    "oft": {"oft__block_size": 8},
    "loha": {"loha__r": 4, "loha__alpha": 2.0},
}


def prepared(name: str, *, base: Any = None, **changes: Any) -> Any:
    config = a_training_file(method=name, **OURS[name] | changes)
    return implementation(name).prepare(base or a_model(), config, seed=3)


def trained(name: str) -> Any:
    """A prepared adapter whose numbers are no longer those of the start."""
    model = prepared(name)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def answers(model: Any) -> torch.Tensor:
    ids = torch.arange(3, 43).reshape(2, 20)
    with torch.no_grad():
        return model(input_ids=ids).logits


@pytest.mark.parametrize("name", NAMES)
def test_what_is_prepared_is_what_peft_prepares_from_the_same_seed(name):
    ours = prepared(name)
    base = a_model()
    torch.manual_seed(seed_of(3, "adapter"))
    theirs = get_peft_model(base, PEFTS[name]())
    state, expected = adapter_state(ours), adapter_state(theirs)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)
    assert {key for key, one in ours.named_parameters() if one.requires_grad} == {
        key for key, one in theirs.named_parameters() if one.requires_grad
    }
    assert torch.equal(answers(ours.eval()), answers(a_model()))  # a fresh adapter changes nothing


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_adapter(name):
    first, again = adapter_state(prepared(name)), adapter_state(prepared(name))
    assert all(torch.equal(first[key], again[key]) for key in first)


def layer_of(model: Any) -> Any:
    return model.base_model.model.model.layers[0].mlp.down_proj


def change_in(name: str) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """(what the layer computes of the identity, its base weight, the adapted layer); W'ᵀ is what it computes of the identity."""
    layer = layer_of(trained(name))
    weight = layer.get_base_layer().weight.detach()
    with torch.no_grad():
        return layer(torch.eye(weight.shape[1])).T, weight, layer


def test_vera_scales_a_random_product_that_all_layers_share():
    adapted, weight, layer = change_in("vera")
    rows, columns = weight.shape
    a, b = layer.vera_A["default"][:, :columns], layer.vera_B["default"][:rows, :]
    scale_b, scale_d = layer.vera_lambda_b["default"].detach(), layer.vera_lambda_d["default"].detach()
    expected = weight + scale_b[:, None] * b @ (scale_d[:, None] * a)
    assert torch.allclose(adapted, expected, atol=1e-5)
    assert not torch.allclose(adapted, weight, atol=1e-3)


def test_loha_adds_an_elementwise_product():
    adapted, weight, layer = change_in("loha")
    first = layer.hada_w1_a["default"] @ layer.hada_w1_b["default"]
    second = layer.hada_w2_a["default"] @ layer.hada_w2_b["default"]
    assert torch.allclose(adapted, weight + (2 / 4) * (first * second).detach(), atol=1e-5)
    assert not torch.allclose(adapted, weight, atol=1e-4)


def test_oft_rotates_what_a_layer_reads():
    """W' = W·R: the products of W' with itself are those of W, up to the five terms that stand for an inverse."""
    adapted, weight, _ = change_in("oft")
    rotation = torch.linalg.lstsq(weight.double(), adapted.double()).solution  # (inputs, inputs), of the least norm
    assert torch.allclose(weight.double() @ rotation, adapted.double(), atol=1e-5)
    assert torch.allclose(adapted @ adapted.T, weight @ weight.T, atol=2e-2 * float((weight @ weight.T).abs().max()))
    assert not torch.allclose(adapted, weight, atol=1e-2)


def test_all_linear_is_what_peft_means_by_it_on_a_llama():
    theirs = get_peft_model(a_model(), LoHaConfig(r=2, target_modules="all-linear", task_type=TaskType.CAUSAL_LM))
    ours = prepared("loha", loha__r=2)
    assert set(theirs.base_model.targeted_module_names) == set(ours.base_model.targeted_module_names)


def test_all_linear_leaves_out_routers_and_the_head_also_where_their_names_are_those_of_layers():
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    model = MixtralForCausalLM(
        MixtralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4)
    )
    assert all_linear(model) == ["k_proj", "o_proj", "q_proj", "v_proj"]
    # a router by its name, and a layer of the router's name
    model.model.layers[0].mlp.gate_proj = model.model.layers[0].mlp.gate = torch.nn.Linear(32, 4)
    model.model.layers[1].gate = torch.nn.Linear(32, 32)
    assert "model.layers.1.gate" in all_linear(model)
    assert "gate" not in all_linear(model)


def test_a_setting_that_peft_would_replace_is_refused():
    with pytest.raises(SettingReplaced) as caught:
        prepared("oft", oft__block_size=7)
    assert "oft.block_size 7 does not fit the layer" in caught.value.what
    assert "peft would take 8 there" in caught.value.why


@pytest.mark.parametrize("name", NAMES)
def test_targets_that_are_not_there_or_tied_are_refused(name):
    with pytest.raises(TargetsNotFound) as caught:
        prepared(name, **{f"{name}__target_modules": ["q_prj"]})
    assert caught.value.fix == "name some of those, or write all-linear"
    with pytest.raises(TiedTarget):
        prepared(name, **{f"{name}__target_modules": ["lm_head", "q_proj"]})


def test_a_kind_of_layer_that_peft_has_no_adapter_for_is_refused_in_its_words():
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=VOCABULARY))
    with pytest.raises(BaseNotAdaptable, match="LOHA into this base \\(gpt2\\)"):
        prepared("loha", base=base, loha__target_modules=["c_attn"])
