"""Whether the values of weights are numbers at all: NaN, infinity, and tensors of nothing but zero. Needs numpy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.intake.json import Family
from peft_registry.registry.intake.safetensors import TensorSpan, read_open_header

# dtype → little-endian numpy type of the raw bits, bits of the exponent, bits of the mantissa (IEEE 754; bfloat16)
_LAYOUT = {
    "F16": ("<u2", 0x7C00, 0x03FF),
    "BF16": ("<u2", 0x7F80, 0x007F),
    "F32": ("<u4", 0x7F80_0000, 0x007F_FFFF),
    "F64": ("<u8", 0x7FF0_0000_0000_0000, 0x000F_FFFF_FFFF_FFFF),
}
_BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TensorValues:
    """What the values of one floating-point tensor look like; one without elements is finite and not all zero."""

    name: str
    nan: int
    infinite: int
    all_zero: bool

    @property
    def finite(self) -> bool:
        return self.nan == 0 and self.infinite == 0


def scan_values(path: Path, *, family: Family = "intake") -> tuple[TensorValues, ...]:
    """One entry for every F16, BF16, F32 and F64 tensor of a safetensors file, in the order of their bytes.

    Raises:
        MalformedWeights: the header is not sound (`MalformedSafetensors` for integrity).
        FileMissing, NotARegularFile, FileChanged, FileUnreadable: as `peft_registry.registry.disk.files.reading`.
    """
    with reading(path) as file:
        header = read_open_header(file, family=family)
        return tuple(_scan(file, span) for span in header.tensors if span.dtype in _LAYOUT)


def _scan(file: OpenFile, span: TensorSpan) -> TensorValues:
    import numpy as np

    kind, exponent, mantissa = _LAYOUT[span.dtype]
    nan = infinite = nonzero = 0
    rest = b""
    for block in file.blocks(span.begin, span.end, _BLOCK_BYTES):
        data = rest + block
        usable = len(data) - len(data) % np.dtype(kind).itemsize  # a short read may cut a value
        bits: np.ndarray[Any, Any] = np.frombuffer(data[:usable], dtype=kind)
        rest = data[usable:]
        special = (bits & exponent) == exponent
        not_numbers = special & ((bits & mantissa) != 0)
        nan += int(np.count_nonzero(not_numbers))
        infinite += int(np.count_nonzero(special)) - int(np.count_nonzero(not_numbers))
        nonzero += int(np.count_nonzero(bits & (exponent | mantissa)))  # minus zero is zero
    return TensorValues(span.name, nan, infinite, all_zero=span.end > span.begin and nonzero == 0)
