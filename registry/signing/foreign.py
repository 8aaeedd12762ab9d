"""OMS key signatures that others made: P-384 and P-521 too, the forms of model-signing before 1.1, and any key hint.

Our own artifacts are never read this way: `oms.parse_bundle` keeps one profile. Here the given key alone decides.
Nothing protects the hint, the `keyid` and the key inside a bundle, and OMS prescribes no text for them: they
choose the sentence about a signature that the key did not make, and refuse none that it made. Log entries and
timestamps beside a key mean nothing to OMS (§4.1) and are not asked.
"""

import re
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing import dsse, oms, strict_base64
from peft_registry.registry.signing.dsse import BadSignature, NoTrustedSignature, UnknownKey
from peft_registry.registry.signing.keys import KEY_FILE_MAX_BYTES, MalformedPublicKey
from peft_registry.registry.signing.oms import BUNDLE_MAX_BYTES, Bundle, MalformedBundle
from peft_registry.registry.signing.strict_base64 import LooseBase64
from peft_registry.schemas.identity import Digest

# OMS v1.0 §4.1
_MATERIAL = {"publicKey", "tlogEntries", "timestampVerificationData"}
_KEY_ID = re.compile(r"[0-9a-f]{64}")
# OMS v1.0 §4.2: the hash that belongs to each curve
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def verify_foreign(data: bytes, key_pem: bytes, *, what: str = "model.sig") -> Bundle:
    """The listing that the holder of this key signed.

    A lone file is listed under the name `.` by releases of model-signing before 1.1.

    Raises:
        MalformedPublicKey: not one EC key on P-256, P-384 or P-521.
        MalformedBundle: the standard does not allow it (several signatures, say), or it has two readings.
        UnsupportedBundle: as for `oms.parse_bundle`.
        BadSignature: it names this key, and this key did not sign it.
        UnknownKey: this key did not sign it, and it names another.
        NoTrustedSignature: this key did not sign it, and whom it names cannot be told.
    """
    key = _load(key_pem)
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    key_id = Digest.of(pem).hex
    bundle = _parse(data, what)
    envelope = bundle.envelope
    try:
        message = dsse.pae(envelope.payload_type, envelope.payload)
        key.verify(envelope.signatures[0].sig, message, ec.ECDSA(_HASHES[key.curve.name]))
    except InvalidSignature as error:
        if bundle.hint == key_id:
            raise BadSignature(what, key_id=key_id) from error
        if bundle.hint is None:
            raise NoTrustedSignature(what, 1) from error
        raise UnknownKey(what, 1, key_id=bundle.hint) from error
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


def _parse(data: bytes, what: str) -> Bundle:
    value = read_json(data, what=what, max_bytes=BUNDLE_MAX_BYTES, error=MalformedBundle)
    oms.require_bundle_by_key(value, what)
    if value["mediaType"] not in (oms.MEDIA_TYPE, *oms.OLD_MEDIA_TYPES):
        raise MalformedBundle(what, f"its mediaType is neither {oms.MEDIA_TYPE} nor an earlier one of Sigstore bundles")
    hint = _named_key(value["verificationMaterial"], what)
    envelope = oms.read_envelope(_without_keyids(value["dsseEnvelope"]), what)
    return oms.read_statement(envelope, hint=hint, what=what, single_file=True)


def _named_key(material: Any, what: str) -> str | None:  # any JSON value
    """The id of the key that the bundle says signed it, where its hint is one or the key itself lies in it."""
    if not isinstance(material, dict) or not {"publicKey"} <= set(material) <= _MATERIAL:
        raise MalformedBundle(what, f"its verificationMaterial holds other things than {', '.join(sorted(_MATERIAL))}")
    public_key = material["publicKey"]
    if not isinstance(public_key, dict):
        raise MalformedBundle(what, "its publicKey is not an object with a hint")
    hint = public_key.get("hint")
    embedded = public_key.get("rawBytes")
    if not isinstance(hint, str | None) or not isinstance(embedded, str | None):
        raise MalformedBundle(what, "its hint, or the key in it, is not a text")
    if embedded is not None:
        try:
            return Digest.of(strict_base64.decode_either(embedded, what=f"the key of {what}")).hex
        except LooseBase64 as error:
            raise MalformedBundle(what, error.why) from error
    if hint is None or not _KEY_ID.fullmatch(hint.lower()):
        return None  # another digest, or any name: it means something to whoever signed
    return hint.lower()


def _without_keyids(envelope: Any) -> Any:  # any JSON values
    """As the envelopes of ours are, whose keyid is empty; `oms.read_envelope` says what else is wrong with it."""
    signatures = envelope.get("signatures") if isinstance(envelope, dict) else None
    if not isinstance(signatures, list):
        return envelope
    emptied = [
        {**signature, "keyid": ""}
        if isinstance(signature, dict) and isinstance(signature.get("keyid"), str)
        else signature
        for signature in signatures
    ]
    return {**envelope, "signatures": emptied}
