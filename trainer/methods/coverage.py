"""Which share of a base's matrices a LoRA adapts, by kind: attention, MLP, experts, shared experts, routers, others.

`all-linear` names linear layers. In a mixture of experts most weights may be tensors of three dimensions, which are no layers:
whoever reads "all" must see how much it is.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch

from peft_registry.schemas.run import Coverage

# the first that fits a matrix's name: a shared expert is an expert, and a router may lie in an MLP
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("router", re.compile(r"(?:^|\.)(?:gate|shared_expert_gate|router(?:\.layer)?)$")),
    ("shared experts", re.compile(r"shared_(?:experts?|mlp)")),
    ("experts", re.compile(r"(?:^|\.)experts(?:\.|$)")),
    ("attention", re.compile(r"attn|attention", re.IGNORECASE)),
    ("mlp", re.compile(r"mlp|feed_forward|ffn|(?:^|\.)fc", re.IGNORECASE)),
)
_OTHERS = "others"


def coverage_of(model: Any) -> tuple[Coverage, ...]:
    """The weights of each kind of matrix, and how many of them LoRA adapts; none where nothing is adapted by LoRA.

    Embeddings, the output head and vectors are not counted.
    """
    adapted = {id(parameter) for parameter in _adapted(model)}
    if not adapted:
        return ()
    counts: dict[str, list[int]] = {}
    for name, parameter, weights in _matrices(model):
        count = counts.setdefault(_kind_of(name), [0, 0])
        count[0] += weights
        count[1] += weights if id(parameter) in adapted else 0
    order = [*(kind for kind, _ in _KINDS), _OTHERS]
    return tuple(
        Coverage(kind=kind, weights=counts[kind][0], adapted=counts[kind][1]) for kind in order if kind in counts
    )


def _adapted(model: Any) -> Iterator[torch.Tensor]:
    from peft.tuners.lora.layer import LoraLayer, ParamWrapper

    for module in model.modules():
        if isinstance(module, ParamWrapper):
            yield module.get_param()
        elif isinstance(module, LoraLayer):
            yield module.get_base_layer().weight


def _matrices(model: Any) -> Iterator[tuple[str, torch.Tensor, int]]:
    """Name of the module, tensor and number of weights of each matrix of the base."""
    head = model.get_output_embeddings()
    left_out = {id(head)} | {id(module) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    left_out |= {id(module.get_base_layer()) for module in model.modules() if _is_around(module, left_out)}
    for name, module in model.named_modules():
        parts = name.split(".")
        if id(module) in left_out or any(part.startswith("lora_") for part in parts):
            continue
        clean = ".".join(part for part in parts if part != "base_layer")
        for own, parameter in module.named_parameters(recurse=False):
            if parameter.dim() < 2 or own.endswith("bias") or own.startswith("lora_"):
                continue
            weights = parameter.numel()
            if own == "weight" and isinstance(module, torch.nn.Linear):
                # a quantized layer's tensor is packed: its features say how many weights it stands for
                weights = module.in_features * module.out_features
            yield clean, parameter, weights


def _is_around(module: Any, left_out: set[int]) -> bool:
    from peft.tuners.lora.layer import LoraLayer

    return isinstance(module, LoraLayer) and id(module) in left_out


def _kind_of(name: str) -> str:
    return next((kind for kind, pattern in _KINDS if pattern.search(name)), _OTHERS)
