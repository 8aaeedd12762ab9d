"""One SQLite file: opened where nothing may be written, damaged, full, left behind by a process that died."""

import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from peft_registry.registry.database import catalog, session
from peft_registry.registry.database.catalog import VersionFilter
from peft_registry.registry.database.failures import (
    DatabaseCorrupt,
    DatabaseDiskFailed,
    DatabaseLocked,
    DatabaseReadOnly,
    DatabaseUnreachable,
    SchemaMismatch,
    translated,
)
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.database.session import Database
from peft_registry.registry.database.tables import METADATA
from peft_registry.registry.disk.files import DiskFull
from peft_registry.registry.records.lineage import lineage_of
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.schemas.identity import Reference
from peft_registry.schemas.profile import OrganisationProfile
from tests.builders.homes import a_home
from tests.builders.registered import NOW, a_base, a_manifest, on, put_statement, put_version, registered
from tests.processes.interpreter import ROOT


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder / "database.sqlite"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    database = Database.create(f"sqlite:///{file}")
    yield database
    database.close()


def beside(file: Path) -> dict[str, int]:
    return {path.name.removeprefix(file.name): path.stat().st_size for path in file.parent.iterdir()}


# ---- opening


def test_a_file_that_is_not_there_is_not_made(file: Path) -> None:
    for read_only in (False, True):
        with pytest.raises(DatabaseUnreachable) as missing:
            Database.open(f"sqlite:///{file}", read_only=read_only)
        assert missing.value.exit_code == 8
        assert str(file) in missing.value.what
    assert not file.exists()


def test_a_folder_that_is_not_there_is_said_to_be_unreachable(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnreachable):
        Database.create(f"sqlite:///{tmp_path / 'no' / 'folder'}")


@pytest.mark.parametrize("content", [b"this is no database" * 300, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_database_is_corrupt(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    for read_only in (False, True):
        with pytest.raises(DatabaseCorrupt) as damaged:
            Database.open(f"sqlite:///{file}", read_only=read_only)
        assert damaged.value.exit_code == 6
    assert file.read_bytes() == content


def test_an_empty_file_has_no_schema(file: Path) -> None:
    file.touch()
    with pytest.raises(SchemaMismatch) as empty:
        Database.open(f"sqlite:///{file}")
    assert "registry init" in empty.value.fix


def test_a_page_that_was_overwritten_is_corrupt_and_not_a_crash(file: Path, database: Database) -> None:
    for at in range(30):
        registered(database, "tutor", a_manifest(f"{at}"))
    database.close()
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(DatabaseCorrupt):
        Database.open(f"sqlite:///{file}")


def test_opening_imports_neither_alembic_nor_cryptography(file: Path, database: Database) -> None:
    registered(database, "tutor", a_manifest("one"))
    database.close()
    script = """
        import sys
        from peft_registry.registry.database.session import Database
        from peft_registry.registry.database import catalog
        database = Database.open(sys.argv[1], read_only=True)
        with database.read() as tx:
            assert catalog.list_versions(tx).versions[0].label == "tutor:1"
        database.close()
        heavy = {"alembic", "cryptography", "torch", "mlflow", "psycopg", "sqlalchemy.dialects.postgresql"}
        print(sorted(heavy & set(sys.modules)))
    """
    assert run(script, f"sqlite:///{file}") == "[]"


# ---- settings that everything else rests on


def test_the_connection_keeps_what_the_design_demands(database: Database) -> None:
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with database.read() as tx:
        found = {name: tx.execute(text(f"PRAGMA {name}")).scalar_one() for name in wanted}
        assert tx.execute(text("PRAGMA busy_timeout")).scalar_one() == 30_000
    assert found == wanted


def test_a_write_hidden_in_a_read_is_refused_not_lost_in_silence(database: Database) -> None:
    with pytest.raises(DatabaseReadOnly), database.read() as tx:
        catalog.set_meta(tx, "key", "value")
    with database.write() as tx:
        catalog.set_meta(tx, "key", "value")
    with database.read() as tx:
        assert catalog.meta(tx, "key") == "value"


def test_a_full_disk_is_told_as_such_and_leaves_nothing(database: Database) -> None:
    with pytest.raises(DiskFull) as full, database.write() as tx:
        tx.execute(text("PRAGMA max_page_count = 1"))
        for _ in range(100):
            append_event(tx, os.urandom(4096))
    assert full.value.exit_code == 8
    with database.read() as tx:
        assert SqlLogStore(tx).size() == 0


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_BUSY, DatabaseLocked),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, DatabaseLocked),
        (sqlite3.SQLITE_IOERR_WRITE, DatabaseDiskFailed),
        (sqlite3.SQLITE_READONLY_DBMOVED, DatabaseReadOnly),
        (sqlite3.SQLITE_CORRUPT_VTAB, DatabaseCorrupt),
        (sqlite3.SQLITE_MISUSE, sqlite3.DatabaseError),
    ],
)
def test_each_result_code_is_translated_once(code: int, expected: type[Exception]) -> None:
    error = sqlite3.DatabaseError("what SQLite said")
    error.sqlite_errorcode = code
    with pytest.raises(expected), translated("here"):
        raise error


