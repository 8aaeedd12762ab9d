"""LoRA layers as one operation each while training: the same values, without fp32 copies of every input.

peft computes y = W·x + s·B·(A·x) with x converted to the adapter's fp32: on a bf16 base that makes, and keeps for the
backward pass, an fp32 copy of the input of every adapted layer. Here the products are in the base's number format (what
autocast would do), A and B stay fp32, x is kept once, and the sums are made in place:

    forward   h = x·Aᵀ,  y = x·Wᵀ + b + s·h·Bᵀ
    backward  d = s·g·B,  ∂x = g·W + d·A,  ∂A = dᵀ·x,  ∂B = s·gᵀ·h

That is plain LoRA on a plain linear layer. On an accelerator layers in 4 bits, and those with dropout, keep their own product and
have the other in the base's number format beside it (`_beside`); on a processor, where records were signed with peft's numbers,
they stay peft's. So do DoRA and several adapters everywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal

import torch

from peft_registry.trainer.bases.offload import weights_at_hand

_Kind = Literal["fused", "beside"]


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
def fused_lora(
    model: Any, *, beside: bool | None = None
) -> Iterator[int]:  # model: a torch module, perhaps wrapped by peft
    """Inside, the LoRA layers of the model that can be taken run as described above; yields how many there are.

    Args:
        model: in training mode.
        beside: whether layers in 4 bits and those with dropout are taken too; None for those that are on an accelerator.
    """
    layers = [(module, kind) for module in model.modules() if (kind := _kind(module, beside)) is not None]
    for layer, kind in layers:
        layer.forward = _forward_of(layer, kind)
    try:
        yield len(layers)
    finally:
        for layer, _ in layers:
            del layer.forward


def _forward_of(layer: Any, kind: _Kind) -> Any:
    base = layer.base_layer
    (name,) = layer.active_adapters
    scale = float(layer.scaling[name])
    own = layer.forward
    waits = base.weight.is_meta

    def forward(x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        autocast = torch.is_autocast_enabled(x.device.type)  # without a device torch tells of a GPU's alone
        if layer.disable_adapters or arguments or options or not torch.is_grad_enabled() or autocast:
            result: torch.Tensor = own(x, *arguments, **options)
            return result
        # asked for now: a sharded model has other tensors in their places between two passes
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        if kind == "beside":
            return _beside(base(x), layer.lora_dropout[name](x), a, b, scale)
        with weights_at_hand(base) if waits else nullcontext():
            y: torch.Tensor = _Lora.apply(x, base.weight, base.bias, a, b, scale)  # type: ignore[no-untyped-call]
        return y

    return forward


def _beside(y: torch.Tensor, x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """y + s·(x·Aᵀ)·Bᵀ, the products in the number format of x: no fp32 copy of it is made or kept."""
    hidden = torch.nn.functional.linear(x, a.to(x.dtype))
    return y + torch.nn.functional.linear(hidden, b.to(x.dtype)) * scale


def _kind(module: Any, beside: bool | None) -> _Kind | None:
    """How a LoRA layer is taken; None where it stays peft's."""
    from peft.tuners.lora.layer import Linear, LoraLayer

    is_quantized = (
        isinstance(module, LoraLayer) and type(module).__name__ == "Linear4bit"
    )  # there where bitsandbytes is
    if not is_quantized and type(module) is not Linear:
        return None
    base = module.base_layer
    if not isinstance(base, torch.nn.Linear):
        return None
    if module.merged or len(module.active_adapters) != 1 or base.weight.requires_grad:
        return None
    (name,) = module.active_adapters
    is_alone = set(module.lora_A) == {name} and name not in module.lora_variant
    has_biases = module.lora_B[name].bias is not None or (base.bias is not None and base.bias.requires_grad)
    if not is_alone or has_biases or getattr(module, "fan_in_fan_out", False):
        return None
    if type(base) is torch.nn.Linear and isinstance(module.lora_dropout[name], torch.nn.Identity):
        return "fused"
    is_accelerated = base.weight.device.type not in ("cpu", "meta")
    can_be_beside = is_quantized or type(base) is torch.nn.Linear
    return "beside" if can_be_beside and (is_accelerated if beside is None else beside) else None
