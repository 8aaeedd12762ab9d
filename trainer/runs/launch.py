"""One training in several processes: torchrun starts them, this process waits, continues with what they left, and registers it.

The workers (`trainer/runs/worker.py`) train and keep checkpoints in the run's folder; they never see the registry. When all of
them end well the last checkpoint is the trained state, continued like any other checkpoint. However this process ends,
none of them stays: they are stopped with it, and each looks whether it is still there.
"""

import json
import os
import signal
import site
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from peft_registry.registry.disk.child_environment import Need, child_environment
from peft_registry.registry.disk.files import write_atomically
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import (
    InputRefused,
    IntegrityBroken,
    KnownError,
    NotChecked,
    NotFound,
    Refused,
    RunFailed,
    Unavailable,
)
from peft_registry.schemas.progress import Advanced, Finished, Measured, Observe, Said, Started, Warned
from peft_registry.schemas.run import KeptRun
from peft_registry.trainer.hub.data_sets import is_hub_id
from peft_registry.trainer.machine.environment import cores

_PATIENCE_SECONDS = (
    40.0  # torchrun gives its workers 30 to finish a step and keep the state; then nothing is waited for
)
_FAMILIES: dict[int, type[KnownError]] = {
    family.exit_code: family
    for family in (InputRefused, Refused, RunFailed, NotChecked, IntegrityBroken, NotFound, Unavailable)
}


class ProcessDied(RunFailed):
    what = "a training process ended early"
    why = "torchrun stopped the others and ended with {code}; their output is above, and nothing was registered"
    fix = "check whether memory ran out, then run `registry train --resume`, or start again"

    code: int


class TorchrunMissing(Unavailable):
    what = "several processes cannot be started"
    why = "torch has no torch.distributed here"
    fix = "leave --nproc out"


class LaunchRefused(InputRefused):
    what = "the processes cannot be started as asked"
    why = "{reason}"
    fix = "start the same command on every machine, on the same base and data; `registry train --help` has --nnodes"

    reason: str


class OtherProcesses(InputRefused):
    reference = "resumed-in-other-processes"
    what = "a run that was begun in {before} cannot go on in {now}"
    why = "how many there are decides its steps and which rows each of them has, and where each has kept its part of the state"
    fix = "leave --nproc out: it goes on in as many as before"

    was: int
    now: int

    @property
    def before(self) -> str:
        return "one process" if self.was == 1 else f"{self.was} processes"


class RegisteredElsewhere(Exception):
    """The process of rank 0 ran on another node, which registers the result."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How many processes here, on how many machines, and where those meet (`host:port`)."""

    nproc: int = 1
    nnodes: int = 1
    rdzv_endpoint: str | None = None

    def __post_init__(self) -> None:
        if self.nnodes > 1 and self.rdzv_endpoint is None:
            raise LaunchRefused("several machines need a place where they meet: --rdzv-endpoint HOST:PORT")

    @property
    def size(self) -> int:
        return self.nproc * self.nnodes

    def require_possible(self, *, began_in: int | None) -> "Launch":
        """Itself, if a run can be started like this.

        Args:
            began_in: the processes of the run that is resumed; None for a new one.

        Raises:
            LaunchRefused: a run is to be resumed on several machines.
            OtherProcesses: in another number of processes.
        """
        if began_in is not None and self.nnodes > 1:
            raise LaunchRefused(
                "a run is resumed on one machine, the one that kept its state; without --nnodes it continues there "
                "with as many processes"
            )
        if began_in is not None and self.size != began_in:
            raise OtherProcesses(began_in, self.size)
        return self

    def arguments(self, meeting: str) -> list[str]:
        """torchrun's, with a name for the meeting that is equal on all machines."""
        if self.nnodes == 1 and self.rdzv_endpoint is None:
            return ["--standalone", f"--nproc-per-node={self.nproc}"]
        where = [f"--rdzv-endpoint={self.rdzv_endpoint}", "--rdzv-backend=c10d", f"--rdzv-id={meeting}"]
        return [f"--nnodes={self.nnodes}", f"--nproc-per-node={self.nproc}", *where]


