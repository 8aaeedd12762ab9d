"""`python -m tests.bench [NAME …]`: the benches one after the other, each in a process of its own, as `make bench` runs them.

Run them on an idle machine; the first line of each says how fast the machine was. A bench is a module beside this one, whose
docstring and `--help` explain it. With `--smallest` each does what it does on as little as it takes: the figures mean nothing then,
but the bench is seen to work. `tests/bench/test_benches.py` runs them so.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from tests.bench.programs import ProgramFailed, forked, python

SMALLEST: dict[str, tuple[str, ...]] = {
    "start_up": ("--versions", "1", "--repeats", "1"),
    "verification": ("--gib", "0.001", "--versions", "4", "--repeats", "1"),
    "lists": ("--versions", "2", "--commands", "1", "--items", "2", "--seconds", "0.01"),
    "merging": ("--layers", "1", "--width", "64", "--runs", "0"),
    "training": (
        "--embedded",
        "--rows",
        "5",
        "--rounds",
        "1",
        "--tasks",
        "all tokens",
        "--settings",
        "plain",
        "autocast",
    ),
    "overhead": ("--embedded", "--rows", "6"),
    "evaluation": ("--embedded", "--crows", "2", "--bbq", "2", "--batches", "2"),
    "log": ("--versions", "1", "--entries", "300", "--repeats", "1"),
    "reading": ("--versions", "20", "22", "--database", "sqlite", "--page", "5", "--rounds", "1"),
    "ui": ("--times", "0", "--versions", "3"),
    "gpu": (
        *("--device", "cpu", "--rows", "2", "--length", "16"),
        *("--width", "64", "--layers", "1", "--repeats", "1"),
    ),
}
"""The benches in the order in which they run, with the options of the smallest size of each."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benches that are named; 1 if one of them did not end well or is below what its exit code stands for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ratios against the peers, in one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all without a name: {', '.join(SMALLEST)}")
    parser.add_argument("--smallest", action="store_true", help="on as little as each takes; the figures mean nothing")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in SMALLEST]
    if unknown:
        parser.error(f"no bench of this name: {', '.join(unknown)}")
    names = chosen.names or list(SMALLEST)
    if chosen.smallest:
        failed = smallest(names)
    else:
        failed = [name for name in names if not ends_well(name)]
    if failed:
        print(f"failed, or below a bar: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def ends_well(name: str) -> bool:
    print(title(name), flush=True)
    return subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode == 0


def smallest(names: Sequence[str]) -> list[str]:
    """Run the benches at their smallest; the names of those that failed."""
    failed = []
    with forked():
        for name in names:
            print(title(name), flush=True)
            try:
                print(python("-m", f"tests.bench.{name}", *SMALLEST[name]), end="", flush=True)
            except ProgramFailed as error:
                print(error, flush=True)
                failed.append(name)
    return failed


def title(name: str) -> str:
    """The line before what a bench prints."""
    return f"== {name} =="


if __name__ == "__main__":
    sys.exit(main())
