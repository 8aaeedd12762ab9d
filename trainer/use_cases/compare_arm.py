"""One arm of a comparison in a process of its own, so that its peak of memory is its own.

A server process imports the libraries once, computes nothing, and forks for each arm (`forkserver`): every arm starts from
the same state, without paying for the imports. Events, and the outcome, come back through a pipe.
"""

import importlib.util
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.child_environment import Need, child_environment
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.homes.pins import Pins
from peft_registry.registry.homes.seen_checkpoints import SeenCheckpoints
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.pull_base import checked_folder
from peft_registry.schemas.comparison import Latency
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import InputRefused, KnownError, RunFailed
from peft_registry.schemas.methods import METHODS
from peft_registry.schemas.progress import Observe
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.training_file import load_training_file
from peft_registry.trainer.methods import implementation
from peft_registry.trainer.runs.folder import run_folder

_IMPORTED_ONCE = ["peft_registry.trainer.use_cases.arm_imports"]


class ArmLost(RunFailed):
    what = "the process of the arm {label} ended without an answer"
    why = "{ending}"
    fix = "run the comparison again: arms that are registered are not trained twice"

    label: str
    code: int | None

    @property
    def ending(self) -> str:
        if self.code is None:
            return "it has no exit code yet"
        return f"its exit code is {self.code}; the system ends a process with −9 when memory runs out"


@dataclass(frozen=True, slots=True)
class ComparisonArm:
    """What to train: a file with overrides."""

    method: str
    seed: int
    learning_rate: float
    config: Path
    overrides: tuple[str, ...]

    @property
    def label(self) -> str:
        return f"{self.method}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class ArmOutcome:
    """The version that the arm registered, or why there is none; and its latency."""

    version: str | None
    failure: str | None = None
    latency: Latency | None = None


def run_arm(
    registry: Registry,
    arm: ComparisonArm,
    *,
    comparison: str,
    registered: Version | None = None,
    latency: bool = True,
    command: tuple[str, ...] = (),
    observe: Observe,
) -> ArmOutcome:
    """Train and register an arm where it is not `registered`, and measure its latency, in a process of its own.

    Args:
        registry: where.
        arm: what to train.
        comparison: the id of the comparison that it belongs to.
        registered: the version that the arm gave before; None where it is still to be trained.
        latency: whether to measure it.
        command: the words of the command line, for the record; none where no command was typed.
        observe: hears of everything.

    Raises:
        ArmLost: the process died.
        TrustReplaced, LogForked, LogTruncated: the registry was exchanged or set back since the comparison opened it.
        KnownError: as `train_and_register`, but for a refused or failed run, which is an outcome.
        ModuleNotFoundError: torch is not installed.
    """
    if importlib.util.find_spec("torch") is None:  # the arm's process could only die of it
        raise ModuleNotFoundError("No module named 'torch'", name="torch")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_ONCE)
    passphrase = registry.passphrase() if registry.passphrase and registry.trainer_key.encrypted else None
    here, sending = context.Pipe(duplex=False)
    job = _Job(arm, comparison, None if registered is None else registered.label, latency, command)
    work = context.Process(
        target=_work,
        args=(sending, _home_of(registry), passphrase, job),
        name=arm.label,
    )
    with _environment_for_children(registry.settings.needs):
        work.start()
    sending.close()
    try:
        return _listen(here, arm, work, observe)
    finally:
        if work.is_alive():
            work.terminate()
        work.join()


@contextmanager
def _environment_for_children(needs: frozenset[Need]) -> Iterator[None]:
    """Processes that are started within find no secret but what they need, and Python searches no working folder for modules.

    The server process is started with `-c`, and multiprocessing hands it flags of the interpreter but no environment.
    """
    before = dict(os.environ)
    children = child_environment(before, needs=(*needs, "hub")) | {"PYTHONSAFEPATH": "1"}
    _replace_environment(children)
    try:
        yield
    finally:
        _replace_environment(before)


