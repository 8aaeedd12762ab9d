"""Linear layers in fp32 without gradients, on processors where torch's own matrix product takes the slow way.

torch multiplies fp32 matrices with MKL, which uses the wide registers (AVX-512) on Intel's processors only. oneDNN, which
torch brings along too, uses them wherever they are: on an AMD EPYC (Zen 5) it is twice as fast, and its sums differ by
rounding alone. Where that does not hold, nothing is replaced.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeGuard

import torch
from torch._subclasses.fake_tensor import FakeTensor

from peft_registry.trainer.evaluation.models import CausalModel

MIN_WEIGHTS = 1 << 16  # of a layer; a smaller product is over before oneDNN has begun


@contextmanager
def fast_linear(model: CausalModel) -> Iterator[None]:
    """The model's large fp32 layers on the processor multiply by oneDNN inside the block, where that is faster.

    A layer that is asked for gradients multiplies as always.
    """
    layers: list[torch.nn.Linear] = []
    if onednn_is_faster():
        layers = [module for module in model.modules() if _is_large(module)]
    for layer in layers:
        layer.forward = _product_of(layer)  # type: ignore[method-assign, assignment]  # of this layer, not of its class
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own shows again


def _is_large(module: torch.nn.Module) -> TypeGuard[torch.nn.Linear]:
    """A linear layer and nothing derived from it, whose hooks and call nobody has replaced."""
    if type(module) is not torch.nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.numel() >= MIN_WEIGHTS


def linear_product(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x·Wᵀ + b without gradients, in fp32 by the faster library where that is one."""
    takes = weight.dtype == inputs.dtype == torch.float32 and weight.device.type == "cpu"
    takes = takes and not isinstance(inputs, FakeTensor)  # oneDNN's operator cannot be counted without its numbers
    if takes and inputs.numel() and weight.numel() >= MIN_WEIGHTS and onednn_is_faster():
        return _multiply(inputs, weight, bias)
    return torch.nn.functional.linear(inputs, weight, bias)


def _product_of(layer: torch.nn.Linear) -> Callable[[torch.Tensor], torch.Tensor]:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        # oneDNN's operator has no gradient, and takes neither another number format nor an empty batch
        if torch.is_grad_enabled() or inputs.dtype != torch.float32 or not inputs.numel():
            return torch.nn.functional.linear(inputs, layer.weight, layer.bias)
        return _multiply(inputs, layer.weight, layer.bias)

    return forward


def _multiply(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    # what torch.compile calls, too
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return product


@lru_cache(maxsize=1)
def onednn_is_faster() -> bool:
    """Whether oneDNN multiplies fp32 faster here.

    By the kind of processor and not by the clock: two runs on one machine must take the same sums.
    """
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.enabled:
        return False
    try:
        if "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace"):
            return False
        with torch.inference_mode():
            given = torch.arange(6.0).reshape(2, 3)
            weight = torch.arange(12.0).reshape(4, 3)
            return bool(torch.equal(_multiply(given, weight, None), given @ weight.t()))
    except (OSError, AttributeError, RuntimeError):
        return False  # another system, or a torch without this operation: the usual way is never wrong
