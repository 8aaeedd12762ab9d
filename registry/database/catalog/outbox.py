"""What the mirror still has to copy, and what it calls the things it has copied."""

from collections import Counter
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row, Select, delete, func, insert, select, update

from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import mirrored, outbox, versions
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.mirror import OutboxEntry, OutboxKind


def enqueue(tx: Transaction, *, kind: OutboxKind, subject: Digest, version_label: str, payload: dict[str, Any]) -> int:
    """Add something to copy, in the transaction that made it; returns its number. `payload` names the alias that moved."""
    values = {"kind": kind, "subject": subject, "version_label": version_label, "payload": payload}
    added: int = tx.execute(insert(outbox).values(**values).returning(outbox.c.id)).scalar_one()
    return added


def is_awaited(tx: Transaction, version_label: str) -> bool:
    """Whether something of a version is still to be copied: whatever is copied then shows all of it."""
    query = select(outbox.c.id).where(outbox.c.done_at.is_(None), outbox.c.version_label == version_label).limit(1)
    return tx.execute(query).one_or_none() is not None


def pending_outbox(tx: Transaction, limit: int = 100, *, after: int = 0) -> tuple[OutboxEntry, ...]:
    """What is not copied yet, oldest first; `after` is the number of the entry behind which to begin.

    Raises:
        RowDamaged: a row is not what `enqueue` writes.
    """
    columns = (outbox.c.id, outbox.c.kind, outbox.c.subject, outbox.c.version_label, outbox.c.payload)
    query: Select[Any] = (
        select(*columns).where(outbox.c.done_at.is_(None), outbox.c.id > after).order_by(outbox.c.id).limit(limit)
    )
    return tuple(_entry(row) for row in tx.execute(query))


def waiting_by_name(tx: Transaction) -> dict[str, int]:
    """How many entries of each name are not copied yet, by name."""
    query = select(outbox.c.version_label).where(outbox.c.done_at.is_(None))
    counted: Counter[str] = Counter(label.rpartition(":")[0] for (label,) in tx.execute(query))
    return dict(sorted(counted.items()))


def mark_done(tx: Transaction, id: int, at: str) -> None:
    """Say that an entry was copied at `at`; the first time counts."""
    tx.execute(update(outbox).where(outbox.c.id == id, outbox.c.done_at.is_(None)).values(done_at=at))


def get_mirrored(tx: Transaction, entity: str, key: str) -> dict[str, Any] | None:
    """What the mirror calls one of our things, or None if it was not copied."""
    query = select(mirrored.c.value).where(mirrored.c.entity == entity, mirrored.c.key == key)
    value: dict[str, Any] | None = tx.execute(query).scalar_one_or_none()
    return value


def put_mirrored(tx: Transaction, entity: str, key: str, value: dict[str, Any]) -> None:
    """Remember what the mirror calls one of our things; the newest answer counts."""
    tx.execute(
        insert_or(tx, mirrored)
        .values(entity=entity, key=key, value=value)
        .on_conflict_do_update(index_elements=["entity", "key"], set_={"value": value})
    )


def count_mirrored(tx: Transaction, entity: str) -> int:
    """How many things of a kind the mirror has a name for."""
    counted: int = tx.execute(select(func.count()).where(mirrored.c.entity == entity)).scalar_one()
    return counted


def every_mirrored(tx: Transaction, entity: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Everything of a kind that the mirror has a name for, by key."""
    query = select(mirrored.c.key, mirrored.c.value).where(mirrored.c.entity == entity).order_by(mirrored.c.key)
    return tuple((key, value) for key, value in tx.execute(query))


def forget_mirrored(tx: Transaction, at: str) -> int:
    """Forget everything that was copied, and have every version copied again; returns how many there are.

    Aliases that were taken away and of which that was not copied yet are told after the versions.
    """
    columns = (outbox.c.subject, outbox.c.version_label, outbox.c.payload)
    moved = select(*columns).where(outbox.c.done_at.is_(None), outbox.c.kind == "alias").order_by(outbox.c.id)
    waiting = [tuple(row) for row in tx.execute(moved)]
    tx.execute(update(outbox).where(outbox.c.done_at.is_(None)).values(done_at=at))
    tx.execute(delete(mirrored))
    query = select(versions.c.name, versions.c.number, versions.c.manifest_digest).order_by(versions.c.log_index)
    registered = tx.execute(query).all()
    for name, number, manifest in registered:
        enqueue(tx, kind="version", subject=manifest, version_label=f"{name}:{number}", payload={})
    for subject, label, payload in waiting:
        enqueue(tx, kind="alias", subject=subject, version_label=label, payload=payload)
    return len(registered)


def _entry(row: Row[Any]) -> OutboxEntry:
    name, _, number = row.version_label.rpartition(":")
    try:
        return OutboxEntry(
            id=row.id, kind=row.kind, name=name, number=number, manifest=row.subject, alias=row.payload.get("alias")
        )
    except ValidationError as error:
        raise RowDamaged("outbox", first_problem(error)) from error
