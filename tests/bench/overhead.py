"""What identity, signing, registration and its log take of a training run: LoRA on the real model, whole command, in this process.

python -m tests.bench.overhead [--rows 48] [--embedded]
"""

import argparse
import math
import pkgutil
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from peft_registry.registry.homes.run_logs import runs_under_way
from peft_registry.schemas.progress import Event, Started
from tests.bench.machine import machine
from tests.bench.material import Material, material, missing

SHARE_BAR, SECONDS_BAR = 0.03, 2.0
LOG_BAR = 0.01  # of the training
FIRST_POINT_BAR_S = 30.0  # after the training began
# by the module of the use case that calls them
IDENTITY = ("train.checked_base", "train_run.CheckedBase.require_unchanged")
REGISTRATION = (
    "train_product.manifest_of_folder",
    "train.derive_record",
    "train_product.model_card",
    "train.register_product",
)
USE_CASES = "peft_registry.trainer.use_cases"
LOG = "peft_registry.trainer.runs.run_log.RunLog.note"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the seconds of each part, or why nothing was measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.overhead")
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--embedded", action="store_true", help="the model and the rows that ship")
    chosen = parser.parse_args(arguments)
    print(machine(), flush=True)
    why = missing(real_model=not chosen.embedded, rows=not chosen.embedded)
    if why:
        print(f"overhead     not run: {why}")
        return
    from peft_registry.registry.homes.home import utc_now
    from peft_registry.registry.use_cases.add_base import add_base
    from peft_registry.schemas.base_model import BaseOrigin
    from peft_registry.trainer.use_cases.train import train_and_register
    from tests.builders.homes import a_home

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = material(folder, embedded=chosen.embedded)
        shutil.copyfile(given.rows, folder / given.rows.name)  # a link is no data file
        (folder / "train.yml").write_text(training_file(given, chosen.rows))
        with a_home(folder / "home", now=utc_now()) as registry:
            add_base(registry, given.base, name="small", origin=BaseOrigin(format="huggingface", source="small"))
            with ExitStack() as stack:
                identity = sum_of(stack, IDENTITY)
                registration = sum_of(stack, REGISTRATION)
                logged: list[float] = []
                # a line is a few microseconds: on a busy machine one wait for a core would be all that is seen
                stack.enter_context(timed(LOG, logged, clock=time.thread_time))
                first = FirstPoint(registry.files.runs)
                run = train_and_register(registry, folder / "train.yml", observe=first.observe).run
    training = float(run.compute.wall_seconds.value)
    spent, bar = identity() + registration(), SHARE_BAR * training + SECONDS_BAR
    print(
        f"overhead     training {training:.1f} s; base identity {identity():.2f} s, manifest, records, signatures and "
        f"registration {registration():.2f} s: {spent:.2f} s (bar {SHARE_BAR:.0%} + {SECONDS_BAR:g} s: {bar:.2f} s)"
    )
    print(
        f"run log      {run.points.points if run.points else 0} points: {sum(logged):.4f} CPU s, "
        f"{sum(logged) / training:.2%} of the training (bar {LOG_BAR:.0%})"
    )
    print(f"first point  in the log {first.seconds:.1f} s after the training began (bar {FIRST_POINT_BAR_S:g})")


class FirstPoint:
    """How long after a training began the log of its run, which MLflow's pages read, has a loss."""

    def __init__(self, runs: Path) -> None:
        self.seconds = math.nan
        self._runs = runs
        self._began: float | None = None

    def observe(self, event: Event) -> None:
        """Look into the log at each event of the training until it has one."""
        if isinstance(event, Started) and event.step == "train":
            self._began = time.perf_counter()
        if self._began is None or not math.isnan(self.seconds):
            return
        if any("loss" in point.values for run in runs_under_way(self._runs) for point in run.points):
            self.seconds = time.perf_counter() - self._began


def training_file(given: Material, rows: int) -> str:
    columns = f"{{prompt: {given.prompt}, completion: {given.completion}}}"
    return f"""\
name: tutor
base: small
method: lora
data:
  train: {{path: {given.rows.name}, format: prompt_completion, columns: {columns}, rows: {rows}}}
evaluation: {{bias: []}}
"""


def sum_of(stack: ExitStack, names: tuple[str, ...]) -> Callable[[], float]:
    """Time these functions of the train use case while the stack is open; what comes back gives the seconds so far."""
    seconds: list[float] = []
    for name in names:
        stack.enter_context(timed(f"{USE_CASES}.{name}", seconds))
    return lambda: sum(seconds)


@contextmanager
def timed(name: str, seconds: list[float], *, clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """The function of that whole name, with its seconds by the clock added to the list at each call."""
    original = pkgutil.resolve_name(name)

    def call(*arguments: Any, **options: Any) -> Any:
        began = clock()
        try:
            return original(*arguments, **options)
        finally:
            seconds.append(clock() - began)

    with patch(name, call):
        yield


if __name__ == "__main__":
    main()
