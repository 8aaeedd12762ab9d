"""Several tasks on one base: each trained and registered like any run, on a base that is loaded once.

In a sequence each continues from the adapter of the one before, and what that cost the earlier tasks is measured.

Every task takes the one registration path (`trainer/use_cases/train.py`). A task that is registered already, by an earlier
call that was cut short or by hand, is taken as it is: its key is what decides a result (configuration, base, data), so nothing
is trained twice; and a task that was stopped in its middle continues from its state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_registry.registry.evaluation.lost_quality import LostQuality, lost_quality
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.evaluations import standing_evaluations
from peft_registry.registry.records.signed_records import records_of
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import config_identity, training_identity
from peft_registry.schemas.progress import Observe, Said, ignore
from peft_registry.schemas.run import TASKS_PREFIX, KeptRun
from peft_registry.schemas.tasks import TASK
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.base import base_named
from peft_registry.trainer.inputs.training_file import LoadedConfig, load_task_order, load_training_file, parse_override
from peft_registry.trainer.methods import check_combinations
from peft_registry.trainer.runs.folder import kept_runs
from peft_registry.trainer.runs.launch import Launch
from peft_registry.trainer.use_cases.forgetting import Forgetting, forgetting_of
from peft_registry.trainer.use_cases.train import train_and_register
from peft_registry.trainer.use_cases.train_start import registered_before, same_data

if TYPE_CHECKING:
    from peft_registry.trainer.runs.shared_base import SharedBase


@dataclass(frozen=True, slots=True)
class TaskResult:
    """One task, and the version that holds it. `trained` is false where it was registered before.

    `lost` is what its evaluations show it to have become worse at.
    """

    task: str
    version: Version
    trained: bool
    loss_before: float
    loss_after: float
    lost: tuple[LostQuality, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """One entry of `train --output json`."""
        digests = {key: str(getattr(self.version, key)) for key in ("manifest_digest", "weights_digest")}
        losses = {"loss_before": self.loss_before, "loss_after": self.loss_after}
        return {"task": self.task, "version": self.version.label, "trained": self.trained, **digests, **losses}


@dataclass(frozen=True, slots=True)
class TasksOutcome:
    """What became of the tasks of a file, in its order; `base_loads` is how often a base was read from its files.

    `forgetting` is None where the tasks do not follow each other.
    """

    results: tuple[TaskResult, ...]
    base_loads: int
    forgetting: Forgetting | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `train --output json` ends with where a file has tasks."""
        sequence = {} if self.forgetting is None else {"forgetting": self.forgetting.to_json()}
        return {"tasks": [result.to_json() for result in self.results], "base_loads": self.base_loads, **sequence}


def train_tasks(
    registry: Registry,
    path: Path,
    names: Sequence[str],
    overrides: tuple[str, ...] = (),
    *,
    launch: Launch | None = None,
    command: tuple[str, ...] = (),
    observe: Observe = ignore,
) -> TasksOutcome:
    """Train and register each task that is not there yet.

    Args:
        registry: where.
        path: of the training file.
        names: the tasks that `load_tasks` found in it.
        overrides: such as `training.seed=8`, for every task.
        launch: the processes to train in; None for this one.
        command: the words of the command line, for the record; none where no command was typed.
        observe: hears of everything.

    Raises:
        CombinationRefused: the tasks follow each other, and the method cannot continue from what it registered.
        KnownError: as `train_and_register`; tasks that are registered stay, and the next call finds them.
    """
    from peft_registry.trainer.runs.shared_base import SharedBase

    registry.require_writable()
    in_sequence = load_task_order(path, overrides) == "sequential"
    words = {name: _words(overrides, name) for name in names}
    files = {name: load_training_file(path, words[name]) for name in names}
    if in_sequence:
        for loaded in list(files.values())[1:]:
            check_combinations(loaded.config.revised(continue_from=loaded.config.name))
    group = canonical_digest({name: config_identity(file.config) for name, file in files.items()}).hex[:16]
    work = _Work(registry, path, launch, TASKS_PREFIX + group, SharedBase(observe), command, observe)
    results: list[TaskResult] = []
    for number, name in enumerate(names, start=1):
        start = (f"continue_from={results[-1].version.manifest_digest}",) if in_sequence and results else ()
        results.append(work.result(name, (*words[name], *start), f"{number} of {len(names)}"))
    pairs = [(result.task, result.version) for result in results]
    forgetting = forgetting_of(registry, pairs) if in_sequence else None
    return TasksOutcome(tuple(results), work.shared.loads, forgetting)


def _words(overrides: tuple[str, ...], task: str) -> tuple[str, ...]:
    """What picks a task; a name on the command line is that of the file, and gets the task's ending too."""
    named = [value for key, value in map(parse_override, overrides) if key == "name"]
    own = (f"name={named[-1]}-{task}",) if named and isinstance(named[-1], str) else ()
    return (*overrides, *own, f"{TASK}={task}")


@dataclass(frozen=True, slots=True)
class _Work:
    """What the tasks of a file have in common."""

    registry: Registry
    path: Path
    launch: Launch | None
    group: str
    shared: "SharedBase"
    command: tuple[str, ...]
    observe: Observe

    def result(self, name: str, words: tuple[str, ...], place: str) -> TaskResult:
        """The version of a task: the one that is there, or one that is trained now."""
        loaded = load_training_file(self.path, words)
        base = base_named(self.registry, loaded.config.base)
        version = registered_before(self.registry, loaded, base)
        was_there = version is not None
        if version is not None:
            self.observe(Said("task", f"{name}: {version.label} is registered already"))
        else:
            kept = _stopped(self.registry, self.path, loaded, base)
            begins = "" if kept is None else f", going on after step {kept.step}"
            self.observe(Said("task", f"{name} ({place}): {loaded.config.name}{begins}"))
            version = train_and_register(
                self.registry,
                self.path,
                words,
                resume=kept,
                launch=self.launch,
                comparison=self.group,
                shared=self.shared,
                command=self.command,
                observe=self.observe,
            ).version
        records = records_of(self.registry, version)
        run = records.run
        assert run is not None, "a trained version has its run"
        evaluations = standing_evaluations(self.registry, version, records.evaluations)
        lost = tuple(lost for evaluation in evaluations for lost in lost_quality(evaluation))
        return TaskResult(name, version, not was_there, run.loss_before.value, run.loss_after.value, lost)


def _stopped(registry: Registry, path: Path, loaded: LoadedConfig, base: Version) -> KeptRun | None:
    """The newest run of this very task that was stopped and left a state; a run that failed is begun anew."""
    config = loaded.config
    wanted = (config.name, canonical_digest(training_identity(config)), base.manifest_digest, str(path.resolve()))
    for run in kept_runs(registry.files.runs):
        same = (run.name, run.config_sha256, run.base, run.config) == wanted
        if same and run.status != "failed" and (run.data is None or same_data(loaded, run.data)):
            return run
    return None
