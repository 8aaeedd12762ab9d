"""Indexes held against the rows of their tables, and made again.

A query that goes by an index finds what the index says. Whoever writes the file of a SQLite database can take an entry out of one,
or fill it with the entries of another, and leave table and schema as they are. A role of a server writes rows alone, and the server
their index; there only a damaged disk, or a new order of texts after an upgrade of the system, makes one that lies. `amcheck` finds
these, for whoever administers the server.
"""

from typing import NamedTuple

from sqlalchemy.exc import IntegrityError

from peft_registry.registry.database.failures import DatabaseCorrupt
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import METADATA

_FOUND = 1_000  # a file may hold millions
_NAMED = 20


class FileFaults(NamedTuple):
    """The first of what is wrong in a SQLite file: in indexes (rows that one lacks, entries of other rows), and in pages."""

    indexes: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()


def faults_of_file(tx: Transaction) -> FileFaults:
    """What SQLite finds, which reads the whole file; nothing of a server, see above.

    Raises:
        DatabaseCorrupt: it is too damaged for that.
    """
    if tx.dialect.name != "sqlite":
        return FileFaults()
    found = [" ".join(line.split()) for line in tx.exec_driver_sql(f"PRAGMA integrity_check({_FOUND})").scalars()]
    indexes = [line for line in found if " index " in line]
    # a value of another type or without bounds is held against the log with its row
    others = (line for line in found if line != "ok" and " value in " not in line and not line.startswith("CHECK "))
    pages = [line for line in others if line not in indexes]
    return FileFaults(tuple(indexes[:_NAMED]), tuple(pages[:_NAMED]))


def make_indexes_again(tx: Transaction, where: str) -> None:
    """Write every index anew from the rows of its table.

    Raises:
        DatabaseCorrupt: rows are there twice that a constraint has once, which an index concealed.
        PrivilegeMissing: on a server, as a role that does not own the tables.
    """
    # one statement has all of a file; a server writes the indexes of a whole database outside of transactions alone
    every = (
        ["REINDEX"] if tx.dialect.name == "sqlite" else [f"REINDEX TABLE {name}" for name in sorted(METADATA.tables)]
    )
    try:
        for statement in every:
            tx.exec_driver_sql(statement)
    except IntegrityError as error:
        raise DatabaseCorrupt(where, f"rows that an index hid are there twice: {error.orig}") from error
