"""Envelopes in their rows: what goes in comes out, byte for byte, and what is no such row is refused in one sentence."""

import base64
import json
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_registry.registry.database import envelopes
from peft_registry.registry.database.envelopes import packed
from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.signing.dsse import ENVELOPE_MAX_BYTES, Envelope, EnvelopeSignature
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE

STATEMENT = json.dumps({"predicate": {f"field_{number}": {"value": None} for number in range(4000)}}).encode()


def unpacked(stored: object) -> bytes:
    return envelopes.unpacked(stored, Digest.of(b"a statement"))


def an_envelope(payload: bytes, *, signature: bytes = b"s" * 71, payload_type: str = PAYLOAD_TYPE) -> bytes:
    return Envelope(payload_type, payload, (EnvelopeSignature(signature),)).render()


RENDERED = an_envelope(STATEMENT)
ENVELOPES = {
    "a statement": RENDERED,
    "of lines": an_envelope(b'{\n  "a": 1\n}\n'),
    "empty": an_envelope(b""),
    "a type that needs escapes": an_envelope(b"{}", payload_type='a "b" \\ é'),
    "an alphabet for addresses": RENDERED.replace(
        base64.b64encode(STATEMENT), base64.urlsafe_b64encode(b"\xff\xfe{}" * 99)
    ),
    "bits left over": RENDERED.replace(base64.b64encode(STATEMENT), b"e31="),
    "no padding": RENDERED.replace(base64.b64encode(STATEMENT), b"e30"),
    "blanks in its base64": RENDERED.replace(base64.b64encode(STATEMENT), b"e3 0="),
    "a line feed at its end": RENDERED + b"\n",
    "indented": json.dumps(json.loads(RENDERED), indent=1).encode(),
    "no envelope": b"{}",
    "a quote less": b'{"payload":"e30=',
    "what looks like a row": packed(RENDERED),
    "nothing": b"",
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_an_envelope_is_read_as_it_was_written(name: str) -> None:
    assert unpacked(packed(ENVELOPES[name])) == ENVELOPES[name]


@given(payload=st.binary(max_size=99), before=st.binary(max_size=9), behind=st.binary(max_size=99))
def test_any_bytes_are(payload: bytes, before: bytes, behind: bytes) -> None:
    for text in (payload, before + b'{"payload":"' + base64.b64encode(payload) + b'"' + behind):
        assert unpacked(packed(text)) == text


def test_a_row_of_an_earlier_release_is_read_as_it_stands() -> None:
    assert unpacked(RENDERED) == RENDERED


def test_the_payload_is_compressed_and_not_its_base64() -> None:
    assert len(packed(RENDERED)) < len(zlib.compress(STATEMENT)) + 150 < len(zlib.compress(RENDERED))


def test_a_row_that_is_cut_off_or_has_a_bit_changed_is_refused() -> None:
    """Each bit, among them those behind the end of what was compressed, which fill its last byte."""
    stored = packed(an_envelope(b'{"predicate":{}}'))
    changed = [stored + b"\0", *(stored[:end] for end in range(1, len(stored)))]
    for bit in range(8, 8 * len(stored)):
        other = bytearray(stored)
        other[bit // 8] ^= 1 << bit % 8
        changed.append(bytes(other))
    for one in changed:
        with pytest.raises(RowDamaged) as refused:
            unpacked(one)
        assert refused.value.exit_code == 6


def a_row(form: bytes, deflated: bytes) -> bytes:
    """As whoever can write the database writes it."""
    return form + zlib.crc32(deflated).to_bytes(4) + deflated


@pytest.mark.parametrize("form", [b"\x01", b"\x02"])
def test_a_forged_row_is_refused(form: bytes) -> None:
    deflated = zlib.compress(RENDERED, wbits=-15)
    for one, why in {
        b"": "has no end",
        deflated[:-9]: "has no end",
        deflated + deflated: "something follows it",
        b"\xff" * 9: "cannot be decompressed",
    }.items():
        with pytest.raises(RowDamaged, match=why):
            unpacked(a_row(form, one))


@pytest.mark.parametrize("stored", [RENDERED, packed(RENDERED), a_row(b"\x02", zlib.compress(RENDERED, wbits=-15))])
def test_what_is_left_of_a_read_bounds_each_form(stored: bytes) -> None:
    room, subject = envelopes.Room(), Digest.of(b"a subject")
    assert envelopes.unpacked(stored, Digest.of(b"a statement"), left=room.left(subject)) == RENDERED
    room.take(subject, bytes(envelopes.READ_MAX_BYTES))
    room.take(subject, RENDERED)  # base64 is longer than what was counted while it was written out
    assert (room.left(subject), room.left(Digest.of(b"another"))) == (0, envelopes.READ_MAX_BYTES)
    with pytest.raises(RowDamaged, match="128 MiB that are read together"):
        envelopes.unpacked(stored, Digest.of(b"a statement"), left=room.left(subject))


@pytest.mark.parametrize("form", [b"\x01", b"\x02"])
def test_of_a_text_that_is_larger_than_any_envelope_little_is_written_out(form: bytes) -> None:
    stream = zlib.compressobj(wbits=-15)
    # after a full flush the same text gives the same bytes
    first, second = (stream.compress(bytes(2**20)) + stream.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    bomb = a_row(form, first + second * (16 * ENVELOPE_MAX_BYTES // 2**20))
    assert len(bomb) < 2_000_000
    tracemalloc.start()
    with pytest.raises(RowDamaged, match="more than the 64 MiB") as refused:
        unpacked(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused.value.exit_code == 6
    assert peak < 3 * ENVELOPE_MAX_BYTES
