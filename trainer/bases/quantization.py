"""A base in 4 bits (Dettmers et al. 2023): NF4 or FP4 blocks of 64 weights, their scales quantized once more. The one file
that knows bitsandbytes; it works on a CPU too.

- NF4 with double quantization stores 4 + 8/64 + 32/(64·256) = 4.127 bits for each weight of a linear layer. Embeddings,
  norms and the output head stay as they are.
- On CPUs with AVX-512 bf16 instructions bitsandbytes 0.50 repacks a layer at its first evaluation without gradient, for a
  kernel that has no backward: training continues with the right loss and without gradients in all layers below. That is
  switched off for every layer here.
- bitsandbytes would fetch a compiled kernel from the Hub if the package `kernels` were there; it is hidden while importing.
- It compiles functions of its own at its import, for which torch loads its compiler; here each is compiled at its first call.
"""

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.errors import Unavailable
from peft_registry.trainer.machine.environment import Dtype


class QuantizationUnavailable(Unavailable):
    what = "this machine cannot quantize a base"
    why = "{reason}"
    fix = "install bitsandbytes (`pip install bitsandbytes`), or train without `quantization`"

    reason: str


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a base was quantized in memory: the settings as `describe` writes them, and the number format (safetensors' name)
    in which its weights were loaded before."""

    settings: str
    loaded_as: str


def loading_arguments(
    block: QuantizationBlock, *, dtype: Dtype, device: str, over_gpus: bool = False
) -> dict[str, Any]:
    """What `from_pretrained` needs besides, so that it quantizes while it loads.

    Args:
        block: of the training file.
        dtype: in which the dequantized weights are multiplied.
        device: where the model goes; a quantized model is not moved afterwards.
        over_gpus: whether its blocks go to all GPUs that there are, in equal parts.

    Raises:
        QuantizationUnavailable: bitsandbytes is not installed, or does not work here.
    """
    import torch
    from transformers import BitsAndBytesConfig

    _bitsandbytes()
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=block.type,
        bnb_4bit_use_double_quant=block.double,
        bnb_4bit_compute_dtype={"bf16": torch.bfloat16, "fp32": torch.float32}[dtype],
    )
    places: str | dict[str, str] = {"": device}
    if over_gpus and device.startswith("cuda"):
        places = "balanced"
    return {"quantization_config": settings, "device_map": places}


def replace_linear_layers(model: Any, block: QuantizationBlock, *, dtype: Dtype) -> None:
    """Put layers in 4 bits into the places of those that `from_pretrained` would quantize, without weights.

    Args:
        model: without weights either.
        block: of the training file.
        dtype: in which the dequantized weights are multiplied.

    Raises:
        QuantizationUnavailable: bitsandbytes is not installed, or does not work here.
    """
    from transformers.integrations import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    arguments = loading_arguments(block, dtype=dtype, device="cpu")
    left = [*get_keys_to_not_convert(model), *(model._keep_in_fp32_modules or ())]
    replace_with_bnb_linear(model, left, arguments["quantization_config"])
    model.is_loaded_in_4bit = True
    keep_gradients(model)


def quantized_now(layer: Any, weight: Any) -> Any:
    """The packed numbers of a layer's weight, (bytes, 1), quantized where the weight is; the layer keeps the scales."""
    from transformers.pytorch_utils import Conv1D

    before = layer.weight
    if issubclass(getattr(layer, "source_cls", type(layer)), Conv1D):
        weight = weight.t().contiguous()
    how = {name: getattr(before, name) for name in ("compress_statistics", "quant_type", "quant_storage")}
    packed = _bitsandbytes().nn.Params4bit(weight, requires_grad=False, **how).to(weight.device)
    layer.quant_state = packed.quant_state
    return packed.data


def packed_shape(layer: Any) -> tuple[int, int]:
    """The shape of the packed numbers of a layer's weight: two weights share a byte."""
    return (layer.in_features * layer.out_features + 1) // 2, 1


def keep_gradients(model: Any) -> None:
    """Switch off the repacking of quantized layers, for good."""
    for layer in quantized_layers(model):
        layer.support_avx512bf16_for_cpu = False


def quantized_layers(model: Any) -> list[Any]:
    """The quantized linear layers of a model; none where bitsandbytes never came in."""
    module = sys.modules.get("bitsandbytes")
    return [] if module is None else [layer for layer in model.modules() if isinstance(layer, module.nn.Linear4bit)]


@contextmanager
def computing_in_float32(model: Any) -> Iterator[None]:
    """Dequantized weights are multiplied in fp32 inside the block; afterwards as before."""
    layers = quantized_layers(model)
    before = [layer.compute_dtype for layer in layers]
    try:
        for layer in layers:
            layer.compute_dtype = _float32()
        yield
    finally:
        for layer, dtype in zip(layers, before, strict=True):
            layer.compute_dtype = dtype


def size_of(parameter: Any) -> int:
    """How many weights a parameter stands for: four bits share a byte with their neighbour."""
    state = getattr(parameter, "quant_state", None)
    return int(parameter.numel() if state is None else state.shape.numel())


def through_4_bits(weight: Any, description: str) -> Any:
    """A matrix quantized as `describe` says and dequantized again, in its own number format: what a 4-bit layer multiplies by.

    Raises:
        QuantizationUnavailable: bitsandbytes is not installed, or does not work here.
        ValueError: `describe` did not write the description.
    """
    functional = _bitsandbytes().functional
    block = described(description)
    packed, state = functional.quantize_4bit(weight, compress_statistics=block.double, quant_type=block.type)
    return functional.dequantize_4bit(packed, state)


def dequantized_weights(model: Any) -> dict[str, Any]:
    """The weights that the quantized layers of a loaded model multiply by, by parameter name, in the layout of the checkpoint."""
    from transformers.pytorch_utils import Conv1D

    layers = {id(layer) for layer in quantized_layers(model)}
    functional = _bitsandbytes().functional
    weights = {}
    for name, module in model.named_modules():
        if id(module) in layers:
            weight = functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            # transformers turns a layer of GPT-2, stored as (in, out), before it quantizes it
            weights[f"{name}.weight"] = weight.t() if issubclass(module.source_cls, Conv1D) else weight
    return weights


def describe(block: QuantizationBlock) -> str:
    """For records: `nf4, double`."""
    return f"{block.type}, double" if block.double else block.type


def described(text: str) -> QuantizationBlock:
    """The settings that `describe` wrote so.

    Raises:
        ValueError: it did not.
    """
    kind, _, double = text.partition(", ")
    if kind not in ("nf4", "fp4") or double not in ("", "double"):
        raise ValueError(f"no description of a quantised base: {text!r}")
    return QuantizationBlock(type="nf4" if kind == "nf4" else "fp4", double=bool(double))


@contextmanager
def bitsandbytes_tamed() -> Iterator[None]:
    """Imports inside the block (peft's brings bitsandbytes) do not see the package `kernels`, without a warning that it is missing,
    and do not load torch's compiler: a fifth of what a training takes to start, for functions that hardly any calls."""
    import torch

    log = logging.getLogger("bitsandbytes")
    level = log.level
    hidden = "kernels" not in sys.modules
    compiles = torch.compile
    log.setLevel(logging.ERROR)
    if hidden:
        sys.modules["kernels"] = None  # type: ignore[assignment]  # what makes an import of it fail
    torch.compile = _at_first_call(compiles)
    try:
        yield
    finally:
        torch.compile = compiles
        log.setLevel(level)
        if hidden:
            del sys.modules["kernels"]


def _at_first_call(compiles: Callable[..., Any]) -> Callable[..., Any]:
    """What `torch.compile` does to a function, done when the function is first called."""

    def later(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
        if function is None:
            return partial(later, **options)  # a decorator

        @cache
        def compiled() -> Callable[..., Any]:
            made: Callable[..., Any] = compiles(function, **options)
            return made

        def call(*arguments: Any, **named: Any) -> Any:
            return compiled()(*arguments, **named)

        return call

    return later


def _bitsandbytes() -> Any:
    try:
        with bitsandbytes_tamed():
            return importlib.import_module("bitsandbytes")
    except (ImportError, OSError, RuntimeError) as error:
        raise QuantizationUnavailable(f"bitsandbytes cannot be imported ({type(error).__name__})") from error


def _float32() -> Any:
    import torch

    return torch.float32
