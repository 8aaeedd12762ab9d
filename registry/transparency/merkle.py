"""Proofs over an append-only Merkle tree (RFC 9162 §2.1). Pure: knows nothing of files, signatures, or what a leaf
means.

A store keeps one hash for every **complete** subtree, addressed `(level, index)`: level 0 holds the leaf hashes, and
node `(level, index)` covers the leaves from `index·2^level` up to `(index+1)·2^level`. Such a node never changes once
it exists, so appending only adds rows, and every root or proof is a fold over at most 2·log2(n) of them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from peft_registry.schemas.errors import IntegrityBroken, NotFound

GetNode = Callable[[int, int], bytes]
"""(level, index) -> the 32 bytes stored for that complete subtree."""
Node = tuple[int, int, bytes]
"""(level, index, hash)"""

HASH_BYTES = 32
UPPER_FROM = 6
"""The level from which proven subtrees are kept between transactions: one hash for each 32 entries."""
EMPTY_ROOT = hashlib.sha256(b"").digest()


class ProofRejected(IntegrityBroken):
    what = "a proof does not lead to the signed root of the log"
    why = "{reason}{hashes}"
    fix = "keep both files as evidence, and compare with a checkpoint of this log that was kept elsewhere"

    reason: str
    expected: bytes = b""
    computed: bytes = b""

    @property
    def hashes(self) -> str:
        return f" (expected {self.expected.hex()}, computed {self.computed.hex()})" if self.computed else ""


class NotInLog(NotFound):
    what = "the log of size {size} has no proof for entry {index}"
    why = "entries are numbered from 0, and a checkpoint covers those before its size"
    fix = "{way_on}"

    index: int
    size: int

    @property
    def way_on(self) -> str:
        if self.index < 0:
            return "look its number up with `registry log show`"
        return "look its number up with `registry log show`; one that is pending there is covered after `registry log sign`"


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_for_append(index: int, leaf: bytes, get_node: GetNode) -> list[Node]:
    """The rows that appending entry `index` adds: its leaf hash, then one node for every trailing 1-bit of `index`.

    Args:
        index: number of the new entry, from 0; equals the size of the log before.
        leaf: `leaf_hash` of its bytes.
        get_node: reads the rows that are there already.
    """
    rows = [(0, index, leaf)]
    level = 0
    while index >> level & 1:
        leaf = node_hash(get_node(level, (index >> level) - 1), leaf)
        level += 1
        rows.append((level, index >> level, leaf))
    return rows


def frontier(size: int) -> tuple[tuple[int, int], ...]:
    """(level, index) of the complete subtrees that make up the first `size` entries, the smallest first."""
    return tuple(_complete_nodes(0, size))


def path_nodes(index: int, size: int) -> tuple[tuple[int, int], ...]:
    """(level, index) of the complete subtrees that the inclusion proof of entry `index` is a fold over."""
    return tuple(node for start, end in _path_ranges(index, size) for node in _complete_nodes(start, end - start))


def root_from_nodes(size: int, get_node: GetNode) -> bytes:
    """The root of the first `size` entries; `EMPTY_ROOT` for none."""
    return _range_root(0, size, get_node) if size else EMPTY_ROOT


class Growing:
    """A tree that grows entry by entry from leaf hashes alone, with log2(n) hashes in memory."""

    def __init__(self) -> None:
        self.size = 0
        self._complete: list[
            bytes
        ] = []  # the roots of the complete subtrees that cover the entries so far, largest first

    def append(self, leaf: bytes) -> list[Node]:
        """Add a leaf hash; returns it and the subtrees that it completes, as `nodes_for_append` does."""
        index = self.size
        self.size = index + 1
        nodes = [(0, index, leaf)]
        node = leaf
        level = 0
        while index & 1:
            node = hashlib.sha256(b"\x01" + self._complete.pop() + node).digest()
            index >>= 1
            level += 1
            nodes.append((level, index, node))
        self._complete.append(node)
        return nodes

    def root(self) -> bytes:
        """The root over the entries so far; `EMPTY_ROOT` for none."""
        if not self._complete:
            return EMPTY_ROOT
        root = self._complete[-1]
        for node in reversed(self._complete[:-1]):
            root = node_hash(node, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root recomputed from the entries' bytes alone."""
    return root_of_hashes(leaf_hash(data) for data in leaves)


