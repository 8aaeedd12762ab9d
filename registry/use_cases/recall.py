"""`recall`, and whatever act of the table forbids the use of something and of what was made from it; signed and logged."""

from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.facets import RECALLED
from peft_registry.registry.records.lost_rows import RowsMissing
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.standing_acts import Standing
from peft_registry.registry.records.stops import EVER_RECALLED, Stop, stop_of, stops_among
from peft_registry.registry.records.subjects import NamedSubject, all_below, subject_named
from peft_registry.registry.records.views import View
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.acts import say_stop
from peft_registry.registry.use_cases.like_results import sketch_recalled
from peft_registry.schemas.acts import RECALL, Act, as_kind
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import NotFound, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


class AlreadyStopped(Taken):
    reference = "already-recalled"
    what = "{name} is {done} already"
    why = "{because}"
    fix = "nothing was signed; `registry recall {digest}{as_kind} --undo --reason TEXT --key FILE` takes it back"

    name: str
    digest: Digest
    because: str
    kind: str
    done: str

    @property
    def as_kind(self) -> str:
        """How a command names the act."""
        return as_kind(self.kind)


class NotStopped(NotFound):
    reference = "not-recalled"
    what = "{name} is not {done}"
    why = "no {kind} of it is in force"
    fix = "name what was {done}: `registry show NAME` says what stops a version"

    name: str
    kind: str
    done: str


class StoppedVersion(Frozen):
    """A version that a recall stops, and the aliases that point at it; of a recall that is undone, what stops it all the same."""

    version: str
    manifest: Digest
    aliases: tuple[str, ...]
    still: tuple[str, ...] = ()


class Recalled(Frozen):
    """What was recalled, or stopped by another act, or is free again, and the versions that this touches.

    `pending` until a checkpoint covers it. `same_weights` are versions that have the weights of what was recalled, as other
    artifacts, and are not stopped by it. `still_needed` says how many persons have to undo it, and who has, where it stands until
    another does. `by_maker`: a key of whoever undid it made it. `lost_rows`: rows of what was made from it are gone, and versions
    that are not listed are stopped too.
    """

    subject: Digest
    name: str
    undone: bool
    pending: bool
    statement: Digest
    touched: tuple[StoppedVersion, ...]
    same_weights: tuple[str, ...] = ()
    weights: Digest | None = None  # of what was recalled, where it is a version
    still_needed: str | None = None
    by_maker: bool = False
    lost_rows: str | None = None


def recall(registry: Registry, reference: str, signer: Signer, *, reason: str, undo: bool = False) -> Recalled:
    """Recall what a reference means, or take its recall back; as `forbid_use`."""
    return forbid_use(registry, RECALL, reference, signer, reason=reason, undo=undo)


def forbid_use(
    registry: Registry, act: Act, reference: str, signer: Signer, *, reason: str, undo: bool = False
) -> Recalled:
    """Forbid what an act of the table stops, with what a reference means and whatever was made from it; or take that back.

    Signed with the key of a person whose role may.

    Raises:
        DigestUnknown, NotFound, MalformedReference: nothing is meant by it.
        AlreadyStopped, NotStopped, SaidAlready: there is nothing to do.
        MakerLiftsNothing: whoever made it undoes nothing, because an alias that pointed at it asks for others' approvals.
        PredicateMalformed, SecretRefused: the reason is blank, too long, or looks like a secret.
        KeyLacksRole, UnlistedKey, ExpiredKey, RevokedKey: this key may not say it.
        HomeReadOnly: this home cannot be written. In all these cases nothing was signed or recorded.
    """
    registry.require_writable()
    require_no_secrets(reason, what="the reason")
    subject = subject_named(registry, reference)
    below: tuple[Version, ...] = ()
    twins: tuple[Version, ...] = ()
    lost: list[RowsMissing] = []

    def changing(view: View, standing: Standing) -> None:
        _require_needed(stop_of(view, act, Source(subject.digest, subject.name)), act, subject, standing, undo=undo)

    def beside(tx: Transaction) -> None:
        nonlocal below, twins
        below, missing = all_below(View(registry, tx), subject)
        lost.extend(missing)
        if subject.version is not None:
            twins = catalog.versions_with_weights(tx, subject.version.weights_digest)
        if act is RECALL:
            # rows choose what is looked at, and whether a recall stands is found out there: none is taken away when it is undone
            catalog.set_meta(tx, EVER_RECALLED, "yes")
            catalog.let_be_found(tx, below, RECALLED)

    said = say_stop(
        registry, act, subject, signer, lift=undo, said={"reason": reason}, changing=changing, beside=beside
    )
    still: dict[Digest, tuple[str, ...]] = {}
    if undo:
        still = stops_among(registry, act, {version.manifest_digest: version.label for version in below})
    touched = tuple(
        StoppedVersion(
            version=version.label,
            manifest=version.manifest_digest,
            aliases=version.aliases,
            still=still.get(version.manifest_digest, ()),
        )
        for version in below
    )
    manifests = {version.manifest_digest for version in below}
    if act is RECALL and not undo and subject.version is not None:
        sketch_recalled(registry, subject.version)
    return Recalled(
        subject=subject.digest,
        name=subject.name,
        undone=undo,
        pending=said.pending,
        statement=said.statement,
        touched=touched,
        same_weights=tuple(twin.label for twin in twins if twin.manifest_digest not in manifests),
        weights=None if subject.version is None else subject.version.weights_digest,
        still_needed=said.still_needed,
        by_maker=said.by_maker,
        lost_rows="; ".join(f"{error.what}: {error.why}; {error.fix}" for error in lost) or None,
    )


def _require_needed(stop: Stop | None, act: Act, subject: NamedSubject, standing: Standing, *, undo: bool) -> None:
    """Raise unless the new statement changes something.

    Raises:
        AlreadyStopped, NotStopped: it does not.
    """
    if undo and stop is None:
        raise NotStopped(subject.name, act.kind, act.done)
    # whoever recalls what is being undone means it: it would be free as soon as a checkpoint covers the undoing
    if not undo and stop is not None and not standing.is_being_taken_back:
        raise AlreadyStopped(subject.name, subject.digest, stop.because, act.kind, act.done)
