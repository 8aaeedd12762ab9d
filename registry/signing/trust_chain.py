"""The trust file as it is written: its versions as a chain, oldest first. Pure.

    {"chain": [{"payload": …, "signatures": […]}, …]}      one version or more
    {"payload": …, "signatures": […]}                      a single version of form 1, as the first release wrote it

Each version is signed by a threshold of the roots of the version before and of its own, by different keys of different persons. So
whoever trusts one version can follow every later one, however many there are between (as in TUF). A step is one version up, and
names the payload that it follows, so that versions of two chains cannot be mixed.

For the step, the roots before count whatever their validity says: a file that has expired, and its roots with it, can still be
renewed by them. For its own version a root counts within its validity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing import dsse, strict_base64
from peft_registry.registry.signing.dsse import BadSignature
from peft_registry.registry.signing.keys import MalformedPublicKey, PublicKey, Signer
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.policy import TrustedKey, TrustPolicy

TRUST_MAX_BYTES = 4 * 1024 * 1024
_FILE = "the trust file"


class MalformedTrust(IntegrityBroken):
    what = "{subject} is not a trust file"
    why = "{reason}"
    fix = "fetch it again from the person who keeps it"

    subject: str
    reason: str


class TrustThresholdNotMet(NotChecked):
    what = "the trust file lacks signatures"
    why = "{threshold} of {whose} must sign; {keys} valid keys of {persons} persons did"
    fix = "have the missing root holders sign it, and take the file that they give you"

    whose: str
    keys: int
    persons: int
    threshold: int


class TrustRolledBack(IntegrityBroken):
    what = "version {version} of the trust file must not replace version {accepted}"
    why = "versions only go up: an older file could bring a revoked key back"
    fix = "use the newest version, and find out where this one came from"

    version: int
    accepted: int


class TrustStepBroken(IntegrityBroken):
    what = "version {version} of the trust file does not follow version {before}"
    why = "{reason}"
    fix = "fetch the file again from the person who keeps it, and find out where this one came from"

    version: int
    before: int
    reason: str


@dataclass(frozen=True, slots=True)
class TrustVersion:
    """One version: what it says, the bytes that were signed, and each root's signature by its key id."""

    policy: TrustPolicy
    payload: bytes
    signatures: Mapping[str, bytes]

    @property
    def digest(self) -> Digest:
        """Of the payload: what the next version and a pin name it by."""
        return Digest.of(self.payload)


@dataclass(frozen=True, slots=True)
class TrustChain:
    """The versions of a trust file, oldest first; at least one."""

    versions: tuple[TrustVersion, ...]

    @property
    def first(self) -> TrustVersion:
        return self.versions[0]

    @property
    def newest(self) -> TrustVersion:
        return self.versions[-1]

    @property
    def before(self) -> TrustPolicy | None:
        """The version before the newest; None in a chain of one."""
        return self.versions[-2].policy if len(self.versions) > 1 else None

    def version(self, number: int) -> TrustVersion | None:
        """The version of that number, where the chain has it."""
        return next((version for version in self.versions if version.policy.version == number), None)


def sign_version(policy: TrustPolicy, signers: Sequence[Signer]) -> TrustVersion:
    """A version signed by these; when roots change, the roots before sign as well as the new ones."""
    payload = policy.to_canonical()
    return TrustVersion(policy, payload, {signer.public.key_id: _sign(signer, policy, payload) for signer in signers})


def countersigned(version: TrustVersion, signer: Signer) -> TrustVersion:
    """The version with one more signature: root holders sign one after another, each on their own machine."""
    signature = _sign(signer, version.policy, version.payload)
    return TrustVersion(version.policy, version.payload, {**version.signatures, signer.public.key_id: signature})


def render_chain(chain: TrustChain) -> bytes:
    """The bytes of a trust file. A single version of form 1 is written as the first release did."""
    versions = [_render(version) for version in chain.versions]
    if len(versions) == 1 and chain.first.policy.schema_version == "1":
        return canonical_bytes(versions[0])
    return canonical_bytes({"chain": versions})


def parse_chain(data: bytes) -> TrustChain:
    """The versions of a trust file. Nothing is checked but their form: `require_signed` is what makes them count.

    Raises:
        MalformedTrust: it is not a trust file.
        LooseBase64: something in it is not strict base64.
    """
    value = read_json(data, what=_FILE, max_bytes=TRUST_MAX_BYTES, error=MalformedTrust)
    if isinstance(value, dict) and set(value) == {"chain"}:
        listed = value["chain"]
        if not isinstance(listed, list) or not listed:
            raise MalformedTrust(_FILE, "its chain is not a list of versions")
        return TrustChain(tuple(_parse_version(entry) for entry in listed))
    version = _parse_version(value)
    if version.policy.schema_version != "1":
        raise MalformedTrust(_FILE, "a version of form 2 stands in a chain")
    return TrustChain((version,))


def require_signed(chain: TrustChain) -> tuple[frozenset[str], ...]:
    """Raise unless each version follows the one before and enough roots signed it; returns who signed, for each version.

    Raises:
        BadSignature: a root's signature is wrong.
        TrustThresholdNotMet: too few roots signed.
        TrustRolledBack, TrustStepBroken: a version does not follow the one before.
    """
    signed_by = []
    for number, version in enumerate(chain.versions):
        if number > 0:
            _require_step(chain.versions[number - 1], version)
        roots = roots_that_signed(version, version.policy, valid_at=version.policy.issued_at)
        _require_enough(version.policy, roots, whose="its own roots")
        signed_by.append(frozenset(root.key_id for root in roots))
    return tuple(signed_by)


