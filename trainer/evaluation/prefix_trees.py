"""Token rows as trees: what several rows begin with is computed once. Pure: knows no model.

A tree is a set of rows sorted by their tokens and laid out as nodes; a node sees its ancestors and itself, and its position
is its depth. Rows that share a long prompt (the options of a question, both polarities of a context) or only their first
words (the sentences of a pair) cost their distinct tokens. A row that is the beginning of another costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

MIN_TOKENS, MAX_TOKENS = 96, 256  # of a tree: attention costs the square of it, whatever the branches see
_ROWS_A_TREE = 8  # of mean length: enough of them meet to share what they begin with


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Token ids, and which of them are scored: `targets[i]` is predicted at the position before `positions[i]` ≥ 1."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    targets: tuple[int, ...]
    is_truncated: bool = False

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model is fed: the last token predicts nothing that is asked for."""
        return self.ids[: self.positions[-1]] if self.positions else ()


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes in an order in which parents come first; `asked` holds (row, its nodes from the root down)."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    asked: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.tokens)

    def sees(self) -> NDArray[np.bool_]:
        """(nodes, nodes): whether the node of the row attends to that of the column."""
        matrix = np.eye(self.size, dtype=np.bool_)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                matrix[node] |= matrix[parent]
        return matrix


def tree_tokens_for(rows: Sequence[TokenRow]) -> int:
    """How large the trees of these rows should be: several rows each, within the bounds."""
    lengths = [len(row.inputs) for row in rows if row.positions] or [0]
    return min(MAX_TOKENS, max(MIN_TOKENS, _ROWS_A_TREE * sum(lengths) // len(lengths)))


def trees_of(rows: Sequence[TokenRow], *, max_tokens: int) -> list[Tree]:
    """The rows with something to score, as trees of at most `max_tokens` nodes each; a longer row is a tree of its own."""
    order = sorted((index for index, row in enumerate(rows) if row.positions), key=lambda index: rows[index].inputs)
    trees: list[Tree] = []
    tree = Tree()
    before: tuple[int, ...] = ()
    path: tuple[int, ...] = ()
    for index in order:
        inputs = rows[index].inputs
        shared = _shared(before, inputs) if tree.size else 0
        if tree.size and tree.size + len(inputs) - shared > max_tokens:
            trees.append(tree)
            tree = Tree()
            shared = 0
        path = (*path[:shared], *_grow(tree, inputs, path[shared - 1] if shared else -1, shared))
        tree.asked.append((index, path))
        before = inputs
    if tree.size:
        trees.append(tree)
    return trees


def _grow(tree: Tree, inputs: Sequence[int], parent: int, shared: int) -> list[int]:
    """Add the tokens from `shared` on below `parent`; returns their nodes."""
    added = []
    for depth in range(shared, len(inputs)):
        tree.tokens.append(inputs[depth])
        tree.parents.append(parent)
        tree.depths.append(depth)
        parent = tree.size - 1
        added.append(parent)
    return added


def _shared(first: Sequence[int], other: Sequence[int]) -> int:
    for at, (a, b) in enumerate(zip(first, other, strict=False)):
        if a != b:
            return at
    return min(len(first), len(other))
