"""HOME/runs/<id>/run-log.jsonl: what the runs under way on this machine say of themselves. Nothing of it is signed.

Whoever reads a log trusts nothing in it: it may be cut in a line, hold anything, be a link, or have any size. Lines that are not
understood are passed over, and of a log that is larger than any run writes the beginning and the end are read.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from peft_registry.registry.disk.process_identity import is_alive, is_of_this_machine
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.run_log import RUN_LINE, RunBegun, RunEnded, RunMeasured, RunStage, RunState
from peft_registry.schemas.run_points import MOST_POINTS, RunMetricName, RunPoint, RunPoints, by_step, thinned

RUN_LOG_NAME = "run-log.jsonl"
TRAIN_STAGE = "train"
ENDED_WITHOUT_A_WORD = (
    "its process ended without a word"  # of a run that is KILLED, and whose log does not say how it ended
)
_MOST_BYTES = 32 << 20  # of a log that is read; a run of a million steps writes 15 MB (`line_interval`)
_END_BYTES = 1 << 20  # of the end of a larger one
_LONGEST_LINE = 1 << 18  # bytes: a beginning with all its settings takes a few thousand
_POINTS_UNTHINNED = 10_000

Line = RunBegun | RunStage | RunMeasured | RunEnded


class RunNotFound(NotFound):
    """`asked` is the beginning of an id; `ids` are those of the runs that are here."""

    what = "no run under way has an id that begins with {asked!q}, or several have"
    why = "{others}"
    fix = "name one of `registry runs list`; a run that was registered is a version: `registry list`"

    asked: str
    ids: tuple[str, ...]

    @property
    def others(self) -> str:
        return f"runs that are here: {', '.join(self.ids)}" if self.ids else "there is none here"


@dataclass(frozen=True, slots=True)
class RunUnderWay:
    """A run that was begun on this machine, and whose folder is still there.

    Attributes:
        run_id: that the record of the run will have, once it is signed.
        state: KILLED where it was interrupted, or its process is gone and said nothing.
        sentence: what became of it; None while it runs.
        version: the label of what it registered.
        started_at: RFC 3339.
        ended_at: seconds since 1970; None while it runs, and the last that is known of a killed one.
        stage: what it did last, `train` or a step of the evaluation.
        step, steps: the newest step of the training, and how many there are; None before the first.
        points: what was measured, thinned.
        is_cut: whether the log was too large to be read whole.
    """

    run_id: str
    name: str
    project: str | None
    method: str
    base: str
    settings: dict[str, Any]
    comparison: str | None
    config: str | None
    overrides: tuple[str, ...]
    state: RunState
    sentence: str | None
    version: str | None
    started_at: str
    ended_at: float | None
    stage: str | None
    step: int | None
    steps: int | None
    points: tuple[RunPoint, ...]
    is_cut: bool = False

    def latest(self, name: RunMetricName) -> float | None:
        """The newest value of a metric; None where it was not measured yet."""
        return next((point.values[name] for point in reversed(self.points) if name in point.values), None)


def line_interval(step: int) -> int:
    """Every how many steps a point is written at this step: each at first, then fewer, so that no log grows with all its steps."""
    return 1 << max(0, (step // _POINTS_UNTHINNED).bit_length() - 1)


def runs_under_way(runs: Path, *, points: int = MOST_POINTS) -> tuple[RunUnderWay, ...]:
    """The runs of this machine that have a log in this folder of runs, the newest first.

    Args:
        runs: HOME/runs.
        points: how many of each are returned at most.
    """
    found = [run for folder in _folders(runs) if (run := _read(folder, points)) is not None]
    return tuple(sorted(found, key=lambda run: (run.started_at, run.run_id), reverse=True))


def run_named(runs: Path, asked: str, *, points: int = MOST_POINTS) -> RunUnderWay:
    """The one run whose id begins so.

    Raises:
        RunNotFound: there is none, or there are several.
    """
    here = runs_under_way(runs, points=points)
    matches = [run for run in here if asked and run.run_id.startswith(asked)]
    if len(matches) != 1:
        raise RunNotFound(asked, tuple(run.run_id[:12] for run in here))
    return matches[0]


def followed(runs: Path, run: RunUnderWay, *, wait: Callable[[], None]) -> Iterator[Line]:
    """The lines of a run's log as they are written, from the first, until it has ended; `wait` lets some time pass.

    It reads to the end also where the run is registered meanwhile and its folder is gone.
    """
    folder = runs / run.run_id
    begun: RunBegun | None = None
    ended: RunEnded | None = None
    rest = b""
    with suppress(OSError), _opened(folder / RUN_LOG_NAME) as file:
        while True:
            data = file.read(_LONGEST_LINE)
            *complete, rest = (rest + data).split(b"\n")
            rest = rest[:_LONGEST_LINE]
            for line in _understood(complete):
                if isinstance(line, RunBegun):
                    # it was resumed: an end that was written before is not how it stands
                    begun, ended = line, None
                elif isinstance(line, RunEnded):
                    ended = line
                yield line
            if data:
                continue  # the end of the file is not reached yet
            if ended is not None or begun is None or _writes_no_more(folder, begun):
                return
            wait()


def points_of_log(folder: Path, *, seed: int | None = None) -> RunPoints | None:
    """The points in the log of a run's folder, thinned: those of one trial where `seed` is given, else of the last.

    None where there are none, or no log that can be read.
    """
    with suppress(OSError):
        lines, _ = _lines(folder / RUN_LOG_NAME)
        points = thinned(_points(lines, seed))
        return RunPoints(points=points) if points else None
    return None


# --- the parts ---


def _writes_no_more(folder: Path, begun: RunBegun) -> bool:
    """Whether a run whose log names no end will add nothing: its folder is gone, or its process is."""
    return not _is_folder(folder) or _state(folder, begun, None)[0] == "KILLED"


def _folders(runs: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(runs) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield runs / entry.name


def _is_folder(folder: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(folder.lstat().st_mode)
    return False


@dataclass(frozen=True, slots=True)
class _Log:
    """What a log says, whoever is alive.

    Attributes:
        first, last: how the run began, and how it was resumed last.
        ended: how it ended since; None where it did not say.
        stage: the newest since.
        steps: of the training.
        step: the newest.
        points: thinned.
        at: the newest time that it names.
        is_cut: whether it was too large to be read whole.
    """

    first: RunBegun
    last: RunBegun
    ended: RunEnded | None
    stage: str | None
    steps: int | None
    step: int | None
    points: tuple[RunPoint, ...]
    at: float
    is_cut: bool


def _read(folder: Path, most: int) -> RunUnderWay | None:
    path = folder / RUN_LOG_NAME
    try:
        status = path.lstat()
        log = _log(path, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        return None
    # a folder that was copied or renamed is not the run that it speaks of
    if log is None or log.last.run_id != folder.name or not is_of_this_machine(log.last.process):
        return None
    last = log.last
    state, sentence = _state(folder, last, log.ended)
    return RunUnderWay(
        run_id=last.run_id,
        name=last.name,
        project=last.project,
        method=last.method,
        base=last.base,
        settings=last.settings,
        comparison=last.comparison,
        config=last.config,
        overrides=last.overrides,
        state=state,
        sentence=sentence,
        version=None if log.ended is None else log.ended.version,
        started_at=log.first.started_at,
        ended_at=None if state == "RUNNING" else log.at,
        stage=log.stage,
        step=log.step,
        steps=log.steps,
        points=thinned(log.points, most),
        is_cut=log.is_cut,
    )


@lru_cache(maxsize=32)
def _log(path: Path, _inode: int, _size: int, _changed_ns: int) -> _Log | None:
    """What the log of this path says while the file is the same, which a page asks for again and again; None without a beginning.

    Raises:
        OSError: it is a link, a folder, a pipe or a device, or cannot be read.
    """
    lines, is_cut = _lines(path)
    first: RunBegun | None = None
    last: RunBegun | None = None
    ended: RunEnded | None = None
    stage: str | None = None
    steps: int | None = None
    for line in lines:
        match line:
            case RunBegun():
                first = first or line
                last = line
                # the run was resumed: how it ended or where it stood before no longer holds
                ended = None
                stage = None
            case RunEnded():
                ended = line
            case RunStage():
                stage = line.stage
                steps = line.total if line.stage == TRAIN_STAGE else steps
            case _:
                pass
    if first is None or last is None:
        return None
    points = _points(lines, None)
    return _Log(
        first=first,
        last=last,
        ended=ended,
        stage=stage,
        steps=steps,
        step=points[-1].step if points else None,
        points=thinned(points),
        at=max(lines[-1].at, points[-1].at if points else 0.0),
        is_cut=is_cut,
    )


def _state(folder: Path, begun: RunBegun, ended: RunEnded | None) -> tuple[RunState, str | None]:
    if ended is not None:
        return ended.state, ended.sentence
    alive = is_alive(begun.process)
    # a process of another container, or of a system that tells nothing of it, holds the lock of its folder while it lives
    if alive or (alive is None and _is_held(folder)):
        return "RUNNING", None
    return "KILLED", ENDED_WITHOUT_A_WORD


def _is_held(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:  # it was removed just now
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # this file system cannot lock
        return False
    finally:
        os.close(descriptor)
    return False


def _lines(path: Path) -> tuple[list[Line], bool]:
    """The lines that are understood, and whether the log was too large to be read whole.

    Raises:
        OSError: it is a link, a folder, a pipe or a device, or cannot be read.
    """
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        lines = list(_understood(_texts(file, _MOST_BYTES)))
        is_cut = size > _MOST_BYTES
        if is_cut:
            file.seek(max(_MOST_BYTES, size - _END_BYTES))
            lines += _understood(_texts(file, _END_BYTES))
    return lines, is_cut


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    # a pipe that somebody put here must not be waited for
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        yield file


def _texts(file: BinaryIO, budget: int) -> Iterator[bytes]:
    """The lines of the next `budget` bytes. A line that is too long comes in pieces, which are then skipped as not readable."""
    while budget > 0 and (text := file.readline(min(_LONGEST_LINE, budget))):
        budget -= len(text)
        yield text


def _understood(texts: Iterable[bytes]) -> Iterator[Line]:
    for text in texts:
        with suppress(ValidationError):
            yield RUN_LINE.validate_json(text)


def _points(lines: Iterable[Line], seed: int | None) -> tuple[RunPoint, ...]:
    measured = [line for line in lines if isinstance(line, RunMeasured)]
    if measured and seed is None:
        seed = measured[-1].seed
    return by_step(
        RunPoint(step=line.step, at=line.at, values=line.values, logged=line.logged)
        for line in measured
        if line.seed in (seed, None)
    )