def root_of_hashes(hashes: Iterable[bytes]) -> bytes:
    """The root over leaf hashes."""
    tree = Growing()
    for leaf in hashes:
        tree.append(leaf)
    return tree.root()


def inclusion_proof(index: int, size: int, get_node: GetNode) -> tuple[bytes, ...]:
    """PATH(index, D[size]) of RFC 9162 §2.1.3.1, the leaf's sibling first.

    Raises:
        NotInLog: not 0 <= index < size.
    """
    if not 0 <= index < size:
        raise NotInLog(index, size)
    return _path(index, size, get_node)


def consistency_proof(old: int, new: int, get_node: GetNode) -> tuple[bytes, ...]:
    """PROOF(old, D[new]) of RFC 9162 §2.1.4.1; empty when old is 0 or equals new.

    Raises:
        NotInLog: not 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise NotInLog(old, new)
    if old in (0, new):
        return ()
    proof: list[bytes] = []
    start = 0
    end = new
    is_old_root = True
    while old != end - start:
        split = _split(end - start)
        if old <= split:
            proof.append(_range_root(start + split, end, get_node))
            end = start + split
        else:
            proof.append(_range_root(start, start + split, get_node))
            start += split
            old -= split
            is_old_root = False
    if not is_old_root:
        proof.append(_range_root(start, end, get_node))
    return tuple(reversed(proof))


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise unless `leaf` (a leaf hash) is entry `index` of the tree with this size and root (RFC 9162 §2.1.3.2).

    Take size and root from a signed checkpoint, never from the proof: another size of the same shape may verify too.

    Raises:
        ProofRejected: it is not, or a hash has not 32 bytes.
    """
    _check_lengths((leaf, root, *proof))
    if not 0 <= index < size:
        raise ProofRejected(f"entry {index} is outside a log of {size} entries")
    position = index
    last = size - 1
    computed = leaf
    for sibling in proof:
        if last == 0:
            raise ProofRejected(f"it has {len(proof)} hashes, more than entry {index} of {size} needs")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:
                position = position >> 1
                last = last >> 1
        else:
            computed = node_hash(computed, sibling)
        position = position >> 1
        last = last >> 1
    if last:
        raise ProofRejected(f"it has {len(proof)} hashes, fewer than entry {index} of {size} needs")
    _check_equal(computed, root, f"entry {index} is not what the log of {size} entries recorded")


class ProvenEntries:
    """The complete subtrees of which it was shown that a signed root is over them; what many entries have in common is hashed once.

    Args:
        size: of the log under the root.
        frontier: the complete subtrees that make up all entries, of which the caller has shown that they fold to the root.
        upper: those from level `UPPER_FROM` on that were shown; may be kept for as long as size and root are the same.
    """

    def __init__(
        self, size: int, frontier: "dict[tuple[int, int], bytes]", upper: "dict[tuple[int, int], bytes]"
    ) -> None:
        self._size = size
        self._frontier = frontier
        self._upper = upper
        self._lower: dict[tuple[int, int], bytes] = {}

    def require(self, index: int, leaf: bytes, get_node: GetNode) -> None:
        """Raise unless `leaf` (a leaf hash) is entry `index`; as `check_inclusion`.

        Raises:
            ProofRejected: it is not.
        """
        if not 0 <= index < self._size:
            raise ProofRejected(f"entry {index} is outside a log of {self._size} entries")
        shown: dict[tuple[int, int], bytes] = {}
        position = (0, index)
        computed = leaf
        while (proven := self._at(position)) is None:
            level, number = position
            beside = get_node(level, number ^ 1)
            _check_lengths((computed, beside))
            shown[position] = computed
            shown[level, number ^ 1] = beside
            computed = node_hash(beside, computed) if number & 1 else node_hash(computed, beside)
            position = (level + 1, number >> 1)
        _check_equal(computed, proven, f"entry {index} is not what the log of {self._size} entries recorded")
        for where, node in shown.items():
            (self._upper if where[0] >= UPPER_FROM else self._lower)[where] = node

    def unproven(self, index: int) -> list[tuple[int, int]]:
        """Where the nodes beside the way from an entry to a proven subtree lie."""
        position = (0, index)
        beside = []
        while self._at(position) is None:
            level, number = position
            beside.append((level, number ^ 1))
            position = (level + 1, number >> 1)
        return beside

    def _at(self, position: tuple[int, int]) -> bytes | None:
        """The hash of a subtree that was shown."""
        known = self._upper if position[0] >= UPPER_FROM else self._lower
        return known.get(position) or self._frontier.get(position)


