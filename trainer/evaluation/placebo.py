"""The placebo arm: as far from the base as the adapter, in a direction that nobody learned. What training anything would move,
it moves as well.

Each tensor is its neutral value, at which the adapter does nothing, plus a difference. The differences are permuted along one
of the model's own dimensions and their signs drawn anew: an orthogonal transformation, so that the norm of the difference is
kept, and of a low-rank product the singular values. Nothing that the adapter learned about directions is left.

    factors of LoRA, W_up and its bias      from zero
    vectors of VeRA, factors of LoHa        from zero; both products of LoHa in the same way, because they are elementwise
    planes of OFT's rotations               from zero
    (IA)³                                   from one
    magnitudes of DoRA                      from the norms of the base's columns
    biases, saved modules, trained tokens   from the base's own
    a prompt                                from the mean embedding of the vocabulary
    a prefix                                from the mean keys and values of texts of random tokens, by position

Permuted around any other value a tensor would wreck the model: a bias, a norm or a magnitude with a random sign is no
adapter of the same size. A scale is not turned through zero either. A bias between the two layers of a bottleneck stays,
because it has none of the model's own dimensions.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from peft_registry.schemas.methods.declaration import TensorKind
from peft_registry.trainer.evaluation.models import CausalModel

SEED = 20261125
COMPOSITION = "differences from the neutral values turned at random, norms kept"  # what the arm's composition says
_TEXTS = 16  # of random tokens, whose keys and values are averaged
_DEFAULT = "default"  # the one adapter of a loaded model


@dataclass(frozen=True, eq=False)
class Turn:
    """How one tensor is turned.

    Attributes:
        neutral: the value at which it changes nothing, broadcast to the tensor; None where it is not known, as that of a bias
            that was trained in place and whose first value nobody kept.
        axis: the dimension of the model along which differences are permuted.
        blocks: equal parts of that dimension that hold different things (keys and values of each layer) and are not mixed.
        is_scale: whether it multiplies, so that a change of its sign would turn activations round.
        like: the tensor whose permutation it takes. The two are multiplied place by place, so that the signs of the first are
            those of the product, and this one has none. None for a tensor that is drawn for.
    """

    neutral: torch.Tensor | None
    axis: int
    blocks: int = 1
    is_scale: bool = False
    like: str | None = None


Turns = Mapping[str, Turn | None]  # by the name of the tensor; None for one that stays as it is


def has_placebo(model: CausalModel) -> bool:
    """Whether the model has an adapter, and the neutral value of each of its tensors is known."""
    if not getattr(model, "peft_config", None):
        return False
    turns = [turn for part in _parts(model) for turn in turns_of(part).values()]
    return all(turn is None or turn.neutral is not None for turn in turns)


@contextmanager
def placebo(model: CausalModel, *, seed: int = SEED) -> Iterator[None]:  # a peft model
    """The model with its adapter turned at random inside the block; afterwards every tensor is as before."""
    from peft import set_peft_model_state_dict

    from peft_registry.trainer.methods.peft_io import adapter_state

    kept = [
        (part, {name: tensor.detach().clone() for name, tensor in adapter_state(part).items()})
        for part in _parts(model)
    ]
    for part, tensors in kept:
        set_peft_model_state_dict(part, turned(tensors, turns_of(part), seed=seed))
    try:
        yield
    finally:
        for part, tensors in kept:
            set_peft_model_state_dict(part, tensors)


def turned(tensors: Mapping[str, torch.Tensor], turns: Turns, *, seed: int) -> dict[str, torch.Tensor]:
    """The tensors of an adapter, each turned at random around its neutral value."""
    generator = torch.Generator().manual_seed(seed)
    drawn: dict[str, _Draw] = {}
    for name in sorted(tensors):
        tensor, turn = tensors[name], turns[name]
        if turn is not None and turn.like is None and tensor.numel():
            drawn[name] = _draw(tensor.shape[turn.axis], turn.blocks, generator)
    return {name: _turned(tensor, turns[name], drawn, name) for name, tensor in tensors.items()}


def turns_of(part: Any) -> Turns:  # a peft model
    """How each tensor of a model's adapter is turned, by its name in the adapter's file."""
    from peft_registry.trainer.methods.peft_io import adapter_state

    return {name: _turn_of(part, name, tensor) for name, tensor in adapter_state(part).items()}


def _parts(model: Any) -> tuple[Any, ...]:  # peft models
    return getattr(model, "adapter_parts", (model,))  # a hybrid has two


@dataclass(frozen=True, eq=False)
class _Draw:
    """What is drawn for one dimension: another order of its places, and a sign for each."""

    order: torch.Tensor
    signs: torch.Tensor


def _draw(size: int, blocks: int, generator: torch.Generator) -> _Draw:
    width = size // blocks
    order = torch.cat([width * block + torch.randperm(width, generator=generator) for block in range(blocks)])
    return _Draw(order, torch.randint(0, 2, (size,), generator=generator) * 2 - 1)


def _turned(tensor: torch.Tensor, turn: Turn | None, drawn: Mapping[str, _Draw], name: str) -> torch.Tensor:
    if turn is None or not tensor.numel():
        return tensor.clone()
    assert turn.neutral is not None, "only a model that has a placebo is turned"
    draw = drawn[turn.like or name]
    neutral = turn.neutral.to(device=tensor.device, dtype=torch.float32)
    moved = (tensor.float() - neutral).index_select(turn.axis, draw.order.to(tensor.device))
    if turn.like is None:
        shape = [1] * tensor.dim()
        shape[turn.axis] = tensor.shape[turn.axis]
        moved = moved * draw.signs.view(shape).to(tensor.device)
    if turn.is_scale:
        # a scale that would change its sign grows by the same amount
        moved = torch.where((neutral + moved) * neutral < 0, moved.abs() * neutral.sign(), moved)
    return (neutral + moved).to(tensor.dtype)


def _turn_of(part: Any, name: str, tensor: torch.Tensor) -> Turn | None:
    from peft_registry.trainer.methods.peft_io import declaration_of

    declared = declaration_of(part).tensor(name)
    if declared is None or declared[0].replaces:
        return Turn(_own_of_base(part, name), -1, is_scale=tensor.dim() == 1 and name.endswith("weight"))
    kind, module = declared
    if kind.stays:
        return None
    if kind.axis is None:
        return Turn(None, -1)
    if kind.neutral == "mean prefix":
        return _turn_of_prefix(part, tensor)
    # inner dimensions stay: an orthogonal change of the outer one alone keeps the singular values of the product
    axis = max(range(tensor.dim()), key=lambda dim: tensor.shape[dim]) if kind.axis == "longest" else kind.axis
    like = None if kind.turned_with is None else f"{module}.{kind.turned_with}"
    return Turn(_neutral(part, kind, module), axis, is_scale=kind.is_scale, like=like)


def _neutral(part: Any, kind: TensorKind, module: str) -> torch.Tensor | None:
    """The value at which a kind of tensor does nothing; None where it is not known."""
    from peft_registry.trainer.methods.prompt_tuning import mean_embedding

    if kind.neutral == "column norms":
        return _column_norms(part.get_submodule(module))
    if kind.neutral == "mean embedding":
        return mean_embedding(part)
    return None if kind.neutral is None else torch.tensor(kind.neutral)


def _column_norms(layer: Any) -> torch.Tensor:  # a LoRA layer of peft
    """‖W‖ of each column of the base's weight as peft computes it, which is where DoRA begins."""
    from peft.utils.integrations import dequantize_module_weight

    base_layer = layer.get_base_layer()
    weight = dequantize_module_weight(base_layer).detach().float()
    magnitude = layer.lora_magnitude_vector[_DEFAULT]
    nothing = torch.zeros((), device=weight.device)
    norms: torch.Tensor = magnitude.get_weight_norm(weight, nothing, 0.0)
    return norms.reshape(magnitude.weight.shape)


def _turn_of_prefix(part: Any, tensor: torch.Tensor) -> Turn:
    from peft_registry.trainer.methods.prefix_tuning import PrefixStartDoesNotFit, mean_prefix

    try:
        neutral = mean_prefix(part.get_base_model(), len(tensor), texts=_TEXTS, seed=SEED)
    except PrefixStartDoesNotFit:
        return Turn(None, 1)
    # keys and values of each layer are of different sizes, and are not exchanged
    return Turn(neutral, 1, blocks=2 * part.peft_config[_DEFAULT].num_layers)


def _own_of_base(part: Any, name: str) -> torch.Tensor | None:
    """The base's own tensor in the place of one that the adapter replaces; None where nobody kept it."""
    from peft_registry.trainer.methods.peft_io import replaced_tensors

    kept: torch.Tensor | None = replaced_tensors(part).get(name)
    if kept is not None:
        return kept
    place, _, leaf = name.rpartition(".")
    try:
        original = getattr(part.get_submodule(place), "original_module", None)  # of a module that peft saves whole
    except AttributeError:
        original = None
    value = getattr(original, leaf, None)
    return value.detach() if isinstance(value, torch.Tensor) else None
