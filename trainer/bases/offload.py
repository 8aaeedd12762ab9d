"""A frozen base whose blocks wait on disk or in RAM while others compute, through Accelerate's device map.

- The blocks are the parts that transformers moves in one piece, the layers of a decoder. Embeddings, norms between blocks and
  the output head stay where it is computed, and so many blocks as `max_memory` has room for.
- Accelerate's hooks read a layer's weights before it computes and drop them afterwards. Autograd would keep each of them until
  the backward pass: only with gradient checkpointing, which computes a block again, is one block there at a time.
- What waits on disk is read from the base's own files, so the caller looks again at the end whether those changed. Only what
  transformers converts while loading (the fused experts of a mixture) is written, into a folder that the caller removes.
- A weight that waits is empty for whoever looks at it outside of its layer's own forward pass. What must look is refused
  here, or goes through `weights_at_hand`; a method's `prepare`, which asks for shape, device and number format only, runs
  `with meta_weights(model)`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from peft_registry.schemas.config import OffloadBlock, TrainingFile
from peft_registry.schemas.methods.declaration import LOOKS_AT_WEIGHTS
from peft_registry.schemas.offload import SUFFICES, OffloadRefused, Waiting
from peft_registry.schemas.sizes import bytes_of
from peft_registry.trainer.machine.environment import chosen_device, place_of

if TYPE_CHECKING:
    from peft_registry.trainer.machine.environment import Dtype

FOLDER = "offload"  # within a run's folder; what is converted while loading is written there


def loading_arguments(
    folder: Path, block: OffloadBlock, *, dtype: "Dtype", device: str, scratch: Path
) -> dict[str, Any]:
    """What `from_pretrained` needs besides, so that blocks stay out while it loads.

    Args:
        folder: the base.
        block: of the training file.
        dtype: in which the base is held.
        device: that computes.
        scratch: an existing folder; a folder is made in it and left to the caller.

    Raises:
        OffloadRefused: the architecture names no blocks.
        OSError, ValueError, KeyError: transformers does not know the architecture.
    """
    _require_other_memory(block, device)
    # Accelerate warns that parameters are on the meta device, which is what was asked for
    logging.getLogger("accelerate.big_modeling").setLevel(logging.ERROR)
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    here = place_of(device)
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    wanted = {"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]
    with torch.device("meta"):
        twin = AutoModelForCausalLM.from_config(config, dtype=wanted, trust_remote_code=False)
    kinds = set(getattr(twin, "_no_split_modules", None) or ())
    blocks = {name: module for name, module in twin.named_modules() if name and type(module).__name__ in kinds}
    if not blocks:
        raise OffloadRefused(f"the architecture {type(twin).__name__}", "transformers names no blocks of it", SUFFICES)
    room = bytes_of(block.max_memory)
    places = dict[str, int | str]()
    for name, module in blocks.items():
        size = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
        places[name] = here if size <= room else block.to
        room -= size if size <= room else 0
    inside = tuple(f"{name}." for name in blocks)
    for name, module in twin.named_modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if own and name not in blocks and not f"{name}.".startswith(inside):
            places[name] = here
    return {"device_map": places, "offload_folder": scratch / FOLDER}


def require_place(config: TrainingFile) -> None:
    """Raise unless a file offloads to another memory than the one that computes. Needs torch where it asks for RAM.

    Raises:
        OffloadRefused: RAM is asked for, and the processor computes.
    """
    if config.offload is not None and config.offload.to == "cpu":
        _require_other_memory(config.offload, chosen_device(config.training.device))


def _require_other_memory(block: OffloadBlock, device: str) -> None:
    if block.to == "cpu" and device == "cpu":
        why = "the processor computes here, so the base is in that memory anyway"
        raise OffloadRefused("offload.to: cpu where the processor computes", why, "set offload.to=disk")


def forget_shared_addresses(model: Any) -> None:
    """Accelerate knows tied weights by their address. Once such a weight has moved (scores are computed in fp32), another one
    that is fetched may get the address, and would be taken for it. What is tied never waits here, so nothing is lost."""
    for module in model.modules():
        hook: Any = getattr(module, "_hf_hook", None)
        hooks: tuple[Any, ...] = getattr(hook, "hooks", (hook,))
        for one in hooks:
            if hasattr(one, "tied_params_map"):
                one.tied_params_map = None


def waiting_in(model: Any) -> Waiting | None:
    """What of a loaded model waits; None where everything is there."""
    places: dict[str, Any] = getattr(model, "hf_device_map", None) or {}
    kinds = set(getattr(model, "_no_split_modules", None) or ())
    blocks = [name for name, module in model.named_modules() if type(module).__name__ in kinds]
    away = [name for name in blocks if places.get(name) in ("disk", "cpu") and _empty(model.get_submodule(name))]
    if not away:
        return None
    size = sum(
        parameter.numel() * parameter.element_size()
        for name in away
        for parameter in model.get_submodule(name).parameters()
        if parameter.is_meta
    )
    return Waiting(places[away[0]], len(away), len(blocks), size)


@contextmanager
def meta_weights(model: Any) -> Iterator[None]:
    """Inside, weights that wait look as if they were here: their shape and number format over a single zero.

    peft puts an adapter where the weight of its layer is, and what is put on the meta device has no values.
    """
    import torch

    layers = [
        (module, name)
        for module in model.modules()
        if hasattr(module, "_hf_hook")
        for name, parameter in module._parameters.items()
        if parameter is not None and parameter.is_meta
    ]
    for module, name in layers:
        empty = module._parameters[name]
        device = module._hf_hook.execution_device
        seeming = torch.zeros((), dtype=empty.dtype, device=device).expand(empty.shape)
        module._parameters[name] = torch.nn.Parameter(seeming, requires_grad=empty.requires_grad)
    try:
        yield
    finally:
        for module, name in layers:
            seeming = module._parameters[name]
            empty = torch.empty(seeming.shape, dtype=seeming.dtype, device="meta")
            module._parameters[name] = torch.nn.Parameter(empty, requires_grad=seeming.requires_grad)


@contextmanager
def weights_at_hand(layer: Any) -> Iterator[None]:
    """Inside, the weights of a layer that waits are there, as in its own forward pass."""
    layer._hf_hook.pre_forward(layer)
    try:
        yield
    finally:
        layer._hf_hook.post_forward(layer, None)


def refuse_what_looks_at_weights(model: Any) -> None:
    """Raise if an adapter of a prepared model changes a weight itself, as those of fused experts do.

    Raises:
        OffloadRefused: one does.
    """
    from peft.tuners.lora.layer import ParamWrapper

    if any(isinstance(module, ParamWrapper) and _empty(module.get_base_layer()) for module in model.modules()):
        raise OffloadRefused(
            "LoRA on fused experts", LOOKS_AT_WEIGHTS, "name the layers of attention in lora.target_modules"
        )


def _empty(module: Any) -> bool:
    return any(cast(bool, parameter.is_meta) for parameter in module.parameters())
