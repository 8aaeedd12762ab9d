"""Base64 that has exactly one reading (RFC 4648 §4 and §5).

Python's decoder drops characters it does not know and ignores left-over bits, so two different texts can carry one
signature. Here a text is either what an encoder writes for its bytes, or refused.
"""

import binascii

from peft_registry.schemas.errors import IntegrityBroken


class LooseBase64(IntegrityBroken):
    what = "{subject} is not strict base64"
    why = "{reason}"
    fix = "fetch the file again from where it was signed; signers write it without blanks and with full padding"

    subject: str
    reason: str


def encode(data: bytes) -> str:
    """The standard alphabet (RFC 4648 §4), padded."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode(text: str, *, what: str) -> bytes:
    """The bytes of a text in the standard alphabet.

    Args:
        text: padded base64, nothing else.
        what: names the text in an error.

    Raises:
        LooseBase64: another character, missing or surplus padding, or left-over bits that are not zero.
    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise LooseBase64(what, str(error)) from error
    if encode(data) != text:
        raise LooseBase64(what, "its padding or its last character is not what an encoder writes")
    return data


def decode_either(text: str, *, what: str) -> bytes:
    """The bytes of a text in the standard or the URL-safe alphabet (RFC 4648 §5), never a mixture: DSSE leaves the
    choice open.

    Raises:
        LooseBase64: as for `decode`.
    """
    if "-" not in text and "_" not in text:
        return decode(text, what=what)
    if "+" in text or "/" in text:
        raise LooseBase64(what, "it mixes the standard and the URL-safe alphabet")
    return decode(text.replace("-", "+").replace("_", "/"), what=what)
