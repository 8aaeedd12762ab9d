"""DSSE envelopes: one payload, one signature, one line of JSON (secure-systems-lab/dsse protocol.md 1.0.2).

The bytes that arrived are verified and then parsed once; nothing is re-encoded to check a signature. An envelope's
`keyid` is not authenticated, so it is always empty here and no decision rests on it. "Wrong" and "could not be
checked" are kept apart: without an expected key, a signature that no trusted key made accuses nobody.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, Self

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing import strict_base64
from peft_registry.registry.signing.keys import PublicKey, Signer
from peft_registry.registry.signing.strict_base64 import LooseBase64
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.statement import PAYLOAD_TYPE

ENVELOPE_MAX_BYTES = 64 * 1024 * 1024
_FIELDS = {"payload", "payloadType", "signatures"}
# what `render` writes: the members in order, nothing between them, no text that needs an escape
_BEFORE_PAYLOAD = '{"payload":"'
_BEHIND_PAYLOAD = re.compile(
    r'","payloadType":"([A-Za-z0-9+/._-]+)","signatures":\[\{"keyid":"","sig":"([A-Za-z0-9+/=]+)"\}\]\}'
)


class MalformedEnvelope(IntegrityBroken):
    what = "{subject} is not a DSSE envelope with one signature"
    why = "{reason}"
    fix = "fetch it again from where it was signed; it cannot be repaired without a new signature"

    subject: str
    reason: str


class NoTrustedSignature(NotChecked):
    what = "{subject} was signed by nobody you trust"
    why = "its signature verifies under none of the {tried} trusted keys"
    fix = "give the trust file that lists the signer, or ask the signer for it over another channel"

    subject: str
    tried: int


class UnknownKey(NoTrustedSignature):
    why = "it names key {key_id:.16}…, which is not among the {tried} trusted keys, and none of those made it"

    key_id: str


class BadSignature(IntegrityBroken):
    what = "the signature of {subject} is wrong"
    why = "the trusted key {key_id:.16}…, named as the signer, did not sign these bytes"
    fix = "fetch it again from where it was signed; if it fails there too, treat it as tampered with"

    subject: str
    key_id: str


class WrongSigner(BadSignature):
    why = "it names key {key_id:.16}… but key {signer:.16}… made the signature"

    signer: str


class WrongPayloadType(IntegrityBroken):
    what = "a signed payload has the type {found!q}"
    why = "only {meaningful!l} is accepted here"
    fix = "fetch it again from where it was signed, and check that it was meant for this place"

    found: str
    allowed: Collection[str]

    @property
    def meaningful(self) -> list[str]:
        return sorted(self.allowed)


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature; `keyid` is always empty, because nothing protects it."""

    sig: bytes
    keyid: str = ""

    def __post_init__(self) -> None:
        if not self.sig:
            raise MalformedEnvelope("an envelope", "its signature is empty")
        if self.keyid:
            raise MalformedEnvelope("an envelope", "it carries a keyid, which nothing protects; ours are empty")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with its one signature.

    Law: `Envelope.parse(envelope.render()) == envelope`.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    def __post_init__(self) -> None:
        if not self.payload_type:
            raise MalformedEnvelope("an envelope", "its payload type is empty")
        if len(self.signatures) != 1:
            raise MalformedEnvelope("an envelope", f"it holds {len(self.signatures)} signatures; ours hold exactly one")

    @classmethod
    def parse(cls, data: bytes, *, what: str = "an envelope") -> Self:
        """Read one envelope strictly; its signature is not checked yet.

        Raises:
            MalformedEnvelope: not strict JSON, other fields than the known ones, not one signature, a non-empty keyid.
            LooseBase64: payload or signature is not what an encoder writes.
        """
        # nearly every envelope; reading it as any JSON takes three times as long
        rendered = _rendered(data) if len(data) <= ENVELOPE_MAX_BYTES else None
        if rendered is not None:
            payload, payload_type, sig = rendered
            signature = EnvelopeSignature(strict_base64.decode(sig, what=f"the signature of {what}"))
            return cls(payload_type=payload_type, payload=payload, signatures=(signature,))
        value = read_json(data, what=what, max_bytes=ENVELOPE_MAX_BYTES, error=MalformedEnvelope)
        return cls.from_json(value, what=what)

    @classmethod
    def from_json(cls, value: Any, *, what: str = "an envelope") -> Self:  # any JSON value
        """Read one envelope from a value that `read_json` returned.

        Raises:
            MalformedEnvelope, LooseBase64: as for `parse`.
        """
        if not isinstance(value, dict) or set(value) != _FIELDS:
            raise MalformedEnvelope(what, f"its fields are not exactly {', '.join(sorted(_FIELDS))}")
        payload = value["payload"]
        payload_type = value["payloadType"]
        entries = value["signatures"]
        if not isinstance(payload, str) or not isinstance(payload_type, str) or not isinstance(entries, list):
            raise MalformedEnvelope(what, "payload and payloadType are texts, signatures is a list")
        return cls(
            payload_type=payload_type,
            payload=strict_base64.decode_either(payload, what=f"the payload of {what}"),
            signatures=tuple(_signature(entry, what) for entry in entries),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, standard base64."""
        return {
            "payload": strict_base64.encode(self.payload),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": signed.keyid, "sig": strict_base64.encode(signed.sig)} for signed in self.signatures
            ],
        }

    def render(self) -> bytes:
        """One line of canonical JSON, without its newline."""
        return canonical_bytes(self.to_json())


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: `DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload`, lengths in bytes
    (protocol.md).
    """
    name = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(signer: Signer, payload_type: str, payload: bytes) -> Envelope:
    """An envelope over exactly these payload bytes."""
    signature = signer.sign(pae(payload_type, payload))
    return Envelope(payload_type=payload_type, payload=payload, signatures=(EnvelopeSignature(signature),))


def verify(
    envelope: Envelope,
    keys: Iterable[PublicKey],
    *,
    expected_key_id: str | None = None,
    payload_types: Collection[str] = (PAYLOAD_TYPE,),
    what: str = "a statement",
) -> PublicKey:
    """The trusted key that made the signature; every trusted key is tried.

    Args:
        envelope: as parsed from the bytes that arrived.
        keys: the trusted keys.
        expected_key_id: who is said to have signed (recorded elsewhere); None when nothing says so.
        payload_types: what the payload may be; looked at after the signature.
        what: names the envelope in an error.

    Raises:
        BadSignature: the expected key is trusted and did not sign this. `WrongSigner` if another trusted key did.
        NoTrustedSignature: no trusted key signed this. `UnknownKey` if an expected key is named and not trusted.
        WrongPayloadType: the signature is good, the payload is something else.
    """
    message = pae(envelope.payload_type, envelope.payload)
    signer = find_signer(envelope.signatures[0].sig, message, keys, named=expected_key_id, what=what)
    if envelope.payload_type not in payload_types:
        raise WrongPayloadType(envelope.payload_type, payload_types)
    return signer


def find_signer(
    signature: bytes, message: bytes, keys: Iterable[PublicKey], *, named: str | None, what: str
) -> PublicKey:
    """The key that made `signature` over `message`: the one that is named is tried first, then each other in turn.

    Raises:
        BadSignature, WrongSigner, NoTrustedSignature, UnknownKey: as for `verify`.
    """
    tried = []
    # nearly always the one that is named made it, and to try one takes as long as to read a short statement
    for key in sorted(keys, key=lambda key: key.key_id != named):
        if key.verify(signature, message):
            if named is not None and key.key_id != named:
                raise WrongSigner(what, key_id=named, signer=key.key_id)
            return key
        tried.append(key)
    if named is None:
        raise NoTrustedSignature(what, len(tried))
    if any(key.key_id == named for key in tried):
        raise BadSignature(what, key_id=named)
    raise UnknownKey(what, len(tried), key_id=named)


def _rendered(data: bytes) -> tuple[bytes, str, str] | None:
    """Payload, payload type and signature in base64 of an envelope as `render` writes it; None for any other text."""
    # in Latin-1 each byte is a character: what is not ASCII is in no alphabet below
    text = data.decode("latin-1")
    start = len(_BEFORE_PAYLOAD)
    end = text.rfind('","payloadType":"')
    if not text.startswith(_BEFORE_PAYLOAD) or end <= start:  # the quote of the one may be that of the other
        return None
    behind = _BEHIND_PAYLOAD.fullmatch(text, end)
    if behind is None:
        return None
    try:
        # what holds a quote or an escape is no base64; to look for them first takes as long as reading it
        payload = strict_base64.decode(text[start:end], what="the payload")
    except LooseBase64:  # whoever reads it as JSON says what it is
        return None
    return payload, behind[1], behind[2]


def _signature(entry: Any, what: str) -> EnvelopeSignature:  # any JSON value
    if not isinstance(entry, dict) or not {"sig"} <= set(entry) <= {"sig", "keyid"}:
        raise MalformedEnvelope(what, "a signature holds sig and keyid, nothing else")
    sig = entry["sig"]
    keyid = entry.get("keyid")
    if not isinstance(sig, str) or not isinstance(keyid, str | None):
        raise MalformedEnvelope(what, "sig and keyid are texts")
    # an absent and a null keyid mean the same as an empty one (OMS v1.0; older signers wrote null)
    return EnvelopeSignature(sig=strict_base64.decode_either(sig, what=f"the signature of {what}"), keyid=keyid or "")
