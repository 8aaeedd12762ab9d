"""The nodes of the newest snapshot's prefix tree in the database. Believed only as far as a path leads to a signed root."""

from collections.abc import Mapping

from sqlalchemy import delete, select

from peft_registry.registry.database.failures import RowDamaged
from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import snapshot_nodes
from peft_registry.registry.transparency.prefix_tree import HASH_BYTES, Branch, Node, Pair, Position, hash_of

_ROWS_AT_ONCE = 200  # of one INSERT: five columns each, under SQLite's limit of variables


class SqlSnapshot:
    """The tree inside one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    def get_node(self, position: Position) -> Node | None:
        """The node at a position; None where the subtree is empty.

        Raises:
            RowDamaged: the row is neither a pair nor a branch.
        """
        depth, prefix = position
        columns = snapshot_nodes.c
        query = select(columns.key, columns.value, columns.hash).where(
            columns.depth == depth, columns.prefix == _prefix_text(prefix)
        )
        row = self._tx.execute(query).one_or_none()
        if row is None:
            return None
        key, value, branch = row
        if _is_hash(branch) and key is None:
            return Branch(branch)
        if _is_hash(key) and isinstance(value, bytes):
            return Pair(key, hash_of(value))
        raise RowDamaged("snapshot_nodes", "it is neither a pair nor a branch")

    def positions(self) -> list[Position]:
        """Where there are nodes."""
        query = select(snapshot_nodes.c.depth, snapshot_nodes.c.prefix)
        return [(depth, int(prefix, 16)) for depth, prefix in self._tx.execute(query)]

    def value_of(self, key: bytes) -> bytes | None:
        """The stored value of a key; None where no pair has it. Nothing is proven before its path is checked."""
        query = select(snapshot_nodes.c.value).where(snapshot_nodes.c.key == key).limit(1)
        value: bytes | None = self._tx.execute(query).scalar_one_or_none()
        return value

    def clear(self) -> None:
        """Remove every node: before the first snapshot."""
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
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            insert = insert_or(self._tx, snapshot_nodes).values(rows[start : start + _ROWS_AT_ONCE])
            replaced = {name: insert.excluded[name] for name in ("key", "value", "hash")}
            self._tx.execute(insert.on_conflict_do_update(index_elements=["depth", "prefix"], set_=replaced))


def _prefix_text(prefix: int) -> str:
    return f"{prefix:x}"


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_BYTES
