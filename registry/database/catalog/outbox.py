"""What still has to be copied to each MLflow, what it calls the things that it has, and who writes to it now.

A *route* is one MLflow that versions are copied to. What happens is noted for every route in the transaction in which it happens; a
route that is met for the first time begins with every version.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Select,
    bindparam,
    cast,
    delete,
    extract,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.sql.functions import count

from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction, in_parts
from peft_registry.registry.database.tables import mirror_routes, mirrored, outbox, versions
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.mirror import OutboxEntry, OutboxKind


@dataclass(frozen=True, slots=True)
class RouteStanding:
    """A route, the place that it was seen at last, and how many versions it has and entries it waits for."""

    route: str
    place: str
    versions: int
    waiting: int


def enqueue(tx: Transaction, *, kind: OutboxKind, subject: Digest, version_label: str, payload: dict[str, Any]) -> None:
    """Note for every route what it has to copy, in the transaction that made it. `payload` names the alias that moved."""
    columns = (literal(kind), literal(subject, outbox.c.subject.type), literal(version_label))
    rows = select(mirror_routes.c.route, *columns, literal(payload, outbox.c.payload.type))
    tx.execute(insert(outbox).from_select(["route", "kind", "subject", "version_label", "payload"], rows))


def enqueue_for(tx: Transaction, route: str, *, subject: Digest, version_label: str) -> None:
    """Have one route copy a version again."""
    values = {"route": route, "kind": "version", "subject": subject, "version_label": version_label, "payload": {}}
    tx.execute(insert(outbox).values(**values))


def is_awaited(tx: Transaction, version_label: str) -> bool:
    """Whether every route is still to copy something of a version: whatever is copied then shows all of it."""
    waiting = select(outbox.c.route).where(outbox.c.version_label == version_label)
    query = select(mirror_routes.c.route).where(mirror_routes.c.route.not_in(waiting)).limit(1)
    return tx.execute(query).one_or_none() is None


def awaits(tx: Transaction, route: str, version_label: str) -> bool:
    """Whether a route is still to copy something of a version."""
    query = select(outbox.c.id).where(outbox.c.route == route, outbox.c.version_label == version_label).limit(1)
    return tx.execute(query).one_or_none() is not None


def route_at(tx: Transaction, place: str) -> str | None:
    """The route whose MLflow is at a place, or None where nothing was copied there."""
    query = select(mirror_routes.c.route).where(mirror_routes.c.place == place)
    route: str | None = tx.execute(query).scalar_one_or_none()
    return route


def is_route(tx: Transaction, route: str) -> bool:
    """Whether there is such a route."""
    return tx.execute(select(mirror_routes.c.route).where(mirror_routes.c.route == route)).one_or_none() is not None


def open_route(tx: Transaction, place: str) -> str:
    """The route whose MLflow is at a place; one that is met for the first time waits for every version, in the log's order."""
    known = route_at(tx, place)
    if known is not None:
        return known
    route = secrets.token_hex(16)
    tx.execute(insert(mirror_routes).values(route=route, place=place))
    _await_every_version(tx, route)
    return route


def move_route(tx: Transaction, route: str, place: str) -> None:
    """A route's MLflow is found at another place; the route that was begun for that place is forgotten."""
    begun = route_at(tx, place)
    if begun is not None and begun != route:
        forget_route(tx, begun)
    tx.execute(update(mirror_routes).where(mirror_routes.c.route == route).values(place=place))


def forget_route(tx: Transaction, route: str) -> None:
    """Forget what one MLflow calls everything, what it waits for, and that it is."""
    for table in (mirrored, outbox, mirror_routes):
        tx.execute(delete(table).where(table.c.route == route))


