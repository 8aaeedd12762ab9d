"""The rows of the catalogue that repeat the log, deleted to be written again; and what tells whether that changed any.

What is not repeated stays: entries, statements, checkpoints, leases, and what the registry is called.
"""

import hashlib
from typing import NamedTuple

from sqlalchemy import Table, delete, insert, select, text

from peft_registry.registry.database.catalog.row_counts import recount
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import (
    alias_events,
    aliases,
    artifact_data,
    artifact_files,
    artifact_parents,
    artifacts,
    facet_numbers,
    facet_words,
    kept_objects,
    log_nodes,
    row_counts,
    snapshot_nodes,
    version_sources,
    versions,
)

_DELETED = (
    # each before what its rows point at
    facet_words,
    facet_numbers,
    version_sources,
    aliases,
    alias_events,
    versions,
    artifact_files,
    artifact_parents,
    artifact_data,
    artifacts,
    log_nodes,
    snapshot_nodes,
)
# what is kept for an artifact is added to: an object too many is harmless, and one too few is collected
REPEATING = (*_DELETED, kept_objects, row_counts)
"""The tables that repeat the log."""
_ROWS_AT_ONCE = 5_000


class TableState(NamedTuple):
    """How many rows a table has, and a digest that does not depend on their order."""

    rows: int
    digest: int


def state_of(tx: Transaction, table: Table) -> TableState:
    """What a table holds."""
    rows, digest = 0, 0
    for row in tx.execute(select(table).execution_options(yield_per=_ROWS_AT_ONCE)):
        rows += 1
        # a sum: equal rows of a table do not cancel out each other
        digest += int.from_bytes(hashlib.sha256(repr(tuple(row)).encode()).digest())
    return TableState(rows, digest)


def delete_repeating(tx: Transaction) -> None:
    """Delete every row that is written again from the log.

    Raises:
        PrivilegeMissing: on a server, as a role that does not own the tables.
    """
    for table in _DELETED:
        tx.execute(delete(table))
    if tx.dialect.name == "postgresql":  # SQLite counts from the first again by itself
        tx.execute(text("SELECT setval(pg_get_serial_sequence('alias_events', 'id'), 1, false)"))


def write_nodes(tx: Transaction, nodes: dict[tuple[int, int], bytes]) -> None:
    """Write the hashes of the complete subtrees above the entries, by level and number."""
    rows = [{"level": level, "index": index, "hash": node} for (level, index), node in nodes.items()]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        tx.execute(insert(log_nodes), rows[start : start + _ROWS_AT_ONCE])


def count_rows(tx: Transaction) -> None:
    """Count what was written; after everything else."""
    recount(tx)
