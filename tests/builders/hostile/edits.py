"""What can be done to the bytes of any JSON, of any text, and to a file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _twice(data: bytes) -> bytes:
    """The first key of the object, once more before it, with another value."""
    key = data[: data.index(b":")].strip().lstrip(b"{").strip()
    return b"{" + key + b":null," + data.strip()[1:]


def _with_first(data: bytes, text: bytes) -> bytes:
    """One more member at the beginning of the object."""
    return b'{"zzz":' + text + b"," + data.strip()[1:]


JSON_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "byte-order-mark": lambda data: b"\xef\xbb\xbf" + data,
    "trailing-bytes": lambda data: data.rstrip(b"\n") + b"x",
    "two-documents": lambda data: data.rstrip(b"\n") + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "not-utf-8": lambda data: _with_first(data, b'"\xff"'),
    "nul": lambda data: data.replace(b":", b"\x00:", 1),
    "repeated-key": _twice,
    "nan": lambda data: _with_first(data, b"NaN"),
    "infinity": lambda data: _with_first(data, b"1e999"),
    "5000-digits": lambda data: _with_first(data, b"9" * 5_000),
    "100000-levels": lambda data: _with_first(data, b"[" * 100_000 + b"]" * 100_000),
    "half-a-surrogate-pair": lambda data: _with_first(data, b'"\\ud800"'),
    "a-list": lambda data: b"[" + data.rstrip(b"\n") + b"]",
    "null": lambda data: b"null",
    "a-number": lambda data: b"7",
    "2000000-lists": lambda data: _with_first(data, b"[" + b"[]," * 2_000_000 + b"0]"),
}


def changed_line(text: bytes, number: int, change: Callable[[bytes], bytes]) -> bytes:
    lines = text.split(b"\n")
    lines[number] = change(lines[number])
    return b"\n".join(lines)


NOTE_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "no-signature": lambda data: data[: data.rindex("—".encode())],
    "no-last-newline": lambda data: data.rstrip(b"\n"),
    "carriage-returns": lambda data: data.replace(b"\n", b"\r\n"),
    "nul": lambda data: data.replace(b"\n\n", b"\n\x00\n", 1),
    "not-utf-8": lambda data: b"\xff" + data,
    "signature-of-another": lambda data: changed_line(data, -2, lambda line: line[:-9] + b"AAAAAAAA="),
    "a-mebibyte-more": lambda data: data + b"x" * (1 << 20),
    "100000-signatures": lambda data: data + data.split(b"\n")[-2].join([b"\n"] * 20_000) + b"\n",
}


def spoiled(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


def edited(path: Path, **over: Any) -> None:
    """Members of a JSON object set to something else, its signature left as it was."""
    value = json.loads(path.read_bytes())
    path.chmod(0o644)
    path.write_text(json.dumps(value | over))


def removed(path: Path, command: list[str]) -> list[str]:
    path.unlink()
    return command
