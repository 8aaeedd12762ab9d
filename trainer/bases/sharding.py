"""A base whose weights are spread over the processes that train on it, through PyTorch's FSDP2 (`fully_shard`).

- The model is made without weights. What stands in their places until then looks like them, of one zero, so that a method puts its
  adapter on as it would otherwise, from the same random numbers.
- Then block after block is read from the files, each process keeps its part, and the whole is dropped before the next is read: no
  process ever holds more than one block and what lies outside of the blocks.
- While a block computes, it is put together from all processes and dropped again. Input embeddings are a unit of their own where
  the output head is another tensor; the head and what else lies outside of the blocks stay whole between forward and backward pass.
- Gradients are summed, and not averaged: the loss of each process is a part of one mean already.
- In 4 bits the packed numbers are spread, and each process keeps the scales of all blocks: an eighth of a bit a weight.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from peft_registry.registry.intake.safetensors import TensorSpan
from peft_registry.schemas.config import QuantizationBlock
from peft_registry.schemas.errors import InputRefused
from peft_registry.trainer.bases.architecture import require_quantizable
from peft_registry.trainer.bases.foreign_errors import first_line
from peft_registry.trainer.bases.loading import BaseNotLoadable, load_tokenizer, refuse_tokens_without_embedding
from peft_registry.trainer.bases.quantization import (
    packed_shape,
    quantized_layers,
    quantized_now,
    replace_linear_layers,
)
from peft_registry.trainer.bases.stored_weights import names_in_files, spans_of
from peft_registry.trainer.machine.environment import Dtype

_STANDS_IN = "_peft_registry_stands_in"  # the attribute of a parameter whose values are still in the files


class BaseNotSpread(InputRefused):
    reference = "base-not-sharded"
    what = "the base in {folder.name} cannot be spread over processes"
    why = "{reason}"
    fix = "leave training.sharding out: `registry estimate` says what the run takes then"

    folder: Path
    reason: str


def base_without_weights(
    folder: Path, *, dtype: Dtype, device: str, quantization: QuantizationBlock | None = None
) -> Any:
    """The model of a base folder in evaluation mode, with parameters that look like its weights; `spread` reads those.

    Args:
        folder: the base, checked by the caller.
        dtype: in which it is held, where it is not quantized.
        device: that computes.
        quantization: how the linear layers are quantized.

    Raises:
        BaseNotSpread: transformers names no blocks of the architecture.
        ArchitectureNotQuantizable, QuantizationUnavailable: as `load_base`.
    """
    from accelerate import init_empty_weights
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if quantization is not None:
        require_quantizable(folder)
    wanted = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=wanted, trust_remote_code=False)
    model.tie_weights()  # Accelerate exchanges each parameter for one without memory, and a tied one for two
    if not list(_blocks(model)):
        raise BaseNotSpread(folder, f"transformers names no blocks of the architecture {type(model).__name__}")
    if quantization is not None:
        replace_linear_layers(model, quantization, dtype=dtype)
    _stand_in(model, device)
    for name, buffer in model.named_buffers():
        owner, _, own = name.rpartition(".")
        model.get_submodule(owner)._buffers[own] = buffer.to(device)
    return model.eval()


def base_to_spread(
    folder: Path, *, dtype: Dtype, device: str, quantization: QuantizationBlock | None = None
) -> tuple[Any, Any]:
    """(model, tokenizer) as `load_base` gives them, with a model that has none of its weights yet: `spread` reads them.

    Raises:
        BaseNotLoadable: transformers does not know the architecture.
        BaseNotSpread, ArchitectureNotQuantizable, QuantizationUnavailable: as `base_without_weights`.
    """
    try:
        model = base_without_weights(folder, dtype=dtype, device=device, quantization=quantization)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BaseNotLoadable(folder, "model", first_line(error, folder, shown=folder.name)) from error
    tokenizer = load_tokenizer(folder)
    refuse_tokens_without_embedding(model, tokenizer)
    return model, tokenizer


def _blocks(model: Any) -> Iterator[Any]:
    """The parts that transformers moves in one piece, the layers of a decoder."""
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    return (module for module in model.modules() if type(module).__name__ in kinds)


def _stand_in(model: Any, device: str) -> None:
    """Put one zero in the place of each parameter, seen in the shape of its weights."""
    packed = {id(layer) for layer in quantized_layers(model)}
    made: dict[int, torch.nn.Parameter] = {}
    kept = list(model.parameters())  # their ids stay their own while they live
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                is_packed = id(module) in packed and name == "weight"
                made[id(parameter)] = _packed_zero(module, device) if is_packed else _zero(parameter, device)
            module._parameters[name] = made[id(parameter)]
    del kept


def _zero(parameter: torch.nn.Parameter, device: str) -> torch.nn.Parameter:
    return _seen_as(parameter.shape, parameter.dtype, device)


def _packed_zero(layer: Any, device: str) -> torch.nn.Parameter:
    """In the place of the weight of a layer in 4 bits."""
    zero = _seen_as(packed_shape(layer), torch.uint8, device)
    for attribute in ("compress_statistics", "quant_type", "quant_storage"):  # peft asks the weight how it is quantized
        setattr(zero, attribute, getattr(layer.weight, attribute))
    return zero


def _seen_as(shape: Sequence[int], dtype: torch.dtype, device: str) -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros((), dtype=dtype, device=device).expand(shape), requires_grad=False)
    setattr(parameter, _STANDS_IN, True)
    return parameter


def spread(model: Any, folder: Path) -> None:
    """Read the weights block by block, and keep this process's part of each; the adapter on top is spread likewise.

    All processes of the group do this at once. Parameters are others afterwards: an optimizer is made from the new ones.

    Args:
        model: of `base_without_weights`, perhaps wrapped by peft, with exactly the parameters to train requiring gradients.
        folder: the same base.

    Raises:
        BaseNotSpread: the files do not hold each weight under its name and in its shape.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    device = base.get_input_embeddings().weight.device
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    files = {span.name: (path, span) for path, span in spans_of(folder)}
    names = {id(parameter): name for name, parameter in base.named_parameters()}
    for block in list(_blocks(base)):
        _fill(block, names, files, folder)
        fully_shard(block, mesh=mesh)
    _fill(model, names, files, folder)
    embeddings = base.get_input_embeddings()
    if embeddings.weight is not base.get_output_embeddings().weight:
        fully_shard(embeddings, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(enable=True)


def _fill(module: Any, names: Mapping[int, str], files: Mapping[str, tuple[Path, TensorSpan]], folder: Path) -> None:
    """Put the weights in the files into the places of what stands in for them, in a module and all that it has."""
    packed = {id(layer) for layer in quantized_layers(module)}
    read: dict[int, torch.nn.Parameter] = {}
    for owner in module.modules():
        for own, parameter in owner._parameters.items():
            if not getattr(parameter, _STANDS_IN, False):
                continue
            if id(parameter) not in read:
                value = _read(names[id(parameter)], files, folder)
                is_packed = id(owner) in packed and own == "weight"
                if is_packed:
                    value = quantized_now(owner, value.to(_loaded_as(owner), copy=True).to(parameter.device))
                elif value.shape != parameter.shape:
                    raise BaseNotSpread(
                        folder, f"{names[id(parameter)]} has another shape in its files than in the model"
                    )
                else:
                    # a copy in memory of its own: what was read lies in a mapped file
                    value = value.to(parameter.dtype, copy=True).to(parameter.device)
                read[id(parameter)] = torch.nn.Parameter(value, requires_grad=parameter.requires_grad)
            owner._parameters[own] = read[id(parameter)]


def _loaded_as(layer: Any) -> torch.dtype:
    """The number format in which `from_pretrained` would have loaded the weight of a quantized layer."""
    return cast(torch.dtype, layer.compute_dtype)


def _read(name: str, files: Mapping[str, tuple[Path, TensorSpan]], folder: Path) -> torch.Tensor:
    """A weight of the files, which are mapped for as long as it lives: the system may take its pages back."""
    from safetensors import safe_open

    known = next((known for known in names_in_files(name) if known in files), None)
    if known is None:
        reason = f"its files have no tensor {name}: transformers converts this architecture while it loads"
        raise BaseNotSpread(folder, reason)
    with safe_open(files[known][0], framework="pt") as opened:
        tensor: torch.Tensor = opened.get_tensor(known)
    return tensor


def put_back(model: Any) -> None:
    """Drop what a forward pass without a backward pass has left whole: the registered parameters are the parts again."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def is_spread(model: Any) -> bool:
    """Whether FSDP2 has spread the parameters of a model, ours or somebody else's."""
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(module, FSDPModule) for module in model.modules())


def part_of(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor that is spread; the tensor itself otherwise."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole_of(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that is spread, put together in each process; all of them ask for it at once."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
