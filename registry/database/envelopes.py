"""How the envelope of a statement stands in its row: compressed, and read back bit for bit. Pure.

    {…                      as it is: rows of earlier releases
    0x01, CRC-32, deflated  of an envelope as signers write it: what stands behind its payload, a newline, the payload
    0x02, CRC-32, deflated  any other envelope as it is

What is compressed is the payload and not its base64, in which equal texts look different. The checksum (4 bytes, big endian) is
that of the compressed bytes and not zlib's own of the text: the last of them may have bits that mean nothing. Figures: ADR 36.
"""

import binascii
import zlib

from peft_registry.registry.database.failures import RowDamaged, stored_bytes
from peft_registry.schemas.identity import Digest

_PAYLOAD, _WHOLE = b"\x01", b"\x02"
_BEFORE = b'{"payload":"'
_CRC_BYTES = 4
_DEFLATE = -zlib.MAX_WBITS  # RFC 1951, without the header and the checksum of zlib
_LEVEL = 6  # 9 takes a third longer for 1.5 per cent less
READ_MAX_BYTES = (
    128 * 1024 * 1024
)  # of all that is said of a subject: 600 records of a trained version, or two that fill an envelope


class Room:
    """How many bytes may still be read about each subject in one read: forged rows are small, and their texts are not."""

    def __init__(self) -> None:
        self._left: dict[Digest, int] = {}

    def left(self, subject: Digest) -> int:
        """Of the text of the next envelope about it."""
        return max(0, self._left.get(subject, READ_MAX_BYTES))

    def take(self, subject: Digest, envelope: bytes) -> None:
        """Count an envelope that was read."""
        self._left[subject] = self.left(subject) - len(envelope)


def packed(envelope: bytes) -> bytes:
    """What stands in the row for an envelope, or for whatever else was taken for one."""
    text = _payload_text(envelope)
    form, text = (_WHOLE, envelope) if text is None else (_PAYLOAD, text)
    deflated = zlib.compress(text, _LEVEL, _DEFLATE)
    return form + _checksum(deflated) + deflated


def unpacked(stored: object, statement: Digest, *, left: int = READ_MAX_BYTES) -> bytes:
    """The envelope that the row of a statement holds. What begins like neither form stands there as it was written.

    Args:
        stored: what stands in the row.
        statement: its digest.
        left: how many bytes may be read, the other envelopes about its subject deducted.

    Raises:
        RowDamaged: it is not bytes; its text is cut off, altered, or more than any envelope may have; or it and the others
            about its subject are more than may be read at once.
    """
    data = stored_bytes(stored, table="statements")
    form = data[:1]
    if form == _PAYLOAD:
        return _envelope(_inflated(data, statement, left))
    if form == _WHOLE:
        return _inflated(data, statement, left)
    if len(data) > left:
        raise _too_many(statement)
    return data


def _payload_text(envelope: bytes) -> bytes | None:
    """What is compressed in the first form; None where that would not give back these very bytes."""
    payload, _, behind = envelope.removeprefix(_BEFORE).partition(b'"')
    try:
        text = behind + b"\n" + binascii.a2b_base64(payload)
    except binascii.Error:
        return None
    return text if _envelope(text) == envelope else None


def _envelope(text: bytes) -> bytes:
    behind, _, payload = text.partition(b"\n")
    return _BEFORE + binascii.b2a_base64(payload, newline=False) + b'"' + behind


def _checksum(deflated: bytes) -> bytes:
    return zlib.crc32(deflated).to_bytes(_CRC_BYTES)


def _inflated(data: bytes, statement: Digest, left: int) -> bytes:
    """The text of a compressed row. Of one that is too large no more is written out than shows that."""
    # imported here: a list of versions needs no cryptography
    from peft_registry.registry.signing.dsse import ENVELOPE_MAX_BYTES

    behind = 1 + _CRC_BYTES
    checksum, deflated = data[1:behind], data[behind:]
    if checksum != _checksum(deflated):
        raise _damaged(statement, "is cut off or altered: it has another checksum")
    stream = zlib.decompressobj(_DEFLATE)
    try:
        text = stream.decompress(deflated, min(ENVELOPE_MAX_BYTES, left) + 1)
    except zlib.error as error:
        raise _damaged(statement, f"cannot be decompressed: {error}") from error
    if len(text) > ENVELOPE_MAX_BYTES:
        raise _damaged(statement, f"has more than the {ENVELOPE_MAX_BYTES // 2**20} MiB that one may have")
    if len(text) > left:
        raise _too_many(statement)
    if not stream.eof or stream.unused_data:
        raise _damaged(statement, "has no end, or something follows it")
    return text


def _too_many(statement: Digest) -> RowDamaged:
    what = f"and the other envelopes about its subject have more than the {READ_MAX_BYTES // 2**20} MiB that are read together"
    return _damaged(statement, what)


def _damaged(statement: Digest, reason: str) -> RowDamaged:
    return RowDamaged("statements", f"the envelope of {statement.short} {reason}")
