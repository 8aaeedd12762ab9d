"""One database, its transactions, and how it is opened.

SQLite: WAL, full sync, foreign keys, one writer at a time (`BEGIN IMMEDIATE`). PostgreSQL: a writer locks the log's head
before anything else, so writers come one after the other there too, and version numbers and log entries have no gaps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeVar

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url, select, text
from sqlalchemy.exc import ArgumentError

from peft_registry.registry.database import schema, sqlite_file
from peft_registry.registry.database.failures import (
    DatabaseAddressInvalid,
    DatabaseReadOnly,
    SchemaMismatch,
    translated,
)
from peft_registry.registry.database.tables import READABLE_REVISIONS, SCHEMA_REVISION, log_head
from peft_registry.registry.extras import ExtraMissing

Transaction = Connection
"""What `write` and `read` give: a SQLAlchemy connection with one open transaction."""

Made = TypeVar("Made")

WAIT_SECONDS = 30
"""How long a command waits for another writer."""
_SQLITE = "sqlite:///"
_WRITES = "registry_writes"  # an execution option: the transaction that begins next writes
# any constant will do: it keeps two `create` calls on one server apart
_MIGRATION_LOCK = 0x70656674


_AT_ONCE = 500  # parameters of one query: SQLite and PostgreSQL both bound them, and this is far below
Item = TypeVar("Item")


def in_parts(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """The items in parts of which each can be named in one query."""
    for start in range(0, len(items), _AT_ONCE):
        yield items[start : start + _AT_ONCE]


class Database:
    """An open database. Threads may share it; each transaction has a connection of its own."""

    def __init__(self, engine: Engine, where: str, *, read_only: bool, opened: sqlite_file.SqliteFile | None) -> None:
        self._engine = engine
        self._read_only = read_only
        self._file = opened
        self.where = where
        self.revision: str | None = None  # of the schema, once it was read
        self.added_to_schema: tuple[str, ...] = ()  # by others, and never run
        self._shared: ContextVar[Transaction | None] = ContextVar("shared transaction", default=None)
        self._made: ContextVar[dict[str, Any]] = ContextVar("made of the shared transaction")

    @classmethod
    def create(cls, uri: str) -> Self:
        """The database at `uri` with its schema made, or brought up to date; what is there stays.

        Raises:
            DatabaseAddressInvalid: neither `sqlite:///…` nor `postgresql://…`.
            DatabaseUnreachable, DatabaseLocked, DatabaseCorrupt, DiskFull, DatabaseReadOnly: the driver says so.
            SchemaMismatch: a newer program made it.
            SchemaChanged: it has a schema that no release made.
        """
        database = cls._connect(uri, read_only=False, create=True)
        try:
            database._upgrade()
        except BaseException:
            database.close()
            raise
        database.revision = SCHEMA_REVISION
        return database

    @classmethod
    def open(cls, uri: str, *, read_only: bool = False) -> Self:
        """The database at `uri`, which exists and has the schema of this program.

        A file that cannot be written, because the disk is full or permission is missing, can still be read.

        Args:
            read_only: also works where nothing may be written, see `sqlite_file`.

        Raises:
            SchemaMismatch: it has no schema yet, an older or a newer one.
            SchemaChanged: it has one that no release made; nothing of it was run.
            DatabaseAddressInvalid, DatabaseUnreachable, DatabaseLocked, DatabaseCorrupt: as for `create`.
        """
        database = cls._connect(uri, read_only=read_only, create=False)
        try:
            with translated(database.where), database._engine.connect() as connection:
                made = schema.require_made(connection, database.where)
            if made.revision not in READABLE_REVISIONS:
                raise SchemaMismatch(database.where, made.revision, SCHEMA_REVISION)
            database.revision = made.revision
            database.added_to_schema = made.noted
        except BaseException:
            database.close()
            raise
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @property
    def is_current(self) -> bool:
        """Whether the schema is that of this program, and not one of an earlier release."""
        return self.revision == SCHEMA_REVISION

    def is_since(self, revision: str) -> bool:
        """Whether the schema has what a revision added."""
        # revisions are numbered in the order of the releases
        return self.revision is not None and self.revision >= revision

    def require_current(self) -> None:
        """Raise unless the schema is that of this program: what an earlier release wrote is read only where both agree.

        Raises:
            SchemaMismatch: it is an older one.
        """
        if not self.is_current:
            raise SchemaMismatch(self.where, self.revision, SCHEMA_REVISION)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """One transaction that writes: committed when the block ends, undone when it raises.

        Raises:
            DatabaseReadOnly: the database was opened for reading.
            DiskFull, DatabaseDiskFailed: there was no space to write when it was opened.
            DatabaseLocked: another writer did not finish within `WAIT_SECONDS`.
        """
        if self._read_only:
            raise DatabaseReadOnly(self.where)
        if self._file is not None and self._file.refusal is not None:
            with translated(self.where):
                raise self._file.refusal
        self.require_current()
        with translated(self.where), self._engine.connect() as connection:
            connection.execution_options(**{_WRITES: True})
            with connection.begin():
                if self.dialect == "postgresql":
                    connection.execute(select(log_head.c.id).with_for_update())
                yield connection

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One transaction that sees the database as it is at its first query; writing in it is an error."""
        shared = self._shared.get()
        if shared is not None:
            yield shared
            return
        with translated(self.where), self._engine.connect() as connection:
            if self.dialect == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                yield connection

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let everything that is read in the block, by this thread, be of one transaction: it is cheaper, and of one moment.

        What the block writes is not seen by what it reads. A block in another one is part of it.
        """
        if self._shared.get() is not None:
            yield
            return
        with self.read() as transaction:
            shared, made = self._shared.set(transaction), self._made.set({})
            try:
                yield
            finally:
                self._shared.reset(shared)
                self._made.reset(made)

    def once_while_reading(self, tx: Transaction, what: str, make: Callable[[], Made]) -> Made:
        """What `make` gives: made once in a block of `reading`, whose transaction sees nothing new; each time outside of one.

        Args:
            tx: what it is made from; another transaction than that of the block has it made anew.
            what: names it.
            make: makes it. What it raises is not kept.
        """
        if tx is not self._shared.get():
            return make()
        made = self._made.get()
        if what not in made:
            made[what] = make()
        kept: Made = made[what]
        return kept

    def forget_while_reading(self, *, but: str) -> None:
        """Drop what was made once in the block of `reading`, but what has this name: of very much it would fill the memory."""
        made = self._made.get({})
        for what in [what for what in made if what != but]:
            del made[what]

    def close(self) -> None:
        """Give every connection back. What SQLite's WAL holds moves into the file first, so that a copy is complete."""
        try:
            if self._file is not None and self._file.writes:
                sqlite_file.fold_wal(self._file.path)
        finally:
            self._engine.dispose()
            if self._file is not None:
                self._file.close()

    @classmethod
    def _connect(cls, uri: str, *, read_only: bool, create: bool) -> Self:
        url = _parse(uri)
        where = url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)
        with translated(where):
            if url.get_backend_name() == "sqlite":
                opened = sqlite_file.open_file(where, read_only=read_only, create=create, wait_seconds=WAIT_SECONDS)
                return cls(_sqlite_engine(opened), where, read_only=read_only, opened=opened)
            return cls(_postgres_engine(url), where, read_only=read_only, opened=None)

    def _upgrade(self) -> None:
        """Run the Alembic revisions that are missing, in one transaction."""
        from peft_registry.registry.database.migrations import upgrade

        with translated(self.where), self._engine.connect() as connection:
            found = schema.require_made(connection, self.where).revision
            connection.rollback()
            if found is not None and found > SCHEMA_REVISION:
                raise SchemaMismatch(self.where, found, SCHEMA_REVISION)
            connection.execution_options(**{_WRITES: True})
            with connection.begin():
                if self.dialect == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                upgrade(connection)


