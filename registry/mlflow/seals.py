"""What was found in the home's own MLflow store when versions were compared in full, and what of it new entries leave true.

A seal says: under this head of the log, with this trust and these programs, what the signed records give of a version was what lay
in these rows and files. That stays true whatever becomes of the home, so that nobody gains by putting an older seal back. What may
change is what the records give: each entry behind the head names its subject, and the versions that it can touch are compared
anew. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, ValidationError

from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Leaf, LogEpoch, LogSnapshot
from peft_registry.schemas.run import BegunRun
from peft_registry.schemas.statement import Sha256Hex, StatementKind

OF_SUBJECT: frozenset[StatementKind] = frozenset(
    (
        "provenance",
        "registration",
        "base",
        "evaluation-plan",
        "bias-evaluation",
        "observations",
        "modification",
        "card",
        "test-result",
        "alias",
        "approval",
        "waiver",
        "decision",
        "hold",
        "answers",
    )
)
"""What says something of its subject alone, and of what that was made from or went into. A recall may reach by data and by keys."""
NAMING: frozenset[StatementKind] = frozenset(("registration", "alias"))
"""Of these the ones that say something of a whole name, which stands in their text."""

_GATE_TAG = "registry.gate"
_APPROVALS_TAG = "registry.approvals"
_NO_POLICY = ": no policy"


class SealHead(Frozen):
    """Where the log ended, and the list of runs that were begun, when something was sealed."""

    size: int = Field(ge=1)
    root: Sha256Hex
    begun_bytes: int = Field(ge=0)
    begun: Digest


class Seal(Frozen):
    """What lay in MLflow's store of one version, and was what its signed records give.

    Attributes:
        manifest: of the version.
        projection: the digest of what the records give.
        run_id: of its run in MLflow.
        model_id: of its logged model.
        rows: over every row of it (`store_rows.StoreRows.of_version`).
        files: over path and digest of each file of its run and its model.
        aliases: that point to it.
        name_tags: of its name, where it is the newest version; else nothing, and they are another's.
        comparison: that it is an arm of.
        continues: the manifest of the adapter whose training it continued.
    """

    manifest: Digest
    projection: str
    run_id: str
    model_id: str
    rows: Digest
    files: Digest
    aliases: tuple[str, ...] = ()
    name_tags: dict[str, str] = Field(default_factory=dict)
    comparison: str | None = None
    continues: str | None = None


class SealPage(Frozen):
    """What was sealed under one head, by `name:number`."""

    head: SealHead
    seals: dict[str, Seal]


class SealCover(Frozen):
    """The first line of a book; `made_with` is a digest of all but the log that what the records give follows from."""

    schema_version: Literal["2"] = "2"
    made_with: Digest


@dataclass(frozen=True, slots=True)
class SealBook:
    """All seals of a home: pages in the order in which they were added. Of one version the last seal counts."""

    made_with: Digest
    pages: tuple[SealPage, ...] = ()

    @property
    def manifests(self) -> tuple[Digest, ...]:
        """Of every version that has a seal."""
        return tuple(seal.manifest for page in self.pages for seal in page.seals.values())

    @property
    def labels(self) -> frozenset[str]:
        """Every version that has a seal, as `name:number`."""
        return frozenset(label for page in self.pages for label in page.seals)


def book_text(book: SealBook) -> bytes:
    """A book as it is kept, a line each: its cover, then its pages, so that a page is added without reading those before it."""
    lines: list[Frozen] = [SealCover(made_with=book.made_with), *book.pages]
    return b"".join(map(line_of, lines))


def line_of(part: Frozen) -> bytes:
    """A cover or a page as it is kept."""
    return part.model_dump_json().encode() + b"\n"


def read_book(data: bytes | None, *, made_with: Digest) -> SealBook:
    """The book in these bytes; an empty one where they are none, or where what it was made with changed.

    A page that cannot be read, such as one that was being added when the machine stopped, is left out.
    """
    empty = SealBook(made_with=made_with)
    if data is None:
        return empty
    cover, *lines = data.split(b"\n")
    try:
        if SealCover.model_validate_json(cover).made_with != made_with:
            return empty
    except ValidationError:
        return empty
    pages = []
    for line in lines:
        try:
            pages.append(SealPage.model_validate_json(line))
        except ValidationError:
            continue
    return SealBook(made_with, tuple(pages))


def changes_with_time(tags: Mapping[str, str]) -> bool:
    """Whether what the records give of a version may change though nothing is said: a waiver ends, and a gate closes.

    Args:
        tags: that the version is shown with.
    """
    gates = [] if _GATE_TAG not in tags else tags[_GATE_TAG].split("; ")
    return _APPROVALS_TAG in tags or not all(gate.endswith(_NO_POLICY) for gate in gates)


def files_digest(of_run: Mapping[str, str], of_model: Mapping[str, str]) -> Digest:
    """One digest over path and digest of each file of a run and of its model."""
    return Digest.of(repr((sorted(of_run.items()), sorted(of_model.items()))).encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class ChangedSubjects:
    """What the records give anew: of these artifacts and names, or of everything."""

    artifacts: frozenset[Digest] = frozenset()
    names: frozenset[str] = frozenset()
    everything: bool = False

    def touches(self, label: str, manifest: Digest) -> bool:
        """Whether what the records give of a version may have changed."""
        return self.everything or manifest in self.artifacts or label.rpartition(":")[0] in self.names


EVERYTHING = ChangedSubjects(everything=True)


@dataclass(frozen=True, slots=True)
class Relations:
    """What each registered artifact was made from, by its signed manifest: artifacts, bases and data."""

    sources: Mapping[Digest, frozenset[Digest]]
    _results: dict[Digest, set[Digest]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for result, sources in self.sources.items():
            for source in sources:
                self._results.setdefault(source, set()).add(result)

    def relatives(self, artifact: Digest) -> frozenset[Digest]:
        """An artifact, all that it was made from, all that was made from it, and all that was made from the same data.

        What was made from the same data is judged among all trainings on them. Siblings on one registered base know nothing of
        each other; a base that nobody registered counts as data.
        """
        above = _reached([artifact], self.sources)
        data = [digest for digest in above if digest not in self.sources]
        return frozenset(above | _reached([artifact, *data], self._results))

    def made_from(self, artifacts: Iterable[Digest]) -> frozenset[Digest]:
        """These artifacts and all that was made from them."""
        return frozenset(_reached(artifacts, self._results))


def subjects_of(leaves: Iterable[Leaf]) -> tuple[Digest, ...] | None:
    """The subjects that these entries say something of; None where one may say something of anything."""
    subjects: dict[Digest, None] = {}
    for leaf in leaves:
        if isinstance(leaf, LogSnapshot):
            continue
        if isinstance(leaf, LogEpoch) or leaf.says not in OF_SUBJECT:
            return None
        subjects[leaf.subject] = None
    return tuple(subjects)


def runs_judged_anew(before: bytes, added: bytes) -> frozenset[str] | None:
    """The runs whose tries more runs in the list of those that were begun count among; None where that cannot be told."""
    try:
        old = [BegunRun.model_validate_json(line) for line in before.splitlines() if line]
        new = [BegunRun.model_validate_json(line) for line in added.splitlines() if line]
    except ValidationError:
        return None
    shared = {digest for run in new for digest in _plans(run)}
    return frozenset(run.run_id for run in (*old, *new) if not shared.isdisjoint(_plans(run)))


def _plans(run: BegunRun) -> Sequence[Digest]:
    return tuple(digest for digest in (run.plan, run.rows, run.contents) if digest is not None)


def _reached(start: Iterable[Digest], ways: Mapping[Digest, Iterable[Digest]]) -> set[Digest]:
    reached: set[Digest] = set()
    waiting = list(start)
    while waiting:
        digest = waiting.pop()
        if digest not in reached:
            reached.add(digest)
            waiting += ways.get(digest, ())
    return reached
