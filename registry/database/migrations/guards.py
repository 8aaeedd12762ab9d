"""The guards in SQL that revisions 0001 to 0006 kept the past with, switched off for a part of one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text


@contextmanager
def unguarded(tx: Connection, table: str) -> Iterator[None]:
    """This table lets rows be changed in this block; afterwards it refuses it again, as a database of these revisions does."""
    if tx.dialect.name == "postgresql":
        tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        yield
        tx.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))
        return
    # SQLite cannot switch a trigger off: it is dropped, and made again from its own text
    made = tx.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
    for name, _ in made:
        tx.execute(text(f'DROP TRIGGER "{name}"'))
    yield
    for _, sql in made:
        tx.exec_driver_sql(sql)
