"""A home that `tests.bench.load` filled is a home like any other, and what a command does in it hardly grows with it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.database import catalog
from peft_registry.registry.database.tables import METADATA
from peft_registry.registry.homes.home import Registry, open_home, utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.show_impact import describe_impact
from peft_registry.registry.use_cases.show_moves import version_at
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.registry.verification.signed_versions import signed_page
from peft_registry.schemas.identity import Reference
from tests.bench.load import BASE_NAME, Load, fill
from tests.builders.backends import counted_statements
from tests.builders.homes import add_a_base, an_artifact
from tests.contracts.databases import address

__all__ = ["address"]

# what is signed of a version of which nobody stated anything, in its rows
EMPTY_MAX_BYTES = 12_000


def test_a_filled_home_passes_the_check_of_its_log_and_its_versions_verify(address: str, tmp_path: Path) -> None:
    load = fill(tmp_path / "home", versions=40, database=address, stored=True, registrations=1)
    assert (load.versions, load.names) == (41, 3)
    registry = open_home(tmp_path / "home")
    try:
        report = check_log(registry)
        assert (report.exit_code, report.versions, report.size) == (0, 42, load.entries)  # the base is a version too
        with registry.database.read() as tx:
            stored = tx.exec_driver_sql("SELECT sum(length(envelope)) FROM statements").scalar_one()
        assert stored / load.versions < EMPTY_MAX_BYTES
        for number, name in enumerate(("load-0-0:1", "load-0-1", "registered@newest", BASE_NAME)):
            folder = tmp_path / f"pulled-{number}"
            pull_version(registry, version_named(registry, name), folder)
            assert verify_folder(folder, trust=registry.trust, now=registry.clock()).verdict == "verified"
    finally:
        registry.close()


def test_the_same_seed_gives_the_same_names_and_moves_and_another_one_others(tmp_path: Path) -> None:
    loads = [fill(tmp_path / f"home-{number}", versions=12, seed=seed) for number, seed in enumerate((1, 1, 2))]
    kept = [(load.versions, load.names, load.moves, load.entries) for load in loads]
    assert kept[0] == kept[1]
    seen = []
    for number in range(3):
        registry = open_home(tmp_path / f"home-{number}")
        with registry.database.read() as tx:
            rows = tx.exec_driver_sql("SELECT name, number, manifest_digest FROM versions ORDER BY log_index")
            seen.append([tuple(row) for row in rows if row[0].startswith("load-") and row[0] != BASE_NAME])
        registry.close()
    assert seen[0] == seen[1]
    assert {name for name, _, _ in seen[2]}.isdisjoint({name for name, _, _ in seen[0]})


def test_a_second_filling_continues_the_log_and_the_checkpoint_covers_both(tmp_path: Path) -> None:
    first = fill(tmp_path / "home", versions=10, stored=True, registrations=0)
    second = fill(tmp_path / "home", versions=10, seed=1, stored=True, registrations=0)
    assert second.entries > first.entries
    registry = open_home(tmp_path / "home")
    report = check_log(registry)
    registry.close()
    assert (report.exit_code, report.covered) == (0, second.entries)


def work_in(home: Path, scratch: Path) -> dict[str, int]:
    """How many statements opening, reading an alias and registering execute in a home."""
    with counted_statements() as opening:
        registry = open_home(home)
    try:
        with counted_statements() as reading:
            version_named(registry, "registered@newest")
        reads = {name: statements_of(read) for name, read in reads_of(registry).items()}
        with counted_statements() as registering:
            register_another(registry, scratch)
    finally:
        registry.close()
    counts = {"opening": len(opening), "reading": len(reading), "registering": len(registering)}
    return counts | {name: len(statements) for name, statements in reads.items()}


def reads_of(registry: Registry) -> dict[str, Callable[[], object]]:
    """What is asked of a registry of any size, as its commands ask it."""
    with registry.database.read() as tx:
        newest = catalog.newest_versions(tx, limit=1)[0].manifest_digest
        base = catalog.resolve(tx, Reference.parse(BASE_NAME)).manifest_digest
    return {
        "digest": lambda: version_named(registry, str(newest)),
        "page": lambda: signed_page(registry, limit=PAGE),
        "impact": lambda: describe_impact(registry, str(base), limit=PAGE),
        "at": lambda: version_at(registry, "registered@newest", utc_now()),
    }


def statements_of(read: Callable[[], object]) -> list[str]:
    with counted_statements() as statements:
        read()
    return statements


def register_another(registry: Registry, scratch: Path) -> None:
    base = add_a_base(registry, scratch / "base", name=BASE_NAME, mode="copy")
    register_version(registry, an_artifact(scratch / "another", base, name="another", value=0.125))


def growth(small: int, large: int, tmp_path: Path) -> tuple[dict[str, int], dict[str, int], Load]:
    load = fill(tmp_path / "small", versions=small)
    loaded = fill(tmp_path / "large", versions=large)
    before = work_in(tmp_path / "small", tmp_path / "work-small")
    after = work_in(tmp_path / "large", tmp_path / "work-large")
    assert loaded.entries > load.entries
    return before, after, loaded


# A tenfold registry has log2(10) = 3.3 more levels in each of its two trees, and a level costs at most two rows: the node on the
# way and the one beside it. Opening folds the nodes under up to three checkpoints; registering follows three paths, proves one
# leaf, reads and writes six keys on top of that, and folds four roots.
# What a page and an impact need of both trees is read at once, so that these take the same statements in every home but for the few
# readings of a tree: where all that one would read was proven by an earlier question, as in a small home, there is none. An alias
# has three of them, a digest one, a page three, an impact one more. A time is read of one name, of which all moves are as one page.
LEVELS = 4
PAGE = 5
GROWTH = {"opening": 3 * 2 * LEVELS, "registering": (5 + 6 + 4) * 2 * LEVELS}
GROWTH |= {"reading": 3, "digest": 1, "page": 3, "impact": 4, "at": 3}


def test_opening_reading_an_alias_and_registering_grow_by_the_levels_of_a_tree(tmp_path: Path) -> None:
    before, after, _ = growth(5, 50, tmp_path)
    for act, statements in after.items():
        assert statements <= before[act] + GROWTH[act], f"{act}: {before[act]} statements at 5 versions"


def test_no_read_of_a_registry_goes_through_a_whole_table(tmp_path: Path) -> None:
    fill(tmp_path / "home", versions=20)
    registry = open_home(tmp_path / "home")
    try:
        asked = {line for read in reads_of(registry).values() for line in statements_of(read)}
    finally:
        registry.close()
    connection = sqlite3.connect(tmp_path / "home" / "database.sqlite")
    try:
        plans = {
            line: plan_of(connection, line) for line in asked if line.lstrip().upper().startswith(("SELECT", "WITH"))
        }
    finally:
        connection.close()
    assert len(plans) > len(GROWTH), "the statements were seen"
    tables = {table.name for table in METADATA.sorted_tables}
    whole = {line: steps for line, steps in plans.items() if any(scanned(step) in tables for step in steps)}
    assert whole == {}


def plan_of(connection: sqlite3.Connection, statement: str) -> list[str]:
    nothing = (None,) * statement.count("?")
    return [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", nothing)]


def scanned(step: str) -> str | None:
    """The table that a step of a plan goes through from one end to the other, without an index that bounds or orders it."""
    words = step.split()
    return words[1] if words[0] == "SCAN" and "USING" not in words else None


@pytest.mark.full
@pytest.mark.timeout(3600)  # filling takes 13 ms of one core for each version
def test_from_a_thousand_to_ten_thousand_versions_they_grow_as_little(tmp_path: Path) -> None:
    before, after, _ = growth(1_000, 10_000, tmp_path)
    for act, statements in after.items():
        assert statements <= before[act] + GROWTH[act], f"{act}: {before[act]} statements at 1000 versions"
