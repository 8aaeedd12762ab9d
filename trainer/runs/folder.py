"""HOME/runs/<id>: the scratch of one run, removed when it is registered. Of one that was stopped or failed its log stays, and its
state where it can be resumed.

A run holds a lock on its folder while it lives. A kill runs no handler, but it releases the lock: the next run removes what is left
in every folder that nobody holds. On a file system that cannot lock folders nothing of another run is ever removed. What can be
resumed says so in `run.json`: of which file it is, how far it came, and whether it failed.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.homes.run_logs import RUN_LOG_NAME, runs_under_way
from peft_registry.schemas.errors import InputRefused, NotFound, RunFailed
from peft_registry.schemas.run import KeptRun

STATE_NAME = "run.json"
TRAINING = "training"  # the folder of the checkpoints
_CHECKPOINT_NAME = "checkpoint.pt"
_FAILED_NAME = "failed.pt"
_MOST_LOGS = 50  # of runs that left nothing else


class NothingToResume(NotFound):
    """`run` is the beginning of an id, or a training file; `stopped` holds the ids that can be resumed."""

    what = "nothing to resume: no run{of_what} was stopped half-way"
    why = "only a run that was stopped after its first checkpoint can be resumed; {others}"
    fix = "`registry train {config}` starts from the beginning{or_another}"

    run: str | None
    is_training_file: bool
    stopped: tuple[str, ...]

    @property
    def of_what(self) -> str:
        if self.run is None:
            return ""
        return f" of {self.run}" if self.is_training_file else f" {self.run}"

    @property
    def others(self) -> str:
        if not self.stopped:
            return "no stopped run left one here"
        return f"stopped runs that can: {', '.join(self.stopped)}"

    @property
    def config(self) -> str:
        return self.run if self.run is not None and self.is_training_file else "CONFIG"

    @property
    def or_another(self) -> str:
        return "; --resume ID continues one of those" if self.stopped else ""


class StillRunning(InputRefused):
    what = "the run {run_id} is still running"
    why = "another process holds its folder"
    fix = "let it finish, or stop it first"

    run_id: str


@contextmanager
def run_folder(runs: Path, run_id: str) -> Iterator[Path]:
    """The folder of this run, gone afterwards; what killed runs left beside it is removed first.

    A folder with a checkpoint or a log stays when the run does not end well, and its state says `failed` where the run failed.

    Raises:
        StillRunning: another process holds it.
        OSError: it cannot be made.
    """
    remove_abandoned(runs, but=run_id)
    folder = runs / run_id
    descriptor = _made_and_held(folder)
    try:
        _remove_scratch(folder)  # of a run that was killed and goes on now
        yield folder
    except BaseException as error:
        _remove_what_no_run_needs(folder)
        if _is_kept(folder) and isinstance(error, RunFailed):
            change_state(folder, status="failed", why=str(error))
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def remove_abandoned(runs: Path, *, but: str | None = None) -> None:
    """Remove what every run but one left that is no longer running: all but its log, and but its state where it can be resumed.

    Of those that left a log alone the newest `_MOST_LOGS` stay. One that cannot be removed is left for the next time.
    """
    if not runs.is_dir():
        return
    logs: list[tuple[float, Path]] = []
    for folder in runs.iterdir():
        if folder.name == but:
            continue
        with suppress(OSError), _held(folder):  # held by a run, no folder, gone already, or of another user
            _remove_what_no_run_needs(folder)
            if folder.exists() and not _is_kept(folder):
                logs.append(((folder / RUN_LOG_NAME).lstat().st_mtime, folder))
    for _, folder in sorted(logs, reverse=True)[_MOST_LOGS:]:
        _remove(folder)


def write_state(folder: Path, state: KeptRun) -> None:
    """Say what a run folder is of."""
    write_atomically(folder / STATE_NAME, state.model_dump_json(indent=2).encode())


def change_state(folder: Path, **changes: object) -> None:
    """The same with some fields changed; nothing where there is no readable state."""
    state = read_state(folder)
    if state is not None:
        write_state(folder, state.revised(**changes))


def read_state(folder: Path) -> KeptRun | None:
    """What `write_state` wrote; None where nothing readable is."""
    try:
        return KeptRun.model_validate_json((folder / STATE_NAME).read_bytes())
    except (OSError, ValidationError):
        return None


def kept_runs(runs: Path) -> tuple[KeptRun, ...]:
    """The runs that were stopped or failed and left a checkpoint, the newest first. Nobody holds them."""
    found = []
    for folder in runs.iterdir() if runs.is_dir() else ():
        with suppress(OSError), _held(folder):
            state = read_state(folder)
            if state is not None and has_checkpoint(folder):
                found.append(state)
    return tuple(sorted(found, key=lambda run: (run.started_at, run.run_id), reverse=True))


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder holds a state to continue from, of the run or of one of its trials."""
    return any((folder / TRAINING).rglob(_CHECKPOINT_NAME))


