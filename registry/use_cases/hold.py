"""`hold` and `release`: a person whose role may says, signed and logged, that something must be kept, or need not any more."""

from datetime import date

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.checkpoints import covered_size, publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.holds import STORED, Hold, every_hold, hold_of
from peft_registry.registry.records.remembered_stops import to_be_remembered
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.standing_acts import is_being_taken_back
from peft_registry.registry.records.subjects import DigestUnknown, Subject, subject_named
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.statements import Saying, require_sayable, sayable_at, sign_statement
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, NotFound, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import PREDICATE_TYPES
from peft_registry.schemas.values import Timestamp


class AlreadyOnHold(Taken):
    reference = "already-on-hold"
    what = "{name} is on hold already"
    why = "{because}"
    fix = (
        "nothing was signed; a hold that ends later is added with --until YYYY-MM-DD, and "
        "`registry release {digest} --reason TEXT --key FILE` takes all back"
    )

    name: str
    digest: Digest
    because: str


class NotOnHold(NotFound):
    reference = "not-on-hold"
    what = "{name} is not on hold"
    why = "no hold of it stands, so that there is none to take back; one of what it was made from is released by that name"
    fix = "name what was put on hold: `registry show NAME` says what keeps a version"

    name: str


class HoldWithoutFuture(InputRefused):
    reference = "hold-without-future"
    what = "a hold until {until} keeps nothing"
    why = "it is over today, {today}"
    fix = "name a day to come with --until, or leave it out: the hold then stands until somebody releases it"

    until: str
    today: str


class HoldChanged(Frozen):
    """What is on hold now, or no more; `until` is when that ends by itself, `pending` until a checkpoint covers it.

    Of what was released `still` is the hold that keeps it all the same.
    """

    subject: Digest
    name: str
    version: str | None  # where it is one
    released: bool
    until: Timestamp | None
    pending: bool
    still: str | None
    statement: Digest


def hold(registry: Registry, reference: str, signer: Signer, *, reason: str, until: date | None = None) -> HoldChanged:
    """Put what a reference means on hold, until the beginning of a day, UTC, or until somebody releases it.

    Raises:
        HoldWithoutFuture: that day has begun.
        AlreadyOnHold: a hold that lasts as long stands.
        KnownError: as `release`.
    """
    ends = None if until is None else f"{until.isoformat()}T00:00:00Z"
    if ends is not None and ends <= registry.clock():
        raise HoldWithoutFuture(f"{until}", registry.clock()[:10])
    return _sign(registry, reference, signer, reason=reason, until=ends, released=False)


def release(registry: Registry, reference: str, signer: Signer, *, reason: str) -> HoldChanged:
    """Take every hold of what a reference means back.

    Raises:
        DigestUnknown, NotFound, MalformedReference: nothing is meant by it, or it was deleted meanwhile.
        NotOnHold: there is nothing to take back.
        PredicateMalformed, SecretRefused: the reason is blank, too long, or looks like a secret.
        KeyLacksRole, UnlistedKey, ExpiredKey, RevokedKey: this key may not say it.
        HomeReadOnly: this home cannot be written. In all these cases nothing was signed or recorded.
    """
    return _sign(registry, reference, signer, reason=reason, until=None, released=True)


def _sign(
    registry: Registry, reference: str, signer: Signer, *, reason: str, until: Timestamp | None, released: bool
) -> HoldChanged:
    registry.require_writable()
    require_no_secrets(reason, what="the reason")
    subject = _subject(registry, reference)
    predicate = {"reason": reason, "until": until, "released": released, "nonce": registry.nonce()}
    saying = Saying("hold", predicate, signer)
    with view_of(registry) as view:
        require_sayable(view, subject.digest, saying)
        _require_needed(view, subject, until=until, released=released)
    signed = sign_statement(subject.digest, "hold", predicate, signer)
    with to_be_remembered(registry, signed) as remember, registry.database.write() as tx:
        # what deletes has this lock too: either it was deleted before, or it will find the hold
        if subject.name == STORED and not registry.store.has(subject.digest):
            raise DigestUnknown(subject.digest)
        view = View(registry, tx)
        _require_needed(view, subject, until=until, released=released)
        at = sayable_at(view, signed.key_id, (PREDICATE_TYPES["hold"],))
        remember()
        index = record_statement(tx, subject.digest, signed, at=at)
    publish_checkpoint(registry)
    keeping: Hold | None = None
    if released:
        with view_of(registry) as view:
            keeping = every_hold(view).keeping(view, subject.digest)
    return HoldChanged(
        subject=subject.digest,
        name=subject.name,
        version=None if subject.version is None else subject.version.label,
        released=released,
        until=until,
        pending=index >= covered_size(registry),
        still=None if keeping is None else keeping.text,
        statement=signed.digest,
    )


def _subject(registry: Registry, reference: str) -> Subject:
    """What is meant; besides what is registered, what lies in the store, such as what an interrupted registration left."""
    try:
        return subject_named(registry, reference)
    except DigestUnknown as error:
        if not registry.store.has(error.digest):
            raise
        return Subject(error.digest, STORED)


def _require_needed(view: View, subject: Subject, *, until: Timestamp | None, released: bool) -> None:
    standing = hold_of(view, Source(subject.digest, subject.name))
    if released and standing is None:
        raise NotOnHold(subject.name)
    # whoever holds what is being released means it, as of a recall that is being undone
    if not released and standing is not None and standing.lasts_beyond(until) and not _is_being_released(view, subject):
        raise AlreadyOnHold(subject.name, subject.digest, standing.because)


def _is_being_released(view: View, subject: Subject) -> bool:
    return is_being_taken_back(view, subject.digest, "hold", taken_back_by="released")
