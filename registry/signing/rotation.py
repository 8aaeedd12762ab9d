"""The next version of a trust file: what may change from one to the next, and whose signatures it still needs. Pure.

A change is made in two steps. `next_draft` says the same as the newest version in form 2, one number up; `with_key`,
`with_revocation`, `with_replacement` and `with_expiry` say what is different. Then `extended` puts it at the end of the chain,
signed by whoever is at hand; it counts once `missing_signatures` is None. Each change returns an equal draft where there is nothing
to change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.trust import TrustExpired
from peft_registry.registry.signing.trust_chain import (
    TrustChain,
    TrustVersion,
    is_enough,
    roots_that_signed,
    sign_version,
)
from peft_registry.schemas.errors import InputRefused, NotFound, Taken
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.policy import Revocation, TrustedKey, TrustPolicy, role_covers


class KeyNotListed(NotFound):
    what = "the trust file lists no key {key_id:.16}…"
    why = "only a listed key can be revoked or replaced"
    fix = "run `registry trust show` for the keys that it lists"

    key_id: str


class KeyListed(Taken):
    what = "the trust file lists the key {key_id:.16}… already"
    why = "it is the {role} key of {person}, {state}; a key has one role and one holder, and is never listed again once revoked"
    fix = "make another key for another role or person"

    key_id: str
    role: str
    person: str
    state: str


class PersonLooksListed(Taken):
    what = "{person!q} reads like {listed!q}, whom the trust file lists"
    why = "two keys of one person count once, and one person under two names would count twice"
    fix = "write {listed!q} for another key of theirs; for somebody else, a name that people do not take for it"

    person: str
    listed: str


class RootNotReplaceable(InputRefused):
    what = "without the root {key_id:.16}… too few roots would be left"
    why = "{threshold} of different persons have to sign the next version"
    fix = "replace it instead with `registry trust rotate root`, or add another root before"

    key_id: str
    threshold: int


class WiderThanRole(InputRefused):
    what = "the trust file of form 1 lets a {role} key sign {predicate_type}"
    why = "in form 2 a role covers its own kinds of statements only, and what that key signed would not verify any more"
    fix = "keep the file in form 1, which is read for ever"

    role: str
    predicate_type: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Who else has to sign: of the roots before, of the version's own, or of both."""

    before: tuple[TrustedKey, ...]
    own: tuple[TrustedKey, ...]

    @property
    def persons(self) -> tuple[str, ...]:
        """Everybody who could complete it, by name."""
        return tuple(sorted({root.person for root in (*self.before, *self.own)}))


def next_draft(newest: TrustVersion, *, now: str, expires_at: str | None = None) -> TrustPolicy:
    """The version after `newest`, in form 2, which says the same. `expires_at` None leaves its expiry.

    Raises:
        TrustExpired: `newest` has expired and no other expiry is given.
        WiderThanRole: it is of form 1, and a key may sign there what its role does not cover in form 2.
    """
    policy = newest.policy
    until = policy.expires_at if expires_at is None else expires_at
    # a clock that was set back must not date a version before the one that it follows
    issued_at = max(now, policy.issued_at)
    if issued_at >= until:
        raise TrustExpired(version=policy.version, expires_at=policy.expires_at, now=now)
    in_form_2 = policy if policy.schema_version == "2" else _in_form_2(policy)
    return in_form_2.revised(version=policy.version + 1, issued_at=issued_at, expires_at=until, previous=newest.digest)


def says_the_same(newest: TrustVersion, draft: TrustPolicy) -> bool:
    """Whether a draft differs from the newest version in nothing but number and time, so that nobody need sign it."""
    policy = newest.policy
    if policy.schema_version == "1":
        return False
    unchanged = draft.revised(version=policy.version, issued_at=policy.issued_at, previous=policy.previous)
    return unchanged == policy


def require_distinct_person(policy: TrustPolicy, person: str) -> None:
    """Raise where somebody is to be listed under a name that people take for that of another person.

    Raises:
        PersonLooksListed: it does.
    """
    listed = dict.fromkeys(key.person for key in policy.keys)
    twin = next((other for other in listed if folded(other) == folded(person)), None)
    if twin is not None and person not in listed:
        raise PersonLooksListed(person, twin)


