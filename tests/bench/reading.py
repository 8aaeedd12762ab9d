"""What reading a large registry costs, how it grows, and what the same questions cost MLflow's client.

    python -m tests.bench.reading [--versions 1000 3000 10000] [--database sqlite postgresql] [--no-peer] [--homes FOLDER]
        [--page 50] [--rounds 15]

Homes of several sizes are filled by `tests.bench.load`. Every question is put to an open home as its command puts it: the answer is
held against the log and the signed manifests. Beside it stands MLflow's client on its own store in SQLite, in this process, with as
many versions of as many models and the same tags; it proves nothing, so that our bare rows stand beside it too. CPU milliseconds of
this process on SQLite, so that a busy machine says little less than an idle one; wall milliseconds on PostgreSQL, which works in
another process. Both sides give the same answers, or the run ends.

A machine that others share is up to twice as fast in one minute as in another. So a question is put to all homes in turn, and so to
the peer: a round has one answer of each. What is printed is the median of the rounds, of milliseconds, of slopes (log time over log
n, by least squares) and of quotients.
"""

import argparse
import gc
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
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
from tests.bench.machine import machine
from tests.bench.mlflow_peer import filled_peer
from tests.servers.postgres import PostgresServer, running_postgres

Clock = Callable[[], float]
Questions = dict[str, Callable[[], Any]]
Rounds = list[tuple[float, ...]]
"""Of each round the seconds that each of several took."""

SIZES = (1_000, 3_000, 10_000)
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
    "origin page": ("origin=made", None),
    "signer page": ("signer=lab-1", None),
    "size page": ("size>100", "-size"),
    "time page": ("registered>=2020-01-01", "registered"),
    "licence page": ("licence=unknown", None),
    "verdict page": ("verdict=undetermined", None),
    "recalled page": ("recalled=no", None),
    "gate page": ("gate=none", None),
}
"""What `registry list --where … --sort …` is asked: by each facet that the load has; `tests/contracts/test_facets.py` holds how the
pages of all of them are read, and that they visit no more rows among more versions."""
ONCE = ("all versions", "verdict --all")
"""What is asked of every version: it grows with them, and is asked once."""

CPU: Clock = time.process_time
WALL: Clock = time.perf_counter


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.reading", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--versions", type=int, nargs="+", default=SIZES)
    parser.add_argument("--database", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--no-peer", action="store_true", help="leave MLflow's client out")
    parser.add_argument(
        "--homes", type=Path, help="where homes on SQLite are kept for the next run; filling them takes longest"
    )
    parser.add_argument("--page", type=int, default=50, help="versions of a page")
    parser.add_argument("--rounds", type=int, default=15, help="of each question but those that are asked once")
    asked = parser.parse_args(arguments)
    print(machine(), flush=True)
    for database in asked.database:
        on_server = database == "postgresql"
        with running_postgres() if on_server else nullcontext() as server, tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) if on_server or asked.homes is None else asked.homes
            homes = [filled(folder / f"{size}", size, server) for size in sorted(asked.versions)]
            try:
                measure(database, homes, page=asked.page, rounds=asked.rounds)
                if not on_server and not asked.no_peer:
                    compare(homes[-1], Path(scratch), page=asked.page, rounds=asked.rounds)
            finally:
                for home in homes:
                    home.registry.close()


@dataclass(frozen=True, slots=True)
class Home:
    """An open home of some size."""

    size: int
    registry: Registry
    versions: tuple[Version, ...]


def filled(folder: Path, size: int, server: PostgresServer | None) -> Home:
    if not folder.exists():
        load = fill(folder, versions=size, database=None if server is None else server.new_database(f"load_{size}"))
        print(f"{load.versions} versions, {load.entries} entries, filled in {load.seconds:.0f} s", flush=True)
    registry = open_home(folder)
    return Home(size, registry, tuple(all_signed_versions(registry)))


def measure(database: str, homes: list[Home], *, page: int, rounds: int) -> None:
    """Put every question to the homes, and print what it took."""
    clock = WALL if database == "postgresql" else CPU
    # a command begins with an empty heap: the collector is not to walk through what filling left at each question
    gc.collect()
    gc.freeze()
    asked = [(home.size, questions(home, page)) for home in homes]
    for name in asked[0][1]:
        # a page that a small home cannot fill costs less, and says nothing of how a page grows
        full = [(size, put[name]) for size, put in asked if name not in PAGES or len(put[name]().versions) == page]
        if not full:
            print(f"{database:<12} {name:<24} no home is so large that the answer fills a page of {page}", flush=True)
            continue
        taken = rounds_of([question for _, question in full], clock, rounds, once=name in ONCE)
        report(database, name, [size for size, _ in full], taken)


