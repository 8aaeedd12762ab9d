"""The log of a run that is under way: each step's figures as they come, for `registry runs` and MLflow's pages.

It is an observer: what trains and scores tells what it measured, and knows of no log. A log that cannot be written any more (a full
disk) is given up with a warning, and the run goes on.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from peft_registry.registry.homes.run_logs import RUN_LOG_NAME, TRAIN_STAGE, line_interval
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.progress import Event, Finished, Measured, Observe, Started, Warned
from peft_registry.schemas.run_log import EndState, RunBegun
from peft_registry.trainer.runs.launch import RegisteredElsewhere

_MOST_LOGGED = 64  # figures of somebody else's trainer at a step
_LONGEST_NAME = 100  # characters of the name of one


class RunLog:
    """Appends to the log of one run.

    Args:
        folder: of the run, held by this process.
        observe: is warned where the log cannot be written.
        clock: seconds that only move forwards.
    """

    def __init__(self, folder: Path, observe: Observe, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / RUN_LOG_NAME
        self._observe = observe
        self._clock = clock
        # the machine's clock may be set while a run trains: its points keep their distance all the same
        self._epoch = time.time() - clock()
        self._descriptor: int | None = None
        self._waiting: Measured | None = None
        self._is_lost = False
        self.has_trained = False
        self.has_ended = False

    def begin(self, begun: RunBegun) -> None:
        """Open the log, which a run that is resumed has already, and say what begins."""
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            self._give_up(error)
            return
        # a kill may have cut the last line of the run before
        self._write(b"\n" + begun.model_dump_json().encode() + b"\n")

    def observing(self, observe: Observe) -> Observe:
        """An observer that writes what it hears, and hands it on."""

        def both(event: Event) -> Any:  # the observer's result is ignored
            self.note(event)
            return observe(event)

        return both

    def note(self, event: Event) -> None:
        """Write what of an event belongs into the log."""
        match event:
            case Measured():
                self._measured(event)
            case Started():
                self.has_trained = self.has_trained or event.step == TRAIN_STAGE
                self._say(kind="stage", stage=event.step, total=event.total, unit=event.unit)
            case Finished():
                self._write_waiting()
            case _:
                pass

    def end(self, state: EndState, sentence: str, *, version: str | None = None) -> None:
        """Say how the run ended, and close the log."""
        self._write_waiting()
        self._say(kind="ended", state=state, sentence=sentence, version=version)
        self._close()
        self.has_ended = True

    def end_registered(self, label: str, *, was_there: bool) -> None:
        """Say as which version the result is registered, or was before, and close the log."""
        done = "already registered" if was_there else "registered"
        self.end("FINISHED", f"{done} as {label}", version=label)

    def remove(self) -> None:
        """Leave no log: the run was refused before it trained, or is over here."""
        self._close()
        with suppress(OSError):
            self._path.unlink()

    @property
    def now(self) -> float:
        """Seconds since 1970 (UTC), which never go back while the run lives."""
        return round(self._epoch + self._clock(), 3)

    # --- the parts ---

    def _measured(self, event: Measured) -> None:
        self._waiting = None
        if event.step % line_interval(event.step) == 0 or event.logged or "loss" not in event.values:
            self._write_point(event)
        else:
            self._waiting = event  # it is written if it turns out to be the last

    def _write_waiting(self) -> None:
        if self._waiting is not None:
            self._write_point(self._waiting)
        self._waiting = None

    def _write_point(self, event: Measured) -> None:
        values = _finite(event.values.items())
        logged = _finite(islice(event.logged.items(), _MOST_LOGGED))
        point: dict[str, Any] = {"kind": "point", "step": event.step, "at": self.now, "values": values}
        if logged:
            point["logged"] = {name[:_LONGEST_NAME]: value for name, value in logged.items()}
        if event.seed is not None:
            point["seed"] = event.seed
        self._write_json(point)

    def _say(self, **line: Any) -> None:
        self._write_json({**line, "at": self.now})

    def _write_json(self, line: Mapping[str, Any]) -> None:
        self._write(json.dumps(line, separators=(",", ":")).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, data)  # one call a line: whoever reads meanwhile finds whole ones
        except OSError as error:
            self._close()
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if not self._is_lost:
            why = error.strerror or type(error).__name__
            text = f"the log of this run cannot be written ({why}): `registry runs` shows nothing new of it"
            self._observe(Warned("run-log", text))
        self._is_lost = True

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


@contextmanager
def run_log(folder: Path, begun: RunBegun, observe: Observe) -> Iterator[RunLog]:
    """The log of the run inside, which says how the run ended where that is by an error.

    A run that was refused before it trained leaves none.
    """
    log = RunLog(folder, observe)
    log.begin(begun)
    try:
        yield log
    except RegisteredElsewhere:
        log.end("FINISHED", "the machine of process 0 registers the result")
        log.remove()
        raise
    except BaseException as error:
        if log.has_trained:
            log.end(*ending_of(error))
        else:
            log.remove()
        raise


def ending_of(error: BaseException) -> tuple[EndState, str]:
    """What the log says of a run that ended by this error."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "KILLED", "it was interrupted"
    if isinstance(error, KnownError):
        return "FAILED", f"{error.what}: {error.why}"
    return "FAILED", f"{type(error).__name__}, an error that nobody expected"


def _finite(figures: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Those of the figures that JSON has a number for, to as many digits as a curve shows."""
    return {name: float(f"{value:.6g}") for name, value in figures if math.isfinite(value)}
