"""`hold` and `release`: a person whose role may says, signed and logged, that something must be kept, or need not any more."""

from datetime import date

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.holds import STORED, Hold, every_hold, hold_of
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.standing_acts import Standing
from peft_registry.registry.records.subjects import DigestUnknown, NamedSubject, subject_named
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.acts import say_stop
from peft_registry.schemas.acts import HOLD
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, NotFound, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp


class AlreadyOnHold(Taken):
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
    what = "{name} is not on hold"
    why = "no hold of it is in force; a hold of what it was made from is released under that name"
    fix = "name what was put on hold: `registry show NAME` says what keeps a version"

    name: str


class HoldWithoutFuture(InputRefused):
    what = "a hold until {until} keeps nothing"
    why = "it is over today, {today}"
    fix = "name a day to come with --until, or leave it out: the hold then stands until somebody releases it"

    until: str
    today: str


class HoldChanged(Frozen):
    """What is on hold now, or no more; `until` is when that ends by itself, `pending` until a checkpoint covers it.

    Of what was released `still` is the hold that keeps it all the same. `still_needed` and `by_maker` as of a recall.
    """

    subject: Digest
    name: str
    version: str | None  # where it is one
    released: bool
    until: Timestamp | None
    pending: bool
    still: str | None
    statement: Digest
    still_needed: str | None = None
    by_maker: bool = False


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
        NotOnHold, SaidAlready: there is nothing to take back.
        MakerLiftsNothing: as for `recall`.
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

    def changing(view: View, standing: Standing) -> None:
        # what deletes has the lock of whoever writes, too: either it was deleted before, or it will find the hold
        if subject.name == STORED and not registry.store.has(subject.digest):
            raise DigestUnknown(subject.digest)
        _require_needed(view, subject, standing, until=until, released=released)

    said = say_stop(
        registry, HOLD, subject, signer, lift=released, said={"reason": reason, "until": until}, changing=changing
    )
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
        pending=said.pending,
        still=None if keeping is None else keeping.text,
        statement=said.statement,
        still_needed=said.still_needed,
        by_maker=said.by_maker,
    )


def _subject(registry: Registry, reference: str) -> NamedSubject:
    """What is meant; besides what is registered, what lies in the store, such as what an interrupted registration left."""
    try:
        return subject_named(registry, reference)
    except DigestUnknown as error:
        if not registry.store.has(error.digest):
            raise
        return NamedSubject(error.digest, STORED)


def _require_needed(
    view: View, subject: NamedSubject, standing: Standing, *, until: Timestamp | None, released: bool
) -> None:
    """Raise unless the new statement adds to the holds that stand, or takes them back.

    Raises:
        AlreadyOnHold, NotOnHold: it would change nothing.
    """
    holding = hold_of(view, Source(subject.digest, subject.name))
    if released:
        if holding is None:
            raise NotOnHold(subject.name)
        return
    # whoever holds what is being released means it, as of a recall that is being undone
    if holding is not None and holding.lasts_beyond(until) and not standing.is_being_taken_back:
        raise AlreadyOnHold(subject.name, subject.digest, holding.because)
