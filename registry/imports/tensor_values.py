"""The values of a tensor in a safetensors file as doubles, through numpy."""

from typing import TYPE_CHECKING, Any

from peft_registry.registry.disk.files import OpenFile
from peft_registry.registry.intake.safetensors import TensorSpan

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_KINDS = {"F64": ("<f8", 8), "F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("<u2", 2)}


def values_of(file: OpenFile, span: TensorSpan, *, most: int | None = None) -> "Array | None":
    """The elements in their order, flat, the first `most` of them where that is given; None for a type that numpy does not hold."""
    import numpy as np

    kind = _KINDS.get(span.dtype)
    if kind is None:
        return None
    form, size = kind
    end = span.end if most is None else min(span.end, span.begin + most * size)
    raw = np.frombuffer(b"".join(bytes(block) for block in file.blocks(span.begin, end)), dtype=form)
    if span.dtype == "BF16":  # the upper half of a single
        raw = (raw.astype("<u4") << 16).view("<f4")
    values: Array = raw.astype(np.float64)
    return values
