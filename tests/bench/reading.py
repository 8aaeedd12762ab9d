"""What reading a large registry costs, how it grows, and what the same questions cost MLflow's client.

    python -m tests.bench.reading [--versions 1000 3000 10000] [--database sqlite postgresql] [--no-peer]

Homes of several sizes are filled by `tests.bench.load`. Every question is put to an open home as its command puts it: the answer is
held against the log and the signed manifests. Beside it stands MLflow's client on its own store in SQLite, in this process, with as
many versions of as many models and the same tags; it proves nothing, so that our bare rows stand beside it too. CPU milliseconds of
this process on SQLite, so that a busy machine says little less than an idle one; wall milliseconds on PostgreSQL, which works in
another process. Median of several. Both sides give the same answers, or the run ends.

A machine that others share is up to twice as fast at one minute as at another. So a fixed task runs right before and after each
question, on the same clock, and what is fitted is how many times as long as that task the question took: the slope is that of its
logarithm over log n, by least squares.
"""

import argparse
import gc
import hashlib
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from peft_registry.registry.compliance.verdicts.rules import shipped_rules
from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry, open_home, utc_now
from peft_registry.registry.intake.where import read_query
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.find import find_versions
from peft_registry.registry.use_cases.show_impact import describe_impact
from peft_registry.registry.use_cases.show_moves import version_at
from peft_registry.registry.use_cases.show_verdict import replay
from peft_registry.registry.verification.signed_versions import all_signed_versions, signed_page
from peft_registry.schemas.identity import Reference
from peft_registry.schemas.version import Version
from tests.bench.load import BASE_NAME, fill
from tests.bench.mlflow_peer import filled_peer
from tests.servers.postgres import running_postgres

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a question took: seconds of a clock, those of the fixed task at that time, and how many times as long as that."""

    seconds: float
    task: float
    relative: float

    @property
    def text(self) -> str:
        return f"{self.seconds * 1000:.2f} ms, {self.relative:.2f} tasks of {self.task * 1000:.2f} ms"


Answers = dict[str, Taken]

SIZES = (1_000, 3_000, 10_000)
PAGE = 50
FEW = 15
SLOPE_BAR = 0.1
VERDICT_BAR_S = 60.0
BARS = {"alias": 5.0, "digest": 20.0, "method page": 3.0, "all versions": 5.0}
"""How many times faster than the peer's client."""
PAGES = {
    "method page": ("method=ia3", None),
    "base page": (f"base={BASE_NAME}", None),
    "alias page": ("alias=champion", None),
    "newest page": ("kind=adapter", "-registered"),
}
"""What `registry list --where … --sort …` is asked."""
ONCE = ("all versions", "all versions, rows", "verdict --all")
"""What is asked of every version: it grows with them, and is asked once."""

