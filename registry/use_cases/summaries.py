"""What a row of a list says of a version: its base and rank, its held-out loss, how it solves its task, the gates it is behind."""

from collections.abc import Sequence

from pydantic import Field

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.signed_records import RecordNotDerived
from peft_registry.registry.storage.interface import ObjectCorrupt, ObjectMissing
from peft_registry.registry.use_cases.facets_today import facets_today
from peft_registry.registry.use_cases.find import datasets_seen_before, facets_of_versions, known_figures
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.evaluation import TASK_PREFIX
from peft_registry.schemas.facets import METRIC, OF_HELD_OUT_ROWS
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version

_LOSS = OF_HELD_OUT_ROWS["loss"]
# how well a task is solved, on rows that were held out of the training; the first that a version has is shown
_TASK = tuple(OF_HELD_OUT_ROWS[figure] for figure in ("accuracy", "number_match", "exact_match"))

_OF_TASKS = f"{METRIC}[{TASK_PREFIX}"


class VersionSummary(Frozen):
    """Some of what was signed about a version; None or empty where it has none.

    Attributes:
        base: the label of its base; the beginning of its digest where that is not registered here.
        rank: of a low-rank method.
        loss: on held-out rows, in nats a supervised token.
        metric: how it solves its task, as (name, value).
        tasks: the same of tasks of lm-evaluation-harness, each as (task.measure, value).
        seen_before: the data sets of these figures of which it was trained on so much that they show what was seen before.
        gates: how it stands today before the policies of the aliases that point at it; `not checked` where one cannot be read.
    """

    base: str | None = None
    rank: int | None = None
    loss: float | None = None
    metric: tuple[str, float] | None = None
    tasks: tuple[tuple[str, float], ...] = Field(default=(), exclude_if=lambda tasks: not tasks)
    seen_before: tuple[str, ...] = Field(default=(), exclude_if=lambda datasets: not datasets)
    gates: tuple[str, ...] = ()

    @property
    def shown_metric(self) -> tuple[str, float] | None:
        """The metric, else the first of a task's."""
        return self.metric or next(iter(self.tasks), None)

    @property
    def metric_text(self) -> str:
        """The metric as people read it; empty where there is none."""
        shown = self.shown_metric
        return "" if shown is None else f"{shown[0]} {shown[1]:.3f}"

    @property
    def gate_text(self) -> str:
        """The gates as people read them: an alias that nobody guards is none."""
        return ", ".join(gate for gate in self.gates if gate != "none")


def summaries_of(registry: Registry, versions: Sequence[Version]) -> tuple[VersionSummary, ...]:
    """A summary of each version, whose rows and aliases are those of the log, held against what was signed about it.

    A database of an earlier release has no rows for it, and gives the bases alone.

    Raises:
        VersionsDiffer, StatementAltered, IntegrityBroken, ObjectMissing: as `facets_of_versions`.
    """
    bases = {
        version.base_manifest: _base_label(registry, version.base_manifest)
        for version in versions
        if version.base_manifest is not None
    }
    known = set(known_figures(registry)) if registry.database.is_current else set()
    of_tasks = sorted(name for name in known if name.startswith(_OF_TASKS))
    columns = ("rank", *(name for name in (_LOSS, *_TASK) if name in known), *of_tasks)
    summaries = []
    for version, facets in zip(versions, facets_of_versions(registry, versions, columns), strict=True):
        numbers = {name: float(values[0]) for name, values in facets.items()}
        task = next((name for name in _TASK if name in numbers), None)
        summaries.append(
            VersionSummary(
                base=None if version.base_manifest is None else bases[version.base_manifest],
                rank=int(numbers["rank"]) if "rank" in numbers else None,
                loss=numbers.get(_LOSS),
                metric=None if task is None else (task.rpartition(".")[2].rstrip("]"), numbers[task]),
                tasks=tuple(
                    (name.removeprefix(_OF_TASKS).rstrip("]"), numbers[name]) for name in of_tasks if name in numbers
                ),
                seen_before=datasets_seen_before(registry, version, numbers),
                gates=_gates(registry, version),
            )
        )
    return tuple(summaries)


def _gates(registry: Registry, version: Version) -> tuple[str, ...]:
    """How it stands before each policy that guards it.

    A policy whose bytes are gone keeps nobody from seeing the rest, nor does a record that this release cannot derive.
    """
    if not version.aliases:
        return ()
    try:
        (today,) = facets_today(registry, [version], ["gate"])
    except (ObjectMissing, ObjectCorrupt, RecordNotDerived):
        return ("not checked",)
    return today["gate"]


def _base_label(registry: Registry, manifest: Digest) -> str:
    versions = versions_of_artifact(registry, manifest)
    return versions[0].label if versions else manifest.short
