"""The values of a tensor in a safetensors file, through numpy."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from peft_registry.registry.disk.files import OpenFile
from peft_registry.registry.intake.safetensors import TensorSpan

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Form = Literal["<f4", "<f8"]
# bits of the fraction, bias of the exponent (Micikevicius et al. 2022, https://arxiv.org/abs/2209.05433, table 1)
_EIGHT_BITS = {"F8_E4M3": (3, 7), "F8_E5M2": (2, 15)}
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
    kind = _KINDS.get(span.dtype)
    if kind is None:
        return None
    raw = _stored(file, span, runs, *kind)
    if span.dtype == "BF16":  # the upper half of a single
        raw = (raw.astype("<u4") << 16).view("<f4")
    values: Array = raw.astype(form, copy=False)
    return values


def rounded_values_of(
    file: OpenFile, span: TensorSpan, *, runs: Sequence[range] | None = None, form: Form = "<f8"
) -> "Array | None":
    """As `values_of`, and of eight bits what a plain rounding left: of weights that were scaled first, the scales lie elsewhere."""
    layout = _EIGHT_BITS.get(span.dtype)
    if layout is None:
        return values_of(file, span, runs=runs, form=form)
    values: Array = _of_eight_bits(*layout)[_stored(file, span, runs, "u1", 1)].astype(form)
    return values


def _stored(file: OpenFile, span: TensorSpan, runs: Sequence[range] | None, stored: str, size: int) -> "Array":
    import numpy as np

    ends = [(0, span.end - span.begin)] if runs is None else [(run.start * size, run.stop * size) for run in runs]
    blocks = (block for begin, end in ends for block in file.blocks(span.begin + begin, span.begin + end))
    return np.frombuffer(b"".join(map(bytes, blocks)), dtype=stored)


@cache
def _of_eight_bits(of_fraction: int, bias: int) -> "Array":
    """What each byte is; what stands for no number is taken for one, because files with such are refused where they are hashed."""
    import numpy as np

    codes = np.arange(256)
    fraction = (codes & (2**of_fraction - 1)) / 2**of_fraction
    exponent = (codes & 0x7F) >> of_fraction
    sizes = np.where(exponent > 0, 1 + fraction, 2 * fraction) * 2.0 ** (exponent - bias)
    values: Array = np.where(codes < 0x80, sizes, -sizes)
    return values
