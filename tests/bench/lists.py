"""What verifying a list costs against a loop in Python, commands and one process; and what the seam to executors adds.

    python -m tests.bench.lists [--versions 500] [--commands 5] [--items 40] [--seconds 0.5] [--home FOLDER] [--part PART …]

CPU seconds of whole processes, start included, so that a busy machine does not decide; the last two lines are by the clock and need
two idle cores. A home that is filled with `--stored` (`python -m tests.bench.load`) may be given.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from peft_registry.registry.bulk.executors import executor_named
from peft_registry.registry.bulk.lists import ListItem
from peft_registry.registry.bulk.results import ItemResult
from peft_registry.registry.bulk.running import Group, results_of
from tests.bench.load import fill
from tests.bench.machine import folder_on_disk, machine
from tests.bench.programs import python

LOOP_BAR, COMMANDS_BAR, PROCESSES_BAR, SEAM_BAR = 1.15, 40.0, 1.7, 0.05
PROCESSES = 2
PARTS = ("list", "processes", "seam")
LOOP = """
import peft_registry
with peft_registry.open_registry({home!r}, quiet=True) as registry:
    for version in registry.versions(where="kind=adapter"):
        assert registry.verify(version.label).verdict == "verified"
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.lists")
    parser.add_argument("--versions", type=int, default=500)
    parser.add_argument("--commands", type=int, default=5, help="how many single commands are timed")
    parser.add_argument("--items", type=int, default=40, help="of the seam")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each of them")
    parser.add_argument("--home", type=Path, help="one that is filled already")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="what is measured; default: all")
    chosen = parser.parse_args(arguments)
    print(machine(), flush=True)
    with folder_on_disk() as scratch:
        home = chosen.home or scratch / "home"
        if chosen.home is None and {"list", "processes"} & set(chosen.part):
            fill(home, versions=chosen.versions, stored=True)
        if "list" in chosen.part:
            verifications(home, chosen.commands)
        if "processes" in chosen.part:
            processes(home)
    if "seam" in chosen.part:
        seam(chosen.items, chosen.seconds)


def listed(home: Path, *words: str) -> None:
    """Verify all adapters of a home by one command."""
    registry("verify", "--where", "kind=adapter", "--no-cache", *words, home=home)


def verifications(home: Path, commands: int) -> None:
    """All adapters of a home by a list, by a loop, and by commands."""
    loop, _ = cost_of(lambda: python("-c", LOOP.format(home=str(home))))
    one, _ = cost_of(lambda: listed(home))
    count = int(
        python(
            "-c", f"import peft_registry; print(len(peft_registry.versions(where='kind=adapter', home={str(home)!r})))"
        )
    )
    single, _ = cost_of(lambda: [registry("verify", "load-0-0:1", "--no-cache", home=home) for _ in range(commands)])
    each = single / commands
    print(
        f"list         {count} verifications {one:.2f} CPU s; the loop in Python {loop:.2f}, ratio {one / loop:.3f} "
        f"(bar {LOOP_BAR}); commands {each:.2f} each, ratio {each * count / one:.1f} (bar {COMMANDS_BAR:g})",
        flush=True,
    )


def processes(home: Path) -> None:
    """All adapters of a home by two processes, and by one."""
    _, together = cost_of(lambda: listed(home, "--on", f"local:{PROCESSES}"))
    _, alone = cost_of(lambda: listed(home))
    print(
        f"processes    {PROCESSES} take {together:.2f} s, one {alone:.2f} s; ratio {alone / together:.2f} (bar {PROCESSES_BAR})",
        flush=True,
    )


def registry(*words: str, home: Path) -> None:
    python("-m", "peft_registry.cli.main", *words, "--home", str(home))


def cost_of(action: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds of the processes that an action starts and waits for, and seconds by the clock."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    action()
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended - began


def seam(items: int, seconds: float) -> None:
    """What an executor adds to items that take a while each, behind its start."""
    groups = [(ListItem((f"{number}",)),) for number in range(items)]
    with executor_named(f"local:{PROCESSES}") as executor:
        # each of them begins where none is idle
        starts = [executor.submit(time.sleep, 2) for _ in range(PROCESSES)]
        assert {start.result() for start in starts} == {None}
        began = time.perf_counter()
        answers = list(results_of(executor, partial(waited, seconds), groups))
        took = time.perf_counter() - began
    assert all(answer.is_done for answer in answers)
    ideal = seconds * -(-items // PROCESSES)
    print(
        f"seam         {items} items of {seconds:g} s by {PROCESSES} processes {took:.2f} s, without it {ideal:.2f} s; "
        f"{took / ideal - 1:.1%} more (bar {SEAM_BAR:.0%})"
    )


def waited(seconds: float, group: Group) -> tuple[ItemResult, ...]:
    time.sleep(seconds)
    return tuple(ItemResult(item, os.getpid()) for item in group)


if __name__ == "__main__":
    main()
