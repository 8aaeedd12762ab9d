"""IA3: which modules it scales, that it starts as a no-op, and what it refuses."""

import pytest
import torch

from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.methods.ia3 import TargetsNotKnown
from peft_registry.trainer.methods.layer_names import FeedforwardNotTargeted, TargetsNotFound
from tests.builders.training import a_model, a_training_file, logits_of, some_batches

METHOD = implementation("ia3")


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    return some_batches(tmp_path_factory.mktemp("rows"))


def test_a_fresh_adapter_changes_nothing_and_scales_keys_values_and_the_mlps_inner_activation(batches):
    adapted = METHOD.prepare(a_model(), a_training_file(method="ia3"), seed=1)
    assert torch.equal(logits_of(adapted, batches), logits_of(a_model(), batches))
    sizes = {n.split(".layers.0.")[1].split(".ia3")[0]: p.numel() for n, p in adapted.named_parameters()
             if p.requires_grad and ".layers.0." in n}  # fmt: skip
    # keys and values have 2 heads of 8; the MLP is 64 wide: 96 learned numbers a layer, not none
    assert sizes == {"self_attn.k_proj": 16, "self_attn.v_proj": 16, "mlp.down_proj": 64}


def test_scaling_is_what_the_paper_says(batches):
    adapted = METHOD.prepare(a_model(), a_training_file(method="ia3"), seed=1)
    plain = a_model()
    torch.manual_seed(3)
    for name, parameter in adapted.named_parameters():
        if not parameter.requires_grad:
            continue
        parameter.data = torch.rand_like(parameter) + 0.5
        layer = plain.get_submodule(name.removeprefix("base_model.model.").split(".ia3_l")[0])
        scale = parameter.data.flatten()
        # outputs of keys and values are rows of the weight, inputs of the MLP's last layer are columns
        layer.weight.data *= scale[None, :] if "down_proj" in name else scale[:, None]
    assert torch.allclose(logits_of(adapted, batches), logits_of(plain, batches), atol=1e-4)


def test_module_names_that_do_not_fit_are_refused():
    with pytest.raises(TargetsNotFound, match=r"ia3\.target_modules"):
        prepare(target_modules=["k_prjo"], feedforward_modules=[])
    with pytest.raises(FeedforwardNotTargeted, match="down_proj"):
        prepare(target_modules=["k_proj"], feedforward_modules=["down_proj"])
    for case in ({"target_modules": ["k_proj"]}, {"target_modules": ["k_proj", "down_proj"]}):
        prepare(**case)


def test_an_architecture_whose_names_nobody_listed_is_asked_for():
    from transformers import MptConfig, MptForCausalLM

    model = MptForCausalLM(MptConfig(d_model=16, n_heads=2, n_layers=1, vocab_size=300, max_seq_len=32))
    with pytest.raises(TargetsNotKnown, match="auto") as caught:
        METHOD.prepare(model, a_training_file(method="ia3"), seed=1)
    assert isinstance(caught.value, InputRefused)


def prepare(**block):
    return METHOD.prepare(
        a_model(), a_training_file(method="ia3", **{f"ia3__{k}": v for k, v in block.items()}), seed=1
    )