def with_key(draft: TrustPolicy, key: TrustedKey) -> TrustPolicy:
    """The draft with one more key; a root may sign the next version.

    Raises:
        KeyListed: it is listed for another person or role, or was revoked.
    """
    listed = draft.key(key.key_id)
    if listed is not None:
        is_same = (listed.role, listed.person) == (key.role, key.person)
        if is_same and draft.revocation(key.key_id) is None:
            return draft.revised(keys=tuple(key if other is listed else other for other in draft.keys))
        state = "and revoked" if draft.revocation(key.key_id) is not None else "in use"
        raise KeyListed(key.key_id, listed.role, listed.person, state)
    roots = (*draft.roots, key.key_id) if key.role == "root" else draft.roots
    return draft.revised(keys=(*draft.keys, key), roots=roots)


def with_revocation(draft: TrustPolicy, revocation: Revocation) -> TrustPolicy:
    """The draft in which a key does not count any more; it stays listed, so that its signatures are told from unknown ones.

    Raises:
        KeyNotListed: there is no such key.
        RootNotReplaceable: too few roots would be left to sign the next version.
    """
    key_id = revocation.key_id
    if draft.key(key_id) is None:
        raise KeyNotListed(key_id)
    standing = draft.revocation(key_id)
    if standing is not None and (standing.is_compromise or not revocation.is_compromise):
        return draft  # a compromise is never taken back, and a second routine revocation says nothing new
    roots = tuple(root for root in draft.roots if root != key_id)
    left = [key for key in draft.keys if key.key_id in roots and draft.revocation(key.key_id) is None]
    if key_id in draft.roots and not is_enough(draft, left):
        raise RootNotReplaceable(key_id, draft.threshold)
    return draft.revised(roots=roots, revocations=(*draft.revocations, revocation))


def with_replacement(draft: TrustPolicy, old: Revocation, new: TrustedKey) -> TrustPolicy:
    """The draft in which a new key stands for a revoked one, in its role.

    Raises:
        KeyNotListed, KeyListed, RootNotReplaceable: as for `with_key` and `with_revocation`.
    """
    return with_revocation(with_key(draft, new), old)


def with_expiry(draft: TrustPolicy, before: TrustPolicy) -> TrustPolicy:
    """The draft in which the keys that were to last as long as the file last as long as it does now.

    A key with a date of its own keeps it, and a revoked one is not prolonged.
    """
    keys = tuple(
        key.revised(valid_until=draft.expires_at)
        if key.valid_until == before.expires_at and draft.revocation(key.key_id) is None
        else key
        for key in draft.keys
    )
    return draft.revised(keys=keys)


def extended(chain: TrustChain, draft: TrustPolicy, signers: Sequence[Signer]) -> TrustChain:
    """The chain with the draft as its newest version, signed by those of the signers who are roots of it or of the one before."""
    roots = {*chain.newest.policy.roots, *draft.roots}
    return TrustChain(
        (*chain.versions, sign_version(draft, [signer for signer in signers if signer.public.key_id in roots]))
    )


def missing_signatures(chain: TrustChain) -> Missing | None:
    """Whose signatures the newest version still needs; None if it has enough.

    Raises:
        BadSignature: a signature under it is wrong.
    """
    version = chain.newest
    own = _missing(version, version.policy, valid_at=version.policy.issued_at)
    before = () if chain.before is None else _missing(version, chain.before, valid_at=None)
    return Missing(before, own) if own or before else None


def _missing(version: TrustVersion, authority: TrustPolicy, *, valid_at: str | None) -> tuple[TrustedKey, ...]:
    signed = roots_that_signed(version, authority, valid_at=valid_at)
    if is_enough(authority, signed):
        return ()
    return tuple(
        key
        for key in authority.keys
        if key.key_id in authority.roots and key not in signed and authority.revocation(key.key_id) is None
    )


def _in_form_2(policy: TrustPolicy) -> TrustPolicy:
    for key in policy.keys:
        for predicate_type in key.predicate_types or ():
            if not role_covers(key.role, predicate_type):
                raise WiderThanRole(key.role, predicate_type)
    listed = {key.key_id for key in policy.keys}
    return policy.revised(
        schema_version="2",
        keys=tuple(key.revised(predicate_types=None) for key in policy.keys),
        revocations=tuple(
            revocation.revised(kind="compromise" if revocation.is_compromise else "routine")
            for revocation in policy.revocations
            if revocation.key_id in listed  # a key that is not listed counts for nothing anyway
        ),
    )