def run_to_resume(runs: Path, asked: str | None) -> KeptRun:
    """The run with this id or the beginning of it, or of this training file; the newest where nothing was asked for.

    Raises:
        NothingToResume: there is none.
        StillRunning: it lives.
    """
    kept = kept_runs(runs)
    for state in kept:
        if asked is None or state.run_id.startswith(asked) or Path(state.config) == Path(asked).resolve():
            return state
    if asked and (runs / asked).is_dir() and read_state(runs / asked) is not None and not _is_free(runs / asked):
        raise StillRunning(asked)
    is_training_file = asked is not None and Path(asked).is_file()
    raise NothingToResume(asked, is_training_file, tuple(run.run_id[:12] for run in kept))


def remove_superseded(runs: Path, state: KeptRun) -> None:
    """Remove what earlier runs of the same file left, now that this one is registered: failed ones, and those that were
    asked for in the same words."""
    kept = [(run.run_id, run.config, run.status == "failed", run.overrides) for run in kept_runs(runs)]
    logged = [
        (run.run_id, run.config, run.state == "FAILED", run.overrides)
        for run in runs_under_way(runs, points=1)
        if run.state != "RUNNING"
    ]
    for run_id, config, has_failed, overrides in (*kept, *logged):
        if run_id != state.run_id and config == state.config and (has_failed or overrides == state.overrides):
            _remove(runs / run_id)


def remove_run(runs: Path, run_id: str) -> None:
    """Remove all that a run left.

    Raises:
        StillRunning: another process holds its folder.
        OSError: it cannot be removed.
    """
    folder = runs / run_id
    try:
        with _held(folder):
            shutil.rmtree(folder)
    except BlockingIOError:
        raise StillRunning(run_id) from None


def _remove(folder: Path) -> None:
    """Remove the folder of a run that nobody holds."""
    with suppress(OSError), _held(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _is_kept(folder: Path) -> bool:
    training = folder / TRAINING
    return (folder / STATE_NAME).is_file() and any(
        path.name in (_CHECKPOINT_NAME, _FAILED_NAME) for path in training.rglob("*.pt")
    )


def _remove_what_no_run_needs(folder: Path) -> None:
    """All but the log, where there is one, and the state, where there is one to continue from."""
    if _is_kept(folder):
        _remove_scratch(folder)
    elif not _has_log(folder):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        for path in folder.iterdir():
            if path.name != RUN_LOG_NAME:
                _remove_one(path)


def _has_log(folder: Path) -> bool:
    path = folder / RUN_LOG_NAME
    return path.is_file() and not path.is_symlink()


def _remove_scratch(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name not in (STATE_NAME, TRAINING, RUN_LOG_NAME):
            _remove_one(path)


def _remove_one(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _is_free(folder: Path) -> bool:
    with suppress(OSError), _held(folder):
        return True
    return False


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock of a folder that no run holds.

    Raises:
        OSError: a run holds it, or it is none.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _made_and_held(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StillRunning(folder.name) from None
        except OSError:  # this file system cannot: then nobody removes it for being unlocked either
            return descriptor
        if folder.exists():  # another run may have taken it for abandoned before it was held
            return descriptor
        os.close(descriptor)
