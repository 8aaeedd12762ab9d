"""Whether a model in memory has the weights of a folder: those of a base that somebody loaded before anybody looked."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# what peft puts into the names of the parameters that it wraps
_WRAPPERS = re.compile(r"(?<=\.)(?:base_layer|original_module)\.")


@dataclass(frozen=True, slots=True)
class MemoryCompared:
    """How many tensors of the folder were found in the model with its very values, how many could not be compared, and the first
    that differs, with why."""

    equal: int
    not_compared: int
    differs: str | None


def compare_in_memory(model: Any, folder: Path, *, frozen_only: bool = False) -> MemoryCompared:
    """Hold the parameters of a model of transformers against the safetensors files that it was loaded from.

    A value is equal where rounding the stored one to the number format in memory gives it. Quantized weights, and tensors that
    loading joined or renamed, are not compared. Of weights that are spread over processes, the part of this one is.

    Args:
        model: without the wrapper of peft; its layers may be wrapped.
        folder: holds the files.
        frozen_only: leave out what is trained, because training went on before.
    """
    import torch
    from safetensors import safe_open

    places = _by_stored_name(model, frozen_only=frozen_only)
    equal = 0
    silent = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path.resolve(), framework="pt") as file:
            for name in sorted(file.keys()):
                parameter = places.get(name)
                if parameter is None or not parameter.is_floating_point() or parameter.is_meta:
                    silent += 1
                    continue
                stored = file.get_tensor(name)
                if tuple(stored.shape) != tuple(parameter.shape):
                    shapes = f"{list(stored.shape)} in the files and {list(parameter.shape)} in memory"
                    return MemoryCompared(equal, silent, f"tensor {name} has the shape {shapes}")
                here, there = _in_this_process(stored, parameter)
                if not torch.equal(here.to(parameter.dtype), there.to("cpu")):
                    return MemoryCompared(equal, silent, f"tensor {name} has other values in memory")
                equal += 1
    return MemoryCompared(equal, silent, None)


def _in_this_process(stored: Any, parameter: Any) -> tuple[Any, Any]:
    """The part of both tensors that this process holds of a parameter that is spread over several; else the whole of them."""
    from torch.distributed.tensor import DTensor

    there = parameter.detach()
    if not isinstance(there, DTensor):
        return stored, there
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    shape, begins = compute_local_shape_and_global_offset(there.shape, there.device_mesh, there.placements)
    places = tuple(slice(begin, begin + length) for begin, length in zip(begins, shape, strict=True))
    return stored[places], there.to_local()


def _by_stored_name(model: Any, *, frozen_only: bool) -> dict[str, Any]:
    """The parameters by the names that a checkpoint has for them, with and without the prefix of the inner model."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    places = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if frozen_only and parameter.requires_grad:
            continue
        clean = _WRAPPERS.sub("", name)
        places[clean] = parameter
        places[clean.removeprefix(prefix)] = parameter
    return places
