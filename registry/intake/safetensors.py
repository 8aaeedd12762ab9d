"""The header of a safetensors file, read strictly (format: https://huggingface.co/docs/safetensors).

A file is an 8-byte little-endian length N, N bytes of JSON, then the tensors' bytes. The reference library accepts
repeated names, unknown fields, spaces before the JSON and headers of 100 MB; here one file has one meaning:

- N is at most 8 MiB and fits the file; the JSON is strict, starts with `{` and may be padded with spaces at its end.
- An entry has exactly `dtype`, `shape`, `data_offsets`; `__metadata__` is an object of texts.
- The ranges, in order of their beginning, cover the data from its first byte to the last of the file without hole or
  overlap, and each is as long as its dtype and shape say. Tensors without elements are allowed at any boundary.
- Names are not empty and hold no control characters; there are 1 to 200 000 tensors.

Values are not looked at; `peft_registry.registry.identity.weights` hashes them.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import OpenFile, reading
from peft_registry.registry.intake.foreign_formats import HEAD_BYTES, foreign_format
from peft_registry.registry.intake.json import Family, read_json
from peft_registry.registry.intake.paths import control_character
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError
from peft_registry.schemas.identity import Digest

MAX_HEADER_BYTES = 8 * 1024 * 1024  # about 80 000 tensors; the largest shards published have some thousands
MAX_TENSORS = 200_000
MAX_NAME_CHARACTERS = 1024
MAX_DIMENSION = 2**53 - 1  # the largest integer that RFC 8785 can write exactly
MAX_RANK = 64
LENGTH_BYTES = 8
# dtype names of the safetensors format, and their bits
BITS = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
_FIELDS = {"dtype", "shape", "data_offsets"}
_SHOWN = 80  # characters of a number or a shape in an error


class MalformedSafetensors(IntegrityBroken):
    """Presented for verification. `tensor` is the name at fault, if one is."""

    what = "{subject} is not a sound safetensors file"
    why = "{cause}"
    fix = "fetch the file again from where it was signed"

    subject: str
    reason: str
    tensor: str | None = None

    @property
    def cause(self) -> str:
        return _about(self.tensor, self.reason)


class MalformedWeights(InputRefused):
    """Offered at intake. `tensor` is the name at fault, if one is."""

    what = "{subject} is not a sound safetensors file"
    why = "{cause}"
    fix = "download it again, or save it again with the safetensors library"

    subject: str
    reason: str
    tensor: str | None = None

    @property
    def cause(self) -> str:
        return _about(self.tensor, self.reason)


@dataclass(frozen=True, slots=True)
class TensorSpan:
    """One tensor of a header; `begin` and `end` are byte positions in the file, not in the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says about itself.

    `header_digest` is the SHA-256 of the file's first `data_start` bytes: the 8-byte length and the JSON as it stands, padding
    included. `tensors` are in the order of their bytes.
    """

    header_digest: Digest
    tensors: tuple[TensorSpan, ...]
    metadata: tuple[tuple[str, str], ...]
    data_start: int
    file_size: int


def read_header(path: Path, *, family: Family = "integrity") -> Header:
    """The header of the safetensors file at `path`.

    Raises:
        MalformedSafetensors: as the module says, naming the tensor at fault; for intake, `MalformedWeights`.
        FileMissing, NotARegularFile, FileChanged, FileUnreadable: as `peft_registry.registry.disk.files.reading`.
    """
    with reading(path) as file:
        return read_open_header(file, family=family)


def read_open_header(file: OpenFile, *, family: Family = "integrity") -> Header:
    """The header of a file that `reading` holds open.

    Raises:
        MalformedSafetensors, MalformedWeights: as `read_header`.
    """
    reader = _Reader(file.path.name, MalformedSafetensors if family == "integrity" else MalformedWeights)
    size = file.key.size
    head = b"".join(file.blocks(0, min(size, HEAD_BYTES)))
    if size < LENGTH_BYTES:
        raise reader.refusal(f"it has {size} bytes, and the length of its header alone takes {LENGTH_BYTES}")
    prefix = head[:LENGTH_BYTES]
    (length,) = struct.unpack("<Q", prefix)
    # the length of a sound header may look like another format's mark, but a brace follows it
    other = foreign_format(head) if head[LENGTH_BYTES : LENGTH_BYTES + 1] != b"{" else None
    if other is not None:
        raise reader.refusal(f"it is {other}")
    if length > size - LENGTH_BYTES:
        raise reader.refusal(
            f"its header claims {length} bytes, and the file has {size - LENGTH_BYTES} after the length"
        )
    if length > MAX_HEADER_BYTES:
        raise reader.refusal(f"its header has {length} bytes, more than the {MAX_HEADER_BYTES} allowed")
    data_start = LENGTH_BYTES + length
    text = b"".join(file.blocks(LENGTH_BYTES, data_start))
    metadata, tensors = reader.read(text, data_start=data_start, file_size=size)
    return Header(Digest.of(prefix + text), tensors, metadata, data_start, size)


MakeError = Callable[[str, str, str | None], KnownError]


@dataclass(frozen=True, slots=True)
class _Reader:
    what: str
    error: MakeError

    def refusal(self, why: str, tensor: str | None = None) -> KnownError:
        return self.error(self.what, why, tensor)

    def read(
        self, text: bytes, *, data_start: int, file_size: int
    ) -> tuple[tuple[tuple[str, str], ...], tuple[TensorSpan, ...]]:
        if not text.startswith(b"{"):
            raise self.refusal("its header does not start with '{'")
        entries = read_json(
            text,
            what=f"the header of {self.what}",
            max_bytes=MAX_HEADER_BYTES,
            error=lambda _, why: self.refusal(f"its header is not acceptable JSON: {why}"),
        )
        metadata = self._metadata(entries.pop("__metadata__", {}))
        if not entries:
            raise self.refusal("it holds no tensors")
        if len(entries) > MAX_TENSORS:
            raise self.refusal(f"it holds {len(entries)} tensors, more than the {MAX_TENSORS} allowed")
        spans = [self._span(name, entry, data_start) for name, entry in entries.items()]
        spans.sort(key=lambda span: (span.begin, span.end, span.name))
        self._check_ranges(spans, data_start, file_size)
        return metadata, tuple(spans)

    def _metadata(self, value: Any) -> tuple[tuple[str, str], ...]:  # any JSON value
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise self.refusal("its __metadata__ is not an object of texts")
        return tuple(value.items())

    def _span(self, name: str, entry: Any, data_start: int) -> TensorSpan:  # any JSON value
        why = name_objection(name)
        if why is not None:
            raise self.refusal(f"{name[:80]!a}: {why}", name)
        if not isinstance(entry, dict) or set(entry) != _FIELDS:
            raise self.refusal("its entry does not have exactly dtype, shape and data_offsets", name)
        dtype = entry["dtype"]
        shape = entry["shape"]
        offsets = entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in BITS:
            raise self.refusal(f"its dtype {dtype!r:.40} is unknown", name)
        if not _is_integers(shape) or len(shape) > MAX_RANK or any(size > MAX_DIMENSION for size in shape):
            raise self.refusal("its shape is not a list of whole numbers below 2^53", name)
        if not _is_integers(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            raise self.refusal("its data_offsets are not a beginning and an end", name)
        bits = math.prod(shape) * BITS[dtype]
        length = offsets[1] - offsets[0]
        if bits % 8 or bits // 8 != length:
            raise self.refusal(
                f"{dtype} {_shown(shape)} takes {_shown(_bytes_text(bits))} bytes, and its range has {_shown(length)}",
                name,
            )
        return TensorSpan(name, dtype, tuple(shape), data_start + offsets[0], data_start + offsets[1])

    def _check_ranges(self, spans: list[TensorSpan], data_start: int, file_size: int) -> None:
        position = data_start
        for span in spans:
            if span.begin < position:
                raise self.refusal("its range overlaps the one before", span.name)
            if span.begin > position:
                raise self.refusal(f"{span.begin - position} bytes before its range belong to no tensor", span.name)
            position = span.end
        if position > file_size:
            raise self.refusal(f"its range ends {position - file_size} bytes after the end of the file", spans[-1].name)
        if position < file_size:
            raise self.refusal(f"{file_size - position} bytes at its end belong to no tensor")


def name_objection(name: str) -> str | None:
    """Why `name` cannot be a tensor's name, or None."""
    if not name:
        return "a name is empty"
    if len(name) > MAX_NAME_CHARACTERS:
        return f"a name is longer than {MAX_NAME_CHARACTERS} characters"
    character = control_character(name)
    return None if character is None else f"a name holds the control character {character}"


def _bytes_text(bits: int) -> str:
    """Bits as bytes, exactly: a shape may have more of them than any float."""
    whole, rest = divmod(bits, 8)
    return f"{whole}.{rest * 125:03d}".rstrip("0") if rest else f"{whole}"


def _shown(number: object) -> str:
    """A number or a shape as text; of one that no file can have, its beginning."""
    text = str(number)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _is_integers(value: Any) -> bool:  # any JSON value
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _about(tensor: str | None, why: str) -> str:
    return why if tensor is None else f"tensor {tensor[:200]!a}: {why}"
