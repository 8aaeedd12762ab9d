"""The values of a tensor in a safetensors file, through numpy."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.registry.disk.files import OpenFile
from peft_registry.registry.intake.safetensors import TensorSpan

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Form = Literal["<f4", "<f8"]
_KINDS = {"F64": ("<f8", 8), "F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("<u2", 2)}


def values_of(
    file: OpenFile, span: TensorSpan, *, runs: Sequence[range] | None = None, form: Form = "<f8"
) -> "Array | None":
    """The elements in their order, flat; None for a type that numpy does not hold.

    Args:
        file: that holds the tensor.
        span: where it lies.
        runs: numbers of the elements that are read; None for all.
        form: doubles, or singles where so many are read that their time and memory count.
    """
    import numpy as np

    kind = _KINDS.get(span.dtype)
    if kind is None:
        return None
    stored, size = kind
    ends = [(0, span.end - span.begin)] if runs is None else [(run.start * size, run.stop * size) for run in runs]
    blocks = (block for begin, end in ends for block in file.blocks(span.begin + begin, span.begin + end))
    raw = np.frombuffer(b"".join(map(bytes, blocks)), dtype=stored)
    if span.dtype == "BF16":  # the upper half of a single
        raw = (raw.astype("<u4") << 16).view("<f4")
    values: Array = raw.astype(form, copy=False)
    return values
