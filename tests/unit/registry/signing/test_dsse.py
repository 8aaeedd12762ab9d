"""DSSE envelopes: exact signed bytes, strict reading, and who is accused of what."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_registry.registry.signing import dsse, strict_base64
from peft_registry.registry.signing.dsse import Envelope, EnvelopeSignature
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.signing import a_p256_key, an_ed25519_key

LAB, STRANGER = a_p256_key(1), a_p256_key(2)


def an_envelope(payload: bytes = b'{"a":1}', payload_type: str = PAYLOAD_TYPE) -> Envelope:
    return dsse.sign(LAB, payload_type, payload)


def as_json(**changes) -> bytes:
    return json.dumps({**an_envelope().to_json(), **changes}).encode()


def test_pae_is_that_of_the_specification(test_data):
    example = json.loads((test_data / "vectors" / "spec-examples.json").read_bytes())["dsse"]
    assert dsse.pae(example["payload_type"], example["body"].encode()) == example["pae"].encode()


def test_pae_counts_bytes_and_not_characters():
    # "é" and "ü" are two bytes each in UTF-8
    assert dsse.pae("é", "ü!".encode()) == b"DSSEv1 2 \xc3\xa9 3 \xc3\xbc!"


@given(payload=st.binary(max_size=200), payload_type=st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
@settings(max_examples=60, deadline=None)
def test_what_is_rendered_reads_back_the_same_and_is_one_line(payload, payload_type):
    envelope = dsse.sign(LAB, payload_type, payload)
    assert b"\n" not in envelope.render()
    assert Envelope.parse(envelope.render()) == envelope
    assert dsse.verify(envelope, [LAB.public], payload_types=(payload_type,)) == LAB.public


def test_the_same_statement_signed_twice_is_the_same_line():
    assert an_envelope().render() == an_envelope().render()


def test_every_trusted_key_is_tried_whatever_its_kind():
    assert dsse.verify(an_envelope(), [an_ed25519_key().public, STRANGER.public, LAB.public]) == LAB.public
    by_log = dsse.sign(an_ed25519_key(), PAYLOAD_TYPE, b"{}")
    assert dsse.verify(by_log, [LAB.public, an_ed25519_key().public]) == an_ed25519_key().public


def test_without_a_trusted_key_nobody_is_accused():
    for trusted in ([], [STRANGER.public]):
        with pytest.raises(dsse.NoTrustedSignature) as caught:
            dsse.verify(an_envelope(), trusted)
        assert isinstance(caught.value, NotChecked)


def test_an_expected_key_that_is_trusted_and_did_not_sign_breaks_integrity():
    tampered = Envelope(PAYLOAD_TYPE, b'{"a":2}', an_envelope().signatures)
    with pytest.raises(dsse.BadSignature) as caught:
        dsse.verify(tampered, [STRANGER.public, LAB.public], expected_key_id=LAB.public.key_id)
    assert caught.value.exit_code == 6
    assert caught.value.key_id == LAB.public.key_id


def test_an_expected_key_that_is_not_trusted_is_an_unknown_key():
    with pytest.raises(dsse.UnknownKey) as caught:
        dsse.verify(an_envelope(), [STRANGER.public], expected_key_id=LAB.public.key_id)
    assert caught.value.exit_code == 5


def test_a_good_signature_by_another_trusted_key_than_recorded_is_broken():
    with pytest.raises(dsse.WrongSigner) as caught:
        dsse.verify(an_envelope(), [STRANGER.public, LAB.public], expected_key_id=STRANGER.public.key_id)
    assert isinstance(caught.value, dsse.BadSignature)
    assert caught.value.signer == LAB.public.key_id


def test_the_payload_type_is_part_of_what_is_signed_and_checked_after_the_signature():
    other = an_envelope(payload_type="application/vnd.other+json")
    with pytest.raises(dsse.WrongPayloadType):
        dsse.verify(other, [LAB.public])
    relabelled = Envelope(PAYLOAD_TYPE, other.payload, other.signatures)
    with pytest.raises(dsse.NoTrustedSignature):
        dsse.verify(relabelled, [LAB.public])


def test_the_url_safe_alphabet_is_read_too():
    payload = bytes([0xFB, 0xEF, 0xFF] * 4)  # standard base64: "++//" …
    envelope = an_envelope(payload)
    text = envelope.render().replace(b"+", b"-").replace(b"/", b"_")
    text = text.replace(b"application_vnd.in-toto-json", b"application/vnd.in-toto+json")
    assert b"--__" in text
    assert Envelope.parse(text) == envelope


GOOD_SIG = strict_base64.encode(an_envelope().signatures[0].sig)
LOOSE = {
    "blank inside": "e30 =",
    "newline at the end": "e30=\n",
    "junk": "e3!0=",
    "no padding": "e30",
    "surplus padding": "e30==",
    "left-over bits": "e31=",
    "mixed alphabets": "+-//",
    "not ASCII": "é30=",
}


@pytest.mark.parametrize("name", list(LOOSE))
@pytest.mark.parametrize("field", ["payload", "sig"])
def test_loose_base64_is_broken(name, field):
    text = LOOSE[name]
    data = as_json(payload=text) if field == "payload" else as_json(signatures=[{"sig": text, "keyid": ""}])
    with pytest.raises(IntegrityBroken):
        Envelope.parse(data)


MALFORMED = {
    "not JSON": b"{",
    "a list": b"[]",
    "duplicate key": as_json()[:-1] + b', "payload": ""}',
    "unknown field": as_json(extra=1),
    "no payload": json.dumps({"payloadType": "x", "signatures": []}).encode(),
    "payload a number": as_json(payload=1),
    "no signature": as_json(signatures=[]),
    "two signatures": as_json(signatures=[{"sig": GOOD_SIG, "keyid": ""}] * 2),
    "signatures an object": as_json(signatures={}),
    "unknown signature field": as_json(signatures=[{"sig": GOOD_SIG, "keyid": "", "cert": "x"}]),
    "empty signature": as_json(signatures=[{"sig": "", "keyid": ""}]),
    "non-empty keyid": as_json(signatures=[{"sig": GOOD_SIG, "keyid": LAB.public.key_id}]),
    "keyid zero": as_json(signatures=[{"sig": GOOD_SIG, "keyid": 0}]),
    "empty payload type": as_json(payloadType=""),
}


SIGNED_AS_WE_WRITE_IT = f'"signatures":[{{"keyid":"","sig":"{GOOD_SIG}"}}]}}'
NEARLY_AS_WE_WRITE_IT = {
    "one quote is missing": f'{{"payload":","payloadType":"x",{SIGNED_AS_WE_WRITE_IT}',
    "two payloads": f'{{"payload":"e30=","payload":"e30=","payloadType":"x",{SIGNED_AS_WE_WRITE_IT}',
    "two payload types": f'{{"payload":"e30=","payloadType":"x","payloadType":"x",{SIGNED_AS_WE_WRITE_IT}',
    "something behind": f'{{"payload":"e30=","payloadType":"x",{SIGNED_AS_WE_WRITE_IT} {{}}',
}


@pytest.mark.parametrize("name", list(NEARLY_AS_WE_WRITE_IT))
def test_what_is_nearly_an_envelope_as_we_write_it_is_broken(name):
    with pytest.raises(dsse.MalformedEnvelope):
        Envelope.parse(NEARLY_AS_WE_WRITE_IT[name].encode())


@pytest.mark.parametrize("name", list(MALFORMED))
def test_whatever_is_not_exactly_our_envelope_is_broken(name):
    with pytest.raises(dsse.MalformedEnvelope) as caught:
        Envelope.parse(MALFORMED[name])
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("entry", [{"sig": GOOD_SIG}, {"sig": GOOD_SIG, "keyid": None}], ids=["absent", "null"])
def test_an_absent_or_null_keyid_means_an_empty_one(entry):
    assert Envelope.parse(as_json(signatures=[entry])) == an_envelope()


def test_a_keyid_cannot_be_put_into_an_envelope_by_hand():
    with pytest.raises(dsse.MalformedEnvelope):
        EnvelopeSignature(b"sig", keyid="me")


@given(position=st.integers(0, len(an_envelope().render()) * 8 - 1))
@settings(max_examples=200, deadline=None)
def test_any_flipped_bit_of_a_line_is_noticed(position):
    line = bytearray(an_envelope().render())
    line[position // 8] ^= 1 << position % 8
    with pytest.raises(IntegrityBroken):
        dsse.verify(Envelope.parse(bytes(line)), [LAB.public], expected_key_id=LAB.public.key_id)


@given(st.binary(max_size=64))
@settings(deadline=None)
def test_strict_base64_agrees_with_the_standard_library_on_what_encoders_write(data):
    assert strict_base64.decode(base64.b64encode(data).decode(), what="x") == data
    assert strict_base64.decode_either(base64.urlsafe_b64encode(data).decode(), what="x") == data


def test_an_envelope_as_we_write_it_is_read_as_any_other_form_of_it():
    envelope = dsse.sign(LAB, PAYLOAD_TYPE, b'{"a":1}')
    value = envelope.to_json()
    assert Envelope.parse(envelope.render()) == envelope
    assert Envelope.parse(json.dumps(value, indent=1).encode()) == envelope
    assert Envelope.parse(json.dumps(dict(reversed(value.items()))).encode()) == envelope


@pytest.mark.parametrize("member", ["payload", "sig"])
@pytest.mark.parametrize("text", ["e30", "e31=", "e30==", "=e30", "e3=0", "===="])
def test_loose_base64_is_refused_in_the_form_that_we_write_too(member, text):
    line = dsse.sign(LAB, PAYLOAD_TYPE, b"{}").render()
    value = json.loads(line)
    old = value["payload"] if member == "payload" else value["signatures"][0]["sig"]
    with pytest.raises(strict_base64.LooseBase64):
        Envelope.parse(line.replace(f'"{old}"'.encode(), f'"{text}"'.encode()))
