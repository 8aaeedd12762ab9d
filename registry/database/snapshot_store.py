"""The nodes of the newest snapshot's prefix tree in the database. Believed only as far as a path leads to a signed root."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import delete, select

from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import snapshot_nodes
from peft_registry.registry.transparency.prefix_tree import (
    HASH_BYTES,
    KEY_BITS,
    ROOT,
    Branch,
    Node,
    Pair,
    Position,
    ProvenNode,
    hash_of,
)

_ROWS_AT_ONCE = 200  # of one INSERT: five columns each, under SQLite's limit of variables
_ROWS_READ_AT_ONCE = 10_000  # of a tree that may have millions
_POSITIONS_AT_ONCE = 5_000  # of one query for many paths: about 100 kB of text
_FEW_POSITIONS = 50  # of one query that names each: a path, or two
LEVELS_AT_ONCE = 24  # of a path: nearly every one of a million keys lies higher; what lies deeper is read node by node
_HEX = re.compile(r"[0-9a-f]+")


class NodeRow(NamedTuple):
    """A stored node. SQLite keeps values of any type, so none is believed before `position` and `node` checked it."""

    depth: Any  # a number, if nobody edited it
    prefix: Any  # a number in hex, likewise
    key: Any  # bytes or None, likewise
    value: Any  # likewise
    hash: Any  # likewise

    @property
    def position(self) -> Position:
        """Where it stands.

        Raises:
            RowDamaged: the columns name no position.
        """
        if not isinstance(self.depth, int) or not isinstance(self.prefix, str) or not _HEX.fullmatch(self.prefix):
            raise RowDamaged("snapshot_nodes", "its depth and prefix name no position")
        return self.depth, int(self.prefix, 16)

    @property
    def node(self) -> Node:
        """The node.

        Raises:
            RowDamaged: it is neither a pair nor a branch.
        """
        return _node(self.key, self.value, self.hash)


class SqlSnapshot:
    """The tree inside one transaction, which nobody else writes to meanwhile.

    Nodes come some paths at a time (`read_paths`): a query for each of them would take longer than everything else that reading an
    alias does.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._known: dict[Position, Node | None] = {}
        self._values: dict[bytes, bytes] = {}  # of the pairs that are known

    def read_paths(self, *keys: bytes) -> None:
        """Read the nodes that the paths of keys are likely to pass, and those beside them, at once."""
        self.read(position for key in keys for position in _likely_path(key))

    def read(self, positions: Iterable[Position]) -> None:
        """Read these nodes at once."""
        missing = [position for position in dict.fromkeys(positions) if position not in self._known]
        for start in range(0, len(missing), _POSITIONS_AT_ONCE):
            some = missing[start : start + _POSITIONS_AT_ONCE]
            self._read(some, _nodes_at(some) if len(some) <= _FEW_POSITIONS else _nodes_among(some))

    def _read(self, positions: Iterable[Position], query: str) -> None:
        nodes: dict[Position, Node] = {}
        for row in map(NodeRow._make, self._tx.exec_driver_sql(query)):
            node = row.node
            nodes[row.position] = node
            if isinstance(node, Pair):
                self._values[node.key] = row.value
        self._known |= {position: nodes.get(position) for position in positions}

    def get_node(self, position: Position) -> Node | None:
        """The node at a position; None where the subtree is empty.

        Raises:
            RowDamaged: the row is neither a pair nor a branch.
        """
        if position not in self._known:
            self.read([position])
        return self._known[position]

    def presented(self, position: Position) -> ProvenNode:
        """The node at a position with the value of a pair, as it is stored.

        Raises:
            RowDamaged: as `get_node`.
        """
        node = self.get_node(position)
        return ProvenNode(node, self.value_of(node.key) if isinstance(node, Pair) else None)

    def rows(self) -> Iterator[NodeRow]:
        """Every node as it is stored, in no order."""
        columns = snapshot_nodes.c
        query = select(columns.depth, columns.prefix, columns.key, columns.value, columns.hash)
        for row in self._tx.execute(query.execution_options(yield_per=_ROWS_READ_AT_ONCE)):
            yield NodeRow._make(row)

    def value_of(self, key: bytes) -> bytes | None:
        """The stored value of a key; None where no pair has it. Nothing is proven before its path is checked."""
        if key in self._values:
            return self._values[key]
        query = select(snapshot_nodes.c.value).where(snapshot_nodes.c.key == key).limit(1)
        value: bytes | None = self._tx.execute(query).scalar_one_or_none()
        return value

    def clear(self) -> None:
        """Remove every node: before the first snapshot."""
        self._known.clear()
        self._values.clear()
        # who may not delete may write the first snapshot where there is nothing to be deleted
        if self._tx.execute(select(snapshot_nodes.c.depth).limit(1)).first() is not None:
            self._tx.execute(delete(snapshot_nodes))

    def write(self, nodes: Mapping[Position, Node], values: Mapping[bytes, bytes]) -> None:
        """Replace these nodes. `values` has the bytes of each pair that is new; a pair that only moves keeps its own."""
        rows = []
        for (depth, prefix), node in nodes.items():
            row = {"depth": depth, "prefix": _prefix_text(prefix), "key": None, "value": None, "hash": None}
            if isinstance(node, Branch):
                row["hash"] = node.hash
            else:
                row["key"] = node.key
                row["value"] = values[node.key] if node.key in values else self.value_of(node.key)
            rows.append(row)
        self._known |= nodes
        self._values |= values
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            insert = insert_or(self._tx, snapshot_nodes).values(rows[start : start + _ROWS_AT_ONCE])
            replaced = {name: insert.excluded[name] for name in ("key", "value", "hash")}
            self._tx.execute(insert.on_conflict_do_update(index_elements=["depth", "prefix"], set_=replaced))


def _likely_path(key: bytes) -> Iterator[Position]:
    """The positions that a key's path passes as deep as keys usually lie, and those beside them."""
    yield ROOT
    for depth in range(1, LEVELS_AT_ONCE + 1):
        prefix = int.from_bytes(key, "big") >> (KEY_BITS - depth)
        yield depth, prefix
        yield depth, prefix ^ 1


def _nodes_among(positions: Iterable[Position]) -> str:
    """As `_nodes_at` for thousands: a chain of conditions that long is deeper than SQLite parses."""
    values = ", ".join(f"({depth:d}, '{prefix:x}')" for depth, prefix in positions)
    return f'SELECT depth, prefix, "key", value, hash FROM snapshot_nodes WHERE (depth, prefix) IN (VALUES {values})'  # noqa: S608


def _nodes_at(positions: Iterable[Position]) -> str:
    """The query for these nodes, as text: to bind forty positions and compile it takes longer than all else of a path.

    The numbers are our own; in hex they are what `_prefix_text` gives.
    """
    conditions = " OR ".join(f"depth = {depth:d} AND prefix = '{prefix:x}'" for depth, prefix in positions)
    return f'SELECT depth, prefix, "key", value, hash FROM snapshot_nodes WHERE {conditions}'  # noqa: S608


def _node(key: Any, value: Any, branch: Any) -> Node:  # as stored
    if _is_hash(branch) and key is None:
        return Branch(branch)
    if _is_hash(key) and isinstance(value, bytes):
        return Pair(key, hash_of(value))
    raise RowDamaged("snapshot_nodes", "it is neither a pair nor a branch")


def _prefix_text(prefix: int) -> str:
    return f"{prefix:x}"


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_BYTES
