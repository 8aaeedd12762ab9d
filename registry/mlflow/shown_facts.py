"""What is read of a version for MLflow to show, as values. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from peft_registry.schemas.acts import ShownStop
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_points import RunPoint
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.system_metrics import SystemMetrics
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that are made when they are written. `identity` is a digest of what they follow from: equal means equal bytes."""

    identity: Digest
    make: Callable[[], bytes] = field(compare=False)

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """Bytes that are at hand."""
        return cls(Digest.of(data), lambda: data)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A registered version beside another in its lineage: `name:3`, and as what."""

    label: str
    relation: str

    @property
    def link(self) -> str:
        """The link to its page in MLflow."""
        name, _, number = self.label.rpartition(":")
        return f"[{self.label}](#/models/{name}/versions/{number})"


@dataclass(frozen=True, slots=True)
class FilledCount:
    """How many fields of the modification record are filled."""

    filled: int
    total: int

    @property
    def text(self) -> str:
        return f"{self.filled} of {self.total} fields filled, {self.total - self.filled} open"


@dataclass(frozen=True, slots=True)
class DecidedState:
    """How what people decide about a version stood when it was read."""

    # the status of model and system, with what persons decided; None where nothing was modified
    verdict: str | None = None  # by its codes, which are searched for
    verdict_words: str | None = None
    gates: tuple[str, ...] = ()  # of each alias its policy, and whether it is open by the records
    approvals: str | None = None  # how many count, and whose; None where nobody approved


NOTHING_SAID = DecidedState()
"""Nobody decided anything, and nothing was modified."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownFacts:
    """What is read of a version to be shown; what is not named is not shown.

    Attributes:
        version: the version, with the aliases it has now.
        made: the record of the run or of the merge that made it; None for a base or an import.
        evaluations: those that stand, newest first: they speak of it, and none was made again on the same rows.
        evaluated: how many evaluations are recorded; None: those that stand.
        report: the audit report, one self-contained page.
        card: the model card, Markdown.
        statements: what was said about it so far.
        completeness: how much of the modification record is filled.
        base: the registered version of its base, for a link.
        parents: manifests it was made from.
        continues: that of them whose training it continued.
        signer: the person whom trust names for the key that signed it.
        items: reads the item table of an evaluation; None leaves the items out.
        neighbours: the versions that it was made from, and those that were made from it.
        unreadable: why those are not known now.
        has_pages: whether the server that shows it has our own pages.
        stops: the acts that stop a use of it, about it or about what it was made from.
        is_newest: whether no later version has its name.
        project: that it was made for; None for none.
        system: how busy the machine was that trained it, where that was sampled.
        points: what was measured step by step while it was trained.
        standing: how what people decided about it stands now.
    """

    version: Version
    made: RunRecord | MergeRecord | None = None
    evaluations: Sequence[EvaluationRecord] = ()
    evaluated: int | None = None
    report: Content | None = None
    card: bytes | None = None
    statements: Sequence[StoredStatement] = ()
    completeness: FilledCount | None = None
    base: Version | None = None
    parents: tuple[Digest, ...] = ()
    continues: Digest | None = None
    signer: str | None = None
    items: Callable[[EvaluationRecord], bytes] | None = None
    neighbours: Sequence[Neighbour] = ()
    unreadable: str | None = None
    has_pages: bool = False
    stops: Sequence[ShownStop] = ()
    is_newest: bool = False
    project: str | None = None
    system: SystemMetrics | None = None
    points: Sequence[RunPoint] = ()
    standing: DecidedState = NOTHING_SAID

    @property
    def run(self) -> RunRecord | None:
        """The run that made it."""
        return self.made if isinstance(self.made, RunRecord) else None

    @property
    def merge(self) -> MergeRecord | None:
        """The merge that made it."""
        return self.made if isinstance(self.made, MergeRecord) else None

    @property
    def signed_by(self) -> str:
        """`by lab-1, key 3f9c…`; the whole name of the key where nobody is known to hold it."""
        key_id = self.version.key_id
        return f"by {key_id}" if self.signer is None else f"by {self.signer}, key {key_id[:12]}…"
