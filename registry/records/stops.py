"""What is recalled, and what was made from it: a signed recall of an artifact or of data stops whatever descends from it.

The way up is that of the signed manifests, and not of the rows of the catalogue: whoever edits a row opens no door. Nor does
whoever deletes the manifest of something registered: what that was made from is then not known, and no door opens on it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.sources import Source, above
from peft_registry.registry.records.standing_acts import Standing, logged_at, person_behind, standing_acts
from peft_registry.registry.records.views import View, view_of
from peft_registry.schemas.acts import RecallPredicate
from peft_registry.schemas.errors import NotChecked, Refused
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import VerifyOutcome, Version

EVER_RECALLED = "ever_recalled"  # the key in `meta` that is set once anything was


class VersionRecalled(Refused):
    reference = "version-recalled"
    what = "{label} must not be used: {recalled} is recalled"
    why = "{because}"
    fix = (
        "use what was not made from it; whoever may recall takes it back with "
        "`registry recall {digest} --undo --reason TEXT --key FILE`"
    )

    label: str
    source: str
    digest: Digest
    because: str

    @property
    def recalled(self) -> str:
        """What is recalled: the thing itself, or what it was made from."""
        return "it" if self.source == self.label else f"{self.source} ({self.digest.short})"


class RecallsUnknown(NotChecked):
    reference = "recalls-unknown"
    what = "whether {label} must not be used could not be told"
    why = (
        "{source} ({digest.short}) was registered, and its manifest cannot be read: what it was made from is not known"
    )
    fix = "restore the object {digest} of the store from a backup; `registry verify {label} --deep` says what else is missing"

    label: str
    source: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class Recall:
    """A recall that stands."""

    source: Source
    reason: str
    by: str  # the person whose key signed it, or the key's id
    at: str | None  # when it entered the log, RFC 3339
    statement: Digest

    @property
    def digest(self) -> Digest:
        """What is recalled."""
        return self.source.digest

    @property
    def because(self) -> str:
        """Who recalled it, when and why."""
        return f"{self.by} recalled it{logged_at(self.at)}: {self.reason}"

    @property
    def text(self) -> str:
        """All of it in a line."""
        return f"{self.source.name} ({self.source.digest.short}): {self.because}"


def require_not_recalled(registry: Registry, version: Version) -> None:
    """Raise if an artifact, or anything that it was made from, is recalled.

    Raises:
        VersionRecalled: it must not be handed out or built upon.
        RecallsUnknown: what it was made from cannot be read, so that this is not known.
        SaidDiffers, PathRejected, LogForked, LogTruncated: the database is not that of its checkpoint.
    """
    recall = next(recalls_above(registry, version.manifest_digest, label=version.label), None)
    if recall is not None:
        raise VersionRecalled(version.label, recall.source.name, recall.digest, recall.because)


def require_sources_not_recalled(registry: Registry, label: str, sources: Iterable[Source]) -> None:
    """The same of what something is about to be made from; `label` is what the refusal calls it.

    Raises:
        VersionRecalled, SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    with view_of(registry) as view:
        for source in sources:
            recall = _standing(view, source)
            if recall is not None:
                raise VersionRecalled(label, recall.source.name, recall.digest, recall.because)


def recalls_above(registry: Registry, manifest: Digest, *, label: str | None = None) -> Iterator[Recall]:
    """The recalls that stand of an artifact and of what it was made from, nearest first.

    Raises:
        RecallsUnknown: after those that are known, where there may be others.
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    unread: Source | None = None
    with view_of(registry) as view:
        for source in above(view, Source(manifest, label or manifest.short)):
            recall = _standing(view, source)
            if recall is not None:
                yield recall
            if source.is_unread and unread is None:
                unread = source
    if unread is not None:
        raise RecallsUnknown(label or str(manifest), unread.name, unread.digest)


def recall_texts(registry: Registry, manifest: Digest, *, label: str | None = None) -> tuple[str, ...]:
    """The same for whoever reads and opens no door: a line for each, and a last one where others may not be known.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    texts: list[str] = []
    try:
        texts += (recall.text for recall in recalls_above(registry, manifest, label=label))
    except RecallsUnknown as error:
        texts.append(f"not known: {error.why}")
    return tuple(texts)


def recalls_among(
    registry: Registry, labels: Mapping[Digest, str], *, at_most: int | None = None
) -> dict[Digest, tuple[str, ...]]:
    """The same of many artifacts, by manifest, each with what a reader calls it; what several come from is looked up once.

    Of each artifact `at_most` so many are looked for; None: all of them.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    with view_of(registry) as view:

        @cache
        def standing(digest: Digest) -> Recall | None:
            return _standing(view, Source(digest, digest.short))

        def texts(manifest: Digest, label: str) -> Iterator[str]:
            for source in above(view, Source(manifest, label)):
                recall = standing(source.digest)
                if recall is not None:
                    yield replace(recall, source=source).text
                if source.is_unread:
                    yield f"not known: {RecallsUnknown(label, source.name, source.digest).why}"

        return {manifest: tuple(islice(texts(manifest, label), at_most)) for manifest, label in labels.items()}


def recalled_among(registry: Registry, manifests: Iterable[Digest]) -> frozenset[Digest]:
    """Which of these artifacts must not be used, or may be such.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    labels = {manifest: manifest.short for manifest in manifests}
    return frozenset(manifest for manifest, texts in recalls_among(registry, labels, at_most=1).items() if texts)


def ever_recalled(view: View, manifest: Digest) -> bool:
    """Whether a recall of an artifact or of what it was made from was ever recorded, by the rows; not whether it stands."""
    if catalog.meta(view.tx, EVER_RECALLED) is None:
        return False  # nobody walks up where nothing ever was recalled
    by_rows = View.under(view.registry, view.tx, None)
    sources = above(by_rows, Source(manifest, manifest.short))
    return catalog.any_about(view.tx, tuple(source.digest for source in sources), "recall")


def with_recalls(registry: Registry, outcome: VerifyOutcome) -> VerifyOutcome:
    """The outcome with the recalls that this registry knows of its artifact and of what that was made from.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    if outcome.manifest_digest is None:
        return outcome
    label = outcome.subject.rpartition("/")[2]
    recalls = recall_texts(registry, outcome.manifest_digest, label=label)
    return outcome.revised(recalls=recalls) if recalls else outcome


def recall_of(registry: Registry, source: Source) -> Recall | None:
    """The recall of one digest that stands; None where none does.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    with view_of(registry) as view:
        return _standing(view, source)


def standing_recalls(view: View, digest: Digest) -> Standing:
    """The recalls of one digest that stand, and who has taken them back so far.

    Raises:
        SaidDiffers, PathRejected, LogForked, LogTruncated: as `require_not_recalled`.
    """
    return standing_acts(view, digest, "recall", taken_back_by="undone")


def _standing(view: View, source: Source) -> Recall | None:
    standing = standing_recalls(view, source.digest).acts
    return _recall(view.registry, source, standing[-1]) if standing else None


def _recall(registry: Registry, source: Source, entry: StoredStatement) -> Recall:
    try:
        reason = RecallPredicate.from_json(entry.statement.predicate).reason
    except ValidationError:  # of an earlier release: what it says besides is not for us to read
        reason = "no reason is given"
    return Recall(source, reason, person_behind(registry, entry), entry.appended_at, entry.digest)
