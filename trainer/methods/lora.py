"""LoRA (Hu et al. 2021), rsLoRA (Kalajdzievski 2023), DoRA (Liu et al. 2024), PiSSA (Meng et al. 2024), LoRA+ (Hayou et
al. 2024), through peft's own entry points.

W' = W + s·B·A with A ∈ R^{r×n}, B ∈ R^{m×r} = 0 at the start; s = alpha/r, or alpha/√r for rsLoRA; peft keeps the s of
each module. Adapters on a bf16 base are fp32 (peft's `autocast_adapter_dtype`).

PiSSA starts at the principal components A₀, B₀ of W and subtracts s·B₀·A₀ again. Peft writes the difference into the base
and recomputes it at load; a base in bf16 loses bits by that, and a reader without the same decomposition gets another
model. Here the base stays as it is: the subtraction is a second, frozen adapter while training, and the result is stored as
plain LoRA of rank 2r, which is the same function: s·B·A − s·B₀·A₀ = s·[B −B₀]·[A; A₀].
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType
from peft.optimizers import create_loraplus_optimizer
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import ParamWrapper
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from transformers.pytorch_utils import Conv1D

from peft_registry.registry.exports.loading import BaseToOpen
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.trainer.machine.seeding import seed_of
from peft_registry.trainer.methods.layer_names import require_experts, require_lora_layers, require_patterns
from peft_registry.trainer.methods.peft_io import adapter_state, load_adapter, save_adapter, suppress_warnings, wrapped
from peft_registry.trainer.methods.targets import layers_of, layers_read_past, require_effective, routers

_KEY = "lora.target_modules"
_START = "start"  # the name of the frozen adapter that subtracts PiSSA's starting point
_ROUTER_PARAMETERS = frozenset({"gate.weight", "router.weight"})


class ParametersRefused(InputRefused):
    what = "{key} {value!r} cannot be used where experts are adapted"
    why = "they are one tensor here, whose update has neither dropout nor magnitudes (DoRA) in peft: {names!l}"
    fix = "take {key} out of the file, or adapt no experts: lora.target_modules such as [q_proj, v_proj]"

    key: str
    value: object
    names: tuple[str, ...]


class PissaOnExperts(InputRefused):
    what = "lora.init is pissa, and this base has experts whose weights are one tensor"
    why = "one decomposition of many matrices at once is not what the method means"
    fix = "set lora.init: kaiming, or name layers outside the experts in lora.target_modules"


def prepare(model: Any, config: TrainingFile, *, seed: int) -> Any:
    """The base with LoRA layers in place, only they trainable.

    Raises:
        TargetsNotFound: `target_modules`, `exclude_modules` or `target_parameters` matches nothing.
        TiedTarget: it names an output head or embedding that the base ties.
        TargetWithoutEffect: it names a layer of a state space that its kernels go past.
        ParametersRefused: experts that are one tensor would be adapted with dropout or DoRA.
        PatternUnmatched: a key of `rank_pattern` or `alpha_pattern` matches no adapted layer.
        PissaOnExperts: `init` is pissa, and an adapted weight holds many experts at once.
    """
    block = config.block(LoraBlock)
    layers = layers_of(model)
    require_lora_layers(layers, block)
    require_experts(layers.experts, block)
    if block.target_modules != "all-linear":
        require_effective(model, block.target_modules, key=_KEY)
    torch.manual_seed(seed_of(seed, "adapter"))
    ours = peft_config(model, block)
    _require_plain_experts(block, tuple(ours.target_parameters or ()))  # `all-linear` may have become some of them
    adapted = wrapped(model, ours)
    require_patterns(adapted.base_model.targeted_module_names, block)
    if block.init == "pissa":
        _start_at_principal_components(adapted, ours)
    return adapted


def _require_plain_experts(block: LoraBlock, parameters: tuple[str, ...]) -> None:
    """Raise where tensors that hold many experts are adapted, and the file asks for what peft cannot do with them."""
    if not parameters:
        return
    obstacles = {"lora.dropout": block.dropout, "lora.use_dora": block.use_dora}
    for key, value in obstacles.items():
        if value:
            raise ParametersRefused(key, value, parameters)


def optimizer(model: Any, config: TrainingFile) -> torch.optim.Optimizer | None:
    """LoRA+'s AdamW, where the file asks for it: B learns `loraplus_lr_ratio` times as fast as A."""
    ratio = config.block(LoraBlock).loraplus_lr_ratio
    if ratio is None:
        return None
    training = config.training
    optimizer: torch.optim.Optimizer = create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=training.learning_rate,
        loraplus_lr_ratio=ratio,
        loraplus_weight_decay=training.weight_decay,
        weight_decay=training.weight_decay,
    )
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
    return optimizer


def optimizer_name(config: TrainingFile) -> str | None:
    """LoRA+'s, where the file asks for it."""
    ratio = config.block(LoraBlock).loraplus_lr_ratio
    return None if ratio is None else f"AdamW, learning rate of B {ratio:g} times that of A (LoRA+)"