def _parse(uri: str) -> URL:
    if uri.startswith(_SQLITE):  # not through make_url: a path may hold '?' or '%'
        if uri == _SQLITE:
            raise DatabaseAddressInvalid(uri, "it names no file")
        return URL.create("sqlite", database=uri.removeprefix(_SQLITE))
    try:
        url = make_url(uri)
    except ArgumentError as error:
        # said without the address: it may hold a password
        raise DatabaseAddressInvalid("…", "it is not scheme://…") from error
    backend = url.get_backend_name()
    shown = url.render_as_string(hide_password=True)
    if backend == "sqlite":
        raise DatabaseAddressInvalid(shown, "it names no file")
    if backend != "postgresql":
        raise DatabaseAddressInvalid(shown, f"the scheme {backend!r} is unknown")
    return url


def _sqlite_engine(opened: sqlite_file.SqliteFile) -> Engine:
    engine = create_engine("sqlite://", creator=opened.connect, poolclass=QueuePool, pool_size=8, max_overflow=-1)

    # sqlite3 starts transactions too late for a consistent read, and never with IMMEDIATE: `connect` switched that off
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = opened.writes and connection.get_execution_options().get(_WRITES, False)
        # of the driver's own, and the first only where it changes something: they take longer through the engine than what most
        # transactions read
        driver = connection.connection.driver_connection
        assert driver is not None, "a connection that begins a transaction is open"
        if connection.info.get(_WRITES) != writes:
            driver.execute(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
            connection.info[_WRITES] = writes
        driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres_engine(url: URL) -> Engine:
    options: dict[str, Any] = {"connect_timeout": 10, "options": f"-c lock_timeout={WAIT_SECONDS * 1000}"}
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args=options, pool_pre_ping=True, max_overflow=-1
        )
    except ModuleNotFoundError as error:
        raise ExtraMissing("postgres", "a PostgreSQL database") from error
