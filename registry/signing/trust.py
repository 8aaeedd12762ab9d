"""Whom the user trusts, for what, and since when.

Rules:
- A trust file is a chain of versions, each signed by the roots before it and by its own: see `trust_chain.py`.
- That alone proves nothing, since anybody can write such a file. Authority comes from outside: the user gave this very
  file, or named root keys that signed a version of it. A file found beside what is being verified has none.
- The version never goes down; an expired file decides nothing.
- The signer's clock proves nothing. What a retired key signed stays good by a time from elsewhere, what a stolen one signed only by
  somebody else's.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from peft_registry.registry.signing.dsse import UnknownKey
from peft_registry.registry.signing.keys import PublicKey, Signer
from peft_registry.registry.signing.trust_chain import (
    TrustChain,
    TrustRolledBack,
    TrustThresholdNotMet,
    parse_chain,
    public_of,
    render_chain,
    require_own_roots,
    require_signed,
    sign_version,
)
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, NotChecked
from peft_registry.schemas.policy import Revocation, Role, TrustedKey, TrustPolicy
from peft_registry.schemas.statement import KINDS, ROLE_KINDS

KeyState = Literal["ok", "unknown", "expired", "revoked", "wrong-role"]


class NoTrustAnchor(NotChecked):
    what = "a trust file was found, but nothing says that it is yours"
    why = "anybody can write and sign a trust file; one that lies beside a model is evidence, not authority"
    fix = "give the file with --trust, and its root with --root sha256:…, as its keeper told you"


class UnknownRoot(NotChecked):
    what = "the trust file is not signed by enough of the roots that you named"
    why = "it is signed by {signers}"
    fix = "compare the root key with the keeper of the trust file over another channel"

    signed_by: Collection[str]

    @property
    def signers(self) -> str:
        return ", ".join(f"sha256:{key_id[:12]}…" for key_id in sorted(self.signed_by)) or "nobody"


class TrustExpired(NotChecked):
    what = "version {version} of the trust file has expired"
    why = "it was good until {expires_at}, and it is {now}"
    fix = "ask its keeper for a newer version; whoever holds its root makes one with `registry trust renew`"

    version: int
    expires_at: str
    now: str


class RevokedKey(IntegrityBroken):
    what = "the key {key_id:.16}… is revoked"
    why = "{reason}"
    fix = "do not rely on what it signed; have it signed with a valid key"

    key_id: str
    reason: str


class ClockBehind(NotChecked):
    what = "the clock of this machine is behind the trust file"
    why = "version {version} was issued at {issued_at}, from when its keys are valid, and it is {now} here"
    fix = "set the clock, then run the command again"

    version: int
    issued_at: str
    now: str


class UnlistedKey(UnknownKey):
    what = "the key {key_id:.16}… speaks for nobody whom you trust"
    why = "the trust file does not list it"


class ExpiredKey(NotChecked):
    what = "the key {key_id:.16}… is not valid at this time"
    why = "{reason}"
    fix = "show with a log proof that it signed while it was valid, or have it signed with a valid key"

    key_id: str
    reason: str


class KeyLacksRole(IntegrityBroken):
    what = "the key {key_id:.16}… must not sign this"
    why = "{reason}"
    fix = (
        "have it signed by somebody whose role allows it; where the trust file is older than such statements, "
        "whoever holds its root runs `registry trust update`"
    )

    key_id: str
    reason: str


class UnusableAnchors(InputRefused):
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
class Covered:
    """A checkpoint that covers what was signed: when it was made, as its snapshot says, and whose key signed it."""

    signed_at: str
    person: str


@dataclass(frozen=True, slots=True)
class ProvenTime:
    """When something was signed at the latest, by another's word than the signer's.

    Attributes:
        logged_at: the time of its own log entry.
        covered: checkpoints that cover the entry, each with a time of its own. The holder of a stolen key may have written entries
            with any date that fits the log; when somebody else signed over them is that person's word.
    """

    logged_at: str
    covered: tuple[Covered, ...] = ()


def sign_trust(policy: TrustPolicy, signers: Sequence[Signer]) -> bytes:
    """The bytes of a trust file of a single version: canonical JSON of the payload and one signature per signer."""
    return render_chain(TrustChain((sign_version(policy, signers),)))


def open_chain(data: bytes, *, anchors: TrustAnchors, accepted_version: int | None) -> TrustChain:
    """The versions of a trust file, signed and with the user's authority. They may have expired: who renews them reads them so.

    Args:
        data: the file's bytes.
        anchors: what the user said; authority comes from nowhere else.
        accepted_version: the newest version accepted before; None if none was.

    Raises:
        MalformedTrust: not a trust file.
        BadSignature: a root's signature is wrong.
        TrustStepBroken: a version does not follow the one before it.
        TrustThresholdNotMet, UnknownRoot, NoTrustAnchor: it decides nothing here.
        TrustRolledBack: a newer version was accepted before.
    """
    chain = parse_chain(data)
    signed_by = require_signed(chain)
    if not anchors.file_given_by_user:
        if not anchors.root_key_ids:
            raise NoTrustAnchor
        # whoever trusts one version trusts all that follow it: a root may have been replaced since the user noted it
        if all(len(roots & anchors.root_key_ids) < anchors.threshold for roots in signed_by):
            raise UnknownRoot(frozenset().union(*signed_by))
    version = chain.newest.policy.version
    if accepted_version is not None and version < accepted_version:
        raise TrustRolledBack(version=version, accepted=accepted_version)
    return chain


def current_policy(chain: TrustChain, *, now: str) -> TrustPolicy:
    """What the newest version says, if it has not expired; `now` is RFC 3339, UTC, whole seconds.

    Raises:
        TrustExpired: it has.
        ClockBehind: the keys of its roots are valid from a later time than it is here.
        TrustThresholdNotMet: too few of the roots that signed it are still valid.
    """
    policy = chain.newest.policy
    if now >= policy.expires_at:
        raise TrustExpired(version=policy.version, expires_at=policy.expires_at, now=now)
    try:
        require_own_roots(chain.newest, now=now)
    except TrustThresholdNotMet:
        if now < policy.issued_at:  # enough of them were valid then, or the chain would not have been opened
            raise ClockBehind(policy.version, policy.issued_at, now) from None
        raise
    return policy


def days_left(policy: TrustPolicy, *, now: str) -> int:
    """Whole days until a trust file expires; negative once it has."""
    return (datetime.fromisoformat(policy.expires_at) - datetime.fromisoformat(now)).days


def public_keys(policy: TrustPolicy, *, role: Role | None = None) -> tuple[PublicKey, ...]:
    """Every listed key, revoked and expired ones too: a signature by a revoked key must be told from an unknown one."""
    return tuple(public_of(key) for key in policy.keys if role is None or key.role == role)


def key_status(
    policy: TrustPolicy, key_id: str, *, predicate_type: str, signed_at_proven: ProvenTime | str | None, now: str
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
    proven = ProvenTime(signed_at_proven) if isinstance(signed_at_proven, str) else signed_at_proven
    revocation = policy.revocation(key_id)
    if revocation is not None:
        objection = _objection(revocation, key, proven)
        if objection is not None:
            reason = f"revoked at {revocation.revoked_at} ({revocation.reason}){objection}"
            return KeyStatus("revoked", reason, key_id, key)
    used_at = now if proven is None else proven.logged_at
    if not key.valid_from <= used_at < key.valid_until:
        reason = f"valid from {key.valid_from} until {key.valid_until}, used {used_at}"
        return KeyStatus("expired", reason, key_id, key)
    if not policy.may_sign(key, predicate_type):
        return KeyStatus("wrong-role", _outside_of_role(key, predicate_type), key_id, key)
    return KeyStatus("ok", f"key of {key.person}, role {key.role}", key_id, key)


def _outside_of_role(key: TrustedKey, predicate_type: str) -> str:
    """What its role does not let a key sign, and which role does."""
    kind = KINDS.get(predicate_type)
    roles = [role for role, kinds in ROLE_KINDS.items() if kind in kinds]
    what = predicate_type if kind is None else f"a statement of kind {kind}"
    # a trust file of an earlier release may list less than the role covers now
    who = f"; a key of the role {' or '.join(roles)} may sign one" if roles and key.role not in roles else ""
    return f"{key.person} holds it as {key.role}, which does not cover {what}{who}"


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


def _objection(revocation: Revocation, key: TrustedKey, proven: ProvenTime | None) -> str | None:
    """Why what a revoked key signed does not count, to be written behind the reason; None if it counts."""
    if not revocation.is_compromise:
        if proven is not None and proven.logged_at < revocation.revoked_at:
            return None
        return "" if proven is not None else "; nothing proves that it signed before"
    if revocation.since is None:
        return ""
    # the dates of the key's own holder are worth nothing any more: whoever stole the key may have written them
    others = [
        covered.signed_at for covered in (() if proven is None else proven.covered) if covered.person != key.person
    ]
    if any(covered_at < revocation.since for covered_at in others):
        return None
    return f"; compromised since {revocation.since}, and nobody but {key.person} shows that it signed before"