# ---- the write-ahead log


def test_closing_folds_the_wal_into_the_file(file: Path, database: Database) -> None:
    other = Database.open(f"sqlite:///{file}")
    with other.read() as tx:
        assert SqlLogStore(tx).size() == 0
    registered(database, "tutor", a_manifest("one"))
    assert beside(file)["-wal"] > 0
    database.close()
    assert beside(file)["-wal"] == 0  # still open elsewhere, and empty
    other.close()
    assert set(beside(file)) == {""}


def test_a_process_that_was_killed_in_a_transaction_leaves_what_was_committed(file: Path, database: Database) -> None:
    database.close()
    script = """
        import os, sys
        from peft_registry.registry.database.session import Database
        from peft_registry.registry.database.log_store import append_event
        database = Database.open(sys.argv[1])
        with database.write() as tx:
            append_event(tx, b"committed")
        with database.write() as tx:
            append_event(tx, b"not committed")
            print("here", flush=True)
            os.kill(os.getpid(), 9)
    """
    with pytest.raises(subprocess.CalledProcessError) as killed:
        run(script, f"sqlite:///{file}")
    assert killed.value.returncode == -9
    assert beside(file)["-wal"] > 0
    again = Database.open(f"sqlite:///{file}")
    with again.read() as tx:
        assert SqlLogStore(tx).size() == 1
        assert SqlLogStore(tx).get_leaf(0) == b"committed"
    again.close()


# ---- where nothing may be written


READ_ALL = """
    import os, sys
    from peft_registry.registry.database.session import Database
    from peft_registry.registry.database.failures import DatabaseReadOnly
    from peft_registry.registry.database import catalog

    def read_all(uri):
        database = Database.open(uri, read_only=True)
        with database.read() as tx:
            labels = [version.label for version in catalog.list_versions(tx).versions]
        try:
            with database.write() as tx:
                pass
        except DatabaseReadOnly:
            labels.append("and read only")
        database.close()
        return " ".join(labels)

    read_all(sys.argv[2])  # whatever is imported late, while this user may still read the interpreter's files
    if os.getuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
    print(read_all(sys.argv[1]))
"""


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """A folder whose files can be read and in which nothing can be written, except by root."""
    paths = [*folder.iterdir(), folder]
    before = {path: path.stat().st_mode for path in (*paths, *folder.parents)}
    for path in paths:
        path.chmod(0o555 if path == folder else 0o444)
    for above in folder.parents:
        if above.stat().st_uid == os.getuid() and not before[above] & 0o001:
            above.chmod(before[above] | 0o001)
    try:
        yield
    finally:
        for path, mode in before.items():
            if path.stat().st_mode != mode:
                path.chmod(mode)


