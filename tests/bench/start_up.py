"""CPU seconds of commands in a fresh interpreter: `registry --help`, and `registry list` of a home with some versions.

    python -m tests.bench.start_up [--versions 20] [--repeats 7]

User and system seconds of the whole process, the best and the median of several runs in turn. On a machine that does other work the
best says more: what disturbs a run only makes it dearer.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.register import register_version
from tests.bench.machine import machine
from tests.bench.programs import python
from tests.builders.homes import a_home, add_a_base, an_artifact

HELP_BAR, LIST_BAR = 0.12, 0.6


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.start_up")
    parser.add_argument("--versions", type=int, default=20, help="in the home that is listed")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args(arguments)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        home = filled_home(Path(scratch), chosen.versions)
        commands = {"--help": ["--help"], "list": ["list", "--home", str(home)]}
        for words in commands.values():
            python("-m", "peft_registry.cli.main", *words)  # the first compiles, and warms the files
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(chosen.repeats):
            for name, words in commands.items():
                seconds[name].append(cpu_seconds("-m", "peft_registry.cli.main", *words))
    for name, bar in (("--help", HELP_BAR), ("list", LIST_BAR)):
        taken = seconds[name]
        print(
            f"start-up     registry {name:<8} best {min(taken):.2f}, median {statistics.median(taken):.2f} CPU s  (bar {bar})"
        )


def filled_home(folder: Path, versions: int) -> Path:
    with a_home(folder / "home", now=utc_now()) as registry:
        base = add_a_base(registry, folder / "base")
        for number in range(versions):
            register_version(registry, an_artifact(folder / f"a{number}", base, value=number / 32))
    return folder / "home"


def cpu_seconds(*words: str) -> float:
    before = os.times()
    python(*words)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


if __name__ == "__main__":
    main()
