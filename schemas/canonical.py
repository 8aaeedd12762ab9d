"""Canonical JSON (RFC 8785): the only bytes that are hashed or signed. What arrives is verified as received, never re-encoded.

The text is put together here, with the string encoder of Python's own `json`, because a record and every row of an item table are
canonicalised whenever they are checked. `rfc8785` writes the numbers whose form is not Python's, refuses what has no canonical
form, and is the oracle of the tests.
"""

from json.encoder import encode_basestring
from typing import Any

import rfc8785

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest

MEDIA_TYPE = "application/json"
_LARGEST = 2**53 - 1


class NotCanonical(InputRefused):
    reference = "not-canonical"
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


def _text(value: Any) -> str:
    kind = type(value)
    if kind is dict:
        return "{" + ",".join([f"{encode_basestring(key)}:{_text(member)}" for key, member in _in_order(value)]) + "}"
    if kind is list or kind is tuple:
        return "[" + ",".join([_text(element) for element in value]) + "]"
    if kind is str:
        return encode_basestring(value)
    return _other_text(value, kind)


def _other_text(value: Any, kind: type) -> str:
    """The text of what is neither of these. Of classes that JSON has not, also those derived from its own, `rfc8785` decides."""
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is int and -_LARGEST <= value <= _LARGEST:
        return str(value)
    if kind is float and 1e-4 <= abs(value) < 1e16 and not value.is_integer():
        return repr(value)  # between these bounds Python and ECMAScript write the same digits, without an exponent
    return rfc8785.dumps(value).decode()


def _in_order(members: dict[Any, Any]) -> list[tuple[str, Any]]:
    """The members of an object by their keys as UTF-16."""
    if not all(isinstance(key, str) for key in members):
        raise rfc8785.CanonicalizationError("object keys must be strings")
    if all(map(str.isascii, members)):  # the order of ASCII is that of UTF-16
        return sorted(members.items())
    return sorted(members.items(), key=lambda member: member[0].encode("utf-16-be"))
