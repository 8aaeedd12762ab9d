"""What stops that something is done with a version: which acts of the table stand of it, and of what it was made from.

The way up is that of the signed manifests, and not of the rows of the catalogue: whoever edits a row opens no door. Nor does
whoever deletes the manifest of something registered: what that was made from is then not known, and no door opens on it.
"""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.sources import Source, above
from peft_registry.registry.records.standing_acts import logged_at, person_behind, standing_acts
from peft_registry.registry.records.views import View, view_of
from peft_registry.schemas.acts import RECALL, USE_STOPS, Act, ShownStop, Verb, acts_that_stop, as_kind
from peft_registry.schemas.errors import NotChecked, Refused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import VerifyOutcome, Version

EVER_RECALLED = "ever_recalled"  # the key in `meta` that is set once anything was


class VersionStopped(Refused):
    """By an act about it, or about what it was made from; `kind`, `forbidden` and `done` are those of the act."""

    reference = "version-recalled"
    what = "{label} must not be {forbidden}: {stopped} is {done}"
    why = "{because}"
    fix = (
        "use what was not made from it; whoever may say so takes it back with "
        "`registry recall {digest}{as_kind} --undo --reason TEXT --key FILE`"
    )

    label: str
    source: str
    digest: Digest
    because: str
    kind: str
    forbidden: str
    done: str

    @property
    def stopped(self) -> str:
        """What the act is about: the thing itself, or what it was made from."""
        return "it" if self.source == self.label else f"{self.source} ({self.digest.short})"

    @property
    def as_kind(self) -> str:
        """How a command names the act."""
        return as_kind(self.kind)


class StopsUnknown(NotChecked):
    reference = "recalls-unknown"
    what = "whether {label} may be used is not known"
    why = (
        "{source} ({digest.short}) was registered, and its manifest cannot be read: what it was made from is not known"
    )
    fix = "restore the object {digest} of the store from a backup; `registry verify {label} --deep` says what else is missing"

    label: str
    source: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Stop:
    """An act that stands and stops something."""

    act: Act
    source: Source
    reason: str
    by: str  # the person whose key signed it, or the key's id
    at: str | None  # when it entered the log, RFC 3339
    statement: Digest

    @property
    def digest(self) -> Digest:
        """What it is about."""
        return self.source.digest

    @property
    def because(self) -> str:
        """Who said it, when and why."""
        return f"{self.by} {self.act.done} it{logged_at(self.at)}: {self.reason}"

    @property
    def text(self) -> str:
        """All of it in a line."""
        return f"{self.source.name} ({self.source.digest.short}): {self.because}"

    def refusal(self, label: str) -> VersionStopped:
        """The error that says so to whoever is about to do what it forbids; `label` is what it calls what is stopped."""
        act = self.act
        return VersionStopped(label, self.source.name, self.digest, self.because, act.kind, act.forbidden, act.done)


def require_not_stopped(registry: Registry, verb: Verb, version: Version) -> None:
    """Raise if an act stops that this is done with an artifact: one about it, or about what it was made from.

    Raises:
        VersionStopped: one does.
        StopsUnknown: what it was made from cannot be read, so that this is not known.
        SaidDiffers, PathRejected, LogForked, LogTruncated: the database is not that of its checkpoint.
    """
    # closed before the error is raised: its traceback would keep the transaction of the walk open for as long as somebody holds it
    with closing(stops_above(registry, acts_that_stop(verb), version.manifest_digest, label=version.label)) as stops:
        stop = next(stops, None)
    if stop is not None:
        raise stop.refusal(version.label)


def require_sources_not_stopped(registry: Registry, verb: Verb, label: str, sources: Iterable[Source]) -> None:
    """The same of what something is about to be made from; `label` is what the refusal calls it.

    Raises:
        VersionStopped, SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    acts = [act for act in acts_that_stop(verb) if act.reaches == "below"]
    with view_of(registry) as view:
        for source in sources:
            for act in acts:
                stop = stop_of(view, act, source)
                if stop is not None:
                    raise stop.refusal(label)


def stops_above(
    registry: Registry, acts: Collection[Act], manifest: Digest, *, label: str | None = None
) -> Generator[Stop]:
    """What stands of these acts about an artifact and about what it was made from, nearest first.

    Raises:
        StopsUnknown: after those that are known, where there may be others.
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    if not acts:
        return
    unread: Source | None = None
    with view_of(registry) as view:
        for source in above(view, Source(manifest, label or manifest.short)):
            for act in acts:
                stop = stop_of(view, act, source) if _reaches(act, source, manifest) else None
                if stop is not None:
                    yield stop
            if source.is_unread and unread is None:
                unread = source
    if unread is not None:
        raise StopsUnknown(label or str(manifest), unread.name, unread.digest)


