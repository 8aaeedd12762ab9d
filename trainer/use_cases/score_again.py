"""`registry evaluate --recheck --sample N`: score some items of a recorded evaluation again, within its tolerance."""

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from peft_registry.registry.evaluation.items import Item, TableRow, read_items
from peft_registry.registry.evaluation.readings import MILLIONTHS, Reading
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.evaluations import StoredEvaluation
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import Observe, ignore
from peft_registry.schemas.version import Version

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.tasks.asked import BenchmarkTask

SEED = 0


class ScoresDiffer(IntegrityBroken):
    what = "item {item} was recorded with another score than the model gives now"
    why = "recorded {recorded:.6f}, now {found:.6f}; the tolerance is {tolerance:g}"
    fix = "do not rely on the evaluation; evaluate again, and keep both records"

    item: str
    recorded: float
    found: float
    tolerance: float


class NothingToScore(NotChecked):
    reference = "nothing-to-score-again"
    what = "no item of the evaluation of {label} could be scored again"
    why = "{reason}"
    fix = "pin the suite's data: registry suites add NAME FOLDER --accept-licence; give a task's with --data"

    label: str
    reason: str


class TaskIsAnother(NotChecked):
    what = "the task {name} is not the one that was asked"
    why = "recorded {recorded}, here {found}: other prompts or other measures give other figures"
    fix = "install lm-eval {harness} to ask its items again, or evaluate again and keep both records"

    name: str
    recorded: str
    found: str
    harness: str


def score_each_again(
    registry: Registry,
    version: Version,
    evaluations: Sequence[StoredEvaluation],
    *,
    count: int,
    data: Path | None = None,
    observe: Observe = ignore,
) -> tuple[str, ...]:
    """A sentence for each evaluation: its sample repeated, or why nothing of it could be scored again.

    Raises:
        ScoresDiffer, TaskIsAnother: as `score_again`.
        NothingToScore: of none of them anything could be scored.
    """
    sentences = []
    why = None
    for stored in evaluations:
        try:
            sentences.append(score_again(registry, version, stored, count=count, data=data, observe=observe))
        except NothingToScore as error:
            why = error
            sentences.append(f"not scored again: {error.why}")
    if why is not None and all(sentence.startswith("not scored") for sentence in sentences):
        raise why
    return tuple(sentences)


def score_again(
    registry: Registry,
    version: Version,
    stored: StoredEvaluation,
    *,
    count: int,
    data: Path | None = None,
    observe: Observe = ignore,
) -> str:
    """Score a seeded sample of the rows again, in every arm but the controls; returns a sentence. `data`: the rows of tasks.

    Raises:
        ScoresDiffer: a value is farther from its record than the tolerance.
        NothingToScore: the data of no suite or task is here, or the evaluation is of something else than the version.
        TaskIsAnother: the installed harness has a task otherwise than it was asked.
    """
    from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references_again

    record = stored.record
    if stored.stale is not None:
        raise NothingToScore(version.label, str(stored.stale))
    tasks, why = _tasks_here(record, data)
    suites = _suites_here(registry, version, record, why, has_tasks=bool(tasks))
    here = suites.keys() | {task.dataset.name for task in tasks}
    rows = [row for row in read_items(stored.items) if row.dataset in here and row.arm not in ("noise", "placebo")]
    units = sorted({(row.dataset, row.unit if isinstance(row, Reading) else row.id) for row in rows})
    random.Random(SEED).shuffle(units)  # noqa: S311  a sample, not a secret
    chosen = set(units[:count])
    ids = {(row.dataset, row.id) for row in rows if (row.dataset, _unit(row)) in chosen}
    with tempfile.TemporaryDirectory() as scratch:
        again = evaluate_references_again(
            registry,
            version,
            EvaluationRequest(suites=tuple(suites)),
            recorded=suites,
            tasks=tasks,
            ids=ids,
            compositions=frozenset(arm.composition_digest for arm in record.arms),
            scratch=Path(scratch),
            observe=observe,
        )
    recorded = {(row.key): row for row in rows}
    checked = 0
    for row in again:
        if row.key in recorded:
            _compare(recorded[row.key], row, record)
            checked += 1
    if not checked:
        raise NothingToScore(version.label, "none of the arms that were recorded was scored")
    return f"{checked} scores repeated within {record.tolerance.abs_ll:g} nats"


