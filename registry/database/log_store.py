"""The log in the database: one row an entry, one row a complete subtree above the leaves.

Appending happens in the transaction of the change that the entry describes. Reads are O(log n) rows.
"""

from collections.abc import Iterable, Iterator
from typing import TypeGuard

from sqlalchemy import insert, select, text

from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import log_events, log_nodes
from peft_registry.registry.transparency import merkle
from peft_registry.registry.transparency.merkle import NotInLog
from peft_registry.schemas.errors import IntegrityBroken

# read at every command, hence as text: a fresh process compiles every other statement before its first use
_NEWEST = text("SELECT max(seq) FROM log_events")
_LEAF = text("SELECT leaf FROM log_events WHERE seq = :seq")
_HASH_OF_LEAF = text("SELECT leaf_hash FROM log_events WHERE seq = :seq")
_HASH_OF_SUBTREE = text('SELECT hash FROM log_nodes WHERE level = :level AND "index" = :index')

_NODES_AT_ONCE = 5_000  # of one query for many proofs


class LogDamaged(IntegrityBroken):
    what = "the stored log is incomplete"
    why = "the subtree at level {level}, number {index} has no row with a hash, and its entries are there or should be"
    fix = "keep the database as it is, and restore the home from a backup"

    level: int
    index: int


class SqlLogStore:
    """A `LogStore` inside one transaction: it keeps seeing the log as it was."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._known: dict[tuple[int, int], bytes] = {}  # a complete subtree never changes
        self._leaves: dict[int, bytes] = {}  # nor does an entry
        self._size: int | None = None

    def read_frontier(self, size: int) -> None:
        """Read the complete subtrees that make up the first `size` entries at once: every root and proof is a fold over them."""
        self.read(merkle.frontier(size))

    def read_path(self, index: int, size: int) -> None:
        """Read what the inclusion proof of an entry among the first `size` is a fold over, at once."""
        self.read(merkle.path_nodes(index, size))

    def read(self, positions: Iterable[tuple[int, int]]) -> None:
        """Read these complete subtrees, (level, index), at once."""
        missing = [position for position in dict.fromkeys(positions) if position not in self._known]
        for start in range(0, len(missing), _NODES_AT_ONCE):
            some = missing[start : start + _NODES_AT_ONCE]
            # as text: to build and compile such a statement takes longer than to execute it; the numbers are our own
            above = ", ".join(f"({level:d}, {index:d})" for level, index in some if level)
            leaves = ", ".join(f"{index:d}" for level, index in some if not level)
            queries = []
            if leaves:
                queries.append(f"SELECT 0, seq, leaf_hash FROM log_events WHERE seq IN ({leaves})")  # noqa: S608
            if above:
                queries.append(
                    f'SELECT level, "index", hash FROM log_nodes WHERE (level, "index") IN (VALUES {above})'  # noqa: S608
                )
            self._keep(" UNION ALL ".join(queries))

    def read_leaves(self, indexes: Iterable[int]) -> None:
        """Read the bytes of these entries at once."""
        missing = sorted(index for index in set(indexes) if index not in self._leaves)
        for start in range(0, len(missing), _NODES_AT_ONCE):
            numbers = ", ".join(f"{index:d}" for index in missing[start : start + _NODES_AT_ONCE])
            rows = self._tx.exec_driver_sql(f"SELECT seq, leaf FROM log_events WHERE seq IN ({numbers})")  # noqa: S608
            self._leaves |= {index: leaf for index, leaf in rows if isinstance(leaf, bytes)}

    def _keep(self, query: str) -> None:
        # SQLite stores whatever somebody wrote: what is not a hash is left to `get_node`, which reports such a row
        rows = self._tx.exec_driver_sql(query)
        self._known |= {(level, index): node for level, index, node in rows if _is_hash(node)}

    def size(self) -> int:
        """How many entries there were when it was first asked; whoever appends makes a store of their own."""
        if self._size is None:
            newest: int | None = self._tx.execute(_NEWEST).scalar_one()
            self._size = 0 if newest is None else newest + 1
        return self._size

    def get_node(self, level: int, index: int) -> bytes:
        """The 32 bytes of the complete subtree.

        Raises:
            LogDamaged: there is no such row, or it does not hold a hash.
        """
        if (level, index) in self._known:
            return self._known[level, index]
        if level == 0:
            stored = self._tx.execute(_HASH_OF_LEAF, {"seq": index})
        else:
            stored = self._tx.execute(_HASH_OF_SUBTREE, {"level": level, "index": index})
        node = stored.scalar_one_or_none()
        if not _is_hash(node):
            raise LogDamaged(level, index)
        self._known[level, index] = node
        return node

    def get_leaf(self, index: int) -> bytes:
        """The entry's bytes.

        Raises:
            NotInLog: the log is shorter.
            LogDamaged: there is no such row although later ones are there, or it does not hold bytes.
        """
        if index in self._leaves:
            return self._leaves[index]
        leaf = self._tx.execute(_LEAF, {"seq": index}).scalar_one_or_none()
        if leaf is None and not 0 <= index < self.size():
            raise NotInLog(index, self.size())
        if not isinstance(leaf, bytes):
            raise LogDamaged(0, index)
        return leaf

    def leaves_from(self, first: int) -> Iterator[tuple[int, bytes]]:
        """The number and bytes of each entry from `first` on, the newest first.

        Raises:
            LogDamaged: a row holds no bytes.
        """
        query = select(log_events.c.seq, log_events.c.leaf).where(log_events.c.seq >= first)
        for index, leaf in self._tx.execute(query.order_by(log_events.c.seq.desc())):
            if not isinstance(leaf, bytes):
                raise LogDamaged(0, index)
            yield index, leaf


def _is_hash(stored: object) -> TypeGuard[bytes]:
    return isinstance(stored, bytes) and len(stored) == merkle.HASH_BYTES


def append_event(tx: Transaction, leaf: bytes) -> int:
    """Add an entry and the subtrees that it completes; returns its number, from 0.

    Raises:
        LogDamaged: a subtree that it builds on is missing.
    """
    store = SqlLogStore(tx)
    index = store.size()
    hashed = merkle.leaf_hash(leaf)
    tx.execute(insert(log_events), {"seq": index, "leaf": leaf, "leaf_hash": hashed})
    above = merkle.nodes_for_append(index, hashed, store.get_node)[1:]  # the first is the leaf's own
    if above:
        tx.execute(insert(log_nodes), [{"level": level, "index": at, "hash": node} for level, at, node in above])
    return index