def require_own_roots(version: TrustVersion, *, now: str) -> None:
    """Raise TrustThresholdNotMet unless a threshold of a version's own roots signed it that are valid now."""
    _require_enough(version.policy, roots_that_signed(version, version.policy, valid_at=now), whose="its own roots")


def roots_that_signed(version: TrustVersion, authority: TrustPolicy, *, valid_at: str | None) -> tuple[TrustedKey, ...]:
    """The roots of `authority` whose signatures count; `valid_at` None asks for no validity.

    Raises:
        BadSignature: there is a signature by one of them, and it is wrong.
    """
    message = dsse.pae(version.policy.payload_type, version.payload)
    counted = []
    for key_id in authority.roots:
        key = authority.key(key_id)
        signature = version.signatures.get(key_id)
        if key is None or signature is None:
            continue
        if not public_of(key).verify(signature, message):
            raise BadSignature(_FILE, key_id=key_id)
        is_valid = valid_at is None or key.valid_from <= valid_at < key.valid_until
        if authority.revocation(key_id) is None and is_valid:
            counted.append(key)
    return tuple(counted)


def is_enough(authority: TrustPolicy, roots: Sequence[TrustedKey]) -> bool:
    """Whether these roots meet the threshold: different keys of different persons."""
    return min(len(roots), len({root.person for root in roots})) >= authority.threshold


def public_of(key: TrustedKey) -> PublicKey:
    """The key itself, which the trust file keeps as PEM.

    Raises:
        MalformedPublicKey: it is none.
    """
    return PublicKey.parse(key.public_key_pem.encode("utf-8"))


def _require_step(before: TrustVersion, version: TrustVersion) -> None:
    older = before.policy
    newer = version.policy
    roots = roots_that_signed(version, older, valid_at=None)
    _require_enough(older, roots, whose="the roots before")
    if newer.version <= older.version:
        raise TrustRolledBack(version=newer.version, accepted=older.version)
    if newer.schema_version == "1":
        raise TrustStepBroken(newer.version, older.version, "a version of form 1 can only be the first of a chain")
    if newer.version != older.version + 1:
        # a jump to the highest number would leave no number for whoever repairs the file (fast-forward)
        raise TrustStepBroken(newer.version, older.version, "versions go up one at a time")
    if newer.previous != before.digest:
        raise TrustStepBroken(
            newer.version, older.version, f"it follows {newer.previous}, and here stands {before.digest}"
        )
    if newer.epochs[: len(older.epochs)] != older.epochs:
        # else a root of today could have yesterday's loss never accepted, or another accepted under its number
        raise TrustStepBroken(newer.version, older.version, "it changes or leaves out an accepted loss of a log")
    if newer.issued_at < older.issued_at:
        raise TrustStepBroken(newer.version, older.version, f"it was issued {newer.issued_at}, before the other")


def _require_enough(authority: TrustPolicy, roots: Sequence[TrustedKey], *, whose: str) -> None:
    if not is_enough(authority, roots):
        persons = len({root.person for root in roots})
        raise TrustThresholdNotMet(whose=whose, keys=len(roots), persons=persons, threshold=authority.threshold)


def _sign(signer: Signer, policy: TrustPolicy, payload: bytes) -> bytes:
    return signer.sign(dsse.pae(policy.payload_type, payload))


def _render(version: TrustVersion) -> dict[str, Any]:  # JSON
    signatures = [
        {"key_id": key_id, "sig": strict_base64.encode(signature)}
        for key_id, signature in sorted(version.signatures.items())
    ]
    return {"payload": strict_base64.encode(version.payload), "signatures": signatures}


def _parse_version(value: Any) -> TrustVersion:  # any JSON value
    if not isinstance(value, dict) or set(value) != {"payload", "signatures"}:
        raise MalformedTrust(_FILE, "the fields of a version are not exactly payload and signatures")
    if not isinstance(value["payload"], str) or not isinstance(value["signatures"], list):
        raise MalformedTrust(_FILE, "payload is a text and signatures a list")
    payload = strict_base64.decode(value["payload"], what=f"the payload of {_FILE}")
    signatures: dict[str, bytes] = {}
    for entry in value["signatures"]:
        key_id, signature = _parse_signature(entry)
        if key_id in signatures:
            raise MalformedTrust(_FILE, f"it holds two signatures by {key_id[:16]}…")
        signatures[key_id] = signature
    contents = read_json(payload, what=f"the payload of {_FILE}", max_bytes=TRUST_MAX_BYTES, error=MalformedTrust)
    return TrustVersion(_parse_policy(contents), payload, signatures)


def _parse_policy(contents: Any) -> TrustPolicy:  # any JSON value
    try:
        policy = TrustPolicy.from_json(contents)
        spelled_differently = [key.key_id for key in policy.keys if public_of(key).key_id != key.key_id]
    except ValidationError as error:
        raise MalformedTrust(_FILE, first_problem(error)) from error
    except MalformedPublicKey as error:
        raise MalformedTrust(_FILE, error.why) from error
    if spelled_differently:
        raise MalformedTrust(_FILE, f"the PEM text of key {spelled_differently[0][:16]}… is not its canonical one")
    return policy


def _parse_signature(entry: Any) -> tuple[str, bytes]:  # any JSON value
    if not isinstance(entry, dict) or set(entry) != {"key_id", "sig"}:
        raise MalformedTrust(_FILE, "a signature holds exactly key_id and sig")
    if not isinstance(entry["key_id"], str) or not isinstance(entry["sig"], str):
        raise MalformedTrust(_FILE, "key_id and sig are texts")
    return entry["key_id"], strict_base64.decode(entry["sig"], what=f"a signature of {_FILE}")