CPU: Clock = time.process_time
WALL: Clock = time.perf_counter


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.reading", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--versions", type=int, nargs="+", default=SIZES)
    parser.add_argument("--database", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--no-peer", action="store_true", help="leave MLflow's client out")
    asked = parser.parse_args()
    load = " ".join(f"{share:.1f}" for share in os.getloadavg())
    print(f"calibration  SHA-256 of 256 MiB in memory on one core: {calibration():.2f} s; load {load}", flush=True)
    for database in asked.database:
        measure(database, sorted(asked.versions), with_peer=database == "sqlite" and not asked.no_peer)


def calibration() -> float:
    data = bytes(256 * 1024 * 1024)
    return seconds_of(lambda: hashlib.sha256(data).digest(), WALL)


_DOCUMENT = json.dumps(
    [{"value": None, "unit": f"{number % 7}", "evidence": [number] * 3, "reason": "asked"} for number in range(500)]
)


def fixed_task() -> None:
    """Read and write JSON and walk through it, as the program does for most of its time; about two milliseconds."""
    document = json.loads(_DOCUMENT)
    texts = [f"{member['unit']}:{member['reason']}" for member in document if member["value"] is None]
    hashlib.sha256(json.dumps([document, texts]).encode()).digest()


def measure(database: str, sizes: list[int], *, with_peer: bool) -> None:
    """Fill one home after the other, ask, and print what it took."""
    taken: dict[int, Answers] = {}
    clock = WALL if database == "postgresql" else CPU
    with running_postgres() if database == "postgresql" else nullcontext() as server:
        for size in sizes:
            with tempfile.TemporaryDirectory() as scratch:
                address = None if server is None else server.new_database(f"load_{size}")
                home = Path(scratch) / "home"
                load = fill(home, versions=size, database=address)
                print(
                    f"{database:<12} {load.versions} versions, {load.entries} entries, filled in {load.seconds:.0f} s"
                )
                registry = open_home(home)
                try:
                    versions = tuple(all_signed_versions(registry))
                    # a command begins with an empty heap: the collector is not to walk through what filling left at each question
                    gc.collect()
                    gc.freeze()
                    taken[size] = answers(registry, versions, clock, f"{database} {size}")
                    if with_peer and size == sizes[-1]:
                        compare(registry, versions, taken[size], Path(scratch))
                finally:
                    registry.close()
    for question in taken[sizes[-1]]:
        points = [(size, taken[size][question]) for size in sizes if question in taken[size]]
        report(database, question, points)


def report(database: str, question: str, points: list[tuple[int, Taken]]) -> None:
    figures = ", ".join(
        f"{taken.seconds * 1000:.2f} ms ({taken.relative:.2f} tasks) at {size}" for size, taken in points
    )
    if question == "verdict --all":
        bar = f"  (bar {VERDICT_BAR_S:g} s)"
    elif question in ONCE or len(points) == 1:
        bar = ""
    else:
        bar = f"  slope {slope(points):+.3f} (bar {SLOPE_BAR:g})"
    print(f"{database:<12} {question:<24} {figures}{bar}", flush=True)


def slope(points: list[tuple[int, Taken]]) -> float:
    """Of the logarithm of a question's time, in times of the fixed task, over log n, by least squares."""
    fitted = statistics.linear_regression(
        [math.log(size) for size, _ in points], [math.log(taken.relative) for _, taken in points]
    )
    return fitted.slope


def answers(registry: Registry, versions: tuple[Version, ...], clock: Clock, home: str) -> Answers:
    """What each question to an open home took, printed as they come: the last take minutes."""
    few = sized_name(versions)
    many = max_name(versions)
    base = version_named(registry, BASE_NAME)
    now = utc_now()
    digest = versions[len(versions) // 2].manifest_digest
    questions: dict[str, Callable[[], Any]] = {
        "alias": lambda: version_named(registry, "registered@newest"),
        "digest": lambda: version_named(registry, str(digest)),
        "alias at a time": lambda: version_at(registry, f"{few}@champion", now),
        "alias of the longest name": lambda: version_named(registry, f"{many}@champion"),
        "first page": lambda: signed_page(registry, limit=PAGE),
        "impact of the base": lambda: describe_impact(registry, str(base.manifest_digest), limit=PAGE),
        **{
            name: partial(find_versions, registry, read_query(where, sort), limit=PAGE)
            for name, (where, sort) in PAGES.items()
        },
        "all versions": lambda: list(all_signed_versions(registry)),
        "alias, rows": lambda: row_of(registry, "registered@newest"),
        "digest, rows": lambda: row_of(registry, str(digest)),
        "method page, rows": lambda: rows(registry, PAGE, method="ia3"),
        "all versions, rows": lambda: rows(registry, 10**9),
        "verdict --all": lambda: replay(registry, shipped_rules()),
    }
    answered: Answers = {}
    for name, question in questions.items():
        taken = median_of(question, clock, once=name in ONCE)
        listed = len(question().versions) if name in PAGES else PAGE
        # a page that a small home cannot fill costs less, and says nothing of how a page grows
        note = "" if listed == PAGE else f"  ({listed} versions: left out)"
        print(f"{home:<18} {name:<24} {taken.text}{note}", flush=True)
        if listed == PAGE:
            answered[name] = taken
    return answered


def row_of(registry: Registry, reference: str) -> Version:
    """What the rows alone say, without a look at the log: what a registry that proves nothing reads."""
    with registry.database.read() as tx:
        return catalog.resolve(tx, Reference.parse(reference))


def rows(registry: Registry, limit: int, *, method: str | None = None) -> tuple[Version, ...]:
    with registry.database.read() as tx:
        return catalog.list_versions(tx, where=catalog.VersionFilter(method=method), limit=limit).versions


def sized_name(versions: tuple[Version, ...]) -> str:
    """A name of a few versions that has a champion."""
    counts: dict[str, int] = {}
    for version in versions:
        counts[version.name] = counts.get(version.name, 0) + 1
    with_champion = {version.name for version in versions if "champion" in version.aliases}
    return min(with_champion, key=lambda name: (abs(counts[name] - FEW), name))


def max_name(versions: tuple[Version, ...]) -> str:
    names = [version.name for version in versions]
    return max({version.name for version in versions if "champion" in version.aliases}, key=names.count)


def compare(registry: Registry, versions: tuple[Version, ...], ours: Answers, scratch: Path) -> None:
    """The same questions to MLflow's client, on a store of its own with the same versions."""
    with filled_peer(scratch / "mlflow.db", versions) as peer:
        middle = versions[len(versions) // 2]
        newest = version_named(registry, "registered@newest")
        assert peer.by_alias("registered", "newest") == (newest.name, newest.number)
        assert (middle.name, middle.number) in peer.by_digest(str(middle.manifest_digest))
        assert sorted(peer.all_versions()) == sorted((version.name, version.number) for version in versions)
        assert peer.page_of_method("ia3", PAGE), "a method that occurs"
        theirs = {
            "alias": median_of(lambda: peer.by_alias("registered", "newest"), CPU),
            "digest": median_of(lambda: peer.by_digest(str(middle.manifest_digest)), CPU),
            "method page": median_of(lambda: peer.page_of_method("ia3", PAGE), CPU),
            "all versions": median_of(peer.all_versions, CPU, once=True),
        }
    for question, client in theirs.items():
        for kind in (f"{question}, rows", question):
            if kind in ours:
                faster = client.relative / ours[kind].relative
                print(
                    f"beside MLflow {kind:<24} ours {ours[kind].text}; its client {client.text}: "
                    f"{faster:.1f} × (bar {BARS[question]:g} ×)",
                    flush=True,
                )


def median_of(action: Callable[[], object], clock: Clock, *, once: bool = False) -> Taken:
    """Of what an action takes and of what the fixed task takes around it, by a clock."""
    if not once:
        action()
    actions, tasks = [], [task_seconds(clock)]
    for _ in range(1 if once else FEW):
        actions.append(seconds_of(action, clock))
        tasks.append(task_seconds(clock))
    around = [(before + after) / 2 for before, after in pairwise(tasks)]
    relative = statistics.median(action / task for action, task in zip(actions, around, strict=True))
    return Taken(statistics.median(actions), statistics.median(tasks), relative)


def task_seconds(clock: Clock) -> float:
    """What the fixed task takes now: the median of three."""
    return statistics.median(seconds_of(fixed_task, clock) for _ in range(3))


def seconds_of(action: Callable[[], object], clock: Clock) -> float:
    began = clock()
    action()
    return clock() - began


if __name__ == "__main__":
    main()
