"""The entries of the log, the checkpoints over them, and every row that they should account for."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import LargeBinary, exists, func, insert, literal, select
from sqlalchemy import text as sql

from peft_registry.registry.database.envelopes import unpacked
from peft_registry.registry.database.failures import stored_bytes, stored_text
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import (
    aliases,
    checkpoints,
    log_events,
    log_nodes,
    statements,
    versions,
)
from peft_registry.schemas.identity import Digest

_ROWS_AT_ONCE = 10_000  # of a log that may have millions


# as text: it is read at every command, and a fresh process compiles any other statement before its first use
_LATEST_CHECKPOINT = sql("SELECT text FROM checkpoints ORDER BY size DESC, id DESC LIMIT 1")


def put_checkpoint(tx: Transaction, size: int, text: str) -> None:
    """Keep a signed checkpoint; the same text is kept once."""
    same = exists().where(checkpoints.c.size == size, checkpoints.c.text == text)
    if not tx.execute(select(same)).scalar_one():
        tx.execute(insert(checkpoints), {"size": size, "text": text})


def latest_checkpoint(tx: Transaction, *, origin: str | None = None) -> str | None:
    """The text of the checkpoint that covers most, of all or of one origin; None if there is none."""
    if origin is None:
        newest = tx.execute(_LATEST_CHECKPOINT).scalar_one_or_none()
    else:
        of_origin = select(checkpoints.c.text).where(checkpoints.c.text.startswith(f"{origin}\n", autoescape=True))
        by_size = of_origin.order_by(checkpoints.c.size.desc(), checkpoints.c.id.desc())
        newest = tx.execute(by_size.limit(1)).scalar_one_or_none()
    return None if newest is None else stored_text(newest, table="checkpoints")


def first_checkpoint_over(tx: Transaction, index: int) -> str | None:
    """The text of the smallest checkpoint that covers an entry; None while none does."""
    query = select(checkpoints.c.text).where(checkpoints.c.size > index)
    text = tx.execute(query.order_by(checkpoints.c.size, checkpoints.c.id).limit(1)).scalar_one_or_none()
    return None if text is None else stored_text(text, table="checkpoints")


def every_checkpoint(tx: Transaction) -> tuple[tuple[int, str], ...]:
    """(size as the row says, text) of every checkpoint that was kept, by size."""
    query = select(checkpoints.c.size, checkpoints.c.text).order_by(checkpoints.c.size, checkpoints.c.id)
    # a value of another type is read as text, so that whoever parses it names a damaged checkpoint
    return tuple((size, f"{text}") for size, text in tx.execute(query))


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One entry as the database has it, with the columns of the statement that claims it; None where no statement does."""

    index: int
    leaf: bytes
    leaf_hash: bytes
    statement: "StatementColumns | None"


@dataclass(frozen=True, slots=True)
class StatementColumns:
    """What a row says about a statement, and what it holds of the signed envelope."""

    digest: Digest
    subject: Digest
    kind: str | None
    predicate_type: str
    key_id: str
    appended_at: str
    stored: object  # SQLite keeps whatever type somebody wrote

    @property
    def envelope(self) -> bytes:
        """The signed envelope, unpacked each time: a check of the log has thousands of rows at hand, and reads one after the other.

        Raises:
            RowDamaged: the row holds none.
        """
        return unpacked(self.stored, self.digest)


def every_entry(tx: Transaction) -> Iterator[EntryRow]:
    """The whole log, in order; memory does not grow with it."""
    query = (
        select(
            log_events.c.seq,
            log_events.c.leaf,
            log_events.c.leaf_hash,
            statements.c.digest,
            statements.c.subject,
            statements.c.kind,
            statements.c.predicate_type,
            statements.c.key_id,
            statements.c.appended_at,
            statements.c.envelope,
        )
        .join_from(log_events, statements, statements.c.log_index == log_events.c.seq, isouter=True)
        .order_by(log_events.c.seq)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    # closes a server's cursor also when a damaged row ends the reading
    with tx.execute(query) as rows:
        for row in rows:
            leaf = stored_bytes(row.leaf, table="log_events")
            leaf_hash = stored_bytes(row.leaf_hash, table="log_events")
            yield EntryRow(row.seq, leaf, leaf_hash, _statement_columns(row))


# `Any`: the type of a row has one parameter for each column
def _statement_columns(row: Any) -> StatementColumns | None:
    """What a row of `every_entry` says of the entry's statement; None where no statement claims the entry."""
    if row.digest is None:
        return None
    return StatementColumns(
        digest=row.digest,
        subject=row.subject,
        kind=row.kind,
        predicate_type=row.predicate_type,
        key_id=row.key_id,
        appended_at=row.appended_at,
        stored=row.envelope,
    )


def every_leaf(tx: Transaction) -> Generator[bytes]:
    """The bytes of every entry, in order; memory does not grow with the log. Closed by whoever may stop before the end."""
    query = select(log_events.c.leaf).order_by(log_events.c.seq).execution_options(yield_per=_ROWS_AT_ONCE)
    with tx.execute(query) as rows:
        yield from (stored_bytes(leaf, table="log_events") for leaf in rows.scalars())


def every_node(tx: Transaction) -> Iterator[tuple[int, int, bytes]]:
    """(level, index, hash) of every stored subtree above the leaves."""
    query = select(log_nodes.c.level, log_nodes.c.index, log_nodes.c.hash).execution_options(yield_per=_ROWS_AT_ONCE)
    with tx.execute(query) as rows:
        yield from ((level, index, node) for level, index, node in rows)


@dataclass(frozen=True, slots=True)
class NumberedVersion:
    """A row of the catalogue: which artifact is which number of a name, and by which entry."""

    name: str
    number: int
    manifest: Digest
    kind: str
    method: str | None
    base_weights: Digest | None
    key_id: str
    registered_at: str
    log_index: int


def every_version(tx: Transaction) -> Iterator[NumberedVersion]:
    """Every version row, by name and number."""
    columns = versions.c
    query = (
        select(
            columns.name,
            columns.number,
            columns.manifest_digest,
            columns.kind,
            columns.method,
            columns.base_weights,
            columns.key_id,
            columns.registered_at,
            columns.log_index,
        )
        .order_by(columns.name, columns.number)
        .execution_options(yield_per=_ROWS_AT_ONCE)
    )
    with tx.execute(query) as rows:
        for row in rows:
            yield NumberedVersion(*row)


def version_entries(tx: Transaction) -> frozenset[int]:
    """The entries that the rows of versions name."""
    return frozenset(tx.execute(select(versions.c.log_index)).scalars())


def registering_entries(tx: Transaction) -> frozenset[int]:
    """The entries that register a version, by their bytes: the whole log is read, and none of it is proven here."""
    # canonical JSON has these bytes for that key and value alone: a quotation mark within a value is escaped
    mark = literal(b'"kind":"registration"', LargeBinary)
    if tx.dialect.name == "postgresql":
        registers = func.position(mark.op("IN")(log_events.c.leaf)) > 0
    else:
        registers = func.instr(log_events.c.leaf, mark) > 0
    return frozenset(tx.execute(select(log_events.c.seq).where(registers)).scalars())


def every_alias(tx: Transaction) -> tuple[tuple[str, str, int], ...]:
    """(name, alias, number) as the quick projection has it."""
    query = select(aliases.c.name, aliases.c.alias, aliases.c.number).order_by(aliases.c.name, aliases.c.alias)
    return tuple((name, alias, number) for name, alias, number in tx.execute(query))
