"""LoRA on state spaces: what their kernels read past the layer is left out, or refused by name, where peft ends in a ValueError."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from torch import nn
from transformers import AutoModelForCausalLM, JambaConfig, Mamba2Config, MambaConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from peft_registry.schemas.config import QuantizationBlock
from peft_registry.trainer.bases.architecture import ArchitectureNotQuantizable
from peft_registry.trainer.bases.loading import load_model
from peft_registry.trainer.methods import lora
from peft_registry.trainer.methods.peft_io import BaseNotAdaptable, wrapped
from peft_registry.trainer.methods.targets import TargetWithoutEffect, layers_read_past
from tests.builders.training import VOCABULARY, a_model, a_training_file

SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 1}
BASES = {
    "jamba": JambaConfig(
        **SIZES | {"num_hidden_layers": 2},  # one of them attention, whose cache knows how long a text is
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_dt_rank=4,
    ),
    "mamba": MambaConfig(**SIZES),
    "mamba2": Mamba2Config(**SIZES, num_heads=8, head_dim=8, n_groups=1, state_size=16, chunk_size=8),
}


# of what some state spaces hand to their kernels whole, what others call as a layer
ADAPTED_BESIDE = {"jamba": {"out_proj"}}


@pytest.mark.parametrize("kind", BASES)
def test_all_linear_leaves_out_what_peft_refuses_and_adapts_the_rest(kind: str) -> None:
    model = AutoModelForCausalLM.from_config(BASES[kind])
    adapted = lora.prepare(model, a_training_file(lora__target_modules="all-linear"), seed=1)
    names = {name.rpartition(".")[2] for name in adapted.base_model.targeted_module_names}
    assert "in_proj" in names
    assert names & {"dt_proj", "out_proj", "conv1d"} == ADAPTED_BESIDE.get(kind, set())
    adapted.base_model.set_adapter("default")
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_B." in name:  # zero at the start, so that no gradient would reach A
                parameter.normal_()
    loss = adapted(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss
    loss.backward()
    trained = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    without = [name for name, parameter in trained.items() if parameter.grad is None or not parameter.grad.abs().sum()]
    assert trained
    assert without == [], "everything that is adapted has an effect"


def test_a_layer_without_effect_is_refused_by_its_name() -> None:
    model = AutoModelForCausalLM.from_config(BASES["mamba"])
    with pytest.raises(TargetWithoutEffect, match="out_proj") as caught:
        lora.prepare(model, a_training_file(lora__target_modules=["in_proj", "out_proj"]), seed=1)
    assert caught.value.exit_code == 2


def test_what_is_left_out_is_what_peft_refuses_and_the_time_steps_that_it_does_not() -> None:
    for model_type in CONFIG_MAPPING:
        model = nn.ModuleDict(
            {name: nn.Linear(1, 1) for name in ("in_proj", "out_proj", "conv1d", "x_proj", "dt_proj")}
        )
        model.config = SimpleNamespace(model_type=model_type)
        refused = {"dt_proj"} if model_type in ("mamba", "falcon_mamba", "jamba") else set()
        for name in model:
            try:
                _check_lora_target_modules_mamba(LoraConfig(), model, name)
            except ValueError:
                refused.add(name)
        assert set(layers_read_past(model)) == refused, model_type


def test_a_state_space_is_not_loaded_in_4_bits(tmp_path: Path) -> None:
    AutoModelForCausalLM.from_config(BASES["mamba"]).save_pretrained(tmp_path)
    with pytest.raises(ArchitectureNotQuantizable, match="mamba") as caught:
        load_model(tmp_path, dtype="bf16", device="cpu", quantization=QuantizationBlock())
    assert caught.value.exit_code == 2


def test_what_peft_does_not_take_is_one_sentence() -> None:
    with pytest.raises(BaseNotAdaptable, match="llama") as caught:
        wrapped(a_model(), LoraConfig(target_modules=["act_fn"]))
    assert caught.value.exit_code == 2
