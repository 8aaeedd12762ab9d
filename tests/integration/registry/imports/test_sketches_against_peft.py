"""A sketch is of what peft adds to a weight, whatever settings, types and parameters it adds it by."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

from peft_registry.registry.imports.sketches import BaseOfAdapter, Probes, sketch_of_adapter, sketch_of_model
from peft_registry.registry.intake.peft_config import read_peft_config

PROBES = Probes(b"a secret")


class _Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down_proj = nn.Parameter(torch.randn(3, 10, 6))


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(12, 8, bias=False)
        self.up_proj = nn.Linear(12, 20, bias=False)
        self.experts = _Experts()


class _Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(30, 12)
        self.layers = nn.ModuleList([_Layer(), _Layer()])

    def forward(self, ids: Any) -> Any:
        return self.embed_tokens(ids)


Q_UP = ["q_proj", "up_proj"]
CONFIGS: dict[str, Callable[[], Any]] = {
    "one scale": lambda: LoraConfig(r=4, lora_alpha=6, target_modules=Q_UP),
    "the defaults of peft": lambda: LoraConfig(target_modules=Q_UP),
    "patterns, of which the first counts": lambda: LoraConfig(
        r=4,
        lora_alpha=16,
        use_rslora=True,
        target_modules=Q_UP,
        rank_pattern={"proj": 2, "up_proj": 3},
        alpha_pattern={r"layers\.0\..*up_proj": 3, "up_proj": 5, "0.q_proj": 7},
    ),
    "a parameter beside its module": lambda: LoraConfig(
        r=4,
        target_modules=["q_proj"],
        target_parameters=["up_proj.weight"],
        rank_pattern={"up_proj.weight": 2, "up_proj": 3},
        alpha_pattern={"up_proj.weight": 64},
    ),
    "experts in one tensor": lambda: LoraConfig(r=2, target_modules=[], target_parameters=["experts.down_proj"]),
    "an embedding": lambda: LoraConfig(r=4, target_modules=["embed_tokens"], alpha_pattern={"embed_tokens": 3}),
    "AdaLoRA": lambda: AdaLoraConfig(init_r=4, target_r=4, total_step=9, lora_alpha=3, target_modules=Q_UP),
    "LoHa": lambda: LoHaConfig(r=3, alpha=5, target_modules=Q_UP, alpha_pattern={"q_proj": 2}),
    "LoKr": lambda: LoKrConfig(r=3, alpha=5, target_modules=Q_UP),
    "LoKr, both factored": lambda: LoKrConfig(
        r=1, alpha=5, target_modules=Q_UP, decompose_both=True, decompose_factor=2
    ),
}


@pytest.mark.parametrize("how", CONFIGS)
def test_a_sketch_is_that_of_the_change_that_peft_makes(how: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft about its own types
        model = get_peft_model(_Model(), CONFIGS[how]())
        for name, parameter in model.named_parameters():
            if any(part in name for part in ("lora_", "hada_", "lokr_")):
                nn.init.normal_(parameter)
        model.save_pretrained(tmp_path)
    changes = _changes_by_peft(model)
    save_file({name: change.contiguous() for name, change in changes.items()}, tmp_path / "changes.safetensors")
    stated = json.loads((tmp_path / "adapter_config.json").read_text()) | {"auto_mapping": None}  # it names this file
    config = read_peft_config(json.dumps(stated).encode())
    base = BaseOfAdapter({name: change.numel() for name, change in changes.items()}, lambda: None)
    made = sketch_of_adapter(tmp_path / "adapter_model.safetensors", config, PROBES, base)
    expected = sketch_of_model([tmp_path / "changes.safetensors"], PROBES)
    assert made is not None and expected is not None
    assert sorted(made.names) == sorted(expected.names)
    for name, numbers in zip(made.names, made.values[:, 0], strict=True):
        assert numbers == pytest.approx(expected.on([name])[0, 0], rel=1e-3, abs=1e-3 * float(abs(numbers).max())), name


@pytest.mark.parametrize("format_of_eight", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_sketch_of_eight_bits_is_that_of_the_numbers_that_they_are(format_of_eight: Any, tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    eight = {
        f"base_model.model.q_proj.lora_{part}.weight": (torch.randn(shape, generator=random) / 50).to(format_of_eight)
        for part, shape in (("A", (4, 12)), ("B", (8, 4)))
    }
    config = read_peft_config(json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}).encode())
    made = []
    for name, tensors in (("eight", eight), ("single", {key: value.float() for key, value in eight.items()})):
        save_file(tensors, tmp_path / name)
        made.append(sketch_of_adapter(tmp_path / name, config, PROBES, BaseOfAdapter({}, lambda: None)))
    assert made[0] is not None and made[1] is not None
    assert (made[0].values == made[1].values).all() and made[0].values.any()


def _changes_by_peft(model: Any) -> Mapping[str, Any]:
    """What peft adds to each weight, by its name in the base."""
    changes = {}
    for name, module in model.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight"):
            leaf = getattr(module, "parameter_name", None) or "weight"
            with torch.no_grad():
                changes[f"{name}.{leaf}"] = module.get_delta_weight("default")
    return changes
