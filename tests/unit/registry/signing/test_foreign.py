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
    assert (bundle.hint is None) == (release != RELEASES[-1])
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
