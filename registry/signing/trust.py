"""Whom the user trusts, for what, and since when.

Rules:
- A trust file is signed by its own roots, by as many different keys of different persons as its threshold says.
- That alone proves nothing, since anybody can write such a file. Authority comes from outside: the user gave this very
  file, or named root keys that signed it. A file found beside what is being verified has none.
- The version never goes down; an expired file decides nothing.
- A new version is signed by a threshold of the roots before and of its own (as in TUF).
- The signer's clock proves nothing. Without a time from elsewhere a revoked key's signatures all fail.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing import dsse, strict_base64
from peft_registry.registry.signing.dsse import BadSignature, UnknownKey
from peft_registry.registry.signing.keys import MalformedPublicKey, PublicKey, Signer
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.policy import TRUST_PAYLOAD_TYPE, Role, TrustedKey, TrustPolicy

TRUST_MAX_BYTES = 4 * 1024 * 1024
KeyState = Literal["ok", "unknown", "expired", "revoked", "wrong-role"]


class MalformedTrust(IntegrityBroken):
    reference = "malformed-trust"
    what = "{subject} is not a trust file"
    why = "{reason}"
    fix = "fetch it again from the person who keeps it"

    subject: str
    reason: str


class NoTrustAnchor(NotChecked):
    reference = "no-trust-anchor"
    what = "a trust file was found, but nothing says that it is yours"
    why = "anybody can write and sign a trust file; one that lies beside a model is evidence, not authority"
    fix = "give the file with --trust, or its root key with --root sha256:…, as its keeper told you"


class UnknownRoot(NotChecked):
    reference = "unknown-root"
    what = "the trust file is not signed by enough of the roots that you named"
    why = "it is signed by {signers}"
    fix = "compare the root key with the keeper of the trust file over another channel"

    signed_by: Collection[str]

    @property
    def signers(self) -> str:
        return ", ".join(f"sha256:{key_id[:12]}…" for key_id in sorted(self.signed_by)) or "nobody"


class TrustThresholdNotMet(NotChecked):
    reference = "trust-threshold-not-met"
    what = "the trust file lacks signatures"
    why = "{threshold} of {whose} must sign; {keys} valid keys of {persons} persons did"
    fix = "have the missing root holders sign it, and take the file that they give you"

    whose: str
    keys: int
    persons: int
    threshold: int


class TrustExpired(NotChecked):
    reference = "trust-expired"
    what = "version {version} of the trust file has expired"
    why = "it was good until {expires_at}, and it is {now}"
    fix = "ask its keeper for a newer version"

    version: int
    expires_at: str
    now: str


class TrustRolledBack(IntegrityBroken):
    reference = "trust-rolled-back"
    what = "version {version} of the trust file must not replace version {accepted}"
    why = "versions only go up: an older file could bring a revoked key back"
    fix = "use the newest version, and find out where this one came from"

    version: int
    accepted: int


class RevokedKey(IntegrityBroken):
    reference = "revoked-key"
    what = "the signature was made with the revoked key {key_id:.16}…"
    why = "{reason}"
    fix = "do not rely on it; ask the signer to sign again with a valid key"

    key_id: str
    reason: str


class UnlistedKey(UnknownKey):
    reference = "unlisted-key"
    why = "the trust file does not list the key {key_id:.16}…"


class ExpiredKey(NotChecked):
    reference = "expired-key"
    what = "the key {key_id:.16}… is not valid at this time"
    why = "{reason}"
    fix = "show with a log proof that it signed while it was valid, or have it signed again"

    key_id: str
    reason: str


class KeyLacksRole(IntegrityBroken):
    reference = "key-lacks-role"
    what = "the key {key_id:.16}… must not sign this"
    why = "{reason}"
    fix = (
        "have it signed by somebody whose role allows it; where the trust file is older than such statements, "
        "whoever holds its root runs registry trust update"
    )

    key_id: str
    reason: str


class UnusableAnchors(InputRefused):
    reference = "unusable-anchors"
    what = "these roots cannot anchor trust"
    why = "{reason}"
    fix = "name each root once as sha256:…"

    reason: str


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """What the user said about trust, apart from every file that is being verified.

    Args:
        root_key_ids: roots that the user named (`--root`); `threshold` of them must have signed the file.
        file_given_by_user: the file itself is the user's own (`--trust`, or the home).
        threshold: how many of the named roots must have signed.
    """

    root_key_ids: frozenset[str] = frozenset()
    file_given_by_user: bool = False
    threshold: int = 1

    def __post_init__(self) -> None:
        if self.root_key_ids and not 1 <= self.threshold <= len(self.root_key_ids):
            raise UnusableAnchors(f"{self.threshold} of {len(self.root_key_ids)} named roots can never sign")


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """What a trust file says about a key for one purpose; `key` is None when it does not list it."""

    state: KeyState
    reason: str
    key_id: str
    key: TrustedKey | None = None


@dataclass(frozen=True, slots=True)
class _SignedFile:
    policy: TrustPolicy
    payload: bytes
    signatures: Mapping[str, bytes]


def sign_trust(policy: TrustPolicy, signers: Sequence[Signer]) -> bytes:
    """The bytes of a trust file: canonical JSON of the payload and one signature per signer.

    When roots change, the roots before sign as well as the new ones.
    """
    payload = policy.to_canonical()
    return _render(payload, {signer.public.key_id: _sign(signer, payload) for signer in signers})


def countersign(data: bytes, signer: Signer) -> bytes:
    """The trust file with one more signature: root holders sign one after another, each on their own machine.

    Raises:
        MalformedTrust: the bytes are not a trust file.
    """
    file = _parse(data)
    return _render(file.payload, {**file.signatures, signer.public.key_id: _sign(signer, file.payload)})


def load_trust(data: bytes, *, anchors: TrustAnchors, now: str, accepted_version: int | None) -> TrustPolicy:
    """The trust file's contents, once signatures, authority, version and expiry hold.

    Args:
        data: the file's bytes.
        anchors: what the user said; authority comes from nowhere else.
        now: RFC 3339, UTC, whole seconds.
        accepted_version: the newest version accepted before; None if none was.

    Raises:
        MalformedTrust: not a trust file.
        BadSignature: a root's signature is wrong.
        TrustThresholdNotMet, UnknownRoot, NoTrustAnchor, TrustExpired: it decides nothing here.
        TrustRolledBack: a newer version was accepted before.
    """
    file = _parse(data)
    policy = file.policy
    signed_by = _require_threshold(file, policy, now=now, whose="its own roots")
    if not anchors.file_given_by_user:
        if not anchors.root_key_ids:
            raise NoTrustAnchor
        if len(signed_by & anchors.root_key_ids) < anchors.threshold:
            raise UnknownRoot(signed_by)
    if accepted_version is not None and policy.version < accepted_version:
        raise TrustRolledBack(version=policy.version, accepted=accepted_version)
    _require_fresh(policy, now=now)
    return policy


def load_rotated(data: bytes, *, current: TrustPolicy, now: str) -> TrustPolicy:
    """The next version of an accepted trust file, signed by a threshold of the roots before and of its own.

    The file that is accepted already passes too, so that a repeated update changes nothing.

    Raises:
        MalformedTrust, BadSignature, TrustThresholdNotMet, TrustExpired: as for `load_trust`.
        TrustRolledBack: its version is not above the current one.
    """
    file = _parse(data)
    if file.policy == current:
        return current
    _require_threshold(file, current, now=now, whose="the roots before")
    _require_threshold(file, file.policy, now=now, whose="its own roots")
    if file.policy.version <= current.version:
        raise TrustRolledBack(version=file.policy.version, accepted=current.version)
    _require_fresh(file.policy, now=now)
    return file.policy


def public_keys(policy: TrustPolicy, *, role: Role | None = None) -> tuple[PublicKey, ...]:
    """Every listed key, revoked and expired ones too: a signature by a revoked key must be told from an unknown one."""
    return tuple(_public(key) for key in policy.keys if role is None or key.role == role)


def key_status(
    policy: TrustPolicy, key_id: str, *, predicate_type: str, signed_at_proven: str | None, now: str
) -> KeyStatus:
    """Whether a good signature by this key counts.

    Args:
        policy: as loaded.
        key_id: the key that verified the signature.
        predicate_type: what was signed: a predicate type, the OMS one, or `CHECKPOINT_TYPE`.
        signed_at_proven: a time from elsewhere than the signer (log, time stamp) before which it was signed; None
            without such proof.
        now: RFC 3339, UTC, whole seconds.
    """
    key = policy.key(key_id)
    if key is None:
        return KeyStatus("unknown", "the trust file does not list it", key_id)
    revocation = policy.revocation(key_id)
    if revocation is not None:
        provably_older = signed_at_proven is not None and signed_at_proven < revocation.revoked_at
        if not provably_older or _is_compromise(revocation.reason):
            reason = f"revoked at {revocation.revoked_at} ({revocation.reason})"
            unproven = "" if provably_older else "; nothing proves that it signed before"
            return KeyStatus("revoked", reason + unproven, key_id, key)
    at = signed_at_proven or now
    if not key.valid_from <= at < key.valid_until:
        return KeyStatus("expired", f"valid from {key.valid_from} until {key.valid_until}, used {at}", key_id, key)
    if predicate_type not in key.predicate_types:
        reason = f"{key.person} holds it as {key.role}, which does not cover {predicate_type}"
        return KeyStatus("wrong-role", reason, key_id, key)
    return KeyStatus("ok", f"key of {key.person}, role {key.role}", key_id, key)


def require_ok(status: KeyStatus) -> TrustedKey:
    """The key, if its signature counts.

    Raises:
        UnlistedKey, ExpiredKey: it could not be checked (exit 5).
        RevokedKey, KeyLacksRole: it must not be relied on (exit 6).
    """
    match status.state:
        case "unknown":
            raise UnlistedKey("a document that must be checked", tried=0, key_id=status.key_id)
        case "expired":
            raise ExpiredKey(status.key_id, status.reason)
        case "revoked":
            raise RevokedKey(status.key_id, status.reason)
        case "wrong-role":
            raise KeyLacksRole(status.key_id, status.reason)
        case "ok":
            assert status.key is not None, "a key that is ok is listed"
            return status.key


def _sign(signer: Signer, payload: bytes) -> bytes:
    return signer.sign(dsse.pae(TRUST_PAYLOAD_TYPE, payload))


def _render(payload: bytes, signatures: Mapping[str, bytes]) -> bytes:
    entries = [{"key_id": key_id, "sig": strict_base64.encode(sig)} for key_id, sig in sorted(signatures.items())]
    return canonical_bytes({"payload": strict_base64.encode(payload), "signatures": entries})


def _parse(data: bytes, *, what: str = "the trust file") -> _SignedFile:
    value = read_json(data, what=what, max_bytes=TRUST_MAX_BYTES, error=MalformedTrust)
    if not isinstance(value, dict) or set(value) != {"payload", "signatures"}:
        raise MalformedTrust(what, "its fields are not exactly payload and signatures")
    if not isinstance(value["payload"], str) or not isinstance(value["signatures"], list):
        raise MalformedTrust(what, "payload is a text and signatures a list")
    payload = strict_base64.decode(value["payload"], what=f"the payload of {what}")
    signatures: dict[str, bytes] = {}
    for entry in value["signatures"]:
        key_id, sig = _signature(entry, what)
        if key_id in signatures:
            raise MalformedTrust(what, f"it holds two signatures by {key_id[:16]}…")
        signatures[key_id] = sig
    contents = read_json(payload, what=f"the payload of {what}", max_bytes=TRUST_MAX_BYTES, error=MalformedTrust)
    policy = _policy(contents, what)
    return _SignedFile(policy=policy, payload=payload, signatures=signatures)


def _policy(contents: Any, what: str) -> TrustPolicy:  # any JSON value
    try:
        policy = TrustPolicy.from_json(contents)
        spelled_differently = [key.key_id for key in policy.keys if _public(key).key_id != key.key_id]
    except ValidationError as error:
        raise MalformedTrust(what, first_problem(error)) from error
    except MalformedPublicKey as error:
        raise MalformedTrust(what, error.why) from error
    if spelled_differently:
        raise MalformedTrust(what, f"the PEM text of key {spelled_differently[0][:16]}… is not its canonical one")
    return policy


def _signature(entry: Any, what: str) -> tuple[str, bytes]:  # any JSON value
    if not isinstance(entry, dict) or set(entry) != {"key_id", "sig"}:
        raise MalformedTrust(what, "a signature holds exactly key_id and sig")
    if not isinstance(entry["key_id"], str) or not isinstance(entry["sig"], str):
        raise MalformedTrust(what, "key_id and sig are texts")
    return entry["key_id"], strict_base64.decode(entry["sig"], what=f"a signature of {what}")


def _require_threshold(file: _SignedFile, authority: TrustPolicy, *, now: str, whose: str) -> frozenset[str]:
    """The roots of `authority` whose signatures count, if they are enough."""
    message = dsse.pae(TRUST_PAYLOAD_TYPE, file.payload)
    counted: list[TrustedKey] = []
    for key_id in authority.roots:
        key, signature = authority.key(key_id), file.signatures.get(key_id)
        if key is None or signature is None:
            continue
        if not _public(key).verify(signature, message):
            raise BadSignature("the trust file", key_id=key_id)
        if authority.revocation(key_id) is None and key.valid_from <= now < key.valid_until:
            counted.append(key)
    persons = len({key.person for key in counted})
    if min(len(counted), persons) < authority.threshold:
        raise TrustThresholdNotMet(whose=whose, keys=len(counted), persons=persons, threshold=authority.threshold)
    return frozenset(key.key_id for key in counted)


def _require_fresh(policy: TrustPolicy, *, now: str) -> None:
    if now >= policy.expires_at:
        raise TrustExpired(version=policy.version, expires_at=policy.expires_at, now=now)


def _is_compromise(reason: str) -> bool:
    """Any wording of it counts: after a compromise nobody knows when the other hand began to sign."""
    return "compromis" in reason.casefold()


def _public(key: TrustedKey) -> PublicKey:
    return PublicKey.parse(key.public_key_pem.encode("utf-8"))
