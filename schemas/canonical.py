"""Canonical JSON (RFC 8785): the only bytes that are hashed or signed. What arrives is verified as received, never re-encoded.

The text is put together here, with the string encoder of Python's own `json`, because a record and every row of an item table are
canonicalised whenever they are checked. `rfc8785` writes the numbers whose form is not Python's, refuses what has no canonical
form, and is the oracle of the tests.
"""

import sys
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

import rfc8785

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest

MEDIA_TYPE = "application/json"
_LARGEST = 2**53 - 1


class NotCanonical(InputRefused):
    what = "a value has no canonical JSON form"
    why = "{reason}"
    fix = (
        "use finite numbers, integers below 2^53 in magnitude (larger counts as text), and text without lone surrogates"
    )

    reason: str


def canonical_bytes(value: Any) -> bytes:  # any JSON value
    """RFC 8785 bytes of a JSON value (dict, list, str, int, float, bool, None).

    Raises:
        NotCanonical: NaN, infinity, an integer beyond 2^53-1, a lone surrogate, or a type that JSON does not have.
    """
    try:
        return _text(value).encode()
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise NotCanonical(str(error)) from error


def canonical_digest(value: Any) -> Digest:
    """SHA-256 of the canonical bytes."""
    return Digest.of(canonical_bytes(value))


# most of what a record holds: asked of a type, and not of `as_doubles`, because every value of every record is
NEVER_COUNTS = frozenset({str, float, bool, type(None)})


def as_doubles(value: Any) -> Any:  # any JSON value
    """The value with integers from 2^53 on as floats.

    RFC 8785 writes the double 10^18 as digits, which are read back as an integer that it would refuse to write.

    Raises:
        ValueError: an integer is larger than any double.
    """
    if isinstance(value, int):
        return _as_double(value) if abs(value) >= 2**53 else value
    if isinstance(value, dict):
        return {key: item if type(item) in NEVER_COUNTS else as_doubles(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) in NEVER_COUNTS else as_doubles(item) for item in value]
    return value


def _as_double(count: int) -> float:
    if abs(count) > sys.float_info.max:
        raise ValueError("a number is larger than a double can be")
    return float(count)


def _text(value: Any) -> str:
    return _WRITERS.get(type(value), _other_text)(value)


def _object_text(members: dict[Any, Any]) -> str:
    keys = tuple(members)
    begun = _begun_as_before(keys) if len(keys) <= _MOST_KEYS_KEPT else _begun(keys)
    pairs = []
    for key, beginning in begun:
        member = members[key]
        # a call of a writer by its type, here and below, and not of `_text`: a record has thousands of members
        pairs.append(beginning + _WRITERS.get(type(member), _other_text)(member))
    return "{" + ",".join(pairs) + "}"


def _array_text(elements: list[Any] | tuple[Any, ...]) -> str:
    return "[" + ",".join([_WRITERS.get(type(element), _other_text)(element) for element in elements]) + "]"


def _integer_text(value: int) -> str:
    return str(value) if -_LARGEST <= value <= _LARGEST else _other_text(value)


def _float_text(value: float) -> str:
    # between these bounds Python and ECMAScript write the same digits, without an exponent
    is_written_alike = 1e-4 <= abs(value) < 1e16 and not value.is_integer()
    return repr(value) if is_written_alike else _other_text(value)


def _other_text(value: Any) -> str:
    """The text of what has no writer here. Of classes that JSON has not, also those derived from its own, `rfc8785` decides."""
    return rfc8785.dumps(value).decode()


def _begun(keys: tuple[Any, ...]) -> tuple[tuple[str, str], ...]:
    """The keys of an object in the order of their UTF-16, each with the text that its member begins with."""
    try:
        joined = "".join(keys)
    except TypeError as error:
        raise rfc8785.CanonicalizationError("object keys must be strings") from error
    # the order of ASCII is that of UTF-16
    in_order = sorted(keys) if joined.isascii() else sorted(keys, key=lambda key: key.encode("utf-16-be"))
    return tuple((key, f"{encode_basestring(key)}:") for key in in_order)


_MOST_KEYS_KEPT = 64  # of an object; one with more is a table of its own
_begun_as_before = lru_cache(maxsize=512)(_begun)
"""As `_begun`: nearly all objects of a record, and all rows of a table, have the keys of one before them."""


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    dict: _object_text,
    list: _array_text,
    tuple: _array_text,
    float: _float_text,
    int: _integer_text,
    bool: lambda value: "true" if value else "false",
    type(None): lambda _: "null",
}
"""What writes a value of exactly this type."""
