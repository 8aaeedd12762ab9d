"""How one SQLite file is opened: for writing, or for reading where nothing may be written.

Reading tries `mode=ro`, which sees what writers do. A database in WAL mode needs `-shm` beside it for that, which a
folder that cannot be written or a disk that is full may not have. Then: without a `-wal` that holds anything the file alone
is complete and nobody can be writing to it, so `immutable=1`; else a private copy of both, in which the WAL is replayed.
A file that should be writable and is not is read in the same way; writing then raises the reason.
"""

import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from peft_registry.registry.database.failures import DatabaseLocked, DatabaseUnreachable
from peft_registry.registry.disk.files import unwritable

_COPY_ATTEMPTS = 5
_BUSY_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class SqliteFile:
    """A file and the way to connect to it."""

    path: Path
    mode: str  # the query of SQLite's file: URI
    wait_seconds: float
    writes: bool
    copy: "tempfile.TemporaryDirectory[str] | None" = None
    refusal: sqlite3.Error | None = None  # why it can only be read, where it was to be written

    def connect(self) -> sqlite3.Connection:
        """A new connection that begins no transaction by itself."""
        connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{self.mode}",
            uri=True,
            timeout=self.wait_seconds,
            isolation_level=None,
            check_same_thread=False,  # the pool hands a connection to one thread at a time
        )
        try:
            if self.writes:
                _use_wal(connection, self.wait_seconds)
                for pragma in _WRITING:
                    connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        if self.copy is not None:
            self.copy.cleanup()


_WRITING = ("synchronous = FULL", "foreign_keys = ON")


def open_file(path: str, *, read_only: bool, create: bool, wait_seconds: float) -> SqliteFile:
    """The way to connect to the file at `path`; it is tried once.

    Raises:
        DatabaseUnreachable: there is no such file, or no such folder to make it in.
        sqlite3.Error: SQLite cannot open it; see `failures`.
    """
    file = Path(path).absolute()
    if not create and not file.is_file():
        raise DatabaseUnreachable(path, "there is no such file")
    if not read_only:
        opened = SqliteFile(file, "mode=rwc" if create else "mode=rw", wait_seconds, writes=True)
        try:
            opened.connect().close()
        except sqlite3.OperationalError as error:
            if create or not _is_about_writing(error):
                raise
            return replace(_open_for_reading(file, wait_seconds), refusal=error)
        return opened
    return _open_for_reading(file, wait_seconds)


def _open_for_reading(file: Path, wait_seconds: float) -> SqliteFile:
    opened = SqliteFile(file, "mode=ro", wait_seconds, writes=False)
    try:
        _try(opened)
    except sqlite3.OperationalError as error:
        if not _is_about_writing(error):
            raise
        return _where_nothing_can_be_written(file, wait_seconds)
    return opened


def _is_about_writing(error: sqlite3.OperationalError) -> bool:
    """Whether something could not be written: no right to, no space left (for `-shm` that is an error of input and output)."""
    return error.sqlite_errorcode & 0xFF in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
    )


def fold_wal(path: Path) -> None:
    """Move what the WAL holds into the file and empty it; does nothing while others are reading."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=0)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error:  # in use, or gone: the WAL keeps what it holds, and closing must not fail
        return


def _where_nothing_can_be_written(file: Path, wait_seconds: float) -> SqliteFile:
    if not _size(_wal(file)):
        opened = SqliteFile(file, "mode=ro&immutable=1", wait_seconds, writes=False)
    else:
        try:
            copy = tempfile.TemporaryDirectory(prefix="registry-database-")
            opened = SqliteFile(_copy(file, Path(copy.name)), "mode=rw", wait_seconds, writes=False, copy=copy)
        except OSError as error:
            raise unwritable(f"a private copy of {file}", error) from error
    _try(opened)
    return opened


def _copy(file: Path, folder: Path) -> Path:
    """A copy of the file and its WAL from one moment: neither changed while it was taken."""
    for _ in range(_COPY_ATTEMPTS):
        before = _state(file)
        shutil.copyfile(file, folder / file.name)
        shutil.copyfile(_wal(file), folder / _wal(file).name)
        if _state(file) == before:
            return folder / file.name
    raise DatabaseLocked(str(file), "it is being written, and no copy of one moment could be taken")


def _use_wal(connection: sqlite3.Connection, wait_seconds: float) -> None:
    """Switch the file to WAL, which needs it alone for a moment. SQLite does not wait for that: it says busy at once."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE_SECONDS)
        else:
            return


def _try(opened: SqliteFile) -> None:
    with closing(opened.connect()) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _wal(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _state(file: Path) -> tuple[tuple[int, int], ...]:
    return tuple((one.stat().st_size, one.stat().st_mtime_ns) for one in (file, _wal(file)))
