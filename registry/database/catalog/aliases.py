"""Aliases: every move is an event; where an alias points now is a projection of them."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select, update

from peft_registry.registry.database.catalog.row_counts import note_added, note_deleted
from peft_registry.registry.database.catalog.versions import read_versions, select_versions
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import alias_events, aliases, versions
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class AliasMove:
    """An alias was moved to version `number`, or taken away (None), by a signed statement."""

    name: str
    alias: str
    number: int | None
    statement_digest: Digest
    at: str


def set_alias(tx: Transaction, *, name: str, alias: str, number: int | None, statement_digest: Digest, at: str) -> None:
    """Append the move and follow it. Version and statement are recorded before."""
    event = {"name": name, "alias": alias, "number": number, "statement_digest": statement_digest, "at": at}
    event_id = tx.execute(insert(alias_events).values(**event).returning(alias_events.c.id)).scalar_one()
    point(tx, name=name, alias=alias, number=number, event_id=event_id)


def point(tx: Transaction, *, name: str, alias: str, number: int | None, event_id: int) -> None:
    """Let an alias point at a version by a move that was appended; None: at none."""
    row = (aliases.c.name == name, aliases.c.alias == alias)
    if number is None:
        note_deleted(tx, "alias", tx.execute(delete(aliases).where(*row).returning(aliases.c.alias)).scalars())
        return
    moved = tx.execute(update(aliases).where(*row).values(number=number, event_id=event_id))
    if not moved.rowcount:
        tx.execute(insert(aliases).values(name=name, alias=alias, number=number, event_id=event_id))
        note_added(tx, "alias", [alias])


def aliases_of(tx: Transaction, name: str) -> tuple[AliasMove, ...]:
    """The aliases that a name has now, by alias, each as the move that made it so."""
    query = (
        select(*_MOVE)
        .join_from(aliases, alias_events, aliases.c.event_id == alias_events.c.id)
        .where(aliases.c.name == name)
        .order_by(aliases.c.alias)
    )
    return tuple(AliasMove(*row) for row in tx.execute(query))


def versions_with_alias(tx: Transaction, alias: str, *, name: str | None = None) -> tuple[Version, ...]:
    """The versions that an alias points at now, by name; of one name, or (None) of every one."""
    query = select_versions().join(
        aliases, (aliases.c.name == versions.c.name) & (aliases.c.number == versions.c.number)
    )
    query = query.where(aliases.c.alias == alias).order_by(versions.c.name)
    return read_versions(tx, query if name is None else query.where(aliases.c.name == name))


def alias_history(tx: Transaction, name: str) -> tuple[AliasMove, ...]:
    """Every move of every alias of a name, oldest first."""
    query = select(*_MOVE).where(alias_events.c.name == name).order_by(alias_events.c.id)
    return tuple(AliasMove(*row) for row in tx.execute(query))


def every_move(tx: Transaction) -> tuple[AliasMove, ...]:
    """Every move of every alias, oldest first."""
    query = select(*_MOVE).order_by(alias_events.c.id)
    return tuple(AliasMove(*row) for row in tx.execute(query))


def newest_move(tx: Transaction, *, name: str, alias: str) -> AliasMove | None:
    """The last move of an alias, whatever the projection says; None if it never moved."""
    query = select(*_MOVE).where(alias_events.c.name == name, alias_events.c.alias == alias)
    row = tx.execute(query.order_by(alias_events.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else AliasMove(*row)


def alias_at(tx: Transaction, *, name: str, alias: str, as_of: str) -> Version | None:
    """The version that an alias pointed to at a time; None if to none."""
    query = (
        select(alias_events.c.number)
        .where(alias_events.c.name == name, alias_events.c.alias == alias, alias_events.c.at <= as_of)
        .order_by(alias_events.c.id.desc())
        .limit(1)
    )
    number: int | None = tx.execute(query).scalar_one_or_none()
    if number is None:
        return None
    found = read_versions(tx, select_versions().where(versions.c.name == name, versions.c.number == number))
    return found[0]


_MOVE = (
    alias_events.c.name,
    alias_events.c.alias,
    alias_events.c.number,
    alias_events.c.statement_digest,
    alias_events.c.at,
)
