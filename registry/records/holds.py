"""What is on hold, and must not be deleted: a signed hold keeps its subject, what that was made
from and what was made from it.

Which digests were put on hold is read from the entries of the log, which hash to the root under its checkpoint, and what belongs
to them from the manifests in the store, so that no edited row of the database lets anything go.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.sources import Source, above
from peft_registry.registry.records.standing_acts import Standing, logged_at, person_behind, standing_acts
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.registry.records.views import View, view_of
from peft_registry.schemas.acts import HOLD, HoldPredicate
from peft_registry.schemas.errors import Refused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.statement import PREDICATE_TYPES, StoredStatement, logged_kind

STORED = "what is stored under that digest"
"""What is called so that nothing recorded names."""
_MARK = f'"kind":"{logged_kind(PREDICATE_TYPES[HOLD.kind])}"'.encode()


class OnHold(Refused):
    what = "{label} must not be deleted: {held} is on hold"
    why = "{because}"
    fix = (
        "nothing was deleted; whoever may put on hold releases it with "
        "`registry release {digest} --reason TEXT --key FILE`"
    )

    label: str
    source: str
    digest: Digest
    because: str

    @property
    def held(self) -> str:
        """What is on hold: the thing itself, or what is kept for it."""
        return "it" if self.source == self.label else f"{self.source} ({self.digest.short})"


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold that stands; `until` is when it ends by itself, RFC 3339, None where it does not."""

    source: Source
    reason: str
    by: str  # the person whose key signed it, or the key's id
    at: str | None  # when it entered the log, RFC 3339
    until: str | None

    @property
    def digest(self) -> Digest:
        """What is on hold."""
        return self.source.digest

    @property
    def because(self) -> str:
        """Who put it on hold, when, until when and why."""
        ends = "" if self.until is None else f" until {self.until[:10]}"
        return f"{self.by} put it on hold{logged_at(self.at)}{ends}: {self.reason}"

    @property
    def text(self) -> str:
        """All of it in a line."""
        return f"{self.source.name} ({self.source.digest.short}): {self.because}"

    def lasts_beyond(self, until: str | None) -> bool:
        """Whether it ends later than a time, or as late."""
        return self.until is None or (until is not None and until <= self.until)


def hold_of(view: View, source: Source) -> Hold | None:
    """The hold of one digest that stands now; None where none does.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: the database is not that of its checkpoint.
    """
    return _standing(view, source)


def standing_holds(view: View, digest: Digest) -> Standing:
    """The holds of one digest that nobody released, also those that are over by themselves, and who has released them so far.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `hold_of`.
    """
    return standing_acts(view, digest, HOLD)


def holds_above(registry: Registry, manifest: Digest, label: str) -> tuple[Hold, ...]:
    """The holds that stand of an artifact and of what it was made from, nearest first.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `hold_of`.
    """
    with view_of(registry) as view:
        holds = (_standing(view, source) for source in above(view, Source(manifest, label)))
        return tuple(hold for hold in holds if hold is not None)


@dataclass(frozen=True, slots=True)
class Holds:
    """Everything that stands, and what it keeps of the store."""

    by_subject: dict[Digest, Hold]
    above: dict[Digest, Hold]  # what the subjects were made from, with the files of all of it

    def keeping(self, view: View, digest: Digest) -> Hold | None:
        """The hold that keeps an artifact, or whatever else is stored under a digest; None where none does."""
        if digest in self.above:
            return self.above[digest]
        if not self.by_subject:
            return None
        sources = above(view, Source(digest, digest.short))
        return next((self.by_subject[source.digest] for source in sources if source.digest in self.by_subject), None)


def every_hold(view: View) -> Holds:
    """Every hold that stands. This reads the whole log.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated, SnapshotMalformed: as `hold_of`.
    """
    by_subject: dict[Digest, Hold] = {}
    kept: dict[Digest, Hold] = {}
    # also one that the database has lost, and this user remembers
    remembered = (stop.statement.subject_digest for stop in view.remembered if stop.kind == HOLD.kind)
    for subject in dict.fromkeys((*_held_once(data for _, data in view.leaves()), *remembered)):
        hold = _standing(view, Source(subject, _name(view.registry, subject)))
        if hold is None:
            continue
        by_subject[subject] = hold
        for source in above(view, hold.source):
            kept |= dict.fromkeys((source.digest, *files_of(view.registry, source.digest)), hold)
    return Holds(by_subject, kept)


def files_of(registry: Registry, manifest: Digest) -> tuple[Digest, ...]:
    """The files of an artifact whose manifest is in the store; none where it is not, or is not a manifest."""
    contents = manifest_in(registry, manifest)
    return () if contents is None else tuple(entry.sha256 for entry in contents.files)


def _held_once(leaves: Iterable[bytes]) -> Iterator[Digest]:
    for data in leaves:
        if _MARK in data:  # nearly no entry has these bytes
            leaf = read_leaf(data)
            if isinstance(leaf, Event) and leaf.says == HOLD.kind:
                yield leaf.subject


def _name(registry: Registry, digest: Digest) -> str:
    contents = manifest_in(registry, digest)
    return STORED if contents is None else f"the {contents.kind}"


def _standing(view: View, source: Source) -> Hold | None:
    """Of several the one that ends last: whoever adds a hold shortens none."""
    holds = [_hold(view.registry, source, entry) for entry in standing_holds(view, source.digest).acts]
    last: Hold | None = None
    for hold in holds:
        has_ended = hold.until is not None and hold.until <= view.registry.clock()
        if not has_ended and (last is None or not last.lasts_beyond(hold.until)):
            last = hold
    return last


def _hold(registry: Registry, source: Source, entry: StoredStatement) -> Hold:
    by, at = person_behind(registry, entry), entry.appended_at
    try:
        said = HoldPredicate.from_json(entry.statement.predicate)
    except ValidationError:  # whatever it says: keeping too much is harmless
        return Hold(source, "no reason is given", by, at, until=None)
    return Hold(source, said.reason, by, at, said.until)