def read_there(file: Path, tmp_path: Path) -> str:
    """What a process that may not write in the file's folder reads."""
    warm = tmp_path / "warm" / "up.sqlite"
    warm.parent.mkdir()
    Database.create(f"sqlite:///{warm}").close()
    with unwritable(file.parent):
        return run(READ_ALL, f"sqlite:///{file}", f"sqlite:///{warm}")


def test_a_folded_database_is_read_where_nothing_may_be_written(file: Path, database: Database, tmp_path: Path) -> None:
    registered(database, "tutor", a_manifest("one"))
    database.close()
    assert read_there(file, tmp_path) == "tutor:1 and read only"
    assert set(beside(file)) == {""}


def test_a_wal_that_was_left_behind_is_read_from_a_private_copy(file: Path, database: Database, tmp_path: Path) -> None:
    registered(database, "tutor", a_manifest("one"))
    registered(database, "tutor", a_manifest("two"))
    left = tmp_path / "left" / file.name
    left.parent.mkdir()
    for suffix in ("", "-wal"):  # as after a kill and a copy: no -shm
        shutil.copy(f"{file}{suffix}", f"{left}{suffix}")
    before = {suffix: Path(f"{left}{suffix}").read_bytes() for suffix in ("", "-wal")}
    assert before["-wal"]
    assert read_there(left, tmp_path) == "tutor:1 tutor:2 and read only"
    assert {suffix: Path(f"{left}{suffix}").read_bytes() for suffix in ("", "-wal")} == before
    assert set(beside(left)) == {"", "-wal"}


def test_a_reader_sees_what_a_writer_commits_meanwhile(file: Path, database: Database) -> None:
    reader = Database.open(f"sqlite:///{file}", read_only=True)
    for at in range(3):
        registered(database, "tutor", a_manifest(f"{at}"))
        with reader.read() as tx:
            assert SqlLogStore(tx).size() == at + 1
    reader.close()


def test_reading_does_not_wait_for_a_writer(file: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "WAIT_SECONDS", 0)
    reader = Database.open(f"sqlite:///{file}", read_only=True)
    with database.write() as tx:
        put_version(tx, "tutor", a_manifest("one"))
        with reader.read() as other:
            assert catalog.list_versions(other).versions == ()
    reader.close()


# ---- no question costs more when there is more


def questions(tx: catalog.Transaction, manifest: str) -> list[Callable[[], object]]:
    found = a_manifest(manifest, base=on(a_base("rare"))).canonical_digest()
    return [
        lambda: catalog.resolve(tx, Reference.parse("rare")),
        lambda: catalog.resolve(tx, Reference.parse("rare:1")),
        lambda: catalog.resolve(tx, Reference.parse("rare@champion")),
        lambda: catalog.resolve(tx, Reference(digest=found)),
        lambda: catalog.versions_of(tx, "rare"),
        lambda: catalog.list_versions(tx, limit=5),
        lambda: catalog.list_versions(tx, after=("m", 3), limit=5),
        lambda: catalog.list_versions(tx, where=VersionFilter(name_prefix="ra"), limit=5),
        lambda: catalog.list_versions(tx, where=VersionFilter(method="ia3"), limit=5),
        lambda: catalog.list_versions(tx, where=VersionFilter(base=a_base("rare").canonical_digest()), limit=5),
        lambda: catalog.idempotent_version(tx, name="rare", manifest_digest=found),
        lambda: catalog.base_by_weights(tx, a_base("rare").weights_digest),
        lambda: catalog.statements_of(tx, subject=found),
        lambda: catalog.alias_at(tx, name="rare", alias="champion", as_of=NOW),
        lambda: catalog.aliases_of(tx, "rare"),
        lambda: catalog.latest_checkpoint(tx),
        lambda: catalog.artifact(tx, manifest_digest=found),
        lambda: SqlLogStore(tx).size(),
        lambda: lineage_of(tx, focus=found),
    ]