def check_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raise unless the tree of the new size begins with the tree of the old size (RFC 9162 §2.1.4.2).

    Raises:
        ProofRejected: it does not, or a hash has not 32 bytes.
    """
    _check_lengths((old_root, new_root, *proof))
    if not 0 <= old_size <= new_size:
        raise ProofRejected(f"a log of {new_size} entries cannot continue one of {old_size}")
    if old_size in (0, new_size):
        if proof:
            raise ProofRejected(f"from {old_size} to {new_size} entries there is nothing to prove, yet it holds hashes")
        if old_size == 0:
            _check_equal(old_root, EMPTY_ROOT, "the root of an empty log is SHA-256 of nothing")
        if old_size == new_size:
            _check_equal(new_root, old_root, f"the roots for {old_size} entries differ")
        return
    old_computed, new_computed = _fold_consistency(old_size, new_size, proof, old_root)
    _check_equal(old_computed, old_root, f"the first {old_size} of {new_size} entries are not those signed before")
    _check_equal(new_computed, new_root, f"the log of {new_size} entries does not continue the one of {old_size}")


def _fold_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    # a complete old tree is a node of the new one, and its hash is left out of the proof
    path = (old_root, *proof) if old_size & (old_size - 1) == 0 else tuple(proof)
    if not path:
        raise ProofRejected(f"it is empty, which proves nothing from {old_size} to {new_size} entries")
    shift = _trailing_ones(old_size - 1)
    position = (old_size - 1) >> shift
    last = (new_size - 1) >> shift
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRejected(f"it has more hashes than {old_size} to {new_size} entries need")
        if position & 1 or position == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not position & 1 and position:
                position = position >> 1
                last = last >> 1
        else:
            new = node_hash(new, sibling)
        position = position >> 1
        last = last >> 1
    if last:
        raise ProofRejected(f"it has fewer hashes than {old_size} to {new_size} entries need")
    return old, new


def _path(index: int, size: int, get_node: GetNode) -> tuple[bytes, ...]:
    proof = [_range_root(start, end, get_node) for start, end in _path_ranges(index, size)]
    return tuple(reversed(proof))


def _path_ranges(index: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of entries whose roots prove entry `index`, from the root of the tree down."""
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            yield middle, end
            end = middle
        else:
            yield start, middle
            start = middle


def _range_root(start: int, end: int, get_node: GetNode) -> bytes:
    """MTH of the entries start..end-1; `start` is a multiple of every power of two up to their count."""
    nodes = list(_complete_nodes(start, end - start))
    level, index = nodes[0]
    root = get_node(level, index)
    for level, index in nodes[1:]:
        root = node_hash(get_node(level, index), root)
    return root


def _complete_nodes(start: int, count: int) -> Iterator[tuple[int, int]]:
    """The complete subtrees that make up a range, the smallest (rightmost) first: one for each 1-bit of its count."""
    for level in range(count.bit_length()):
        if count >> level & 1:
            yield level, (start >> level) + (count >> level) - 1


def _split(count: int) -> int:
    """The largest power of two below `count` (at least 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _trailing_ones(number: int) -> int:
    return (~number & (number + 1)).bit_length() - 1


def _check_lengths(hashes: Iterable[bytes]) -> None:
    if any(len(digest) != HASH_BYTES for digest in hashes):
        raise ProofRejected(f"a hash has not {HASH_BYTES} bytes")


def _check_equal(computed: bytes, expected: bytes, why: str) -> None:
    if computed != expected:
        raise ProofRejected(why, expected=expected, computed=computed)
