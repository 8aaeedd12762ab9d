"""Layers that hold their weight in bf16 or fp16 and compute in fp32: the weight is widened when its layer computes, and dropped.

A copy of the whole model in fp32 would take twice the memory that training took. Widening is exact, so the scores are those of
that copy. Where the base's files hold more digits than memory does (`StoredWeights`), they are read instead of widened. A GPU keeps
what was read in half of the memory that it has free, because it waits for each reading; a processor's files stay in the system's
cache by themselves. Products stay fp32 in full (no TF32): the scores of two machines are to be compared.

While layers compute so, what stands in a wide layer's place for everybody else is NaN in fp32, of no size: a model that looks at a
weight outside of its layer's own forward pass gives no finite number, instead of a wrong one. `wide_layers` tries that.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from peft_registry.trainer.bases.stored_weights import StoredWeights, TensorPlace
from peft_registry.trainer.evaluation.fast_linear import MIN_WEIGHTS, linear_product
from peft_registry.trainer.evaluation.models import CausalModel

NARROW = (torch.bfloat16, torch.float16)
_AT_ONCE = 1 << 26  # weights that are wide at once: 256 MiB
# few rows are over as soon as the weight was read, so that it is widened in pieces that stay in the processor's cache
_FEW_ROWS = 16
_IN_CACHE = 1 << 18
_TOKENS_TRIED = 2


@contextmanager
def wide_layers(model: CausalModel, stored: StoredWeights) -> Iterator[frozenset[int]]:
    """Inside, large layers compute in fp32 from weights that are held narrower; yields the ids of those weights.

    None are yielded, and nothing is changed, where the model looks at its weights in another way.
    """
    layers = [(module, names) for module in _own_weights_only(model) if (names := _large(module))]
    shared = _seen_by_others(model, [module for module, _ in layers])
    layers = [
        (module, names) for module, names in layers if not any(id(_weight(module, name)) in shared for name in names)
    ]
    kept = {(id(module), name): _weight(module, name) for module, names in layers for name in names}
    held = frozenset(id(weight) for weight in kept.values())
    space = _Space(stored, room=_room_beside(model))
    for module, names in layers:
        weights = {name: kept[id(module), name] for name in names}
        module.forward = _forward_of(module, weights, space)  # of this layer, not of its class
        for name, weight in weights.items():
            module._parameters[name] = _stand_in(weight)
    try:
        yield held
    finally:
        for module, names in layers:
            del module.forward
            for name in names:
                module._parameters[name] = kept[id(module), name]


def gives_numbers(model: CausalModel) -> bool:
    """Whether two tokens give finite logits in fp32: not so where weights are looked at that are not there."""
    device = next(model.parameters()).device
    ids = torch.zeros((1, _TOKENS_TRIED), dtype=torch.long, device=device)
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    # torch refuses a number format or an operation (RuntimeError); who wants a weight of its own kind misses an attribute of
    # it or a way to call it; and who reads the values finds none that are numbers, or an index far outside
    except (RuntimeError, AttributeError, TypeError, ValueError, IndexError):
        return False
    return logits.dtype == torch.float32 and bool(torch.isfinite(logits).all())


def _own_weights_only(model: CausalModel) -> Iterator[torch.nn.Module]:
    """The modules whose weights nobody else looks at: not those in wrappers of peft that compute with the weight itself."""
    from peft.tuners.lora.layer import ParamWrapper
    from peft.utils.other import AuxiliaryTrainingWrapper

    taken: set[int] = set()
    for module in model.modules():
        changes = isinstance(module, ParamWrapper | AuxiliaryTrainingWrapper)
        if changes or getattr(module, "lora_variant", None):  # DoRA and its kin take norms of the weight
            taken |= {id(inner) for inner in module.modules()}
    for module in model.modules():
        if id(module) not in taken and "forward" not in vars(module):
            yield module


def _large(module: torch.nn.Module) -> tuple[str, ...]:
    return tuple(
        name
        for name, parameter in module._parameters.items()
        if parameter is not None
        and parameter.dtype in NARROW
        and parameter.numel() >= MIN_WEIGHTS
        and not parameter.is_meta
    )


def _weight(module: torch.nn.Module, name: str) -> torch.nn.Parameter:
    weight = module._parameters[name]
    assert weight is not None
    return weight


def _seen_by_others(model: CausalModel, layers: Sequence[torch.nn.Module]) -> set[int]:
    """Weights that a module which stays as it is has too, as a tied output head may."""
    own = {id(module) for module in layers}
    return {
        id(parameter)
        for module in model.modules()
        if id(module) not in own
        for parameter in module._parameters.values()
        if parameter is not None
    }


def _stand_in(weight: torch.Tensor) -> torch.nn.Parameter:
    nothing = torch.full((), float("nan"), dtype=torch.float32, device=weight.device)
    return torch.nn.Parameter(nothing.expand(weight.shape), requires_grad=False)


def _room_beside(model: CausalModel) -> int:
    """Bytes in which what was read may stay."""
    device = next(model.parameters()).device
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 0


class _Space:
    """Wide values, one weight or piece of a weight at a time in the same memory.

    Of those that are read, as many stay as there is room for, in bytes.
    """

    def __init__(self, stored: StoredWeights, *, room: int = 0) -> None:
        self.stored = stored
        self._room = room
        self._read: dict[tuple[int, int, int], torch.Tensor] = {}
        self._space: torch.Tensor | None = None

    def piece(self, weight: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Rows of a weight in fp32, until the next piece."""
        width = weight[0].numel()
        count = (last - first) * width
        known = self.stored.of(weight)
        if known is not None and self._stays(weight, first, last):
            return self._kept(weight, first, last, known).view(last - first, *weight.shape[1:])
        if self._space is None or self._space.numel() < count or self._space.device != weight.device:
            with torch.inference_mode(mode=False):  # what is made in that mode cannot be filled again outside of it
                self._space = torch.empty(count, dtype=torch.float32, device=weight.device)
        flat = self._space[:count]
        if known is None:
            flat.copy_(weight[first:last].reshape(-1))
        else:
            _read(known, first * width, count, flat)
        return flat.view(last - first, *weight.shape[1:])

    def _stays(self, weight: torch.Tensor, first: int, last: int) -> bool:
        size = 4 * (last - first) * weight[0].numel()
        return size <= self._room or (id(weight), first, last) in self._read

    def _kept(self, weight: torch.Tensor, first: int, last: int, known: TensorPlace) -> torch.Tensor:
        """Numbers that were read once, and stay."""
        key = (id(weight), first, last)
        if key not in self._read:
            width = weight[0].numel()
            with torch.inference_mode(mode=False):
                self._read[key] = torch.empty((last - first) * width, dtype=torch.float32, device=weight.device)
            _read(known, first * width, (last - first) * width, self._read[key])
            self._room -= self._read[key].nbytes
        return self._read[key]

    def whole(self, weight: torch.Tensor) -> torch.Tensor:
        """All of a weight in fp32, in memory of its own."""
        known = self.stored.of(weight)
        return weight.float() if known is None else known.whole().to(weight.device)


