"""The log in the database: one row an entry, one row a complete subtree above the leaves.

Appending happens in the transaction of the change that the entry describes. Reads are O(log n) rows.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import func, insert, select, tuple_

from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import log_events, log_nodes
from peft_registry.registry.transparency import merkle
from peft_registry.registry.transparency.merkle import NotInLog
from peft_registry.schemas.errors import IntegrityBroken


class LogDamaged(IntegrityBroken):
    reference = "log-damaged"
    what = "the stored log is incomplete"
    why = "the subtree at level {level}, number {index} has no row, and its entries are there or should be"
    fix = "keep the database as it is, and restore the home from a backup"

    level: int
    index: int


class SqlLogStore:
    """A `LogStore` inside one transaction: it keeps seeing the log as it was.

    Args:
        remembered: the newest checkpoint that was kept outside the database, if the caller has one.
    """

    def __init__(self, tx: Transaction, *, remembered: str | None = None) -> None:
        self._tx = tx
        self._remembered = remembered
        self._known: dict[tuple[int, int], bytes] = {}  # a complete subtree never changes

    def read_frontier(self, size: int) -> None:
        """Read the complete subtrees that make up the first `size` entries at once: every root and proof is a fold over them."""
        missing = [position for position in merkle.frontier(size) if position not in self._known]
        leaves = [index for level, index in missing if level == 0]
        if leaves:
            query = select(log_events.c.seq, log_events.c.leaf_hash).where(log_events.c.seq.in_(leaves))
            self._keep((0, row.seq, row.leaf_hash) for row in self._tx.execute(query))
        above = [position for position in missing if position[0] > 0]
        if above:
            columns = log_nodes.c
            query = select(columns.level, columns.index, columns.hash).where(
                tuple_(columns.level, columns.index).in_(above)
            )
            self._keep((row[0], row[1], row[2]) for row in self._tx.execute(query))

    def _keep(self, nodes: Iterable[tuple[int, int, object]]) -> None:
        """Keep the nodes that are bytes. SQLite stores whatever type somebody wrote; `get_node` reports such a row."""
        self._known |= {(level, index): node for level, index, node in nodes if isinstance(node, bytes)}

    def size(self) -> int:
        newest: int | None = self._tx.execute(select(func.max(log_events.c.seq))).scalar_one()
        return 0 if newest is None else newest + 1

    def get_node(self, level: int, index: int) -> bytes:
        """The 32 bytes of the complete subtree.

        Raises:
            LogDamaged: there is no such row, or it does not hold bytes.
        """
        if (level, index) in self._known:
            return self._known[level, index]
        if level == 0:
            query = select(log_events.c.leaf_hash).where(log_events.c.seq == index)
        else:
            query = select(log_nodes.c.hash).where(log_nodes.c.level == level, log_nodes.c.index == index)
        node = self._tx.execute(query).scalar_one_or_none()
        if not isinstance(node, bytes):
            raise LogDamaged(level, index)
        self._known[level, index] = node
        return node

    def get_leaf(self, index: int) -> bytes:
        """The entry's bytes.

        Raises:
            NotInLog: the log is shorter.
            LogDamaged: the row does not hold bytes.
        """
        leaf = self._tx.execute(select(log_events.c.leaf).where(log_events.c.seq == index)).scalar_one_or_none()
        if leaf is None:
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

    def remembered(self) -> str | None:
        return self._remembered


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
