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
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from peft_registry.registry.disk.process_identity import is_alive, is_of_this_machine
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.run_log import RUN_LINE, RunBegun, RunEnded, RunMeasured, RunStage, RunState
from peft_registry.schemas.run_points import MOST_POINTS, RunMetricName, RunPoint, by_step, thinned

RUN_LOG_NAME = "run-log.jsonl"
TRAIN_STAGE = "train"
_MOST_BYTES = 32 << 20  # of a log that is read; a run of a million steps writes 15 MB (`line_interval`)
_END_BYTES = 1 << 20  # of the end of a larger one
_LONGEST_LINE = 1 << 18  # bytes: a beginning with all its settings takes a few thousand
_POINTS_UNTHINNED = 10_000

Line = RunBegun | RunStage | RunMeasured | RunEnded


class RunNotFound(NotFound):
    """`asked` is the beginning of an id; `ids` are those of the runs that are here."""

    reference = "run-not-found"
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


def run_under_way(runs: Path, run_id: str, *, points: int = MOST_POINTS) -> RunUnderWay | None:
    """The run with this id; None where it has no log here, as once it is registered."""
    folder = runs / run_id
    if folder.parent != runs or not _is_folder(folder):
        return None
    return _read(folder, points)


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
    begun = ended = None
    rest = b""
    with suppress(OSError), _opened(folder / RUN_LOG_NAME) as file:
        while True:
            data = file.read(_LONGEST_LINE)
            *complete, rest = (rest + data).split(b"\n")
            rest = rest[:_LONGEST_LINE]
            for line in _understood(complete):
                begun = line if isinstance(line, RunBegun) else begun
                ended = line if isinstance(line, RunEnded) else None if isinstance(line, RunBegun) else ended
                yield line
            if data:
                continue
            if (
                ended is not None
                or begun is None
                or not _is_folder(folder)
                or _state(folder, begun, None)[0] == "KILLED"
            ):
                return
            wait()


def points_of_log(folder: Path, *, seed: int | None = None) -> tuple[RunPoint, ...]:
    """Every point in the log of a run's folder, thinned: those of one trial where `seed` is given, else of the last.

    Empty where there is no log that can be read.
    """
    with suppress(OSError):
        lines, _ = _lines(folder / RUN_LOG_NAME)
        return thinned(_points(lines, seed))
    return ()


# --- the parts ---


def _folders(runs: Path) -> Iterator[Path]:
    with suppress(OSError), os.scandir(runs) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield runs / entry.name


def _is_folder(folder: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(folder.lstat().st_mode)
    return False


def _read(folder: Path, most: int) -> RunUnderWay | None:
    try:
        lines, is_cut = _lines(folder / RUN_LOG_NAME)
    except OSError:
        return None
    begun = [line for line in lines if isinstance(line, RunBegun)]
    # a folder that was copied or renamed is not the run that it speaks of
    if not begun or begun[-1].run_id != folder.name or not is_of_this_machine(begun[-1].process):
        return None
    return _run(folder, begun, lines, most=most, is_cut=is_cut)


def _run(folder: Path, begun: list[RunBegun], lines: list[Line], *, most: int, is_cut: bool) -> RunUnderWay:
    first, last = begun[0], begun[-1]
    since = lines[len(lines) - 1 - lines[::-1].index(last) :]  # what was said before a resumption is not how it stands
    ended = next((line for line in reversed(since) if isinstance(line, RunEnded)), None)
    stages = [line for line in since if isinstance(line, RunStage)]
    trained = [line for line in lines if isinstance(line, RunStage) and line.stage == TRAIN_STAGE]
    points = _points(lines, None)
    state, sentence = _state(folder, last, ended)
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
        version=None if ended is None else ended.version,
        started_at=first.started_at,
        ended_at=None if state == "RUNNING" else max(lines[-1].at, points[-1].at if points else 0.0),
        stage=stages[-1].stage if stages else None,
        step=points[-1].step if points else None,
        steps=trained[-1].total if trained else None,
        points=thinned(points, most),
        is_cut=is_cut,
    )


def _state(folder: Path, begun: RunBegun, ended: RunEnded | None) -> tuple[RunState, str | None]:
    if ended is not None:
        return ended.state, ended.sentence
    alive = is_alive(begun.process)
    # a process of another container, or of a system that tells nothing of it, holds the lock of its folder while it lives
    if alive or (alive is None and _is_held(folder)):
        return "RUNNING", None
    return "KILLED", "its process ended without a word"


def _is_held(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
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
        OSError: it is no file of its own, or cannot be read.
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
            raise OSError(errno.EINVAL, "it is no file of its own")
        yield file


def _texts(file: BinaryIO, budget: int) -> Iterator[bytes]:
    """The lines in so many bytes from here on; one that is too long comes in pieces, none of which is understood."""
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
