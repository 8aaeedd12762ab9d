"""Pickle weights are refused: loading one runs whatever code it names.

Recognised by content and by extension. From protocol 2 on a pickle begins with a mark. One of protocol 0 or 1 is known by its
opcodes, which are decoded and never executed: they make sense up to the end of the file, or up to a call of something imported.
Files are never unpickled here, nor scanned for what is "safe": a scanner is not a gate.
"""

import os
import pickletools
import zipfile
from pathlib import Path
from typing import BinaryIO

from peft_registry.registry.disk.files import reading
from peft_registry.schemas.errors import InputRefused

EXTENSIONS = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
_PROTO = 0x80  # the PROTO opcode that starts every pickle of protocol 2 and later
_PROTOCOLS = range(2, 6)
_SAFETENSORS_HEAD = 9  # bytes: the header length and the first byte of the header
# a pickle of protocol 0 or 1 that imports nothing in its first megabyte is taken for bytes
_SCANNED_BYTES = 1024 * 1024
_LEAST_OPCODES = 3  # many short texts are valid with fewer: ")." is an empty tuple
# a text may begin like the opcode that imports ("c" and two lines), but does not go on with arguments and a call
_IMPORTING = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_ARGUMENTS = frozenset({"MARK", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT"})
_CALLING = frozenset({"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"})


class PickleRefused(InputRefused):
    what = "{path.name} is refused because it is, or may be, a pickle"
    why = "{reason}; loading a pickle runs the code that it names"
    fix = "convert the weights to safetensors where you trust them, and offer those"

    path: Path
    reason: str


def refuse_pickle(path: Path) -> None:
    """Raise if `path` is a pickle.

    Raises:
        PickleRefused: its extension or its content says pickle.
    """
    why = _reason(path)
    if why is not None:
        raise PickleRefused(path, why)


def _reason(path: Path) -> str | None:
    extension = path.suffix.lower()
    if extension in EXTENSIONS:
        return f"files that end in {extension} are pickles by convention"
    with reading(path) as file:
        head = os.pread(file.descriptor, _SAFETENSORS_HEAD, 0)
        if extension == ".safetensors" and _is_safetensors_head(head):
            return None
        if len(head) > 1 and head[0] == _PROTO and head[1] in _PROTOCOLS:
            return f"it starts with the mark of pickle protocol {head[1]}"
        if _has_opcodes_of_a_pickle(os.pread(file.descriptor, _SCANNED_BYTES, 0), file.key.size):
            return "its bytes are the opcodes of a pickle of protocol 0 or 1"
        with os.fdopen(os.dup(file.descriptor), "rb") as stream:
            member = _pickled_member(stream)
    return None if member is None else f"it is a zip archive that holds {member[:120]!a}"


def _is_safetensors_head(head: bytes) -> bool:
    # A header of 640 bytes starts with 0x80 0x02 as well, so the extension and the brace decide.
    return len(head) == _SAFETENSORS_HEAD and head[3:8] == b"\0" * 5 and head[8:] == b"{"


def _has_opcodes_of_a_pickle(data: bytes, size: int) -> bool:
    seen: list[str] = []
    imports = False
    try:
        for opcode, argument, position in pickletools.genops(data):
            imports = imports or (opcode.name in _IMPORTING and _is_a_name(argument))
            seen.append(opcode.name)
            if imports and opcode.name in _CALLING and not _ARGUMENTS.isdisjoint(seen):
                return True
            if opcode.name == "STOP":
                return len(seen) >= _LEAST_OPCODES and (imports or position == size - 1)
    except Exception:  # noqa: BLE001  the opcodes make no sense, in whichever way: not a pickle
        return False
    return imports and len(seen) >= _LEAST_OPCODES


def _is_a_name(argument: object) -> bool:
    """Whether it is `module name`, the argument of an importing opcode; the newer opcodes take it from the stack."""
    if not isinstance(argument, str):
        return True
    return all(part.isidentifier() for word in argument.split(" ") for part in word.split("."))


def _pickled_member(stream: BinaryIO) -> str | None:
    if not zipfile.is_zipfile(stream):
        return None
    try:
        with zipfile.ZipFile(stream) as archive:
            return next((name for name in archive.namelist() if name.lower().endswith((".pkl", ".pickle"))), None)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return None