def report(database: str, question: str, sizes: list[int], rounds: Rounds) -> None:
    figures = ", ".join(
        f"{seconds * 1000:.2f} ms at {size}" for size, seconds in zip(sizes, medians(rounds), strict=True)
    )
    if question == "verdict --all":
        bar = f"  (bar {VERDICT_BAR_S:g} s)"
    elif question in ONCE or len(sizes) == 1:
        bar = ""
    else:
        bar = f"  slope {statistics.median(slope(sizes, taken) for taken in rounds):+.3f} (bar {SLOPE_BAR:g})"
    print(f"{database:<12} {question:<24} {figures}{bar}", flush=True)


def slope(sizes: Iterable[int], seconds: Iterable[float]) -> float:
    """Of log time over log n, by least squares."""
    return statistics.linear_regression([*map(math.log, sizes)], [*map(math.log, seconds)]).slope


def questions(home: Home, page: int) -> Questions:
    """What is asked of a home, as its commands ask it."""
    registry, versions = home.registry, home.versions
    few = sized_name(versions)
    many = max_name(versions)
    base = version_named(registry, BASE_NAME)
    now = utc_now()
    digest = versions[len(versions) // 2].manifest_digest
    return {
        "alias": lambda: version_named(registry, "registered@newest"),
        "digest": lambda: version_named(registry, str(digest)),
        "alias at a time": lambda: version_at(registry, f"{few}@champion", now),
        "alias of the longest name": lambda: version_named(registry, f"{many}@champion"),
        "first page": lambda: signed_page(registry, limit=page),
        "impact of the base": lambda: describe_impact(registry, str(base.manifest_digest), limit=page),
        **{
            name: partial(find_versions, registry, read_query(where, sort), limit=page)
            for name, (where, sort) in PAGES.items()
        },
        "all versions": lambda: list(all_signed_versions(registry)),
        "verdict --all": lambda: replay(registry, shipped_rules()),
    }


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


def compare(home: Home, scratch: Path, *, page: int, rounds: int) -> None:
    """The same questions to MLflow's client, on a store of its own with the same versions."""
    registry, versions = home.registry, home.versions
    with filled_peer(scratch / "mlflow.db", versions) as peer:
        middle = versions[len(versions) // 2]
        digest = str(middle.manifest_digest)
        newest = version_named(registry, "registered@newest")
        assert peer.by_alias("registered", "newest") == (newest.name, newest.number)
        assert (middle.name, middle.number) in peer.by_digest(digest)
        assert sorted(peer.all_versions()) == sorted((version.name, version.number) for version in versions)
        assert peer.page_of_method("ia3", page), "a method that occurs"
        gc.collect()
        gc.freeze()
        proven = questions(home, page)
        bare = {
            "alias": lambda: row_of(registry, "registered@newest"),
            "digest": lambda: row_of(registry, digest),
            "method page": lambda: rows(registry, page, method="ia3"),
            "all versions": lambda: rows(registry, 10**9),
        }
        theirs = {
            "alias": lambda: peer.by_alias("registered", "newest"),
            "digest": lambda: peer.by_digest(digest),
            "method page": lambda: peer.page_of_method("ia3", page),
            "all versions": peer.all_versions,
        }
        for name, bar in BARS.items():
            taken = rounds_of([theirs[name], bare[name], proven[name]], CPU, rounds, once=name in ONCE)
            client, of_rows, of_proof = (seconds * 1000 for seconds in medians(taken))
            by_rows = statistics.median(seconds[0] / seconds[1] for seconds in taken)
            by_proof = statistics.median(seconds[0] / seconds[2] for seconds in taken)
            print(
                f"beside MLflow {name:<14} its client {client:.2f} ms; our rows {of_rows:.2f} ms: {by_rows:.1f} × "
                f"(bar {bar:g} ×); proven {of_proof:.2f} ms: {by_proof:.1f} ×",
                flush=True,
            )


def rounds_of(actions: list[Callable[[], object]], clock: Clock, rounds: int, *, once: bool) -> Rounds:
    """Seconds of each action, by a clock, in each of several rounds; of what takes long there is one."""
    if not once:
        for action in actions:
            action()
    return [tuple(seconds_of(action, clock) for action in actions) for _ in range(1 if once else rounds)]


def medians(rounds: Rounds) -> list[float]:
    return [statistics.median(taken) for taken in zip(*rounds, strict=True)]


def seconds_of(action: Callable[[], object], clock: Clock) -> float:
    began = clock()
    action()
    return clock() - began


if __name__ == "__main__":
    main()
