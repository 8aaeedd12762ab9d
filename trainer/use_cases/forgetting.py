"""What a sequence of tasks forgot: the loss on each task after every step, from the signed evaluations and their item tables.

Step k trained on task k and continued from step k − 1; L(k, i) is its loss on the held-out rows of task i, in nats per token.
Forgotten of task i is L(last, i) − L(i, i), paired by row, with an interval; above 0 the task got worse. It is the
backward transfer of Lopez-Paz and Ranzato 2017 (https://arxiv.org/abs/1706.08840), on loss, with the sign turned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.clusters import IntervalRule
from peft_registry.registry.evaluation.comparisons import ItemPair, compare_losses
from peft_registry.registry.evaluation.items import Item, read_items
from peft_registry.registry.evaluation.statistics import DEFAULT_DRAWS
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.schemas.errors import NotChecked
from peft_registry.schemas.evaluation import EvaluationRecord, LossComparison
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.retention import PREFIX

_RULE = IntervalRule(seed=0, draws=DEFAULT_DRAWS, level=0.95, edition=FIGURES)


class StepNotMeasured(NotChecked):
    what = "{label} was not measured on the task {task}"
    why = "its evaluation holds no held-out rows of that task, or other rows than the one that it is compared with"
    fix = "train the tasks under a new name, so that every step is measured on the same rows"

    label: str
    task: str


@dataclass(frozen=True, slots=True)
class TaskStep:
    """One version of a sequence: the task that it was trained on, and its loss on each task."""

    task: str
    version: str
    losses: dict[str, float]


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Losses of the base and after each step; of each task but the last, the loss when it was learnt and in the end."""

    base: dict[str, float]
    steps: tuple[TaskStep, ...]
    forgotten: tuple[LossComparison, ...]

    def to_json(self) -> dict[str, Any]:
        """A part of what `train --output json` ends with."""
        steps = [{"task": step.task, "version": step.version, "losses": step.losses} for step in self.steps]
        forgotten = [{"task": loss.dataset, **loss.to_json()} for loss in self.forgotten]
        return {"base": self.base, "steps": steps, "forgotten": forgotten}


def forgetting_of(registry: Registry, trained: Sequence[tuple[str, Version]]) -> Forgetting:
    """The figures of a sequence, in which each version continued from the one before.

    Args:
        registry: holds the versions and their evaluations.
        trained: each task and the version that was trained on it, in their order.

    Raises:
        StepNotMeasured: a version's evaluation has not the held-out rows of every task.
    """
    tasks = [task for task, _ in trained]
    records = _on_the_same_rows([(version.label, _measured(registry, version, tasks)) for _, version in trained], tasks)
    steps = tuple(
        TaskStep(task, version.label, {name: _loss(record, name).after for name in tasks})
        for (task, version), record in zip(trained, records, strict=True)
    )
    forgotten = []
    for at, (task, version) in enumerate(trained[:-1]):
        before, after = (_rows(registry, record, task) for record in (records[at], records[-1]))
        comparison = compare_losses([ItemPair(before[id], after[id]) for id in sorted(before)], _RULE)
        if comparison is None:
            raise StepNotMeasured(version.label, task)
        forgotten.append(comparison.revised(dataset=task))
    return Forgetting({name: _loss(records[0], name).before for name in tasks}, steps, tuple(forgotten))


def _measured(registry: Registry, version: Version, tasks: Sequence[str]) -> tuple[EvaluationRecord, ...]:
    """The evaluations that have all tasks: that of a training is the first."""
    evaluations = records_of(registry, version).evaluations
    for task in tasks:
        evaluations = tuple(
            record for record in evaluations if any(loss.dataset == PREFIX + task for loss in record.losses)
        )
        if not evaluations:
            raise StepNotMeasured(version.label, task)
    return evaluations


def _on_the_same_rows(
    evaluated: Sequence[tuple[str, tuple[EvaluationRecord, ...]]], tasks: Sequence[str]
) -> list[EvaluationRecord]:
    """One evaluation of each version, all of the very rows that one of the last version is of."""

    def rows(record: EvaluationRecord) -> list[tuple[Digest, str, int]]:
        return [_data(record, task) for task in tasks]

    chosen: dict[str, EvaluationRecord] = {}
    for last in evaluated[-1][1]:
        chosen = {
            label: record for label, several in evaluated for record in reversed(several) if rows(record) == rows(last)
        }
        if len(chosen) == len(evaluated):
            return list(chosen.values())
    label, several = next(entry for entry in evaluated if entry[0] not in chosen)
    raise StepNotMeasured(label, next(task for task in tasks if _data(several[0], task) != _data(last, task)))


def _data(record: EvaluationRecord, task: str) -> tuple[Digest, str, int]:
    """Which rows of a task were scored: the digest of their file, how they were chosen, and their number."""
    data = next(dataset for dataset in record.datasets if dataset.name == PREFIX + task)
    return data.sha256, data.selection, data.rows_used


def _loss(record: EvaluationRecord, task: str) -> LossComparison:
    return next(loss for loss in record.losses if loss.dataset == PREFIX + task)


def _rows(registry: Registry, record: EvaluationRecord, task: str) -> dict[str, Item]:
    """The held-out rows of a task as the version of an evaluation scores them, by id."""
    table = read_items(registry.store.read_bytes(record.items.sha256))
    return {
        item.id: item
        for item in table
        if isinstance(item, Item) and (item.dataset, item.arm) == (PREFIX + task, "adapted")
    }