class WorkerJob(Frozen):
    """What a worker has to know; it is read by processes of this run alone, and goes with its folder."""

    config: TrainingFile
    data_folder: Path
    base_folder: Path
    base: BaseRecord
    run_folder: Path
    kept: KeptRun | None  # of the run that is resumed
    start: Path | None  # the starting adapter
    parent: int  # process id


def run_workers(job: WorkerJob, launch: Launch, *, meeting: str, observe: Observe) -> None:
    """Train in several processes, and return when all of them have ended well.

    Raises:
        ProcessDied: one did not, and said nothing.
        KnownError: what rank 0 said, in its family.
    """
    if launch.nnodes > 1:
        observe(
            Said(
                "launch", f"{launch.nproc} of {launch.size} processes here; the machines meet at {launch.rdzv_endpoint}"
            )
        )
    path = job.run_folder / "job" / "job.json"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, job.model_dump_json().encode(), mode=0o600)
    said: dict[str, str | int] = {}
    with _torchrun(launch.arguments(meeting), path, launch.nproc, _needs(job)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said = _heard(line, observe) or said
        code = process.wait()
    if said:
        family = _FAMILIES.get(int(said["exit"]), RunFailed)
        raise family.in_words(what=str(said["what"]), why=str(said["why"]), fix=str(said["fix"]))
    if code:
        raise ProcessDied(code)


def _needs(job: WorkerJob) -> tuple[Need, ...]:
    """Each process reads the data itself, also from the Hub; base and starting adapter lie in folders of this machine."""
    paths = (job.config.data.train.path, job.config.data.validation.path)
    return ("hub",) if any(path and is_hub_id(path, job.data_folder) for path in paths) else ()


@contextmanager
def _torchrun(
    arguments: list[str], job: Path, nproc: int, needs: tuple[Need, ...]
) -> "Iterator[subprocess.Popen[str]]":
    """torchrun in a session of its own, gone afterwards with everything that it started."""
    try:
        import torch.distributed.run  # noqa: F401
    except ImportError as error:
        raise TorchrunMissing() from error
    environment = child_environment(os.environ, needs=needs) | {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // nproc)),
        "PYTHONPATH": _search_path(os.environ.get("PYTHONPATH", "")),
        "PYTHONSAFEPATH": "1",  # torchrun starts the workers with -m, which would search the working folder first
    }
    command = [
        sys.executable,
        "-P",
        "-m",
        "peft_registry.trainer.runs.torchrun",
        *arguments,
        # without it torchrun makes a folder in the system's own for temporary files, and leaves it there
        f"--log-dir={job.parent / 'torchrun'}",
        "-m",
        "peft_registry.trainer.runs.worker",
        str(job),
    ]
    process = subprocess.Popen(  # noqa: S603 - our own module, through torch's launcher
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # torchrun stops its workers
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _search_path(inherited: str) -> str:
    """The caller's PYTHONPATH, in front of it the folder of this package where it is not an installed one.

    Not the whole of `sys.path`: the folder of the user's script stands there, and each child would execute the
    `sitecustomize.py` that lies in it.
    """
    package = find_spec("peft_registry")
    assert package is not None, "this module is part of it"
    assert package.origin is not None, "it has an __init__.py"
    package_root = str(Path(package.origin).resolve().parent.parent)
    if package_root in (*site.getsitepackages(), site.getusersitepackages()):
        return inherited
    return os.pathsep.join((package_root, inherited)) if inherited else package_root


def _heard(line: str, observe: Observe) -> dict[str, str | int] | None:
    """Pass on a line of rank 0; returns what it says about an error. Other lines are for people."""
    try:
        value = json.loads(line)
        kind = value["event"]
        said = value["value"]
    except (ValueError, KeyError, TypeError):
        sys.stderr.write(line)
        return None
    if kind == "error":
        return dict(said)
    try:
        match kind:
            case "started":
                observe(Started(**said))
            case "advanced":
                observe(Advanced(said["step"], said["done"], tuple((name, text) for name, text in said["figures"])))
            case "measured":
                values = {name: float(value) for name, value in said["values"].items()}
                observe(Measured(int(said["step"]), values, seed=said["seed"]))
            case "finished":
                observe(Finished(**said))
            case "warned":
                observe(Warned(**said))
    except (TypeError, KeyError, ValueError, AttributeError):
        sys.stderr.write(line)
    return None
