"""A home on SQLite or PostgreSQL: made once, copied for each test, and edited as whoever can write its database would."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, CursorResult, create_engine, event, make_url, select, text
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from peft_registry.registry.database.tables import METADATA
from peft_registry.registry.homes.home import Registry, read_settings, write_settings
from tests.builders.homes import NOW, a_home, reopened
from tests.servers.postgres import PostgresServer

# `make test` takes the second where the subject is SQL: tests/conftest.py
BACKENDS = ("sqlite", "postgresql")
_COUNT = itertools.count(1)


@dataclass(frozen=True)
class Rows:
    """The database as somebody with write access has it: nothing refuses a change."""

    connection: Connection

    def run(self, sql: str, **values: Any) -> CursorResult[Any]:
        """One statement of SQL that both databases understand; `:name` stands for a value."""
        return self.connection.execute(text(sql), values)


@dataclass(frozen=True)
class MadeHome:
    """A closed home; `server` is where its database lies, None for a file in its folder."""

    folder: Path
    server: PostgresServer | None = None

    def copy(self, folder: Path) -> "MadeHome":
        """The same home at another place, with a database of its own."""
        shutil.copytree(self.folder, folder)
        settings = read_settings(folder)
        if self.server is not None:
            template = make_url(settings.database or "").database
            name = f"{template}_copy{next(_COUNT)}"
            address = self.server.new_database(name, template=template)
            write_settings(folder, settings.model_copy(update={"database": address}))
        return MadeHome(folder, self.server)

    def opened(self, *, now: str = NOW) -> Registry:
        return reopened(self.folder, now=now)

    @contextmanager
    def rows(self) -> Iterator[Rows]:
        """Its database to be edited; foreign keys are off."""
        address = read_settings(self.folder).database or f"sqlite:///{self.folder / 'database.sqlite'}"
        engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool)
        with engine.begin() as connection:
            if self.server is not None:
                connection.execute(text("SET session_replication_role = replica"))
            yield Rows(connection)
        engine.dispose()


def make_on(
    request: pytest.FixtureRequest, folder: Path, fill: Callable[[Registry, Path], None], *, now: str = NOW
) -> MadeHome:
    """A home on the database that `request.param` names, filled and closed."""
    server: PostgresServer | None = None
    database = None
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        assert server is not None
        database = server.new_database(f"made_{next(_COUNT)}")
    with a_home(folder / "home", database=database, now=now) as registry:
        fill(registry, folder)
    return MadeHome(folder / "home", server)


def contents(registry: Registry) -> dict[str, Any]:
    """All that a home remembers: every row of its database, every object and every checkpoint."""
    remembered: dict[str, Any] = {}
    with registry.database.read() as tx:
        for name, table in METADATA.tables.items():
            remembered[name] = sorted(repr(tuple(row)) for row in tx.execute(select(table)))
    for part in ("objects", "checkpoints"):
        paths = (path for path in (registry.folder / part).rglob("*") if path.is_file())
        remembered |= {str(path.relative_to(registry.folder)): path.read_bytes() for path in paths}
    return remembered


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """The SQL statements that any database executes while the block is open."""
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(f"{arguments[2]}")

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)
