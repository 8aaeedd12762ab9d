"""OMS key signatures that others made: P-384 and P-521 too, and the forms of model-signing before 1.1.

Our own artifacts are never read this way: `oms.parse_bundle` keeps one profile. Here the given key alone decides; a
key inside a bundle proves nothing and is only compared with it.
"""

from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing import dsse, oms, strict_base64
from peft_registry.registry.signing.dsse import BadSignature, Envelope, MalformedEnvelope, UnknownKey
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, MalformedPublicKey
from peft_registry.registry.signing.oms import BUNDLE_MAX_BYTES, Bundle, MalformedBundle, UnsupportedBundle
from peft_registry.registry.signing.strict_base64 import LooseBase64
from peft_registry.schemas.identity import Digest

# OMS v1.0 §4.2: the hash that belongs to each curve
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def verify_foreign(data: bytes, key_pem: bytes, *, what: str = "model.sig") -> Bundle:
    """The listing that the holder of this key signed; `hint` is None in bundles older than model-signing 1.1.

    A lone file is listed under the name `.` by those releases.

    Raises:
        MalformedPublicKey: not one EC key on P-256, P-384 or P-521.
        MalformedBundle, UnsupportedBundle: as for `oms.parse_bundle`.
        UnknownKey: the bundle names another key.
        BadSignature: it names this key, or none, and this key did not sign it.
    """
    key = _load(key_pem)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    key_id = Digest.of(pem).hex
    bundle = _parse(data, pem, key_id, what)
    envelope = bundle.envelope
    try:
        message = dsse.pae(envelope.payload_type, envelope.payload)
        key.verify(envelope.signatures[0].sig, message, ec.ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature as error:
        raise BadSignature(what, key_id=key_id) from error
    return bundle


def _load(key_pem: bytes) -> ec.EllipticCurvePublicKey:
    if len(key_pem) > KEY_FILE_MAX_BYTES or key_pem.count(b"-----BEGIN ") != 1:
        raise MalformedPublicKey("it does not hold exactly one PEM block")
    try:
        key = serialization.load_pem_public_key(key_pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedPublicKey("its contents do not decode to a key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise MalformedPublicKey("OMS knows only keys on P-256, P-384 and P-521")
    return key


def _parse(data: bytes, pem: bytes, key_id: str, what: str) -> Bundle:
    value = read_json(data, what=what, max_bytes=BUNDLE_MAX_BYTES, error=MalformedBundle)
    if not isinstance(value, dict) or value.get("mediaType") != oms.MEDIA_TYPE:
        raise MalformedBundle(what, f"its mediaType is not {oms.MEDIA_TYPE}")
    public_key = _public_key(value, what)
    if "rawBytes" not in public_key:
        bundle = oms.parse_bundle(data, what=what, single_file=True)
        if bundle.hint != key_id:
            raise UnknownKey(what, 1, key_id=str(bundle.hint))
        return bundle
    raw = public_key["rawBytes"]
    if not isinstance(raw, str) or set(value) != {"mediaType", "verificationMaterial", "dsseEnvelope"}:
        raise MalformedBundle(what, "its fields are not those of an older bundle by key")
    try:
        embedded = strict_base64.decode_either(raw, what=f"the key of {what}")
        envelope = Envelope.from_json(value["dsseEnvelope"], what=what)
    except (MalformedEnvelope, LooseBase64) as error:
        raise MalformedBundle(what, error.why) from error
    if embedded != pem:
        raise UnknownKey(what, 1, key_id=Digest.of(embedded).hex)
    return oms.read_statement(envelope, hint=None, what=what, single_file=True)


def _public_key(value: dict[str, Any], what: str) -> dict[str, Any]:  # JSON objects
    material = value.get("verificationMaterial")
    public_key = material.get("publicKey") if isinstance(material, dict) else None
    if not isinstance(public_key, dict):
        why = "not signed with a key (it holds no publicKey)"
        raise UnsupportedBundle(what, why, "verify it with the tool of its kind, or ask for a signature by key")
    return public_key
