"""An insert that may meet a row that is there."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Table

from peft_registry.registry.database.session import Transaction

if TYPE_CHECKING:
    from sqlalchemy.dialects.postgresql import Insert


def insert_or(tx: Transaction, table: Table) -> "Insert":
    """An INSERT with ON CONFLICT, which both databases have and SQLAlchemy spells once per dialect."""
    if tx.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    statement: Any = sqlite.insert(table)  # the same two ON CONFLICT methods, without a common type
    return statement  # type: ignore[no-any-return]
