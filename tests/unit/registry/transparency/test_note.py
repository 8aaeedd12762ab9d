"""Signed notes, checkpoints and proof files: exact text, strict reading, unknown keys ignored, wrong ones not."""

import base64
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_registry.registry.signing import strict_base64
from peft_registry.registry.signing.dsse import BadSignature, UnknownKey, WrongSigner
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.strict_base64 import LooseBase64
from peft_registry.registry.transparency import note
from peft_registry.registry.transparency.note import Checkpoint, Proof
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from tests.builders.signing import ORIGIN, a_p256_key, an_ed25519_key, verified_note

LOG, WITNESS = an_ed25519_key(1), an_ed25519_key(2)
ROOT = bytes(range(32))
# RFC 8410 §4: SubjectPublicKeyInfo of an Ed25519 key is this prefix and the 32 bytes
ED25519_SPKI = bytes.fromhex("302a300506032b6570032100")


def a_checkpoint(size: int = 7, root: bytes = ROOT, origin: str = ORIGIN) -> str:
    return note.sign_checkpoint(LOG, origin=origin, size=size, root=root)


def key_from_raw(raw: bytes) -> PublicKey:
    body = strict_base64.encode(ED25519_SPKI + raw)
    return PublicKey.parse(f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n".encode())


def signature_line(key, *, name: str, text: str, key_id: bytes | None = None) -> str:
    shown = note.note_key_id(name, key.public) if key_id is None else key_id
    return f"— {name} {strict_base64.encode(shown + key.sign(text.encode()))}\n"


def body_of(checkpoint: str) -> str:
    return checkpoint.rpartition("\n\n")[0] + "\n"


def test_the_example_of_the_specification_verifies_and_its_key_id_is_ours(test_data):
    example = json.loads((test_data / "vectors" / "spec-examples.json").read_bytes())["signed_note"]
    name, key_id, encoded = example["vkey"].split("+", 2)
    key = key_from_raw(strict_base64.decode(encoded, what="vkey")[1:])
    assert note.note_key_id(name, key).hex() == key_id
    assert verified_note(example["note"], name=name, key=key) == "This is an example message.\n"
    with pytest.raises(BadSignature):
        verified_note(example["note"].replace("example message", "exumple message"), name=name, key=key)


def test_a_checkpoint_is_three_lines_an_empty_line_and_a_signature():
    lines = a_checkpoint().split("\n")
    assert lines[:4] == [ORIGIN, "7", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""]
    assert lines[4].startswith(f"— {ORIGIN} ")
    assert lines[5:] == [""]


def test_a_checkpoint_says_size_root_and_who_signed():
    found = note.verify_checkpoint(
        a_checkpoint(), origin=ORIGIN, keys=[a_p256_key().public, WITNESS.public, LOG.public]
    )
    assert found == Checkpoint(size=7, root=ROOT, key_id=LOG.public.key_id)


@given(size=st.integers(0, 2**62), root=st.binary(min_size=32, max_size=32))
@settings(max_examples=40, deadline=None)
def test_what_is_signed_reads_back_the_same(size, root):
    text = a_checkpoint(size, root)
    assert text == a_checkpoint(size, root)
    assert note.read_unverified(text) == (ORIGIN, size, root)
    assert note.verify_checkpoint(text, origin=ORIGIN, keys=[LOG.public]).size == size


@pytest.mark.parametrize("trusted", [[], [WITNESS.public], [a_p256_key().public]], ids=["nobody", "another", "P-256"])
def test_a_checkpoint_by_an_unknown_key_accuses_nobody(trusted):
    with pytest.raises(UnknownKey) as caught:
        note.verify_checkpoint(a_checkpoint(), origin=ORIGIN, keys=trusted)
    assert isinstance(caught.value, NotChecked)


def test_a_checkpoint_of_another_log_is_refused():
    with pytest.raises(note.WrongOrigin) as caught:
        note.verify_checkpoint(a_checkpoint(origin="peft-registry/other"), origin=ORIGIN, keys=[LOG.public])
    assert caught.value.exit_code == 6


def test_cosignatures_of_unknown_witnesses_are_ignored_at_least_sixteen_of_them():
    text = a_checkpoint()
    for number in range(16):
        text += signature_line(an_ed25519_key(100 + number), name=f"witness-{number}.example", text=body_of(text))
    assert note.verify_checkpoint(text, origin=ORIGIN, keys=[LOG.public]).size == 7


def cosignature_line(
    checkpoint: str, at: int, *, key=WITNESS, name: str = "witness.example", signed_at: int | None = None
):
    """As C2SP tlog-cosignature has it, byte for byte: by the library's Ed25519 and by hand."""
    public = key.public.raw
    key_id = hashlib.sha256(name.encode() + b"\x0a\x04" + public).digest()[:4]
    message = b"cosignature/v1\ntime %d\n" % (at if signed_at is None else signed_at) + body_of(checkpoint).encode()
    data = key_id + at.to_bytes(8, "big") + key.sign(message)
    return f"— {name} {base64.b64encode(data).decode()}\n"


def test_who_witnessed_a_checkpoint_is_read_with_the_time_and_others_are_passed_over():
    text = a_checkpoint()
    strangers = cosignature_line(text, 5, key=an_ed25519_key(9), name="stranger.example")
    cosigned = text + strangers + cosignature_line(text, 1_679_315_147)
    assert note.cosignatures(cosigned, [WITNESS.public]) == (note.Cosignature(WITNESS.public.key_id, 1_679_315_147),)
    assert note.cosignatures(text, [WITNESS.public]) == ()
    # what the log key signed is the same, and no signature of the log makes a witness
    assert note.verify_checkpoint(cosigned, origin=ORIGIN, keys=[LOG.public]).size == 7
    assert note.cosignatures(text, [LOG.public]) == ()


@pytest.mark.parametrize("wrong", ["another time", "another state"])
def test_a_line_of_a_trusted_witness_that_it_did_not_sign_is_broken(wrong: str):
    text = a_checkpoint()
    signed_at, of = (4, text) if wrong == "another time" else (5, a_checkpoint(size=8))
    with pytest.raises(BadSignature):
        note.cosignatures(text + cosignature_line(of, 5, signed_at=signed_at), [WITNESS.public])


def test_a_line_that_names_a_trusted_key_and_fails_spoils_the_whole_note():
    text = a_checkpoint()
    text += signature_line(LOG, name=ORIGIN, text="something else\n")
    with pytest.raises(BadSignature):
        note.verify_checkpoint(text, origin=ORIGIN, keys=[LOG.public])


def test_a_good_signature_under_a_wrong_name_or_id_is_broken():
    body = body_of(a_checkpoint())
    for line in (
        signature_line(LOG, name="peft-registry/other", text=body),
        signature_line(LOG, name=ORIGIN, text=body, key_id=b"\x00\x01\x02\x03"),
    ):
        with pytest.raises(WrongSigner):
            note.verify_checkpoint(f"{body}\n{line}", origin=ORIGIN, keys=[LOG.public])


def test_extension_lines_are_allowed_and_signed():
    body = f"{ORIGIN}\n7\n{strict_base64.encode(ROOT)}\nextension data\n"
    text = f"{body}\n{signature_line(LOG, name=ORIGIN, text=body)}"
    assert note.verify_checkpoint(text, origin=ORIGIN, keys=[LOG.public]).size == 7
    with pytest.raises(BadSignature):
        note.verify_checkpoint(text.replace("extension", "extensiom"), origin=ORIGIN, keys=[LOG.public])


@given(position=st.integers(0, len(a_checkpoint().encode()) - 1), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_no_flipped_bit_of_a_checkpoint_passes(position, bit):
    data = bytearray(a_checkpoint().encode())
    data[position] ^= 1 << bit
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # whoever reads the file refuses it
    # NotChecked: one base64 character holds bits of the key id and of the signature, and a line whose key and
    # signature are both unknown is what a stranger's looks like
    with pytest.raises((IntegrityBroken, NotChecked)):
        note.verify_checkpoint(text, origin=ORIGIN, keys=[LOG.public])


GOOD = a_checkpoint()
SIGNATURE = GOOD.rpartition("\n\n")[2]
MALFORMED = {
    "empty": "",
    "no signature": body_of(GOOD),
    "no final newline": GOOD[:-1],
    "no empty line": body_of(GOOD) + SIGNATURE,
    "hyphen for the dash": GOOD.replace("—", "-"),
    "carriage returns": GOOD.replace("\n", "\r\n"),
    "tab": GOOD.replace(f"— {ORIGIN} ", f"— {ORIGIN}\t"),
    "half a surrogate pair": "\ud800" + GOOD,
    "two lines only": f"{ORIGIN}\n7\n\n{SIGNATURE}",
    "leading zero": GOOD.replace("\n7\n", "\n07\n"),
    "negative size": GOOD.replace("\n7\n", "\n-7\n"),
    "foreign digits": GOOD.replace("\n7\n", "\n٧\n"),
    "short root": GOOD.replace(strict_base64.encode(ROOT), strict_base64.encode(ROOT[:-1])),
    "too many signatures": GOOD + SIGNATURE * 100,
    "too long": "x" * 2_000_000 + GOOD,
    "key id only": f"{body_of(GOOD)}\n— {ORIGIN} {strict_base64.encode(b'1234')}\n",
    "plus in the name": f"{body_of(GOOD)}\n— a+b {SIGNATURE.split()[-1]}\n",
}


@pytest.mark.parametrize("name", list(MALFORMED))
def test_whatever_is_not_a_checkpoint_is_malformed(name):
    with pytest.raises(note.MalformedNote) as caught:
        note.verify_checkpoint(MALFORMED[name], origin=ORIGIN, keys=[LOG.public])
    assert caught.value.exit_code == 6


def test_a_root_in_loose_base64_is_refused():
    loose = GOOD.replace(strict_base64.encode(ROOT), strict_base64.encode(ROOT).rstrip("="))
    with pytest.raises(LooseBase64):
        note.verify_checkpoint(loose, origin=ORIGIN, keys=[LOG.public])


@pytest.mark.parametrize(
    ("signer", "origin", "root"),
    [(a_p256_key(), ORIGIN, ROOT), (LOG, "two words", ROOT), (LOG, "a+b", ROOT), (LOG, "", ROOT), (LOG, ORIGIN, b"")],
    ids=["P-256", "blank", "plus", "empty", "short root"],
)
def test_what_no_verifier_could_read_is_not_signed(signer, origin, root):
    with pytest.raises(note.UnsignableCheckpoint):
        note.sign_checkpoint(signer, origin=origin, size=1, root=root)


# --- proof files


def test_a_proof_file_has_the_lines_of_the_specification():
    proof = Proof(index=5, hashes=(b"\x00" * 32, b"\xff" * 32), checkpoint_text=GOOD, extra=b"note")
    assert note.render_proof(proof) == (
        "c2sp.org/tlog-proof@v1\n"
        "extra bm90ZQ==\n"
        "index 5\n"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        "//////////////////////////////////////////8=\n"
        "\n" + GOOD
    )


@given(
    index=st.integers(0, 2**62),
    hashes=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    extra=st.none() | st.binary(max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_a_proof_file_reads_back_the_same(index, hashes, extra):
    proof = Proof(index=index, hashes=tuple(hashes), checkpoint_text=GOOD, extra=extra)
    assert note.parse_proof(note.render_proof(proof)) == proof


PLAIN = note.render_proof(Proof(index=5, hashes=(b"\x00" * 32,), checkpoint_text=GOOD))
MALFORMED_PROOFS = {
    "empty": "",
    "other header": PLAIN.replace("@v1", "@v2"),
    "no index": PLAIN.replace("index 5\n", ""),
    "leading zero": PLAIN.replace("index 5", "index 05"),
    "negative index": PLAIN.replace("index 5", "index -5"),
    "index is a word": PLAIN.replace("index 5", "index five"),
    "short hash": PLAIN.replace("AAAA", "", 1),
    "loose base64": PLAIN.replace("AAA=\n", "AAA\n", 1),
    "no checkpoint": PLAIN.partition("\n\n")[0] + "\n\n",
    "extra after index": PLAIN.replace("index 5\n", "index 5\nextra bm90ZQ==\n"),
    "too many hashes": PLAIN.replace("index 5\n", "index 5\n" + (strict_base64.encode(ROOT) + "\n") * 64),
}


@pytest.mark.parametrize("name", list(MALFORMED_PROOFS))
def test_whatever_is_not_a_proof_file_is_broken(name):
    with pytest.raises(KnownError) as caught:
        note.parse_proof(MALFORMED_PROOFS[name])
    assert caught.value.exit_code == 6
