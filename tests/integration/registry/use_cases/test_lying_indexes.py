"""An index of a SQLite file that has not what its table has: `registry log check` names it, `registry admin rebuild` mends it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from peft_registry.registry.database.failures import DatabaseCorrupt
from peft_registry.registry.homes.home import open_home
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.rebuild import rebuild
from peft_registry.schemas.identity import Digest
from tests.builders.homes import NOW, a_home, add_a_base

INDEX = "ix_statements_subject_log_index"  # by which the statements about something are found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with a_home(tmp_path / "home") as registry:
        add_a_base(registry, tmp_path / "base")
    return tmp_path / "home"


@contextmanager
def edited(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database, as whoever can write its file edits it."""
    with closing(sqlite3.connect(folder / "database.sqlite", isolation_level=None)) as file:
        file.execute("PRAGMA writable_schema = ON")
        yield file


def filled_otherwise(folder: Path, was: str, becomes: str) -> None:
    """The index filled as another definition has it, and its own definition put back."""
    define = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?"
    with edited(folder) as file:
        assert file.execute(define, [was, becomes, INDEX]).rowcount == 1
    with edited(folder) as file:  # a connection has the schema that it read first
        file.execute(f"REINDEX {INDEX}")
        file.execute(define, [becomes, was, INDEX])


@pytest.mark.parametrize(
    ("was", "becomes"), [("log_index)", "log_index) WHERE log_index % 2"), ("(subject", "(key_id")]
)
def test_it_is_named_and_made_again(folder: Path, was: str, becomes: str) -> None:
    filled_otherwise(folder, was, becomes)
    with closing(open_home(folder, clock=lambda: NOW, check_log=False)) as registry:
        report = check_log(registry)
        first = report.contradictions[0]
        assert report.exit_code == 6 and first.place == "the database, indexes"
        assert INDEX in first.text and "`registry admin rebuild` makes them again" in first.text
        done = rebuild(registry)
        assert done.indexes and all(INDEX in wrong for wrong in done.indexes)
        assert check_log(registry).exit_code == 0
        assert rebuild(registry).indexes == done.changed == ()


def test_rows_that_it_hides_make_no_catalogue(folder: Path) -> None:
    unique = "sqlite_autoindex_statements_2"
    with edited(folder) as file:
        assert file.execute(f"SELECT name FROM pragma_index_info('{unique}')").fetchall() == [("log_index",)]
        empty = "(SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_leases_1')"
        file.execute(f"UPDATE sqlite_master SET rootpage = {empty} WHERE name = ?", [unique])
    with edited(folder) as file:
        found = file.execute("SELECT * FROM statements LIMIT 1")
        row = dict(zip((column[0] for column in found.description), found.fetchone(), strict=True))
        row["digest"] = str(Digest.of(b"another"))
        places = ", ".join(f":{name}" for name in row)
        file.execute(f"INSERT INTO statements ({', '.join(row)}) VALUES ({places})", row)
    with (
        closing(open_home(folder, clock=lambda: NOW, check_log=False)) as registry,
        pytest.raises(DatabaseCorrupt, match="rows that an index hid are there twice"),
    ):
        rebuild(registry)
