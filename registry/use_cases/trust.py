"""A trust file is changed by whoever holds its root: keys added and revoked, the file renewed.

A change is one new version at the end of the chain, signed and checked before the file is replaced; a kill leaves the old file or
the new one. The same command again finds nothing to change.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.homes.home import Passphrase, Registry
from peft_registry.registry.homes.layout import next_version_of
from peft_registry.registry.homes.pins import Pins, name_of_chain
from peft_registry.registry.records.checkpoints import newest_entry_time
from peft_registry.registry.records.snapshots import newest_snapshot
from peft_registry.registry.signing.keys import (
    KEY_FILE_MAX_BYTES,
    PrivateKey,
    PublicKey,
    Signer,
    key_id_named,
    require_kind,
)
from peft_registry.registry.signing.rotation import (
    KeyNotListed,
    extended,
    missing_signatures,
    next_draft,
    require_distinct_person,
    says_the_same,
    with_expiry,
    with_key,
    with_revocation,
)
from peft_registry.registry.signing.trust import TrustAnchors, open_chain
from peft_registry.registry.signing.trust_chain import (
    TRUST_MAX_BYTES,
    TrustChain,
    countersigned,
    parse_chain,
    render_chain,
    require_signed,
)
from peft_registry.schemas.errors import InputRefused, NotChecked, NotFound
from peft_registry.schemas.log import CLOCK_TOLERANCE
from peft_registry.schemas.policy import Revocation, Role, TrustedKey, TrustPolicy
from peft_registry.schemas.statement import FIRST_KINDS, PREDICATE_TYPES, ROLE_KINDS
from peft_registry.schemas.values import timestamp


class SinceWithoutCompromise(InputRefused):
    what = "--since was given for a routine revocation"
    why = "what a key signed before it was revoked as a routine stays good by the dates of the log"
    fix = "leave it out, or say --compromise if somebody else may have signed with the key"


class EndsTooEarly(InputRefused):
    what = "a key that counts from {begins} on cannot count until {until}"
    why = "a key's validity ends after it begins"
    fix = "name a later day with --until; `registry trust revoke` ends the trust in a key that is listed"

    begins: str
    until: str


class MalformedDate(InputRefused):
    what = "{text!r} is not a date"
    why = "a date is a day, 2027-01-31, or a time, 2027-01-31T12:00:00Z"
    fix = "type it in one of these forms"

    text: str


class NobodySigns(NotFound):
    reference = "root-key-missing"
    what = "none of the keys at hand may sign the next version of the trust file"
    why = "its roots are those of {holders}"
    fix = "name the file of a root key with --root-key, or have a root holder run the command"

    holders: str


class RootKeyNeeded(InputRefused):
    what = "{file} belongs to no registry, and no root key was named"
    why = "the next version of a trust file is signed by its root"
    fix = "name the private key of a root with --root-key"

    file: Path


@dataclass(frozen=True, slots=True)
class TrustPlace:
    """A trust file that is to be changed, and who is there to sign.

    Attributes:
        file: where it lies.
        name: what its pin is filed under.
        chain: its versions, held against what the user accepted; the newest may have expired.
        signers: the root keys at hand.
        pins: the user's.
        now: RFC 3339, UTC.
        ends_after: the time of the newest entry of the log; None for a file that belongs to no registry.
        log_origin: of the registry's log.
    """

    file: Path
    name: str
    chain: TrustChain
    signers: tuple[Signer, ...]
    pins: Pins
    now: str
    ends_after: str | None = None
    log_origin: str | None = None

    @property
    def waiting(self) -> Path:
        """Where a version lies that still needs signatures."""
        return next_version_of(self.file)

    @property
    def revoked_at(self) -> str:
        """The time of a revocation: now, and after all that the log holds, which was signed before."""
        if self.ends_after is None:
            return self.now
        return max(self.now, timestamp(datetime.fromisoformat(self.ends_after) + timedelta(seconds=1)))


@dataclass(frozen=True, slots=True)
class TrustChange:
    """What a change came to: `accepted`, `unchanged`, or `waiting` in `file` for the signatures of some of `persons`."""

    state: Literal["accepted", "unchanged", "waiting"]
    version: int
    file: Path
    persons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustUpdate:
    """What an update came to, and the kinds that the trainer key may sign with it and could not before."""

    change: TrustChange
    added: tuple[str, ...]


def place_of_home(registry: Registry, *, root_key: Path | None = None, follows_log: bool = True) -> TrustPlace:
    """The home's own trust file. The root key is the home's, where it is there, and `root_key`.

    Without `follows_log` nothing is asked of a log that does not continue its checkpoints, and no key can be revoked.

    Raises:
        HomeReadOnly: this home cannot be written.
        KeyFileMissing, PassphraseNeeded, WrongPassphrase: no root key is at hand, or it does not open.
    """
    registry.require_writable()
    own = registry.files.key("root").private
    signers = [] if root_key is None else [PrivateKey.load(root_key, registry.passphrase)]
    if root_key is None or own.exists():
        signers.append(registry.private_key("root"))
    return TrustPlace(
        file=registry.files.trust,
        name=registry.settings.registry_id,
        chain=registry.trust_chain,
        signers=tuple(signers),
        pins=registry.pins or Pins(None, lambda _: None),
        now=registry.clock(),
        ends_after=_end_of_log(registry) if follows_log else None,
        log_origin=registry.log_name,
    )


def _end_of_log(registry: Registry) -> str | None:
    """The time of the newest entry, which a revocation follows: proven by a checkpoint, or as far as one would be signed over it.

    Whoever can write the database could else date an entry, and with it the revocation of their key, years ahead.

    Raises:
        ProofRejected, LogForked, LogTruncated: the database is not what was logged.
    """
    allowed = timestamp(datetime.fromisoformat(registry.clock()) + CLOCK_TOLERANCE)
    with registry.database.read() as tx:
        try:
            newest = newest_snapshot(registry, tx)
        except NotChecked:
            newest = None
        at = newest_entry_time(tx)
    if at is None:
        return None
    return max(min(at, allowed), "" if newest is None else newest.leaf.at)


def place_of_file(file: Path, root_key: Path, *, passphrase: Passphrase | None, pins: Pins, now: str) -> TrustPlace:
    """A trust file that belongs to no registry here, and the root key that changes it.

    Raises:
        MalformedTrust, BadSignature, TrustStepBroken, TrustThresholdNotMet: it is not a sound trust file.
        TrustReplaced, TrustRolledBack, TrustForked: it is not what the user accepted before.
    """
    chain = read_trust_file(file)
    name = name_of_chain(chain)
    pins.follow(name, chain)
    return TrustPlace(file, name, chain, (PrivateKey.load(root_key, passphrase),), pins, now)


def require_can_be_added(place: TrustPlace, person: str) -> None:
    """Raise unless a new key of a person could be listed; asked before it is made.

    Raises:
        PersonLooksListed: people would take the person for another one that is listed.
        TrustExpired: the file has to be renewed first.
    """
    require_distinct_person(next_draft(place.chain.newest, now=place.now), person)


def add_key(
    place: TrustPlace, public: PublicKey, *, person: str, role: Role, until: str | None, threshold: int | None = None
) -> TrustChange:
    """List a key. Without `until` it counts as long as the file; listed already, its date is changed and nothing else.

    Raises:
        EndsTooEarly: `until` is not after the begin of its validity.
        KeyListed: for another person or role, or revoked.
        PersonLooksListed: people would take the person for another one that is listed.
        KeyOfAnotherKind: a log or witness key is Ed25519, every other P-256.
        TrustExpired: the file has to be renewed first.
    """
    require_kind(public, role)
    draft = next_draft(place.chain.newest, now=place.now)
    require_distinct_person(draft, person)
    listed = draft.key(public.key_id)
    standing_until = draft.expires_at if listed is None else listed.valid_until
    begins = place.now if listed is None else listed.valid_from
    if until is not None and until <= begins:
        raise EndsTooEarly(begins=begins, until=until)
    key = TrustedKey(
        key_id=public.key_id,
        public_key_pem=public.pem.decode("ascii"),
        person=person,
        role=role,
        valid_from=begins,
        valid_until=until or standing_until,
        log_origin=place.log_origin if role in ("log", "witness") else None,
    )
    if listed is not None and listed.revised(valid_until=key.valid_until) == listed and listed.person == person:
        key = listed if listed.role == role else key
    changed = with_key(draft, key)
    return issue(place, changed if threshold is None else changed.revised(threshold=threshold))


def revoke_key(
    place: TrustPlace, name: str, *, reason: str, compromised: bool, since: str | None = None
) -> TrustChange:
    """Revoke the key that `name` means: `sha256:…`, or the first characters of its id.

    Raises:
        KeyNotListed, KeyAmbiguous: it means none, or several.
        RootNotReplaceable: too few roots would be left.
        SinceWithoutCompromise: only a compromise has a date since when.
    """
    if since is not None and not compromised:
        raise SinceWithoutCompromise
    draft = next_draft(place.chain.newest, now=place.now)
    revocation = Revocation(
        key_id=named_key(draft, name).key_id,
        revoked_at=place.revoked_at,
        reason=reason,
        kind="compromise" if compromised else "routine",
        since=since,
    )
    return issue(place, with_revocation(draft, revocation))


def renew(place: TrustPlace, *, days: int) -> TrustChange:
    """Let the file, and the keys that last as long as it, count for so many days from now; also one that has expired."""
    newest = place.chain.newest
    until = timestamp(datetime.fromisoformat(place.now) + timedelta(days=days))
    # the same command again on the same day renews nothing
    day_before = timestamp(datetime.fromisoformat(until) - timedelta(days=1))
    if newest.policy.schema_version == "2" and day_before <= newest.policy.expires_at <= until:
        return TrustChange("unchanged", newest.policy.version, place.file)
    draft = next_draft(newest, now=place.now, expires_at=until)
    return issue(place, with_expiry(draft, newest.policy))


def issue(place: TrustPlace, draft: TrustPolicy) -> TrustChange:
    """Sign a draft with the roots at hand: it replaces the file if they are enough, else it lies beside it for the others.

    Raises:
        NobodySigns: none of the keys at hand is a root.
    """
    newest = place.chain.newest
    if says_the_same(newest, draft):
        return TrustChange("unchanged", newest.policy.version, place.file)
    signed = _continued(place, draft)
    if not signed.newest.signatures:
        raise NobodySigns(", ".join(sorted({f"{key.person}" for key in newest.policy.keys if key.role == "root"})))
    missing = missing_signatures(signed)
    if missing is not None:
        write_atomically(place.waiting, render_chain(signed))
        return TrustChange("waiting", signed.newest.policy.version, place.waiting, missing.persons)
    return _install(place, signed)


def _continued(place: TrustPlace, draft: TrustPolicy) -> TrustChain:
    """The chain with the draft, signed; what others signed of the same draft before is kept."""
    signed = extended(place.chain, draft, place.signers)
    if not place.waiting.exists():
        return signed
    waiting = parse_chain(read_file(place.waiting, max_bytes=TRUST_MAX_BYTES))
    before = waiting.newest
    is_the_same = waiting.versions[:-1] == place.chain.versions and (
        before.policy == draft.revised(issued_at=before.policy.issued_at)
    )
    if not is_the_same:
        return signed
    for signer in place.signers:
        if signer.public.key_id in signed.newest.signatures:
            before = countersigned(before, signer)
    return TrustChain((*place.chain.versions, before))


def _install(place: TrustPlace, chain: TrustChain) -> TrustChange:
    require_signed(chain)
    write_atomically(place.file, render_chain(chain))
    place.pins.accept(place.name, chain)
    place.waiting.unlink(missing_ok=True)
    return TrustChange("accepted", chain.newest.policy.version, place.file)


def named_key(policy: TrustPolicy, name: str) -> TrustedKey:
    """The listed key that a user means by `sha256:…` or the first characters of its id.

    Raises:
        KeyNotListed, KeyAmbiguous: none or several.
    """
    key_id = key_id_named(name, (key.key_id for key in policy.keys))
    key = None if key_id is None else policy.key(key_id)
    if key is None:
        raise KeyNotListed(name)
    return key


def read_date(text: str) -> str:
    """A date (its first second, UTC) or a time, as documents write it.

    Raises:
        MalformedDate: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise MalformedDate(text) from error
    return timestamp(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


def read_trust_file(file: Path) -> TrustChain:
    """The versions of a trust file that the user named.

    Raises:
        MalformedTrust, BadSignature, TrustStepBroken, TrustThresholdNotMet: it is not a sound trust file.
    """
    return open_chain(
        read_file(file, max_bytes=TRUST_MAX_BYTES),
        anchors=TrustAnchors(file_given_by_user=True),
        accepted_version=None,
    )


def update_trust(registry: Registry) -> TrustUpdate:
    """Let the trainer key sign every kind of form 1 that its role covers; unchanged where none lacks.

    A file of form 1 lists the kinds of statements of each key. One that was issued before a kind existed does not let anybody sign
    it, and nobody but the holder of the root may change that. The next version is of form 2, in which a key's role decides; kinds
    that are younger than form 2 (answers) are no reason to leave form 1.
    Validity, persons, other keys and revocations stay as they are.

    Raises:
        HomeReadOnly: this home cannot be written.
        KeyFileMissing, PassphraseNeeded, WrongPassphrase: somebody else holds the root key, or it does not open.
        NobodySigns: the root key here is not a root of the file.
        WiderThanRole: in form 2 a key might sign less than it does.
    """
    registry.require_writable()
    current = registry.trust
    own = PublicKey.parse(read_file(registry.files.key("trainer").public, max_bytes=KEY_FILE_MAX_BYTES)).key_id
    added = tuple(
        kind
        for kind in ROLE_KINDS["trainer"]
        if kind in FIRST_KINDS
        for key in current.keys
        if key.key_id == own and not current.may_sign(key, PREDICATE_TYPES[kind])
    )
    if not added:
        return TrustUpdate(TrustChange("unchanged", current.version, registry.files.trust), ())
    place = place_of_home(registry, follows_log=False)
    return TrustUpdate(issue(place, next_draft(place.chain.newest, now=place.now)), added)