def forget_mirrored(tx: Transaction, route: str) -> None:
    """Forget what one MLflow calls everything, and have every version copied to it again.

    Aliases that were taken away and of which that was not copied yet are told after the versions.
    """
    columns = ("kind", "subject", "version_label", "payload")
    moved = select(*(outbox.c[name] for name in columns)).where(outbox.c.route == route, outbox.c.kind == "alias")
    waiting = [dict(zip(columns, row, strict=True)) for row in tx.execute(moved.order_by(outbox.c.id))]
    for table in (mirrored, outbox):
        tx.execute(delete(table).where(table.c.route == route))
    _await_every_version(tx, route)
    if waiting:
        tx.execute(insert(outbox), [{"route": route, **row} for row in waiting])


def routes(tx: Transaction) -> tuple[RouteStanding, ...]:
    """Every route, by its place."""
    query = select(mirror_routes.c.route, mirror_routes.c.place).order_by(mirror_routes.c.place)
    return tuple(
        RouteStanding(route, place, count_mirrored(tx, route, "version"), sum(waiting_by_name(tx, route).values()))
        for route, place in tx.execute(query).all()
    )


def take_turn(tx: Transaction, route: str, holder: str, *, seconds: int, after: str | None = None) -> str | None:
    """Let `holder` alone write to a route's MLflow for some seconds; again prolongs it. Time is that of the database.

    Returns None, or who holds it still.

    Args:
        tx: the transaction.
        route: the route.
        holder: a name that no other process has.
        seconds: how long, unless it is prolonged.
        after: a holder that is known to have ended.
    """
    now = _now(tx)
    free = or_(
        mirror_routes.c.holder.is_(None),
        mirror_routes.c.holder == holder,
        mirror_routes.c.holder == after,
        mirror_routes.c.until <= now,
    )
    taken = update(mirror_routes).where(mirror_routes.c.route == route, free)
    if tx.execute(taken.values(holder=holder, until=now + seconds)).rowcount:
        return None
    query = select(mirror_routes.c.holder).where(mirror_routes.c.route == route)
    return tx.execute(query).scalar_one_or_none() or ""


def keep_turn(tx: Transaction, route: str, holder: str, *, seconds: int) -> bool:
    """Prolong the turn that `holder` has; False where somebody else took it meanwhile, or the route was forgotten."""
    held = update(mirror_routes).where(mirror_routes.c.route == route, mirror_routes.c.holder == holder)
    return bool(tx.execute(held.values(until=_now(tx) + seconds)).rowcount)


def end_turn(tx: Transaction, route: str, holder: str) -> None:
    """Give back the turn that `holder` has."""
    held = update(mirror_routes).where(mirror_routes.c.route == route, mirror_routes.c.holder == holder)
    tx.execute(held.values(holder=None, until=None))


def pending_outbox(tx: Transaction, route: str, limit: int = 100, *, after: int = 0) -> tuple[OutboxEntry, ...]:
    """What a route has not copied yet, oldest first; `after` is the number of the entry behind which to begin.

    Raises:
        RowDamaged: a row is not what `enqueue` writes.
    """
    columns = (outbox.c.id, outbox.c.kind, outbox.c.subject, outbox.c.version_label, outbox.c.payload)
    query: Select[Any] = (
        select(*columns).where(outbox.c.route == route, outbox.c.id > after).order_by(outbox.c.id).limit(limit)
    )
    return tuple(_entry(row) for row in tx.execute(query))


def newest_entry(tx: Transaction, route: str) -> int:
    """The number of the newest entry that a route waits for; 0 where it waits for none."""
    newest: int = tx.execute(
        select(func.coalesce(func.max(outbox.c.id), 0)).where(outbox.c.route == route)
    ).scalar_one()
    return newest


def waiting_by_name(tx: Transaction, route: str) -> dict[str, int]:
    """How many entries of each name a route has not copied yet, by name."""
    query = select(outbox.c.version_label).where(outbox.c.route == route)
    counted: Counter[str] = Counter(label.rpartition(":")[0] for (label,) in tx.execute(query))
    return dict(sorted(counted.items()))


def versions_by_name(tx: Transaction) -> dict[str, int]:
    """How many versions each name has, by name: what a route that is met for the first time waits for."""
    query = select(versions.c.name, count().label("counted")).group_by(versions.c.name).order_by(versions.c.name)
    return {row.name: row.counted for row in tx.execute(query)}


