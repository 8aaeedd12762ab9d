"""What a database can refuse, and the one translation from the drivers' errors (SQLite result codes, SQLSTATE)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from peft_registry.registry.disk.files import DiskFull
from peft_registry.schemas.errors import InputRefused, IntegrityBroken, KnownError, Taken, Unavailable


class DatabaseAddressInvalid(InputRefused):
    what = "{shown!r} is not the address of a database"
    why = "{reason}"
    fix = "write sqlite:////path/to/file, or postgresql://user@host/database with the password in PGPASSFILE"

    shown: str
    reason: str


class DatabaseUnreachable(Unavailable):
    what = "the database {where} cannot be reached"
    why = "{reason}"
    fix = "check the path or the address and that the server runs; `registry init` makes a new home"

    where: str
    reason: str


class DatabaseDiskFailed(Unavailable):
    what = "the disk refused to read or write the database {where}"
    why = "{reason}"
    fix = "check that it has space left and works, then run the command again; nothing was registered"

    where: str
    reason: str


class DatabaseLocked(Unavailable):
    what = "the database {where} is locked"
    why = "{reason}"
    fix = "let the other command finish, then run this one again; nothing was registered"

    where: str
    reason: str


class DatabaseCorrupt(IntegrityBroken):
    what = "the database {where} is damaged"
    why = "{reason}"
    fix = "keep the file as it is, and restore the home from a backup"

    where: str
    reason: str


class RowDamaged(IntegrityBroken):
    what = "a row of the table {table} is not what this program writes"
    why = "{reason}"
    fix = "keep the database as it is, and restore the home from a backup"

    table: str
    reason: str


def stored_bytes(value: object, *, table: str) -> bytes:
    """The bytes of a column: SQLite keeps whatever type somebody wrote into it.

    Raises:
        RowDamaged: it holds neither bytes nor text.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise RowDamaged(table, "it holds no bytes where bytes belong")
    return value


def stored_text(value: object, *, table: str) -> str:
    """The text of a column, likewise.

    Raises:
        RowDamaged: it holds something else.
    """
    if not isinstance(value, str):
        raise RowDamaged(table, "it holds no text where text belongs")
    return value


class DatabaseReadOnly(Unavailable):
    reference = "read-only-database"
    what = "the database {where} cannot be written"
    why = "it was opened for reading, or this user may only read it"
    fix = "run the command as the home's owner, or on a copy of the home that you may write"

    where: str


UPGRADEABLE = ("0001", "0002", "0003", "0004", "0005", "0006")
"""Schema revisions of earlier releases that are read as they are, and written after an upgrade."""


class SchemaMismatch(Unavailable):
    what = "the database {where} has another schema than this program"
    why = "it is at revision {revision}, and {expected} is needed"
    fix = "{remedy}"

    where: str
    found: str | None
    expected: str

    @property
    def revision(self) -> str:
        return self.found or "none"

    @property
    def remedy(self) -> str:
        if self.found is None:
            return "restore the database from a backup, or make a new home with `registry init`"
        if self.found in UPGRADEABLE:
            return (
                "run `registry admin upgrade`: it makes a backup first, and a kill leaves the old schema or the new one"
            )
        # revisions are numbered in the order of the releases
        if self.found < self.expected:
            return "use the version of peft-registry that made this home; this one has no step from its schema"
        return "install the newer version of peft-registry that last wrote to this home"


class PrivilegeMissing(Unavailable):
    reference = "database-privilege-missing"
    what = "the database {where} does not let this user do that"
    why = "{reason}"
    fix = "connect as the owner of the tables, who alone deletes what was recorded"

    where: str
    reason: str


class AlreadyRecorded(Taken):
    what = "the same thing is recorded already"
    why = "{reason}"
    fix = "run the command again: it continues from what is there"

    reason: str


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Let a driver's error out as one of ours; what we did not foresee passes unchanged.

    Args:
        where: the database as people know it, without a password.
    """
    try:
        yield
    except DBAPIError as error:
        known = _from_sqlite(error.orig, where) if isinstance(error.orig, sqlite3.Error) else _from_server(error, where)
        if known is None:
            raise
        raise known from error
    except sqlite3.Error as error:
        known = _from_sqlite(error, where)
        if known is None:
            raise
        raise known from error


def _from_sqlite(error: sqlite3.Error, where: str) -> KnownError | None:  # noqa: PLR0911  one answer a result code
    why = str(error)
    code: int = getattr(error, "sqlite_errorcode", 0)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        return AlreadyRecorded(why)
    match code & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseLocked(where, f"another process holds it and did not let go in time ({why})")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DatabaseCorrupt(where, why)
        case sqlite3.SQLITE_FULL:
            return DiskFull(where)
        case sqlite3.SQLITE_READONLY:
            return DatabaseReadOnly(where)
        case sqlite3.SQLITE_IOERR:
            return DatabaseDiskFailed(where, why)
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return DatabaseUnreachable(where, why)
    return None


# SQLSTATE, the longest prefix first (PostgreSQL manual, appendix A)
_LOCKED = ("55P03", "40P01", "57014")
_UNREACHABLE = ("08", "57P", "53300", "28", "3D")


def _from_server(error: DBAPIError, where: str) -> KnownError | None:  # noqa: PLR0911  one answer a state
    state: str = getattr(error.orig, "sqlstate", None) or ""
    why = " ".join(str(error.orig).split())
    if state == "23505":
        return AlreadyRecorded(why)
    if state == "42501":
        return PrivilegeMissing(where, why)
    if state == "25006":
        return DatabaseReadOnly(where)
    if state == "53100":
        return DiskFull(where)
    if state in _LOCKED:
        return DatabaseLocked(where, why)
    if state.startswith("XX00"):
        return DatabaseCorrupt(where, why)
    # a connection that could not be made has no state
    if state.startswith(_UNREACHABLE) or (not state and type(error.orig).__name__ == "OperationalError"):
        return DatabaseUnreachable(where, why)
    return None
