"""`recall`: a person whose role may says, signed and logged, that something must not be used, nor what was made from it."""

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.checkpoints import covered_size, publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.facets import RECALLED
from peft_registry.registry.records.remembered_stops import to_be_remembered
from peft_registry.registry.records.sources import Source
from peft_registry.registry.records.standing_acts import Standing, person_of, standing_acts
from peft_registry.registry.records.stops import EVER_RECALLED, recall_of, recalls_among
from peft_registry.registry.records.subjects import Subject, quorum_below, subject_named, versions_from
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.statements import Saying, require_sayable, sayable_at, sign_statement
from peft_registry.schemas.acts import RECALL
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import NotFound, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.statement import PREDICATE_TYPES

_ALL = 2**31 - 1  # every version that there can be


class AlreadyRecalled(Taken):
    what = "{name} is recalled already"
    why = "{because}"
    fix = "nothing was signed; `registry recall {digest} --undo --reason TEXT --key FILE` takes it back"

    name: str
    digest: Digest
    because: str


class NotRecalled(NotFound):
    what = "{name} is not recalled"
    why = "no recall of it stands, so that there is none to take back"
    fix = "name what was recalled: `registry show NAME` says what stops a version"

    name: str


class StoppedVersion(Frozen):
    """A version that a recall stops, and the aliases that point at it; of a recall that is undone, what stops it all the same."""

    version: str
    manifest: Digest
    aliases: tuple[str, ...]
    still: tuple[str, ...] = ()


class Recalled(Frozen):
    """What was recalled, or is free again, and the versions that this touches; `pending` until a checkpoint covers it.

    `same_weights` are versions that have the weights of what was recalled, as other artifacts, and are not stopped by it.
    `still_needed` says how many persons have to undo it, and who has, where it stands until another does. `by_maker`: a key of
    whoever undid it made it.
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


def recall(registry: Registry, reference: str, signer: Signer, *, reason: str, undo: bool = False) -> Recalled:
    """Recall what a reference means, or take its recall back; signed with the key of a person whose role may.

    Raises:
        DigestUnknown, NotFound, MalformedReference: nothing is meant by it.
        AlreadyRecalled, NotRecalled, SaidAlready: there is nothing to do.
        MakerLiftsNothing: whoever made it undoes nothing, because an alias that pointed at it asks for others' approvals.
        PredicateMalformed, SecretRefused: the reason is blank, too long, or looks like a secret.
        KeyLacksRole, UnlistedKey, ExpiredKey, RevokedKey: this key may not recall.
        HomeReadOnly: this home cannot be written. In all these cases nothing was signed or recorded.
    """
    registry.require_writable()
    require_no_secrets(reason, what="the reason")
    subject = subject_named(registry, reference)
    person = person_of(registry, signer.public.key_id) or "nobody"
    with view_of(registry) as view:
        quorum = None if undo else quorum_below(view, subject)
        predicate = {
            "reason": reason,
            "undone": undo,
            **({} if quorum is None else {"lifted_by": quorum.to_json()}),
            "nonce": registry.nonce(),
        }
        require_sayable(view, subject.digest, Saying("recall", predicate, signer))
        standing = standing_acts(view, subject.digest, RECALL)
        _require_needed(registry, subject, standing, undo=undo)
        if undo:
            standing.require_may_lift(subject.name, person)
    signed = sign_statement(subject.digest, "recall", predicate, signer)
    with to_be_remembered(registry, signed) as remember, registry.database.write() as tx:
        view = View(registry, tx)
        at = sayable_at(view, signed.key_id, (PREDICATE_TYPES["recall"],))
        remember()
        index = record_statement(tx, subject.digest, signed, at=at)
        below = versions_from(view, subject, limit=_ALL).first
        twins = () if subject.version is None else catalog.versions_with_weights(tx, subject.version.weights_digest)
        # rows choose what is looked at, and whether a recall stands is found out there: none is taken away when it is undone
        catalog.set_meta(tx, EVER_RECALLED, "yes")
        catalog.let_be_found(tx, below, RECALLED)
    publish_checkpoint(registry)
    with view_of(registry) as view:
        left = standing_acts(view, subject.digest, RECALL)
    still = recalls_among(registry, {version.manifest_digest: version.label for version in below}) if undo else {}
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
    return Recalled(
        subject=subject.digest,
        name=subject.name,
        undone=undo,
        pending=index >= covered_size(registry),
        statement=signed.digest,
        touched=touched,
        same_weights=tuple(twin.label for twin in twins if twin.manifest_digest not in manifests),
        weights=None if subject.version is None else subject.version.weights_digest,
        still_needed=left.needed if undo and left.acts and not left.is_being_taken_back else None,
        by_maker=undo and folded(person) in {folded(maker) for maker in standing.makers},
    )


def _require_needed(registry: Registry, subject: Subject, standing: Standing, *, undo: bool) -> None:
    recalled = recall_of(registry, Source(subject.digest, subject.name))
    if undo and recalled is None:
        raise NotRecalled(subject.name)
    # whoever recalls what is being undone means it: it would be free as soon as a checkpoint covers the undoing
    if not undo and recalled is not None and not standing.is_being_taken_back:
        raise AlreadyRecalled(subject.name, subject.digest, recalled.because)