def mark_done(tx: Transaction, *ids: int) -> None:
    """Entries were copied, and go."""
    if ids:
        tx.execute(delete(outbox).where(outbox.c.id.in_(ids)))


# put together once: that takes longer than to run it
_MIRRORED = select(mirrored.c.key, mirrored.c.value).where(
    mirrored.c.route == bindparam("of_route"),
    mirrored.c.entity == bindparam("of_entity"),
    mirrored.c.key.in_(bindparam("keys", expanding=True)),
)


def get_mirrored(tx: Transaction, route: str, entity: str, key: str) -> dict[str, Any] | None:
    """What a route's MLflow calls one of our things, or None if it was not copied."""
    return get_all_mirrored(tx, route, ((entity, key),))[entity, key]


def get_all_mirrored(
    tx: Transaction, route: str, things: Collection[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Any] | None]:
    """The same of many things, by entity and key."""
    keys_of: dict[str, list[str]] = {}
    for entity, key in things:
        keys_of.setdefault(entity, []).append(key)
    found: dict[tuple[str, str], dict[str, Any] | None] = dict.fromkeys(things)
    for entity, keys in keys_of.items():
        for part in in_parts(keys):
            rows = tx.execute(_MIRRORED, {"of_route": route, "of_entity": entity, "keys": part})
            found |= {(entity, key): value for key, value in rows}
    return found


def put_mirrored(tx: Transaction, route: str, entity: str, key: str, value: dict[str, Any]) -> None:
    """Remember what a route's MLflow calls one of our things; the newest answer counts."""
    put_all_mirrored(tx, route, {(entity, key): value})


def put_all_mirrored(tx: Transaction, route: str, answers: Mapping[tuple[str, str], dict[str, Any]]) -> None:
    """The same of many things, by entity and key."""
    if not answers:
        return
    upsert = insert_or(tx, mirrored)
    tx.execute(
        upsert.on_conflict_do_update(index_elements=["route", "entity", "key"], set_={"value": upsert.excluded.value}),
        [{"route": route, "entity": entity, "key": key, "value": value} for (entity, key), value in answers.items()],
    )


def count_mirrored(tx: Transaction, route: str, entity: str) -> int:
    """How many things of a kind a route's MLflow has a name for."""
    counted: int = tx.execute(
        select(count()).select_from(mirrored).where(mirrored.c.route == route, mirrored.c.entity == entity)
    ).scalar_one()
    return counted


def every_mirrored(tx: Transaction, route: str, entity: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Everything of a kind that a route's MLflow has a name for, by key."""
    where = (mirrored.c.route == route, mirrored.c.entity == entity)
    query = select(mirrored.c.key, mirrored.c.value).where(*where).order_by(mirrored.c.key)
    return tuple((key, value) for key, value in tx.execute(query))


def _await_every_version(tx: Transaction, route: str) -> None:
    label = versions.c.name + ":" + cast(versions.c.number, outbox.c.version_label.type)
    columns = (literal(route), literal("version"), versions.c.manifest_digest, label)
    rows = select(*columns, literal({}, outbox.c.payload.type)).order_by(versions.c.log_index)
    tx.execute(insert(outbox).from_select(["route", "kind", "subject", "version_label", "payload"], rows))


def _now(tx: Transaction) -> ColumnElement[int]:
    """Seconds since 1970 by the clock of the database: those of two machines may differ."""
    if tx.dialect.name == "postgresql":
        return cast(extract("epoch", func.clock_timestamp()), BigInteger)
    return cast(func.strftime("%s", "now"), BigInteger)


def _entry(row: Row[Any]) -> OutboxEntry:
    name, _, number = row.version_label.rpartition(":")
    try:
        return OutboxEntry(
            id=row.id, kind=row.kind, name=name, number=number, manifest=row.subject, alias=row.payload.get("alias")
        )
    except ValidationError as error:
        raise RowDamaged("outbox", first_problem(error)) from error
