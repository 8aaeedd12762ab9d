"""Strict JSON (RFC 8259 and I-JSON, RFC 7493): one text has one meaning, or it is refused.

Python's own reader keeps the last of two equal keys, accepts NaN, turns 1e400 into infinity, lets half a surrogate pair
through and raises RecursionError on deep nesting. Each of these lets two readers see different documents in the same
signed bytes, so each is refused here. Nothing is repaired.
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any, Literal

from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError

Family = Literal["integrity", "intake"]
"""The exit family of a refusal: `integrity` (6) for what is presented to verify, `intake` (2) for what is offered."""

MAX_BYTES = 64 * 1024 * 1024
# in Python a value takes up to 30 times its text; counted on the text, brackets and commas inside strings too
MAX_CONTAINERS = 1_000_000  # the largest tokenizer published has about 300 000 (its merges, as pairs)
MAX_VALUES = 4_000_000
MAX_DEPTH = 128  # containers inside containers; real tokenizer files stay under 20
MAX_INTEGER_DIGITS = 64  # tokenizer configs write 10^30; nothing sensible is longer
MAX_FLOAT_CHARACTERS = 1024
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


class MalformedJson(IntegrityBroken):
    what = "{subject} is not acceptable JSON"
    why = "{reason}"
    fix = "fetch it again from where it was signed; it cannot be repaired without a new signature"

    subject: str
    reason: str


class MalformedInput(InputRefused):
    what = "{subject} is not acceptable JSON"
    why = "{reason}"
    fix = "correct the file and offer it again"

    subject: str
    reason: str


MakeError = Callable[[str, str], KnownError]
_ERRORS: dict[Family, MakeError] = {"integrity": MalformedJson, "intake": MalformedInput}


def read_json(
    data: bytes,
    *,
    what: str,
    max_bytes: int = MAX_BYTES,
    family: Family = "integrity",
    error: MakeError | None = None,
) -> Any:  # any JSON value; the caller validates it against a schema
    """The value of one JSON text.

    Args:
        data: the text, UTF-8 without byte order mark.
        what: names the text in an error, for example `manifest.json`.
        max_bytes: longer texts are refused before they are looked at.
        family: chooses between `MalformedJson` (exit 6) and `MalformedInput` (exit 2).
        error: an error class of the caller's, called with (what, why); takes precedence over `family`.

    Raises:
        MalformedJson: not UTF-8, not JSON, a repeated key, NaN or infinity, a number out of range, half a
            surrogate pair, more than 128 levels, more than a million lists and objects. Or `MalformedInput`, or `error`.
    """
    try:
        return _read(data, max_bytes)
    except _Refusal as refusal:
        raise (error or _ERRORS[family])(what, str(refusal)) from refusal


class _Refusal(ValueError):
    """Why the text is refused; translated once, in `read_json`."""


def _read(data: bytes, max_bytes: int) -> Any:  # any JSON value
    if len(data) > max_bytes:
        raise _Refusal(f"it has {len(data)} bytes, more than the {max_bytes} allowed")
    opened = data.count(b"[") + data.count(b"{")
    if opened > MAX_CONTAINERS or data.count(b",") > MAX_VALUES:
        raise _Refusal(f"it holds more than {MAX_CONTAINERS} lists and objects, or more than {MAX_VALUES} values")
    if data.startswith(b"\xef\xbb\xbf"):
        raise _Refusal("it starts with a byte order mark")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _Refusal(f"byte {error.start} is not UTF-8") from error
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _Refusal(f"{error.msg} (line {error.lineno}, column {error.colno})") from error
    except RecursionError as error:
        raise _Refusal(f"it nests deeper than {MAX_DEPTH} levels") from error
    if opened > MAX_DEPTH:  # fewer brackets cannot nest deeper, and most documents have fewer
        _check_depth(value)
    if _SURROGATE_ESCAPE.search(data):
        _check_surrogates(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise _Refusal(f"the key {key[:80]!r} occurs twice in one object")
        seen.add(key)
    raise AssertionError("a dictionary shorter than its pairs has a repeated key")


def _integer(text: str) -> int:
    if len(text) > MAX_INTEGER_DIGITS:
        raise _Refusal(f"an integer has {len(text)} digits, more than the {MAX_INTEGER_DIGITS} allowed")
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAX_FLOAT_CHARACTERS:
        raise _Refusal(f"a number has {len(text)} characters, more than the {MAX_FLOAT_CHARACTERS} allowed")
    value = float(text)
    if not math.isfinite(value):
        raise _Refusal(f"the number {text[:40]} is out of range")
    return value


def _constant(text: str) -> Any:  # never returns
    raise _Refusal(f"{text} is not JSON")


# one for all texts: making a decoder takes as long as reading a short text
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)


def _check_depth(value: Any) -> None:  # any JSON value
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _Refusal(f"it nests deeper than {MAX_DEPTH} levels")
        # by exact type, which is three times as fast; the reader makes no subclasses
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) is dict or type(child) is list
        ]


def _check_surrogates(value: Any) -> None:  # any JSON value
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if not item.isascii() and any("\ud800" <= character <= "\udfff" for character in item):
                raise _Refusal("a text holds half a surrogate pair")
        elif isinstance(item, dict | list):
            pending.extend(item.keys() if isinstance(item, dict) else ())
            pending.extend(_children(item))


def _children(item: dict[str, Any] | list[Any]) -> Any:  # iterable of any JSON value
    return item.values() if isinstance(item, dict) else item
