"""Progress of a long operation: a bar with rate and time left on a terminal, a plain line now and then elsewhere.

Progress goes to stderr, never to stdout. In a pipe short operations stay silent; a long one says where it is at most every
`PLAIN_SECONDS`. The lines of the story that a command tells are data and come either way.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from peft_registry.cli import console
from peft_registry.schemas.progress import Advanced, Event, Finished, Measured, Said, Started, Warned
from peft_registry.schemas.run_points import LOOKED_AT
from peft_registry.schemas.sizes import human_bytes

PLAIN_SECONDS = 30.0
_BAR = 20
_REDRAW_SECONDS = 0.1


@dataclass(slots=True)
class _Step:
    """A step that is under way; its speed is measured from the first report on, which after a resume is not at zero."""

    started: Started
    first_done: int | None = None
    first_at: float = 0.0

    def per_second(self, done: int, now: float) -> float | None:
        if self.first_done is None:
            self.first_done = done
            self.first_at = now
        elapsed = now - self.first_at
        advanced = done - self.first_done
        return advanced / elapsed if elapsed > 0 and advanced > 0 else None


class Progress:
    """Observes typed events. Story lines go to stdout, or to stderr where stdout carries JSON.

    Args:
        story_on_stdout: whether the story is the command's output.
        clock: seconds that only move forwards.
    """

    def __init__(self, *, story_on_stdout: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = console.line if story_on_stdout else console.note
        self._live = sys.stderr.isatty()
        self._clock = clock
        self._steps: dict[str, _Step] = {}
        self._shown_at = clock()

    def __call__(self, event: Event) -> Any:  # the observer's result is ignored
        match event:
            case Started():
                self._steps[event.step] = _Step(event)
            case Advanced():
                self._advance(event)
            case Measured():
                self._measured(event)
            case Finished():
                self._clear()
                self._steps.pop(event.step, None)
            case Said():
                self._clear()
                self._tell(f"{event.label:<8} {event.text}")
                sys.stdout.flush()  # in a pipe too: whoever follows a long run reads each line when it is true
            case Warned():
                self._clear()
                console.warn(event.text)

    def _measured(self, event: Measured) -> None:
        """Figures of held-out rows are a line of the story, because they come seldom; what comes with each step is in the bar."""
        figures = [
            f"{figure.replace('_', ' ')} {event.values[name]:.3f}"
            for name, (_, figure) in LOOKED_AT.items()
            if name in event.values
        ]
        if figures:
            self._clear()
            self._tell(f"held-out step {event.step}  {'  '.join(figures)}")
            sys.stdout.flush()

    def _advance(self, event: Advanced) -> None:
        step = self._steps.get(event.step)
        if step is None or console.is_quiet():
            return
        now = self._clock()
        rate = step.per_second(event.done, now)
        if now - self._shown_at < (_REDRAW_SECONDS if self._live else PLAIN_SECONDS):
            return
        self._shown_at = now
        if not self._live:
            console.note(_text(step.started, event, rate, bar=False))
            return
        text = _text(step.started, event, rate, bar=True)
        width = console.terminal_width(sys.stderr) or len(text)
        sys.stderr.write("\r\x1b[2K" + text[: width - 1])  # a line that wraps could not be drawn over
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _text(started: Started, event: Advanced, rate: float | None, *, bar: bool) -> str:
    """One line: the step, how far it is, its figures or else its rate, and the time left where that is known."""
    parts = [_how_far(started, event.done)]
    parts += [f"{text} {name}" if "/" in name else f"{name} {text}" for name, text in event.figures]
    if rate is not None and not event.figures:
        parts.append(f"{_amount(rate, started.unit)}/s")
    if rate is not None and started.total:
        parts.append(f"{_clock(max(started.total - event.done, 0) / rate)} left")
    drawing = ""
    if bar and started.total:
        filled = round(_BAR * min(event.done / started.total, 1))
        drawing = "━" * filled + "╺" * (_BAR - filled) + " "
    return f"{event.step:<8} {drawing}{'  '.join(parts)}"


def _how_far(started: Started, done: int) -> str:
    if started.unit == "B":
        return human_bytes(done) + (f" of {human_bytes(started.total)}" if started.total else "")
    return f"{done}/{started.total}" if started.total else f"{done} {started.unit}"


def _amount(rate: float, unit: str) -> str:
    return human_bytes(round(rate)) if unit == "B" else f"{rate:.3g} {unit}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
