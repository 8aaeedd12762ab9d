"""What an evaluation says of its suites, held against the suites themselves: those that ship with this tool or are pinned.

Which items there are, what they share and which half they are in follows from the data; how much of it was trained on, from the
hashes that the trainings kept. Where either is not here, that is said, and nobody is accused. Nothing is scored, and no torch is
needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peft_registry.registry.evaluation.aggregate import FIGURES
from peft_registry.registry.evaluation.halves import NOT_SELECTED, part_of_record
from peft_registry.registry.evaluation.items import TableRow, read_items
from peft_registry.registry.evaluation.leakage import LEFT_OUT
from peft_registry.registry.evaluation.recheck import Discrepancy, EvaluationAltered
from peft_registry.registry.evaluation.states import PAIR_BAND
from peft_registry.registry.evaluation.suite_rows import described_otherwise, leakage_otherwise, rows_otherwise
from peft_registry.registry.extras import ExtraMissing
from peft_registry.registry.homes.home import Registry
from peft_registry.schemas.errors import NotFound, Unavailable
from peft_registry.schemas.evaluation import DatasetUsed, EvaluationRecord, LeakageCheck
from peft_registry.schemas.version import Version
from peft_registry.trainer.evaluation.questions import PromptDivergence, Score
from peft_registry.trainer.evaluation.suites import LoadedSuite, SuiteFileNeeded, suite_named, suites
from peft_registry.trainer.evaluation.suites.files import OtherSuiteFile
from peft_registry.trainer.evaluation.suites.selection import EmptyHalf, limited, part_of
from peft_registry.trainer.evaluation.tasks.declared import TaskIsGroup, UnknownTask, declared_task
from peft_registry.trainer.inputs.suites import load_suite

if TYPE_CHECKING:
    from peft_registry.trainer.evaluation.leakage import TrainedOn


@dataclass(frozen=True, slots=True)
class SuitesCheck:
    """How an evaluation and its suites agree: what does not, and why something could not be compared."""

    discrepancies: tuple[Discrepancy, ...]
    notes: tuple[str, ...]


def compare_with_suites(
    record: EvaluationRecord, items: bytes, *, registry: Registry | None = None, version: Version | None = None
) -> tuple[str, ...]:
    """Why rows of an evaluation were not held against their suite, a line each; nothing where all of them are the suites' own.

    Args:
        record: the evaluation.
        items: bytes of its item table.
        registry: holds the pins of suites; None: only those that ship are here.
        version: that the evaluation is of, where the registry has it: what it was trained on is compared too.

    Raises:
        EvaluationAltered: rows, clusters, categories or what was trained on are not what suite and hashes give.
    """
    table = read_items(items)
    discrepancies: list[Discrepancy] = []
    notes: list[str] = []
    for used in record.datasets:
        if used.name in suites():
            check = _of_suite(used, record, table, registry, version)
            discrepancies += check.discrepancies
            notes += [f"{used.name}: {note}" for note in check.notes]
    if discrepancies:
        raise EvaluationAltered(tuple(discrepancies))
    return (*notes, *_of_tasks(record))


def _of_tasks(record: EvaluationRecord) -> Iterator[str]:
    """Tasks that the installed harness has otherwise than they were asked: their items cannot be asked again by it."""
    for name, facts in record.stated_tasks.items():
        try:
            declared = declared_task(str(facts.get("task")))
        except (ExtraMissing, UnknownTask, TaskIsGroup):
            continue  # without it there is nothing to compare with
        if str(declared.digest) != facts.get("definition_sha256"):
            asked = f"asked in version {facts.get('version')}, and lm_eval {declared.harness} has version {declared.version}"
            yield f"{name}: {asked}, so that its items cannot be asked again with that"


def _of_suite(
    used: DatasetUsed,
    record: EvaluationRecord,
    table: Sequence[TableRow],
    registry: Registry | None,
    version: Version | None,
) -> SuitesCheck:
    """How an evaluation agrees with one of its suites, and with the hashes of what its version was trained on."""
    try:
        suite = _as_recorded(registry, used, record)
    except (SuiteFileNeeded, OtherSuiteFile, NotFound, Unavailable):
        return SuitesCheck((), (f"its data {used.sha256.short} is not here, so that its rows were not checked",))
    except EmptyHalf as error:
        return SuitesCheck((Discrepancy(f"datasets[{used.name}].half", str(used.half), error.what),), ())
    found = (
        *described_otherwise(used, suite.dataset),
        *rows_otherwise(used, table, {row.id: row for row in unscored_rows(suite)}),
    )
    if found and record.figures_edition < FIGURES:
        # by an earlier release, which may have read the same data otherwise
        note = f"its rows are of an earlier release, and this one reads {found[0].figure} otherwise"
        return SuitesCheck((), (note,))
    if record.figures_edition != FIGURES or registry is None or version is None:
        return SuitesCheck(found, ())
    leaked = _of_trainings(record.leakage_check, suite, registry, version)
    return SuitesCheck((*found, *leaked.discrepancies), leaked.notes)


def unscored_rows(suite: LoadedSuite) -> Sequence[TableRow]:
    """The rows of the item table that a suite makes, each score 0."""
    scores: list[Score] | list[PromptDivergence] = [Score(0.0, 1) for _ in suite.requests]
    if suite.prompt_pairs is not None:
        scores = [PromptDivergence(0, 0, 0) for _ in suite.prompt_pairs]
    return suite.items(scores, arm="base", threshold=PAIR_BAND)


def _as_recorded(registry: Registry | None, used: DatasetUsed, record: EvaluationRecord) -> LoadedSuite:
    """The suite of a record, the part of it that was asked."""
    if registry is None:
        suite = suite_named(used.name).load(None, expected=used.sha256)
    else:
        suite = load_suite(registry, used.name, None, recorded=used.sha256)
    if suite.dataset.sha256 != used.sha256:
        raise OtherSuiteFile(used.name, suite.dataset.file, used.sha256, suite.dataset.sha256)
    part = part_of(suite, part_of_record(used))
    if not used.left_out(NOT_SELECTED):
        return part
    # whole units were drawn until there were as many: drawing stops at the same one
    drawn = used.rows_used + used.left_out(LEFT_OUT)
    return limited(part, drawn, seed=record.seeds.get("bootstrap", 0))


def _of_trainings(check: LeakageCheck | None, suite: LoadedSuite, registry: Registry, version: Version) -> SuitesCheck:
    """Whether a check of leakage follows from the hashes that the trainings kept."""
    if check is None:
        return SuitesCheck((), ())
    from peft_registry.trainer.evaluation.leakage import METHOD, check_leakage
    from peft_registry.trainer.inputs.ancestry import texts_of_ancestors

    if check.method != METHOD:
        return SuitesCheck((), ("what was trained on was looked for in another way than today's, and not again",))
    trained = texts_of_ancestors(registry, [version])
    why = _why_not_comparable(check, trained)
    if why:
        return SuitesCheck((), (why,))
    other_trainings = tuple(_trainings_otherwise(check, trained))
    if other_trainings:
        # of other trainings another share of the suite is known, which would only repeat it
        return SuitesCheck(other_trainings, ())
    derived = check_leakage(trained, [suite])
    return SuitesCheck(tuple(leakage_otherwise(check, derived, suite.dataset.name)), ())


def _why_not_comparable(check: LeakageCheck, trained: "TrainedOn") -> str:
    """Why the trainings of a record and those that are known here say nothing about each other; empty where they do."""
    if any(training.status == "unknown" for training in trained.trainings):
        return "what was trained on is not known here, and was not looked for again"
    if any(training.status == "unknown" for training in check.trainings):
        return "what was trained on was not known then, and is not compared"
    return ""


def _trainings_otherwise(check: LeakageCheck, trained: "TrainedOn") -> Iterator[Discrepancy]:
    """Trainings that a record leaves out, or that went into something else."""
    here = {training.hashes for training in trained.trainings}
    # the training that made the version had no object in the store yet when it was evaluated
    named = {training.hashes for training in check.trainings if training.hashes is not None}
    if len(check.trainings) != len(trained.trainings) or not named <= here:
        labels = [training.training for training in check.trainings]
        yield Discrepancy("leakage_check.trainings", str(labels), str([each.training for each in trained.trainings]))
