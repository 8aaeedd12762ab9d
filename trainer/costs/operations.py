"""The operations of passes through a model on torch's meta device, by the formulas of `torch.utils.flop_counter`.

torch's own counter also says in which module each operation was, and has torch find the shape of every result anew, of most in
Python. Here the sum is enough, and the blocks of a model are alike: what an operation on tensors of some shapes results in is
remembered.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_PLAIN = (bool, int, float, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)


class _Tensor(NamedTuple):
    """All that is known of a tensor without bytes."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype


class _Plain(NamedTuple):
    """A value by its type too: 1 and 1.0 are equal, and give other number formats."""

    type: type
    value: Any


class _Several(NamedTuple):
    type: type
    parts: tuple[Any, ...]


class _Unknown(Exception):
    """What is neither a tensor of the meta device nor a plain value."""


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's __init_subclass__
    """Adds up, while it is on, the operations of what is computed.

    Args:
        results: what is remembered; those that follow each other may share it.
    """

    def __init__(self, results: dict[Any, Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0
        self._results = results

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if _is_composed(func):
            with self:  # its parts are counted
                return func.decompose(*args, **named)
        out = self._result(func, args, named)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **named, out_val=out)
        return out

    def _result(self, func: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if not _makes_new(func):
            return func(*args, **named)
        try:
            asked = (func, _described(args), tuple(named), _described(tuple(named.values())))
            known = self._results.get(asked)
            if known is None:
                out = func(*args, **named)
                self._results[asked] = _described(out)
                return out
        except _Unknown:
            return func(*args, **named)
        return _made(known)


@cache
def _is_composed(func: Any) -> bool:
    """Whether torch defines an operation by others."""
    return bool(func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd))


@cache
def _makes_new(func: Any) -> bool:
    """Whether what an operation results in is new, and no tensor that it is given changes."""
    schema = func._schema
    return not schema.is_mutable and all(one.alias_info is None for one in schema.returns)


def _described(value: Any) -> _Tensor | _Plain | _Several:
    kind = type(value)
    if kind in (torch.Tensor, torch.nn.Parameter) and value.is_meta:
        return _Tensor(value.shape, value.stride(), value.dtype)
    if kind in (tuple, list):
        return _Several(kind, tuple(_described(one) for one in value))
    if kind in _PLAIN:
        return _Plain(kind, value)
    raise _Unknown


def _made(described: _Tensor | _Plain | _Several) -> Any:
    match described:
        case _Tensor(shape, strides, dtype):
            return torch.empty_strided(shape, strides, dtype=dtype, device="meta")
        case _Several(kind, parts):
            return kind(_made(one) for one in parts)
        case _Plain(_, value):
            return value