def _replace_environment(wanted: dict[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def _listen(
    pipe: Connection, arm: ComparisonArm, work: Any, observe: Observe
) -> ArmOutcome:  # work: the context's process class
    while True:
        try:
            message = pipe.recv()
        except EOFError:
            work.join()
            raise ArmLost(arm.label, work.exitcode) from None
        if isinstance(message, ArmOutcome):
            return message
        if isinstance(message, _NotOpened):
            raise message.error.in_words(what=message.what, why=message.why, fix=message.fix)
        observe(message)


@dataclass(frozen=True, slots=True)
class _Job:
    """What the process of an arm is told; `registered` is the label of the version that the arm gave before."""

    arm: ComparisonArm
    comparison: str
    registered: str | None
    measure_latency: bool
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Home:
    """The registry that the process of an arm opens, and what its user remembers of it."""

    folder: Path
    pins: Pins | None
    seen: SeenCheckpoints | None


@dataclass(frozen=True, slots=True)
class _NotOpened:
    """Why the process of an arm did not open the registry: an error itself does not go through a pipe."""

    error: type[KnownError]
    what: str
    why: str
    fix: str


def _home_of(registry: Registry) -> _Home:
    pins = None if registry.pins is None else replace(registry.pins, report=_said_before)
    seen = None if registry.seen is None else replace(registry.seen, say=_said_before)
    return _Home(registry.folder, pins, seen)


def _said_before(text: str) -> None:
    """What an arm notes about the registry was noted when the comparison opened it."""


def _work(pipe: Connection, home: _Home, passphrase: bytes | None, job: _Job) -> None:
    try:
        registry = open_home(
            home.folder, passphrase=None if passphrase is None else lambda: passphrase, pins=home.pins, seen=home.seen
        )
    except KnownError as error:
        pipe.send(_NotOpened(type(error), error.what, error.why, error.fix))
        pipe.close()
        return
    _train(pipe, registry, job)


def _train(pipe: Connection, registry: Registry, job: _Job) -> None:
    from peft_registry.trainer.use_cases.train import train_and_register

    arm = job.arm
    try:
        if job.registered is None:
            version = train_and_register(
                registry,
                arm.config,
                arm.overrides,
                comparison=job.comparison,
                command=job.command,
                observe=pipe.send,
            ).version
        else:
            version = version_named(registry, job.registered)
        config = load_training_file(arm.config, arm.overrides).config
        latency = latency_of(registry, version, config) if job.measure_latency else None
        pipe.send(ArmOutcome(version.label, latency=latency))
    except (InputRefused, RunFailed) as error:
        pipe.send(ArmOutcome(None, failure=f"{error.what}: {error.why}"))
    except KnownError as error:
        pipe.send(ArmOutcome(None, failure=f"{error.what}: {error.why}; {error.fix}"))
    finally:
        registry.close()
        pipe.close()


def latency_of(registry: Registry, version: Version, config: TrainingFile) -> Latency:
    """The latency of a registered version beside its base, both loaded in fp32 from verified bytes."""
    from peft_registry.trainer.bases.loading import load_base
    from peft_registry.trainer.costs.latency import measure_latency

    row = METHODS[config.method]
    with run_folder(registry.files.runs, f"arm-{registry.nonce()}") as scratch:
        pulled = scratch / "artifact"
        pull_version(registry, version, pulled, for_use=False)
        checked = checked_folder(registry, version_named(registry, config.base), scratch)
        base, _ = load_base(checked.folder, dtype="fp32", device="cpu")
        fresh, _ = load_base(checked.folder, dtype="fp32", device="cpu", quantization=config.quantization)
        checked.require_unchanged()
        adapted = implementation(config.method).load(fresh, pulled)
        fold = getattr(adapted, "merge_and_unload", None) if row.folds and config.quantization is None else None
        return measure_latency(
            base, adapted, fold=fold, why_not=row.why_not_folded or "a base in 4 bits is not folded in place"
        )
