"""Canonical JSON (RFC 8785): the only bytes that are hashed or signed. What arrives is verified as received, never re-encoded."""

from typing import Any

import rfc8785

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest

MEDIA_TYPE = "application/json"


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
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise NotCanonical(str(error)) from error


def canonical_digest(value: Any) -> Digest:
    """SHA-256 of the canonical bytes."""
    return Digest.of(canonical_bytes(value))