def save(model: Any, folder: Path, *, base: BaseToOpen | None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `PeftModel.from_pretrained(base, folder)` reads them."""
    if _START in model.peft_config:
        save_adapter(model, folder, base=base, state=_joined(model), **_joined_config(model.peft_config["default"]))
    else:
        save_adapter(model, folder, base=base)


def load(base_model: Any, folder: Path) -> Any:
    """The base with the saved adapter, frozen and in evaluation mode.

    Raises:
        AdapterConfigRefused: not LoRA, fields that this peft does not know, or fields that make it import modules.
        WeightsMismatch: names or shapes are not exactly those of the configuration on this base.
    """
    return load_adapter(base_model, folder, LoraConfig)


def peft_config(model: Any, block: LoraBlock) -> LoraConfig:
    """peft's configuration for a block on a base; the routers of a mixture of experts, and the layers of a state space that an
    adapter has no effect on, are never part of `all-linear`."""
    is_all = block.target_modules == "all-linear"
    targets = block.target_modules if is_all else list(block.target_modules)
    excluded = [*block.exclude_modules, *((*routers(model), *layers_read_past(model)) if is_all else ())]
    adapter_config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=block.r,
        lora_alpha=_integer(block.alpha),
        lora_dropout=block.dropout,
        target_modules=targets,
        exclude_modules=sorted(excluded) or None,
        rank_pattern=dict(block.rank_pattern),
        alpha_pattern=dict(block.alpha_pattern),
        use_rslora=block.use_rslora,
        use_dora=block.use_dora,
        bias=block.bias,
    )
    if block.target_modules == "all-linear":
        _without_fused_routers(model, adapter_config)
    if block.target_parameters:
        adapter_config.target_parameters = sorted({*(adapter_config.target_parameters or ()), *block.target_parameters})
    return adapter_config


def _without_fused_routers(model: Any, config: LoraConfig) -> None:
    """Peft turns `all-linear` of some mixtures of experts into parameters by name, and the router's is one of them."""
    convert_peft_config_for_transformers(config, model=model, conversions=None)
    if config.target_parameters:
        config.target_parameters = sorted(name for name in config.target_parameters if name not in _ROUTER_PARAMETERS)


def _start_at_principal_components(model: Any, ours: LoraConfig) -> None:
    """Both adapters start at the same A₀, B₀; the frozen one counts negatively, so that the sum is a no-op."""
    with suppress_warnings():
        model.add_adapter(_START, replace(ours, lora_dropout=0.0, bias="none"))
    model.base_model.set_adapter(["default", _START])
    with torch.no_grad():
        for layer in _layers(model):
            if isinstance(layer, ParamWrapper):
                raise PissaOnExperts()
            for factor in (layer.lora_A[_START], layer.lora_B[_START]):
                _freeze(factor)
            weight = _dense(layer.get_base_layer())
            if weight.device.type == "meta":  # only counted, never computed
                continue
            first, second = _principal(weight, layer.r["default"], layer.scaling["default"])
            for adapter, sign in (("default", 1.0), (_START, -1.0)):
                layer.lora_A[adapter].weight.copy_(first)
                layer.lora_B[adapter].weight.copy_(sign * second)


def _freeze(linear: Any) -> None:
    """Make its weight a buffer: peft lets the parameters of every active adapter learn, also after it was disabled."""
    weight = linear.weight.detach()
    del linear.weight
    linear.register_buffer("weight", weight)


def _principal(weight: torch.Tensor, rank: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(A₀ of shape (r, n), B₀ of shape (m, r)): s·B₀·A₀ is the best rank-r approximation of W of shape (m, n)."""
    left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
    roots = (values[:rank] / scale).sqrt()
    return roots[:, None] * right[:rank], left[:, :rank] * roots


def _dense(layer: Any) -> torch.Tensor:
    """The weight (m, n) of a linear layer; that of a quantized one is dequantized."""
    from peft.utils.integrations import dequantize_module_weight

    weight: torch.Tensor = dequantize_module_weight(layer)
    return weight.T if isinstance(layer, Conv1D) else weight


def _layers(model: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def _joined(model: Any) -> dict[str, torch.Tensor]:
    """The state of one plain adapter that is the sum of both: [A; A₀] and [B −B₀]; biases are the trained ones."""
    from peft import get_peft_model_state_dict

    trained = adapter_state(model)
    start = get_peft_model_state_dict(model, adapter_name=_START, save_embedding_layers=False)
    joined = dict(trained)
    for name, tensor in trained.items():
        if ".lora_" in name:
            rank = 0 if ".lora_A." in name else 1  # A is (rank, inputs), B is (outputs, rank)
            joined[name] = torch.cat([tensor, start[name].to(tensor.dtype)], dim=rank)
    return joined


def _joined_config(config: LoraConfig) -> dict[str, Any]:
    """Twice the rank, and the alpha that keeps s: 2·alpha for alpha/r, √2·alpha for alpha/√r."""
    factor = math.sqrt(2) if config.use_rslora else 2
    return {
        "r": 2 * config.r,
        "lora_alpha": _integer(factor * config.lora_alpha),
        "rank_pattern": _scaled(config.rank_pattern, 2),
        "alpha_pattern": _scaled(config.alpha_pattern, factor),
    }


def _scaled(pattern: Mapping[str, float], factor: float) -> dict[str, float]:
    return {key: _integer(factor * value) for key, value in pattern.items()}


def _integer(value: float) -> float:
    """A whole number without its `.0`, as other tools write it."""
    return value if value % 1 else int(value)
