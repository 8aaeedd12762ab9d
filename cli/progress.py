"""Progress of a long operation: bars with rate and time left on a terminal, quiet in a pipe; the story's lines either way."""

import sys
import time
from typing import Any

from peft_registry.cli import console
from peft_registry.schemas.progress import Advanced, Event, Finished, Said, Started, Warned

_BAR = 20
_REDRAW_SECONDS = 0.1


class Progress:
    """Observes typed events. Story lines go to stdout, or to stderr where stdout carries JSON."""

    def __init__(self, *, story_on_stdout: bool) -> None:
        self._say = console.out if story_on_stdout else console.note
        self._live = sys.stderr.isatty()
        self._started: dict[str, tuple[Started, float]] = {}
        self._drawn_at = 0.0

    def __call__(self, event: Event) -> Any:  # the observer's result is ignored
        match event:
            case Started():
                self._started[event.step] = (event, time.monotonic())
            case Advanced():
                self._advance(event)
            case Finished():
                self._finish(event)
            case Said():
                self._clear()
                self._say(f"{event.label:<8} {event.text}")
                sys.stdout.flush()  # in a pipe too: whoever follows a long run reads each line when it is true
            case Warned():
                self._clear()
                console.note(f"warning  {event.text}")

    def _advance(self, event: Advanced) -> None:
        now = time.monotonic()
        if not self._live or event.step not in self._started or now - self._drawn_at < _REDRAW_SECONDS:
            return
        self._drawn_at = now
        started, since = self._started[event.step]
        figures = "  ".join(f"{name} {text}" for name, text in event.figures)
        elapsed = max(now - since, 1e-9)
        if started.total:
            filled = round(_BAR * min(event.done / started.total, 1))
            left = elapsed / max(event.done, 1) * (started.total - event.done)
            bar = "━" * filled + "╺" * (_BAR - filled)
            text = f"{event.step:<8} {bar} {event.done}/{started.total}  {figures}  {_clock(left)} left"
        else:
            text = f"{event.step:<8} {event.done} {started.unit}  {figures}  {event.done / elapsed:.0f}/s"
        sys.stderr.write("\r\x1b[2K" + text)
        sys.stderr.flush()

    def _finish(self, event: Finished) -> None:
        self._clear()
        self._started.pop(event.step, None)

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