def _read(known: TensorPlace, first: int, count: int, space: torch.Tensor) -> None:
    if space.device.type == "cpu":
        known.read(first, count, space)
        return
    with torch.inference_mode(mode=False):
        passage = torch.empty(count, dtype=torch.float32)
    known.read(first, count, passage)
    space.copy_(passage)


_Forward = Callable[..., Any]


def _forward_of(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], space: _Space) -> _Forward:
    if type(module) is torch.nn.Linear:
        return _linear(module, weights["weight"], space)
    if type(module) is torch.nn.Embedding and module.max_norm is None:
        return _embedding(module, weights["weight"], space)
    return _any(module, weights, space)


def _linear(layer: torch.nn.Linear, weight: torch.Tensor, space: _Space) -> _Forward:
    rows, width = weight.shape

    def forward(inputs: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():  # what the backward pass needs must stay
            return torch.nn.functional.linear(inputs, space.whole(weight), layer.bias)
        numbers = _IN_CACHE if inputs.numel() <= _FEW_ROWS * width else _AT_ONCE
        step = max(1, numbers // width)
        parts = [
            linear_product(
                inputs,
                space.piece(weight, first, min(first + step, rows)),
                None if layer.bias is None else layer.bias[first : first + step],
            )
            for first in range(0, rows, step)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    return forward


def _embedding(layer: torch.nn.Embedding, weight: torch.Tensor, space: _Space) -> _Forward:
    def forward(ids: torch.Tensor) -> torch.Tensor:
        known = space.stored.of(weight)
        if known is None:
            return torch.nn.functional.embedding(ids, weight, layer.padding_idx).float()
        used, places = torch.unique(ids, return_inverse=True)
        return known.rows(used).to(ids.device)[places]

    return forward


def _any(module: torch.nn.Module, weights: Mapping[str, torch.Tensor], space: _Space) -> _Forward:
    """The module's own computation, with wide weights put into their places meanwhile."""
    own = module.forward

    def forward(*arguments: Any, **options: Any) -> Any:  # of whatever the module takes
        kept = {name: module._parameters[name] for name in weights}
        for name, weight in weights.items():
            wide = space.whole(weight)
            module._parameters[name] = wide  # type: ignore[assignment]  # read as any parameter; keeps its gradient
        try:
            return own(*arguments, **options)
        finally:
            module._parameters.update(kept)

    return forward
