"""What is refused of a schema before any of it is run, on both databases; and that the kept schemas are those of the revisions."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from peft_registry.registry.database import schema, session
from peft_registry.registry.database.failures import SchemaMismatch
from peft_registry.registry.database.schema import REVISIONS_FILE, KnownObject, SchemaChanged, read_objects
from peft_registry.registry.database.session import Database
from peft_registry.registry.database.tables import READABLE_REVISIONS
from tests.contracts.databases import address, database

__all__ = ["address", "database"]  # fixtures

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n"


def test_the_kept_schemas_are_those_that_the_revisions_make(address: str) -> None:
    made = _made_by_the_revisions(address)
    dialect = "sqlite" if address.startswith("sqlite") else "postgresql"
    rows = [
        one.object._asdict() | {"since": one.since} | ({} if one.until is None else {"until": one.until})
        for one in made
    ]
    if os.environ.get("UPDATE_GOLDEN"):
        kept = json.loads(REVISIONS_FILE.read_text())
        lines = {
            name: ",\n".join(f"  {json.dumps(row)}" for row in (rows if name == dialect else kept[name]))
            for name in kept
        }
        REVISIONS_FILE.write_text(
            ",\n".join(f'"{name}": [\n{text}\n]' for name, text in lines.items()).join("{}") + "\n"
        )
        schema.known_objects.cache_clear()
    assert list(schema.known_objects(dialect)) == made
    assert {one.since for one in made} <= set(READABLE_REVISIONS)


def _made_by_the_revisions(address: str) -> list[KnownObject]:
    from alembic import command

    from peft_registry.registry.database.migrations import alembic_config

    first: dict[schema.SchemaObject, str] = {}
    last: dict[schema.SchemaObject, str] = {}
    with closing(Database._connect(address, read_only=False, create=True)) as database:
        for revision in READABLE_REVISIONS:
            with database._engine.connect() as connection:
                connection.execution_options(registry_writes=True)
                with connection.begin():
                    command.upgrade(alembic_config(connection), revision)
                    for found in _with_every_name(connection):
                        first.setdefault(found, revision)
                        last[found] = revision
    newest = READABLE_REVISIONS[-1]
    made = (KnownObject(one, first[one], None if last[one] == newest else last[one]) for one in first)
    return sorted(made, key=lambda one: (one.object[:3], one.since))


def _with_every_name(connection: Connection) -> list[schema.SchemaObject]:
    """Every object, also of a table that the kept schemas do not name yet."""
    if connection.dialect.name == "sqlite":
        return read_objects(connection)
    tables = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars()
    with pytest.MonkeyPatch.context() as patch:
        named = schema.SchemaObject("table", "", "", "")
        known = tuple(KnownObject(named._replace(table=name), "0001", None) for name in tables)
        patch.setattr(schema, "known_objects", lambda _: known)
        return read_objects(connection)


@pytest.fixture
def edited(address: str, database: Database) -> Iterator[Connection]:
    """The database of `address` as somebody has it who can write it."""
    url = session._parse(address)
    driver = {"postgresql": "postgresql+psycopg"}.get(url.drivername, url.drivername)
    engine = create_engine(url.set(drivername=driver), poolclass=NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
    engine.dispose()


PLANTED = {
    "a view in the place of a table": (
        ["ALTER TABLE versions RENAME TO versions_before", f"CREATE VIEW versions AS {ENDLESS}"],
        "versions is a view, and a table belongs there",
    ),
    "a view in the place of the revision": (
        ["ALTER TABLE alembic_version RENAME TO before", f"CREATE VIEW alembic_version AS {ENDLESS}"],
        "alembic_version is a view, and a table belongs there",
    ),
    "a column": (["ALTER TABLE versions ADD COLUMN more text"], "the table versions is defined in another way"),
    "a table that is gone": (["DROP TABLE facet_words"], "the table facet_words is missing"),
    "an index that is gone": (["DROP INDEX ix_statements_subject_log_index"], "is missing"),
    "a revision that it never was at": (["UPDATE alembic_version SET version_num = '0001'"], "another"),
    "two revisions": (["INSERT INTO alembic_version VALUES ('0001')"], "does not name one revision"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_schema_that_no_release_made_is_refused_before_any_of_it_is_run(
    address: str, edited: Connection, planted: str
) -> None:
    statements, said = PLANTED[planted]
    for statement in statements:
        edited.execute(text(statement))
    for open_it in (Database.open, Database.create):
        with pytest.raises(SchemaChanged) as refused:
            open_it(address)
        assert said in refused.value.why
        assert refused.value.exit_code == 6


def test_a_planted_trigger_is_refused(address: str, edited: Connection) -> None:
    if edited.dialect.name == "postgresql":
        edited.execute(text("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"))
        edited.execute(text("CREATE TRIGGER t BEFORE INSERT ON log_events FOR EACH ROW EXECUTE FUNCTION f()"))
    else:
        edited.execute(text("CREATE TRIGGER t AFTER INSERT ON log_events BEGIN DELETE FROM statements; END"))
    with pytest.raises(SchemaChanged, match="there is a trigger t on log_events, and revision"):
        Database.open(address)


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_trigger_that_is_called_as_if_the_database_had_made_it_is_refused(edited: Connection, address: str) -> None:
    edited.execute(text("CREATE TRIGGER t AFTER INSERT ON log_events BEGIN DELETE FROM statements; END"))
    edited.execute(text("PRAGMA writable_schema = ON"))
    renamed = "UPDATE sqlite_master SET name = 'sqlite_t', sql = replace(sql, 'TRIGGER t', 'TRIGGER sqlite_t') WHERE name = 't'"
    edited.execute(text(renamed))
    with pytest.raises(SchemaChanged, match="there is a trigger sqlite_t on log_events"):
        Database.open(address)


@pytest.mark.parametrize(
    "index",
    [
        "CREATE UNIQUE INDEX mine ON kept_objects (role)",
        "CREATE INDEX mine ON statements (abs(log_index))",
        "CREATE INDEX mine ON statements (subject) WHERE abs(log_index) > 0",
    ],
)
def test_an_index_that_decides_which_rows_are_added_is_refused(address: str, edited: Connection, index: str) -> None:
    edited.execute(text(index))
    with pytest.raises(SchemaChanged, match="there is a unique or computed index mine on"):
        Database.open(address)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE RULE quiet AS ON DELETE TO statements DO INSTEAD NOTHING",
        "ALTER TABLE versions ENABLE ROW LEVEL SECURITY",
        "CREATE TABLE more () INHERITS (versions)",
    ],
)
@pytest.mark.parametrize("address", ["postgresql"], indirect=True)
def test_what_a_server_can_do_to_a_table_besides_is_refused(address: str, edited: Connection, change: str) -> None:
    edited.execute(text(change))
    with pytest.raises(SchemaChanged):
        Database.open(address)


def test_an_index_and_a_table_of_somebody_else_are_noted(address: str, edited: Connection) -> None:
    edited.execute(text("CREATE INDEX mine ON versions (registered_at)"))
    edited.execute(text("CREATE TABLE others (id integer)"))
    with closing(Database.open(address)) as database:
        noted = set(database.added_to_schema)
    # on a server tables of others are nobody's business
    assert noted - {"table others"} == {"index mine on versions"}


def test_the_schema_of_another_release_is_said_to_be_one(address: str, edited: Connection) -> None:
    edited.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    edited.execute(text("ALTER TABLE versions ADD COLUMN more text"))
    with pytest.raises(SchemaMismatch):
        Database.open(address)


def test_comparing_takes_milliseconds(database: Database) -> None:
    with database.read() as tx:
        schema.require_made(tx, "")
        seconds = []
        for _ in range(5):
            start = time.process_time()
            schema.require_made(tx, "")
            seconds.append(time.process_time() - start)
    assert min(seconds) < 0.02
