"""PiSSA, LoRA+, mixtures of experts and ties: what the LoRA family does besides W + s·B·A."""

import json
import warnings
from pathlib import Path

import pytest
import torch

from peft_registry.trainer.data.collate import Batches
from peft_registry.trainer.methods import changes_loaded_base, implementation
from peft_registry.trainer.methods.layer_names import PatternUnmatched, TargetsNotFound, TiedTarget
from peft_registry.trainer.methods.lora import PissaOnExperts
from peft_registry.trainer.training.loop import train
from peft_registry.trainer.training.optimizers import optimizer_for
from tests.builders.training import a_model, a_training_file, logits_of, some_batches

METHOD = implementation("lora")


@pytest.fixture(scope="module")
def batches(tmp_path_factory: pytest.TempPathFactory) -> Batches:
    return some_batches(tmp_path_factory.mktemp("rows"))


PISSA = {
    "plain": {},
    "rslora": {"lora__use_rslora": True},
    "patterns": {"lora__rank_pattern": {"q_proj": 2}, "lora__alpha_pattern": {"v_proj": 5.0}},
    "rslora and patterns": {"lora__use_rslora": True, "lora__rank_pattern": {"q_proj": 2}},
    "dropout": {"lora__dropout": 0.2},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", PISSA)
def test_pissa_is_stored_as_plain_lora_that_peft_reloads_to_the_same_logits(batches, tmp_path, variant, dtype):
    config = a_training_file(lora__init="pissa", lora__r=4, lora__alpha=8.0, **PISSA[variant])
    trained = METHOD.prepare(a_model().to(dtype), config, seed=1)
    train(trained, batches, config.training)
    METHOD.save(trained, tmp_path, base=None)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (stored["r"], stored["init_lora_weights"]) == (8, True)
    expected = logits_of(trained, batches)
    for reloaded in (METHOD.load(a_model().to(dtype), tmp_path), peft_loads(a_model().to(dtype), tmp_path)):
        # one product of rank 2r in place of two of rank r: the order of a sum
        tolerance = 1e-5 if dtype == torch.float32 else 0.02
        assert torch.allclose(logits_of(reloaded, batches), expected, atol=tolerance * float(expected.abs().max()))


def peft_loads(model, folder: Path):
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*keys did not match any targeted", category=RuntimeWarning)
        return PeftModel.from_pretrained(model, str(folder)).eval()


def test_pissa_trains_what_pefts_own_pissa_trains(batches):
    from peft import LoraConfig, get_peft_model

    config = a_training_file(lora__init="pissa", lora__r=4, lora__alpha=8.0, training__learning_rate=1e-3)
    ours = METHOD.prepare(a_model(), config, seed=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
        theirs = get_peft_model(
            a_model(),
            LoraConfig(
                task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights="pissa"
            ),
        )
    curves = [train(model, batches, config.training).curve.loss for model in (ours, theirs)]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert torch.allclose(logits_of(ours, batches), logits_of(theirs, batches), atol=1e-3)


def test_pissa_starts_as_a_no_op_at_the_best_low_rank_approximation_and_leaves_the_base_alone(batches):
    base = a_model()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    adapted = METHOD.prepare(base, a_training_file(lora__init="pissa", lora__r=4), seed=1)
    assert torch.allclose(logits_of(adapted, batches), logits_of(a_model(), batches), atol=1e-5)
    layer = adapted.base_model.model.model.layers[0].self_attn.q_proj
    product = layer.scaling["default"] * (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach()
    weight = before["model.layers.0.self_attn.q_proj.weight"]
    values = torch.linalg.svdvals(weight)
    # Eckart and Young: the error of the best approximation is the tail of the singular values
    assert float((weight - product).norm()) == pytest.approx(float(values[4:].norm()), rel=1e-4)
    with adapted.disable_adapter():
        assert torch.equal(logits_of(adapted, batches), logits_of(a_model(), batches))
    trainable = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trainable and not any(".start." in name for name in trainable)


def test_loraplus_gives_b_its_own_learning_rate_and_the_schedule_scales_both(batches):
    config = a_training_file(lora__loraplus_lr_ratio=16, training__lr_scheduler_type="constant")
    model = METHOD.prepare(a_model(), config, seed=1)
    optimizer = optimizer_for(model, config)
    rates = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["lr"]
    assert {rate for name, rate in rates.items() if "lora_A" in name} == {0.01}
    assert {rate for name, rate in rates.items() if "lora_B" in name} == {0.16}
    assert set(rates) == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    curve = train(model, batches, config.training, optimizer=optimizer).curve.loss
    assert curve[-1] < curve[0]
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 0.16}


def a_mixture(**changes):
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    return MixtralForCausalLM(
        MixtralConfig(
            vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=128, **changes,
        )
    ).eval()  # fmt: skip


def test_all_linear_leaves_the_router_of_a_mixture_of_experts_alone_and_adapts_its_experts(batches, tmp_path):
    adapted = METHOD.prepare(a_mixture(), a_training_file(), seed=1)
    trainable = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert any("q_proj" in name for name in trainable)
    assert any("experts" in name for name in trainable)
    assert not any(".gate." in name or "router" in name for name in trainable)
    train(adapted, batches, a_training_file().training)
    METHOD.save(adapted, tmp_path, base=None)
    for reloaded in (METHOD.load(a_mixture(), tmp_path), peft_loads(a_mixture(), tmp_path)):
        assert torch.equal(logits_of(reloaded, batches), logits_of(adapted, batches))


def test_pissa_on_fused_experts_is_refused():
    with pytest.raises(PissaOnExperts):
        METHOD.prepare(a_mixture(), a_training_file(lora__init="pissa"), seed=1)
    METHOD.prepare(a_mixture(), a_training_file(lora__init="pissa", lora__target_modules=["q_proj"]), seed=1)


def test_a_pattern_that_matches_nothing_is_refused_and_not_ignored():
    with pytest.raises(PatternUnmatched, match="q_porj") as caught:
        METHOD.prepare(a_model(), a_training_file(lora__rank_pattern={"q_porj": 2}), seed=1)
    assert caught.value.fix == "did you mean `q_proj`?"
    METHOD.prepare(a_model(), a_training_file(lora__alpha_pattern={r"layers\.0\..*": 2.0}), seed=1)


def test_embeddings_may_be_adapted_where_nothing_is_tied_and_pissa_names_linear_layers_only():
    config = a_training_file(lora__target_modules=["embed_tokens", "q_proj"])
    METHOD.prepare(a_model(tied=False), config, seed=1)
    with pytest.raises(TiedTarget, match="embed_tokens"):
        METHOD.prepare(a_model(), config, seed=1)
    with pytest.raises(TargetsNotFound):
        METHOD.prepare(
            a_model(tied=False), a_training_file(lora__init="pissa", lora__target_modules=["embed_tokens"]), seed=1
        )


def test_trained_biases_change_the_loaded_base_so_its_arm_needs_a_second_copy():
    assert changes_loaded_base(a_training_file(lora__bias="lora_only"))
    assert not changes_loaded_base(a_training_file())
    assert changes_loaded_base(a_training_file(method="full"))
