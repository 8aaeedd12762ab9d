"""LoRA layers as one operation each while training: the same values, without fp32 copies of every input.

peft computes y = W·x + s·B·(A·x) with x converted to the adapter's fp32: on a bf16 base that makes, and keeps for the
backward pass, an fp32 copy of the input of every adapted layer. Here the products are in the base's number format (what
autocast would do), A and B stay fp32, x is kept once, and the sums are made in place:

    forward   h = x·Aᵀ,  y = x·Wᵀ + b + s·h·Bᵀ
    backward  d = s·g·B,  ∂x = g·W + d·A,  ∂A = dᵀ·x,  ∂B = s·gᵀ·h

Only plain LoRA on a plain linear layer is taken; dropout, DoRA, quantized layers and several adapters stay peft's.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from peft_registry.trainer.bases.offload import weights_at_hand


class _Lora(torch.autograd.Function):
    """y of shape (…, out) from x (…, in), W (out, in), A (r, in) and B (out, r)."""

    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them by place
        ctx: Any,  # torch's context
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low_a = a.to(x.dtype)
        low_b = b.to(x.dtype)
        hidden = flat @ low_a.t()
        y = torch.nn.functional.linear(flat, weight, bias)
        y.addmm_(hidden, low_b.t(), alpha=scale)
        ctx.save_for_backward(flat, weight, low_a, low_b, hidden)
        ctx.scale = scale
        ctx.shape = x.shape
        ctx.dtypes = (a.dtype, b.dtype)
        # not a view: a model may add to what a layer gives in place, and torch forbids that of a view that a function returns
        result: torch.Tensor = torch.ops.aten._unsafe_view(y, [*x.shape[:-1], y.shape[-1]])
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        flat, weight, a, b, hidden = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, gradients[0].shape[-1])
        down = (gradient @ b).mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (gradient @ weight).addmm_(down, a).reshape(ctx.shape)
        of_a = (down.t() @ flat).to(ctx.dtypes[0])
        of_b = (gradient.t() @ hidden).to(ctx.dtypes[1]).mul_(ctx.scale)
        return of_x, None, None, of_a, of_b, None


@contextmanager
def fused_lora(model: Any) -> Iterator[int]:  # model: a torch module, perhaps wrapped by peft
    """Inside, the plain LoRA layers of the model run fused; yields how many there are."""
    layers = [module for module in model.modules() if _is_plain(module)]
    for layer in layers:
        layer.forward = _forward_of(layer)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.forward


def _forward_of(layer: Any) -> Any:
    base = layer.base_layer
    (name,) = layer.active_adapters
    a = layer.lora_A[name].weight
    b = layer.lora_B[name].weight
    scale = float(layer.scaling[name])
    own = layer.forward
    waits = base.weight.is_meta

    def forward(x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        autocast = torch.is_autocast_enabled(x.device.type)  # without a device torch tells of a GPU's alone
        if layer.disable_adapters or arguments or options or not torch.is_grad_enabled() or autocast:
            result: torch.Tensor = own(x, *arguments, **options)
            return result
        with weights_at_hand(base) if waits else nullcontext():
            y: torch.Tensor = _Lora.apply(x, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
        return y

    return forward


def _is_plain(module: Any) -> bool:
    from peft.tuners.lora.layer import Linear

    if type(module) is not Linear or type(module.base_layer) is not torch.nn.Linear:
        return False
    if module.merged or len(module.active_adapters) != 1 or module.base_layer.weight.requires_grad:
        return False
    (name,) = module.active_adapters
    bias = module.base_layer.bias
    return (
        set(module.lora_A) == {name}
        and name not in module.lora_variant
        and isinstance(module.lora_dropout[name], torch.nn.Identity)
        and module.lora_B[name].bias is None
        and (bias is None or not bias.requires_grad)
        and not module.fan_in_fan_out
    )
