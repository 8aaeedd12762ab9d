"""Linear layers in fp32 without gradients, on processors where torch's own matrix product takes the slow way.

torch multiplies fp32 matrices with MKL, which uses the wide registers (AVX-512) on Intel's processors only. oneDNN, which
torch brings along too, uses them wherever they are: on an AMD EPYC (Zen 5) it is twice as fast, and its sums differ by
rounding alone. Where that does not hold, nothing is replaced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

_MIN_WEIGHTS = 1 << 16  # of a layer; a smaller product is over before oneDNN has begun


@contextmanager
def fast_linear(model: Any) -> Iterator[None]:  # a transformers or peft model
    """The model's large fp32 layers on the processor multiply by oneDNN inside the block, where that is faster.

    A layer that is asked for gradients multiplies as always.
    """
    layers = [one for one in model.modules() if _is_large(one)] if _is_faster() else []
    for layer in layers:
        layer.forward = _product_of(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # the class's own shows again


def _is_large(module: Any) -> bool:
    """A linear layer and nothing derived from it, whose hooks and call nobody has replaced."""
    if type(module) is not torch.nn.Linear or "forward" in vars(module):
        return False
    weight = module.weight
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.numel() >= _MIN_WEIGHTS


def _product_of(layer: torch.nn.Linear) -> Any:
    def forward(given: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or given.dtype != torch.float32 or not given.numel():
            return torch.nn.functional.linear(given, layer.weight, layer.bias)
        product: torch.Tensor = _multiply(given, layer.weight, layer.bias)
        return product

    return forward


def _multiply(given: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    return torch.ops.mkldnn._linear_pointwise(given, weight, bias, "none", [], "")  # what torch.compile calls, too


@lru_cache(maxsize=1)
def _is_faster() -> bool:
    """By the kind of processor and not by the clock: two runs on one machine must take the same sums."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.enabled:
        return False
    try:
        if "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace"):
            return False
        with torch.inference_mode():
            given, weight = torch.arange(6.0).reshape(2, 3), torch.arange(12.0).reshape(4, 3)
            return bool(torch.equal(_multiply(given, weight, None), given @ weight.t()))
    except (OSError, AttributeError, RuntimeError):
        return False  # another system, or a torch without this operation: the usual way is never wrong