def steps(tx: catalog.Transaction, question: Callable[[], object]) -> int:
    """How many instructions of SQLite's virtual machine a question takes, in tens."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection = tx.connection.dbapi_connection
    assert isinstance(connection, sqlite3.Connection)
    connection.set_progress_handler(step, 10)
    try:
        question()
    finally:
        connection.set_progress_handler(None, 0)
    return count


def test_no_question_costs_more_among_more_versions(database: Database) -> None:
    def add(first: int, last: int) -> None:
        with database.write() as tx:
            for at in range(first, last):
                # `m` sorts before `rare`, `z` behind it: neither side of the index may be walked
                put_version(tx, "m" if at % 2 else "z", a_manifest(f"{at}", base=on(a_base("common"))))

    with database.write() as tx:
        put_version(tx, "common-base", a_base("common"))
        put_version(tx, "rare-base", a_base("rare"))
        version = put_version(tx, "rare", a_manifest("rare", method="lora", base=on(a_base("rare"))))
        said = put_statement(tx, version.manifest_digest, "said")
        catalog.set_alias(tx, name="rare", alias="champion", number=1, statement_digest=said, at=NOW)
    add(0, 30)
    with database.read() as tx:
        few = [steps(tx, question) for question in questions(tx, "rare")]
    add(30, 300)
    with database.read() as tx:
        many = [steps(tx, question) for question in questions(tx, "rare")]
    # ten times as many versions: a walk over all of them would show as about as many times the steps
    assert [(at, a, b) for at, (a, b) in enumerate(zip(few, many, strict=True)) if b > 2 * a + 20] == []


def test_the_hot_questions_use_an_index(database: Database) -> None:
    asked: list[str] = []
    with database.write() as tx:
        put_version(tx, "rare-base", a_base("rare"))
        version = put_version(tx, "rare", a_manifest("rare", base=on(a_base("rare"))))
        said = put_statement(tx, version.manifest_digest, "said")
        catalog.set_alias(tx, name="rare", alias="champion", number=1, statement_digest=said, at=NOW)
    with database.read() as tx:
        connection = tx.connection.dbapi_connection
        assert isinstance(connection, sqlite3.Connection)
        connection.set_trace_callback(asked.append)
        for question in questions(tx, "rare"):
            question()
        connection.set_trace_callback(None)
        plans = {
            statement: [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
            for statement in asked
            if statement.startswith(("SELECT", "WITH"))
        }
    assert len(plans) > 20
    for statement, plan in plans.items():
        for line in plan:
            # in the order of an index and stopped by LIMIT is not a walk over everything
            stopped = "USING INDEX" in line and "LIMIT" in statement
            walked = line.startswith("SCAN") and line.split()[1] in METADATA.tables
            assert stopped or not walked, f"{line}: {statement}"
        if "ORDER BY versions.name" in statement:
            assert not any("USE TEMP B-TREE FOR ORDER BY" in line for line in plan), f"{plan}: {statement}"


def run(script: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
    )
    return done.stdout.strip()


def test_the_homes_of_tests_have_the_database_that_the_revisions_make(tmp_path: Path) -> None:
    """`a_home` repeats the statements of the first home; `make_home` alone runs Alembic."""
    for name in ("first", "second"):
        with a_home(tmp_path / name):
            pass
    make_home(NewHome(tmp_path / "own", OrganisationProfile(), "lab-1", None), now=NOW)
    first, second, own = (contents_of(tmp_path / name / "database.sqlite") for name in ("first", "second", "own"))
    assert len(own) > 30
    assert first == second == own


_SIGNED = ("checkpoints", "log_events", "log_nodes", "snapshot_nodes", "statements")  # by the keys of each home


def contents_of(database: Path) -> list[str]:
    """All that a new database holds, but for the id of its registry and what its own keys signed."""
    own = tuple(f'INSERT INTO "{table}"' for table in _SIGNED)
    with closing(sqlite3.connect(database)) as opened:
        return [line for line in opened.iterdump() if "registry_id" not in line and not line.startswith(own)]
