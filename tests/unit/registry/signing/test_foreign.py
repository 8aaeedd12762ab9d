"""OMS signatures by other hands: three releases of the reference tool, and other curves."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peft_registry.registry.signing import dsse, oms
from peft_registry.registry.signing.foreign import verify_foreign
from peft_registry.registry.signing.keys import MalformedPublicKey
from peft_registry.registry.signing.strict_base64 import encode
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PAYLOAD_TYPE
from tests.builders.signing import a_bundle, a_p256_key, an_ed25519_key

RELEASES = ("v0.3.1-elliptic-key", "v1.0.1-elliptic-key", "v1.1.0-elliptic-key")


@pytest.mark.parametrize("release", RELEASES)
def test_signatures_by_earlier_releases_of_the_reference_tool_verify(test_data, release):
    history = test_data / "vectors" / "oms" / "history"
    folder = history / release
    bundle = verify_foreign((folder / "model.sig").read_bytes(), (history / "signing-key-pub.pem").read_bytes())
    listed = {one.name: one.sha256 for one in bundle.resources}
    if listed.keys() == {"."}:
        listed = {"signme-1": listed["."]}
    assert listed
    for name, digest in listed.items():
        assert digest == Digest(hashlib.sha256((folder / name).read_bytes()).hexdigest())
    # before 1.1 the key itself lay where its hint is now
    public = serialization.load_pem_public_key((history / "signing-key-pub.pem").read_bytes())
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert bundle.hint == Digest.of(pem).hex
    with pytest.raises(oms.UnexpectedIgnorePaths):
        oms.require_ignore_paths(bundle, ("README.md", "evidence"))


@pytest.mark.parametrize("release", RELEASES)
def test_another_key_than_the_one_named_is_unknown_and_a_changed_payload_is_bad(test_data, release):
    history = test_data / "vectors" / "oms" / "history"
    data, key = (history / release / "model.sig").read_bytes(), (history / "signing-key-pub.pem").read_bytes()
    with pytest.raises(dsse.UnknownKey):
        verify_foreign(data, a_p256_key().public.pem)
    bundle = json.loads(data)
    sig = json.loads((history / RELEASES[0 if release != RELEASES[0] else 1] / "model.sig").read_bytes())
    bundle["dsseEnvelope"]["signatures"] = sig["dsseEnvelope"]["signatures"]
    with pytest.raises(dsse.BadSignature):
        verify_foreign(json.dumps(bundle).encode(), key)


@pytest.mark.parametrize(
    ("curve", "algorithm"), [(ec.SECP384R1(), hashes.SHA384()), (ec.SECP521R1(), hashes.SHA512())], ids=["384", "521"]
)
def test_each_curve_goes_with_its_own_hash(curve, algorithm):
    secret = ec.derive_private_key(9, curve)
    pem = secret.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    bundle = json.loads(a_bundle())
    bundle["verificationMaterial"]["publicKey"]["hint"] = Digest.of(pem).hex
    message = dsse.pae(PAYLOAD_TYPE, oms.parse_bundle(a_bundle()).envelope.payload)
    for used, accepted in ((algorithm, True), (hashes.SHA256(), False)):
        bundle["dsseEnvelope"]["signatures"] = [{"sig": encode(secret.sign(message, ec.ECDSA(used))), "keyid": ""}]
        data = json.dumps(bundle).encode()
        if accepted:
            assert verify_foreign(data, pem).model_name == "tutor"
        else:
            with pytest.raises(dsse.BadSignature):
                verify_foreign(data, pem)


# --- what nothing protects: whom a bundle names

KEY, OTHER = a_p256_key(1), a_p256_key(2)
HINTS = {
    "absent": {},
    "null": {"hint": None},
    "empty": {"hint": ""},
    "upper case": {"hint": KEY.public.key_id.upper()},
    "another key": {"hint": OTHER.public.key_id},
    "another digest": {"hint": hashlib.sha1(KEY.public.pem, usedforsecurity=False).hexdigest()},
    "base64": {"hint": encode(bytes.fromhex(KEY.public.key_id))},
    "a name": {"hint": "release key of the lab \u202e\x1b[31m"},
    "a name of 100 kB": {"hint": "k" * 100_000},
    "the key of another": {"rawBytes": encode(OTHER.public.pem), "keyDetails": "PKIX_ECDSA_P256_SHA_256"},
    "the key and a hint": {"hint": KEY.public.key_id, "rawBytes": encode(KEY.public.pem)},
}


def edited(**changes) -> bytes:
    bundle = json.loads(a_bundle(KEY))
    return json.dumps({**bundle, **changes}).encode()


def with_signatures(*signatures: object) -> bytes:
    envelope = json.loads(a_bundle(KEY))["dsseEnvelope"]
    return edited(dsseEnvelope={**envelope, "signatures": list(signatures)})


def signature_by(key, **fields) -> dict:
    return {**json.loads(a_bundle(key))["dsseEnvelope"]["signatures"][0], **fields}


@pytest.mark.parametrize("name", list(HINTS))
def test_whatever_key_a_bundle_names_the_one_that_is_given_decides(name):
    named = edited(verificationMaterial={"publicKey": HINTS[name]})
    assert verify_foreign(named, KEY.public.pem).resources == oms.parse_bundle(a_bundle()).resources
    with pytest.raises((dsse.NoTrustedSignature, dsse.BadSignature)) as caught:
        verify_foreign(named, a_p256_key(3).public.pem)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("hint", "family"),
    [
        (OTHER.public.key_id, dsse.BadSignature),
        (OTHER.public.key_id.upper(), dsse.BadSignature),
        (KEY.public.key_id, dsse.UnknownKey),
        ("somebody", dsse.NoTrustedSignature),
        (None, dsse.NoTrustedSignature),
    ],
    ids=["this key", "this key in upper case", "another key", "a name", "nobody"],
)
def test_only_a_bundle_that_names_the_key_is_accused_where_the_key_did_not_sign(hint, family):
    named = edited(verificationMaterial={"publicKey": {"hint": hint}})
    with pytest.raises(family) as caught:
        verify_foreign(named, OTHER.public.pem)
    assert type(caught.value) is family


@pytest.mark.parametrize("keyid", [None, "", "me", KEY.public.key_id, OTHER.public.key_id])
def test_the_keyid_of_an_envelope_decides_nothing(keyid):
    """Sigstore has it equal the hint, OMS does not use it (§4.1): nobody is stopped by comparing them."""
    assert verify_foreign(with_signatures(signature_by(KEY, keyid=keyid)), KEY.public.pem).model_name == "tutor"
    with pytest.raises(dsse.BadSignature):
        verify_foreign(with_signatures(signature_by(OTHER, keyid=keyid)), KEY.public.pem)


@pytest.mark.parametrize(
    "changes",
    [
        {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.3"},
        {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1"},
        {"verificationMaterial": {"publicKey": {}, "tlogEntries": [{"logIndex": "7"}]}},
        {"verificationMaterial": {"publicKey": {}, "timestampVerificationData": {"rfc3161Timestamps": []}}},
    ],
    ids=["earlier media type", "first media type", "an entry of a log", "timestamps"],
)
def test_what_the_standard_leaves_to_others_beside_a_key_stops_nothing(changes):
    assert verify_foreign(edited(**changes), KEY.public.pem).model_name == "tutor"


SEVERAL = {
    "the same twice": (signature_by(KEY), signature_by(KEY)),
    "one key twice": (signature_by(KEY), signature_by(KEY, keyid="again")),
    "a stranger behind the key": (signature_by(KEY), signature_by(OTHER)),
    "a stranger before the key": (signature_by(OTHER), signature_by(KEY)),
    "none": (),
}


@pytest.mark.parametrize("name", list(SEVERAL))
def test_every_number_of_signatures_but_one_is_refused_as_the_sigstore_bundle_has_it(name):
    for read in (oms.parse_bundle, lambda data: verify_foreign(data, KEY.public.pem)):
        with pytest.raises(oms.MalformedBundle) as caught:
            read(with_signatures(*SEVERAL[name]))
        assert f"it holds {len(SEVERAL[name])} signatures: a Sigstore bundle has exactly one" in caught.value.why


@pytest.mark.parametrize(
    "changes",
    [
        {"mediaType": "application/json"},
        {"mediaType": 1},
        {"mediaType": [1]},
        {"verificationMaterial": {"publicKey": {}, "other": 1}},
        {"verificationMaterial": {"publicKey": []}},
        {"verificationMaterial": {"publicKey": {"hint": 1}}},
        {"verificationMaterial": {"publicKey": {"rawBytes": "?"}}},
        {"verificationMaterial": {}},
        {"verificationMaterial": 1},
        {"dsseEnvelope": 1},
        {"dsseEnvelope": {"signatures": [1]}},
        {"dsseEnvelope": {"signatures": 1}},
        {"messageSignature": {}},
    ],
    ids=repr,
)
def test_a_bundle_of_another_form_has_a_sentence(changes):
    with pytest.raises((oms.MalformedBundle, oms.UnsupportedBundle)):
        verify_foreign(edited(**changes), KEY.public.pem)


def test_an_entry_of_the_signatures_that_is_none_is_malformed():
    for entry in (1, {}, {"sig": 1}, {"sig": "AA==", "keyid": 1}, {"sig": "AA==", "more": 1}):
        with pytest.raises(oms.MalformedBundle):
            verify_foreign(with_signatures(entry), KEY.public.pem)


def test_our_own_bundles_are_read_as_well():
    assert verify_foreign(a_bundle(), a_p256_key().public.pem) == oms.parse_bundle(a_bundle())


def test_keys_outside_oms_and_bundles_without_key_are_refused_clearly(test_data):
    with pytest.raises(MalformedPublicKey):
        verify_foreign(a_bundle(), an_ed25519_key().public.pem)
    with pytest.raises(MalformedPublicKey):
        verify_foreign(a_bundle(), a_p256_key().public.pem * 2)
    certificate = test_data / "vectors" / "oms" / "spec" / "valid" / "certificate.bundle.json"
    with pytest.raises(oms.UnsupportedBundle):
        verify_foreign(certificate.read_bytes(), a_p256_key().public.pem)
