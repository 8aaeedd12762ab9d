"""Whether the values of weights are finite numbers, checked in the blocks that are read for a digest. Needs numpy.

Number formats: IEEE 754; bfloat16; the 8-bit formats of OCP "8-bit Floating Point Specification" 1.0 (E4M3 has no infinity) and
"Microscaling Formats" 1.0 (E8M0 has neither sign nor infinity), and those of ONNX with one zero (FNUZ), whose single NaN is
what would be minus zero. Formats of 4 and 6 bits have neither NaN nor infinity.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peft_registry.registry.intake.safetensors import TensorSpan
from peft_registry.schemas.errors import InputRefused

if TYPE_CHECKING:
    import numpy as np

    Bits = np.ndarray[Any, Any]


class WeightsNotFinite(InputRefused):
    what = "the tensor {tensor!a} in {file} holds a value that is not a number"
    why = "its element {index} is {value}; whatever is computed with it is not a number either"
    fix = "fetch the model again, or take a revision that was saved before its training diverged"

    file: str
    tensor: str
    index: str  # such as [3, 17]
    value: str


@dataclass(frozen=True, slots=True)
class _Format:
    """Raw bits of one element."""

    kind: str  # numpy's little-endian unsigned type
    magnitude: int  # mask of the bits without the sign
    infinity: int  # the least magnitude that is infinite or NaN
    has_infinity: bool = True


_FORMATS = {
    "F64": _Format("<u8", 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000),
    "F32": _Format("<u4", 0x7FFF_FFFF, 0x7F80_0000),
    "C64": _Format("<u4", 0x7FFF_FFFF, 0x7F80_0000),  # real and imaginary part
    "F16": _Format("<u2", 0x7FFF, 0x7C00),
    "BF16": _Format("<u2", 0x7FFF, 0x7F80),
    "F8_E5M2": _Format("<u1", 0x7F, 0x7C),
    "F8_E4M3": _Format("<u1", 0x7F, 0x7F, has_infinity=False),
    "F8_E8M0": _Format("<u1", 0xFF, 0xFF, has_infinity=False),
}
_ONLY_NAN = {"F8_E4M3FNUZ": 0x80, "F8_E5M2FNUZ": 0x80}


@dataclass(slots=True)
class FiniteValues:
    """Takes the blocks of one tensor in order, and raises at the first that holds NaN or infinity."""

    file: str
    span: TensorSpan
    _seen: int = 0  # elements in the blocks before
    _rest: bytes = b""  # the beginning of an element that a block cut in two
    _objection: Callable[["Bits"], "Bits"] | None = field(init=False)
    _kind: str = field(init=False)

    def __post_init__(self) -> None:
        form = _FORMATS.get(self.span.dtype)
        single = _ONLY_NAN.get(self.span.dtype)
        self._kind = form.kind if form is not None else "<u1"
        self._objection = None
        if form is not None:
            self._objection = lambda bits: (bits & form.magnitude) >= form.infinity
        elif single is not None:
            self._objection = lambda bits: bits == single

    def take(self, block: bytes | memoryview) -> None:
        """Look at the next bytes.

        Raises:
            WeightsNotFinite: names the tensor and the first element at fault.
        """
        if self._objection is None:
            return
        import numpy as np

        data = self._rest + block if self._rest else block
        usable = len(data) - len(data) % np.dtype(self._kind).itemsize
        bits = np.frombuffer(data, dtype=self._kind, count=usable // np.dtype(self._kind).itemsize)
        self._rest = bytes(data[usable:])
        wrong = self._objection(bits)
        if wrong.any():
            first = int(wrong.argmax())
            raise WeightsNotFinite(self.file, self.span.name, self._index(first), self._value_text(int(bits[first])))
        self._seen += bits.size

    def _index(self, element: int) -> str:
        import numpy as np

        position = self._seen + element
        if self.span.dtype == "C64":
            position //= 2
        return str([int(axis_index) for axis_index in np.unravel_index(position, self.span.shape)])

    def _value_text(self, bits: int) -> str:
        form = _FORMATS.get(self.span.dtype)
        if form is None or not form.has_infinity or bits & form.magnitude != form.infinity:
            return "NaN"
        return "infinity" if bits == form.infinity else "minus infinity"