def _compare(first: TableRow, other: TableRow, record: EvaluationRecord) -> None:
    allowed = record.tolerance.abs_ll
    pairs = zip(_values(first), _values(other), strict=True)
    for recorded, computed in pairs:
        if abs(recorded - computed) > allowed * MILLIONTHS:
            raise ScoresDiffer(" ".join(first.key), recorded / MILLIONTHS, computed / MILLIONTHS, allowed)


def _values(row: TableRow) -> tuple[int, ...]:
    if isinstance(row, Reading):
        return row.values
    return (row.ll_a,) if row.ll_b is None else (row.ll_a, row.ll_b)


def _unit(row: Item | Reading) -> str:
    return row.unit if isinstance(row, Reading) else row.id


def _tasks_here(record: EvaluationRecord, data: Path | None) -> "tuple[tuple[BenchmarkTask, ...], list[str]]":
    """The tasks of a record, asked as they were on the same rows; and why others cannot be.

    Raises:
        TaskIsAnother: the installed harness has one otherwise.
    """
    from peft_registry.trainer.evaluation.tasks.asked import TaskSettings, load_task
    from peft_registry.trainer.evaluation.tasks.declared import declared_task
    from peft_registry.trainer.evaluation.tasks.rows import TaskDataMissing

    found: list[BenchmarkTask] = []
    why: list[str] = []
    stated = record.stated_tasks
    for used in record.datasets:
        facts = stated.get(used.name)
        if facts is None:
            continue
        if data is None:
            why.append(f"the rows of the task {facts['task']} were not given")
            continue
        declared = declared_task(str(facts["task"]))
        if (declared.version, str(declared.digest)) != (facts["version"], facts["definition_sha256"]):
            recorded = f"version {facts['version']} ({Digest.parse(str(facts['definition_sha256'])).short})"
            here = f"version {declared.version} ({declared.digest.short}) of lm_eval {declared.harness}"
            raise TaskIsAnother(declared.name, recorded, here, str(facts["harness"]).partition(" ")[2])
        answer = facts.get("generation") or {}
        settings = TaskSettings(
            examples=int(facts["examples"]["count"]),
            max_new_tokens=answer.get("max_gen_toks"),
            limit=used.rows_used if used.rows_used < used.rows_total else None,
            # written since a training file draws rows by a seed of their own
            seed=facts.get("rows_seed", record.seeds.get("bootstrap", 0)),
        )
        try:
            task = load_task(declared.name, data, settings)
        except TaskDataMissing as error:
            why.append(error.what)  # a training file names a place for each task
            continue
        if (task.dataset.sha256, task.dataset.selection_ids_sha256) == (used.sha256, used.selection_ids_sha256):
            found.append(task)
        else:
            why.append(f"the task {declared.name} was asked on other rows than those that were given")
    return tuple(found), why


def _suites_here(
    registry: Registry, version: Version, record: EvaluationRecord, not_here: Sequence[str], *, has_tasks: bool
) -> dict[str, Digest]:
    """The suites of a record whose very data is here, each with its digest; `not_here` says why tasks cannot be asked.

    Raises:
        NothingToScore: there is none, and no task.
    """
    from peft_registry.trainer.evaluation.suites import SuiteFileNeeded, suites
    from peft_registry.trainer.evaluation.suites.files import OtherSuiteFile
    from peft_registry.trainer.inputs.suites import load_suite

    found: dict[str, Digest] = {}
    why = ["it holds no suite of this tool", *not_here]
    for used in record.datasets:
        if used.name not in suites():
            continue
        try:
            present = load_suite(registry, used.name, None, recorded=used.sha256).dataset.sha256
        except SuiteFileNeeded as error:
            why.append(error.what)
            continue
        except OtherSuiteFile:
            present = None
        if present == used.sha256:
            found[used.name] = used.sha256
        else:
            why.append(f"{used.name} was measured on other data than is here now")
    if not found and not has_tasks:
        raise NothingToScore(version.label, "; ".join(why[1:] or why))
    return found
