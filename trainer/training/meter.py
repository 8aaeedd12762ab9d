"""Seconds, energy and the load of the machine while a run trains, added to what it had taken before it was resumed."""

from collections.abc import Callable

from peft_registry.trainer.machine.energy import EnergyMeter
from peft_registry.trainer.training.checkpoints import TrainingProgress


class Meter:
    """Seconds and energy of a run, added to what it had taken before it was resumed; and the time since its last checkpoint.

    `total` is the number of its steps.
    """

    def __init__(self, progress: TrainingProgress, clock: Callable[[], float], *, total: int) -> None:
        self._progress = progress
        self._clock = clock
        self._seconds_before = progress.seconds
        self._energy_before = progress.energy_kwh or 0.0
        self._tokens_before = progress.tokens
        self._started = clock()
        self._saved = clock()
        self._step_began = self._started
        self._energy = EnergyMeter()
        self._total = total
        progress.system.clock = clock
        if progress.step < total:
            self.sample()

    def read(self) -> None:
        """Write time and energy into the progress."""
        self._progress.seconds = self._seconds_before + self._clock() - self._started
        self._energy.note()
        spent = self._energy.kilowatt_hours
        self._progress.energy_kwh = None if spent is None else self._energy_before + spent

    def begin_step(self) -> None:
        """A step begins now: what was done since the last one is none of its time."""
        self._step_began = self._clock()

    def rate_of_step(self, tokens: int) -> float:
        """Tokens per second of the step that began last, which had so many."""
        return tokens / max(self._clock() - self._step_began, 1e-9)

    def sample(self) -> None:
        """Read how busy the machine is, where that is due."""
        step = self._progress.step
        self._progress.system.note(step, is_last=step == self._total)

    def saved(self) -> None:
        """The state was kept just now."""
        self._saved = self._clock()

    @property
    def tokens_per_second(self) -> float:
        """Since this process began to train."""
        elapsed = self._progress.seconds - self._seconds_before
        return (self._progress.tokens - self._tokens_before) / max(elapsed, 1e-9)

    @property
    def seconds_since_save(self) -> float:
        return self._clock() - self._saved
