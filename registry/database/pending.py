"""The end of the log that no checkpoint covers yet, read and taken off again: for whoever holds the log key and owns the tables.

What is covered is never touched. On a server everybody else has no right to delete these rows (`roles.py`). All of it is in the
caller's transaction: a kill leaves the rows as they were.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, cast, delete, select

from peft_registry.registry.database.catalog.aliases import AliasMove, newest_move, point
from peft_registry.registry.database.catalog.facet_rows import delete_facets
from peft_registry.registry.database.catalog.row_counts import TOGETHER, note_deleted
from peft_registry.registry.database.catalog.sources import delete_sources
from peft_registry.registry.database.envelopes import unpacked
from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import (
    alias_events,
    aliases,
    log_events,
    log_nodes,
    statements,
    versions,
)
from peft_registry.schemas.identity import Digest


@dataclass(frozen=True, slots=True)
class PendingColumns:
    """A row of a statement, as it is written again."""

    digest: Digest
    subject: Digest
    kind: str | None
    predicate_type: str
    key_id: str
    envelope: bytes


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that no checkpoint covers, with what the catalogue has because of it."""

    index: int
    leaf: bytes
    statement: PendingColumns | None
    version: tuple[str, int] | None  # the name and number that it registers
    move: AliasMove | None


def pending_entries(tx: Transaction, covered: int) -> tuple[PendingEntry, ...]:
    """Every entry from number `covered` on, in order."""
    said = {row.log_index: row for row in tx.execute(select(statements).where(statements.c.log_index >= covered))}
    numbered = {
        row.log_index: (row.name, row.number)
        for row in tx.execute(select(versions).where(versions.c.log_index >= covered))
    }
    digests = [row.digest for row in said.values()]
    columns = [alias_events.c[name] for name in ("name", "alias", "number", "statement_digest", "at")]
    moves = {
        row.statement_digest: AliasMove(*row)
        for row in tx.execute(select(*columns).where(alias_events.c.statement_digest.in_(digests)))
    }
    query = select(log_events.c.seq, log_events.c.leaf).where(log_events.c.seq >= covered).order_by(log_events.c.seq)
    entries = []
    for seq, leaf in tx.execute(query):
        if not isinstance(leaf, bytes):
            raise RowDamaged("of the log", "it holds no bytes where bytes belong")
        row = said.get(seq)
        statement = None
        if row is not None:
            statement = PendingColumns(
                row.digest, row.subject, row.kind, row.predicate_type, row.key_id, _envelope(row)
            )
        move = None if row is None else moves.get(row.digest)
        entries.append(PendingEntry(seq, leaf, statement, numbered.get(seq), move))
    return tuple(entries)


# `Any`: the type of a row has one parameter for each column
def _envelope(row: Any) -> bytes:
    """The envelope of a statement; where the row holds none what stands there, which is taken off and kept like any other."""
    try:
        return unpacked(row.envelope, row.digest)
    except RowDamaged:
        return row.envelope if isinstance(row.envelope, bytes) else f"{row.envelope}".encode()


def take_off(tx: Transaction, entries: tuple[PendingEntry, ...], covered: int) -> None:
    """Delete the entries from number `covered` on with everything that stands in the catalogue because of them.

    Aliases point where their last remaining move says.
    """
    pending = select(statements.c.digest).where(statements.c.log_index >= covered)
    events = select(alias_events.c.id).where(alias_events.c.statement_digest.in_(pending))
    gone = tx.execute(delete(aliases).where(aliases.c.event_id.in_(events)).returning(aliases.c.alias))
    note_deleted(tx, "alias", gone.scalars())
    tx.execute(delete(alias_events).where(alias_events.c.statement_digest.in_(pending)))
    for name, number in tx.execute(
        select(versions.c.name, versions.c.number).where(versions.c.log_index >= covered)
    ).all():
        delete_facets(tx, (name, number))
        delete_sources(tx, name=name, number=number)
    numbers = tx.execute(delete(versions).where(versions.c.log_index >= covered).returning(versions.c.number)).all()
    note_deleted(tx, "version", [TOGETHER] * len(numbers))
    tx.execute(delete(statements).where(statements.c.log_index >= covered))
    behind = (cast(log_nodes.c.index, BigInteger) + 1).bitwise_lshift(log_nodes.c.level) > covered
    tx.execute(delete(log_nodes).where(behind))
    tx.execute(delete(log_events).where(log_events.c.seq >= covered))
    for name, alias in {(entry.move.name, entry.move.alias) for entry in entries if entry.move is not None}:
        _point_as_before(tx, name, alias)


def _point_as_before(tx: Transaction, name: str, alias: str) -> None:
    move = newest_move(tx, name=name, alias=alias)
    if move is None or move.number is None:
        return
    event_id = tx.execute(
        select(alias_events.c.id).where(alias_events.c.statement_digest == move.statement_digest)
    ).scalar_one()
    point(tx, name=name, alias=alias, number=move.number, event_id=event_id)
