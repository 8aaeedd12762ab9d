"""The placebo arm: the adapter turned at random, as large as it was. What training anything would move, it moves as well.

Each tensor keeps its norm, and a low-rank product its singular values: along the model's own dimensions entries are permuted
and their signs drawn anew, which is an orthogonal transformation. A vector that multiplies activations ((IA)³) is permuted
without signs, because its neutral value is 1 and not 0. Nothing that the adapter learned about directions is left.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from peft_registry.trainer.evaluation.models import CausalModel

SEED = 20261125


def has_placebo(model: CausalModel) -> bool:
    """Whether the model has an adapter whose tensors can be turned."""
    return bool(getattr(model, "peft_config", None))


@contextmanager
def placebo(model: CausalModel, *, seed: int = SEED) -> Iterator[None]:  # a peft model
    """The model with its adapter turned at random inside the block; afterwards every tensor is as before."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    parts = getattr(model, "adapter_parts", (model,))  # a hybrid has two
    kept = [
        {
            name: tensor.detach().clone()
            for name, tensor in get_peft_model_state_dict(part, save_embedding_layers=False).items()
        }
        for part in parts
    ]
    for part, tensors in zip(parts, kept, strict=True):
        set_peft_model_state_dict(part, turned(tensors, seed=seed))
    try:
        yield
    finally:
        for part, tensors in zip(parts, kept, strict=True):
            set_peft_model_state_dict(part, tensors)


def turned(tensors: dict[str, torch.Tensor], *, seed: int) -> dict[str, torch.Tensor]:
    """The tensors of an adapter, each turned at random along its longest dimension."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _turned(name, tensors[name], generator) for name in sorted(tensors)}


def _turned(name: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if tensor.dim() == 0:
        return tensor.clone()
    axis = max(range(tensor.dim()), key=lambda dim: tensor.shape[dim])
    size = tensor.shape[axis]
    order = torch.randperm(size, generator=generator).to(tensor.device)
    found = tensor.index_select(axis, order)
    if "ia3" in name:
        return found
    signs = (torch.randint(0, 2, (size,), generator=generator) * 2 - 1).to(tensor)
    shape = [1] * tensor.dim()
    shape[axis] = size
    return found * signs.view(shape)
