"""The guards in SQL that keep the past, switched off for a part of one transaction."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

from peft_registry.registry.database.tables import APPEND_ONLY


@contextmanager
def unguarded(tx: Connection, tables: Collection[str] = APPEND_ONLY) -> Iterator[None]:
    """These append-only tables let rows be changed and deleted in this transaction; afterwards they refuse it again.

    Raises:
        PrivilegeMissing: on PostgreSQL, where this role does not own the tables.
    """
    if tx.dialect.name == "postgresql":
        for table in tables:
            tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        yield
        for table in tables:
            tx.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
        return
    # SQLite cannot switch a trigger off: it is dropped, and made again from its own text
    made = tx.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
    for name, _ in made:
        tx.execute(text(f'DROP TRIGGER "{name}"'))
    yield
    for _, sql in made:
        tx.exec_driver_sql(sql)