def _reaches(act: Act, source: Source, manifest: Digest) -> bool:
    """Whether what stands about a source of an artifact stops the artifact, too."""
    return act.reaches == "below" or source.digest == manifest


def shown_stops(
    registry: Registry, acts: Collection[Act], manifest: Digest, *, label: str | None = None
) -> tuple[ShownStop, ...]:
    """As `stops_above` for whoever reads and opens no door; the last one says where others may not be known.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    shown: list[ShownStop] = []
    try:
        for stop in stops_above(registry, acts, manifest, label=label):
            shown.append(ShownStop(kind=stop.act.kind, text=stop.text))
    except StopsUnknown as error:
        # whatever is not known may be a recall, and no act forbids more
        shown.append(ShownStop(kind=RECALL.kind, text=f"not known: {error.why}"))
    return tuple(shown)


def use_stops(registry: Registry, manifest: Digest, *, label: str | None = None) -> tuple[ShownStop, ...]:
    """As `shown_stops`, of every act that stops a use.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    return shown_stops(registry, USE_STOPS, manifest, label=label)


def recalls_and_others(stops: Iterable[ShownStop]) -> tuple[tuple[str, ...], tuple[ShownStop, ...]]:
    """The texts of the recalls among stops, and the stops by other acts."""
    shown = tuple(stops)
    recalls = tuple(stop.text for stop in shown if stop.kind == RECALL.kind)
    return recalls, tuple(stop for stop in shown if stop.kind != RECALL.kind)


def stops_among(
    registry: Registry, act: Act, labels: Mapping[Digest, str], *, at_most: int | None = None
) -> dict[Digest, tuple[str, ...]]:
    """As the texts of `shown_stops` of many artifacts, by manifest, each with what a reader calls it.

    What several come from is looked up once.

    Of each artifact `at_most` so many are looked for; None: all of them.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    with view_of(registry) as view:

        @cache
        def standing(digest: Digest) -> Stop | None:
            return stop_of(view, act, Source(digest, digest.short))

        def texts(manifest: Digest, label: str) -> Iterator[str]:
            for source in above(view, Source(manifest, label)):
                stop = standing(source.digest) if _reaches(act, source, manifest) else None
                if stop is not None:
                    yield replace(stop, source=source).text
                if source.is_unread:
                    yield f"not known: {StopsUnknown(label, source.name, source.digest).why}"

        return {manifest: tuple(islice(texts(manifest, label), at_most)) for manifest, label in labels.items()}


def recalled_among(registry: Registry, manifests: Iterable[Digest]) -> frozenset[Digest]:
    """Which of these artifacts must not be used, or may be such.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    labels = {manifest: manifest.short for manifest in manifests}
    return frozenset(manifest for manifest, texts in stops_among(registry, RECALL, labels, at_most=1).items() if texts)


def ever_recalled(view: View, manifest: Digest) -> bool:
    """Whether a recall of an artifact or of what it was made from was ever recorded, by the rows; not whether it stands."""
    if catalog.meta(view.tx, EVER_RECALLED) is None:
        return False  # nobody walks up where nothing ever was recalled
    by_rows = View.under(view.registry, view.tx, None)
    sources = above(by_rows, Source(manifest, manifest.short))
    return catalog.any_about(view.tx, tuple(source.digest for source in sources), RECALL.kind)


def with_stops(registry: Registry, outcome: VerifyOutcome) -> VerifyOutcome:
    """The outcome with the recalls, and the other acts that stop a use, that this registry knows of its artifact and of what that
    was made from.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    if outcome.manifest_digest is None:
        return outcome
    label = outcome.subject.rpartition("/")[2]
    stops = use_stops(registry, outcome.manifest_digest, label=label)
    if not stops:
        return outcome
    recalls, others = recalls_and_others(stops)
    return outcome.revised(recalls=recalls, stops=others)


def stops_of(registry: Registry, source: Source) -> tuple[Stop, ...]:
    """What stands about one digest of every act that stops a use, the newest of each.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    with view_of(registry) as view:
        stops = (stop_of(view, act, source) for act in USE_STOPS)
        return tuple(stop for stop in stops if stop is not None)


def stop_of(view: View, act: Act, source: Source) -> Stop | None:
    """What stands of an act about one digest, of several the last in the log; None where nothing does.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_stopped`.
    """
    standing = standing_acts(view, source.digest, act).acts
    return _stop(view.registry, act, source, standing[-1]) if standing else None


def _stop(registry: Registry, act: Act, source: Source, entry: StoredStatement) -> Stop:
    reason = act.reason_of(entry.statement.predicate)
    by = person_behind(registry, entry)
    return Stop(act, source, reason or "no reason is given", by, entry.appended_at, entry.digest)
