"""Pickle weights are refused: loading one runs whatever code it names.

Recognised by content and by extension. A pickle of protocol 0 or 1 under another extension has no mark of its own; such
a file is stored as bytes like any other and never loaded, because only safetensors files are read as weights.
Files are never unpickled here, nor scanned for what is "safe": scanners are no gate.
"""

import os
import zipfile
from pathlib import Path
from typing import BinaryIO

from peft_registry.registry.disk.files import reading
from peft_registry.schemas.errors import InputRefused

EXTENSIONS = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
_PROTO = 0x80  # the PROTO opcode that starts every pickle of protocol 2 and later
_PROTOCOLS = range(2, 6)
_SAFETENSORS_HEAD = 9  # bytes: the header length and the first byte of the header


class PickleRefused(InputRefused):
    reference = "pickle-refused"
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
        with os.fdopen(os.dup(file.descriptor), "rb") as stream:
            member = _pickled_member(stream)
    return None if member is None else f"it is a zip archive that holds {member[:120]!a}"


def _is_safetensors_head(head: bytes) -> bool:
    # A header of 640 bytes starts with 0x80 0x02 as well, so the extension and the brace decide.
    return len(head) == _SAFETENSORS_HEAD and head[3:8] == b"\0" * 5 and head[8:] == b"{"


def _pickled_member(stream: BinaryIO) -> str | None:
    if not zipfile.is_zipfile(stream):
        return None
    try:
        with zipfile.ZipFile(stream) as archive:
            return next((name for name in archive.namelist() if name.lower().endswith((".pkl", ".pickle"))), None)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return None
