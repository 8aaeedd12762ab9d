"""A Merkle prefix tree: one root over many (key, value) pairs, with short proofs of what a key maps to, or that it maps to nothing.

Pure, as `merkle.py` beside it: it reads nodes through a function and gives back the nodes that change. Keys are the 32 bytes of
a SHA-256, so that paths are balanced whatever people call things; a pair stands at the shallowest place that no other key
shares, and a path is log2(n) steps long on average.

    empty subtree   32 zero bytes
    one pair        SHA-256(0x02 || key || SHA-256(value))
    more            SHA-256(0x03 || left || right), left being the keys whose next bit is 0

A pair and a branch are hashed with other first bytes than the entries and nodes of the log (RFC 9162 has 0x00 and 0x01), so
that no hash of one tree can stand for one of the other.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from peft_registry.schemas.errors import IntegrityBroken

HASH_BYTES = 32
KEY_BITS = 256
EMPTY = bytes(HASH_BYTES)


class PathRejected(IntegrityBroken):
    what = "a path does not lead to the signed root of what the log says in the end"
    why = "{reason}"
    fix = "keep what was presented as evidence, and compare with a checkpoint of this log that was kept elsewhere"

    reason: str


@dataclass(frozen=True, slots=True)
class Pair:
    """What stands at the end of a path: 32 bytes of key, and the SHA-256 of the value."""

    key: bytes
    value_hash: bytes

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(b"\x02" + self.key + self.value_hash).digest()


@dataclass(frozen=True, slots=True)
class Branch:
    """The hash over two subtrees of which at least one holds more than nothing."""

    hash: bytes


Node = Pair | Branch
Position = tuple[int, int]
"""(depth, the first `depth` bits of the keys below as a number); the root is (0, 0)."""
GetNode = Callable[[Position], Node | None]
"""The node at a position; None where the subtree is empty, and below a pair."""
ROOT: Position = (0, 0)
UPPER_LEVELS = 16
"""Of a proven tree, as deep as what is always kept between transactions: at most 131,071 nodes, some 30 MB, of what was asked."""
DEEPER_NODES = 65_536
"""What lies deeper is kept too while fewer nodes than this are kept in all: half of 30,000 keys lie deeper."""


@dataclass(frozen=True, slots=True)
class Path:
    """The way from the root to where a key stands, or would stand.

    `siblings` are the hashes beside the way, from the root down. `end` is the pair found there: of the key itself, of another
    key that shares the bits so far (then the key maps to nothing), or None for an empty place (likewise).
    """

    siblings: tuple[bytes, ...]
    end: Pair | None


def hash_of(value: bytes) -> bytes:
    """The SHA-256 of a value's bytes."""
    return hashlib.sha256(value).digest()


def root_hash(get_node: GetNode) -> bytes:
    """The root as the nodes state it."""
    return _hash_at(ROOT, get_node)


def path_to(key: bytes, get_node: GetNode) -> Path:
    """The path of a key through the stored nodes. What it proves is judged by `check_path`, against a signed root."""
    siblings: list[bytes] = []
    position = ROOT
    while isinstance(node := get_node(position), Branch):
        depth, prefix = position
        bit = _bit(key, depth)
        siblings.append(_hash_at((depth + 1, prefix << 1 | bit ^ 1), get_node))
        position = (depth + 1, prefix << 1 | bit)
    return Path(tuple(siblings), node)


def check_path(key: bytes, value: bytes | None, path: Path, root: bytes) -> None:
    """Raise unless the path proves that `key` maps to `value`, or to nothing where `value` is None.

    Raises:
        PathRejected: it proves something else, or leads to another root.
    """
    depth = len(path.siblings)
    if len(key) != HASH_BYTES or depth > KEY_BITS or any(len(sibling) != HASH_BYTES for sibling in path.siblings):
        raise PathRejected("its key or its hashes have a wrong length")
    end = path.end
    if end is not None and (len(end.key) != HASH_BYTES or len(end.value_hash) != HASH_BYTES):
        raise PathRejected("the pair at its end has a wrong length")
    _require_meaning(key, value, end, depth)
    computed = _fold(key, path)
    if computed != root:
        raise PathRejected(f"it leads to {computed.hex()}, signed is {root.hex()}")


@dataclass(frozen=True, slots=True)
class ProvenNode:
    """A node under a signed root, None for an empty subtree; of a pair its value too, which has the hash that the pair states."""

    node: Node | None
    value: bytes | None = None


ProvenNodes = dict[Position, ProvenNode]
GetProof = Callable[[Position], ProvenNode]
"""The node that is stored at a position, and of a pair its value; not proven yet."""


class ProvenTree:
    """The part of a tree that was shown to belong to a signed root: from the root down, two subtrees by the hash above both.

    A path folds to the root if each of its steps was shown so, and what many paths have in common is hashed once. `kept` may
    be kept for as long as the root is the same: it holds what was proven, as deep as `UPPER_LEVELS`, and some of what is deeper.
    """

    def __init__(self, root: bytes, kept: ProvenNodes) -> None:
        self._root = root
        self._kept = kept
        self._passing: ProvenNodes = {}

    def value_of(self, key: bytes, stored: GetProof) -> bytes | None:
        """What a key maps to; None where it is proven to map to nothing.

        Raises:
            PathRejected: the stored nodes do not lead to the root.
        """
        if len(key) != HASH_BYTES:
            raise PathRejected("its key has a wrong length")
        proven = self._kept.get(ROOT) or self._proven_root(stored)
        number = int.from_bytes(key, "big")
        depth = 0
        while isinstance(proven.node, Branch):
            depth += 1
            if depth > KEY_BITS:
                raise PathRejected("it is longer than a key")
            own = (depth, number >> (KEY_BITS - depth))
            below = self._kept.get(own) or self._passing.get(own)
            proven = below or self._proven_below(proven.node.hash, own, stored)
        end = proven.node
        value = proven.value if end is not None and end.key == key else None
        _require_meaning(key, value, end, depth)
        return value

    def unproven(self, key: bytes, levels: int) -> list[Position]:
        """Where the next nodes of a key's path may lie, and those beside them, as deep as `levels` below the root."""
        number = int.from_bytes(key, "big")
        positions: list[Position] = [] if ROOT in self._kept else [ROOT]
        for depth in range(1, levels + 1):
            own = (depth, number >> (KEY_BITS - depth))
            proven = self._kept.get(own) or self._passing.get(own)
            if proven is None:
                positions += (own, (depth, own[1] ^ 1))
            elif not isinstance(proven.node, Branch):
                return []
        return positions

    def _proven_root(self, stored: GetProof) -> ProvenNode:
        presented = stored(ROOT)
        computed = EMPTY if presented.node is None else presented.node.hash
        if computed != self._root:
            raise PathRejected(f"it leads to {computed.hex()}, signed is {self._root.hex()}")
        self._kept[ROOT] = presented
        return presented

    def _proven_below(self, above: bytes, own: Position, stored: GetProof) -> ProvenNode:
        """The node at a position; it is taken up with the one beside it if the hash above is over both."""
        depth, prefix = own
        left, right = (depth, prefix & ~1), (depth, prefix | 1)
        presented = stored(left), stored(right)
        hashes = [EMPTY if proof.node is None else proof.node.hash for proof in presented]
        if any(len(digest) != HASH_BYTES for digest in hashes) or _branch_hash(*hashes) != above:
            raise PathRejected(f"the nodes at depth {depth} are not those under {above.hex()}")
        is_kept = depth <= UPPER_LEVELS or len(self._kept) < DEEPER_NODES
        nodes = self._kept if is_kept else self._passing
        nodes[left], nodes[right] = presented
        return nodes[own]


def changed_nodes(pairs: Iterable[tuple[bytes, bytes]], get_node: GetNode, *, root: bytes) -> dict[Position, Node]:
    """The nodes to write so that each key maps to its value (bytes) from now on; later pairs win.

    Every path that is changed is first folded to the root that it must have had: a tree that somebody edited is never built on.

    Args:
        pairs: (32 bytes of key, value).
        get_node: the nodes as stored.
        root: the root that was signed over them.

    Raises:
        PathRejected: the stored nodes do not lead to `root`.
    """
    changed: dict[Position, Node] = {}

    def current(position: Position) -> Node | None:
        return changed[position] if position in changed else get_node(position)

    for key, value in pairs:
        path = path_to(key, current)
        folded = _fold(key, path)
        if folded != root:
            raise PathRejected(f"the stored nodes lead to {folded.hex()}, signed is {root.hex()}")
        changed |= _with_pair(Pair(key, hash_of(value)), path)
        root = _hash_at(ROOT, current)
    return changed


def _with_pair(pair: Pair, path: Path) -> dict[Position, Node]:
    """The nodes along a path once `pair` stands at its end, beside what stood there."""
    depth = len(path.siblings)
    nodes: dict[Position, Node] = {}
    other = path.end
    if other is None or other.key == pair.key:
        nodes[_position(pair.key, depth)] = pair
        subtree = pair.hash
    else:
        fork = next(bit for bit in range(depth, KEY_BITS) if _bit(pair.key, bit) != _bit(other.key, bit))
        nodes[_position(pair.key, fork + 1)] = pair
        nodes[_position(other.key, fork + 1)] = other
        subtree = _ordered(pair.key, fork, pair.hash, other.hash)
        nodes[_position(pair.key, fork)] = Branch(subtree)
        for bit in range(fork - 1, depth - 1, -1):  # the bits that both share: nothing stands beside them
            subtree = _ordered(pair.key, bit, subtree, EMPTY)
            nodes[_position(pair.key, bit)] = Branch(subtree)
    for bit in range(depth - 1, -1, -1):
        subtree = _ordered(pair.key, bit, subtree, path.siblings[bit])
        nodes[_position(pair.key, bit)] = Branch(subtree)
    return nodes


def _require_meaning(key: bytes, value: bytes | None, end: Pair | None, depth: int) -> None:
    """Raise unless the end of the path says what is claimed of the key."""
    if value is not None:
        if end is None or end.key != key:
            raise PathRejected("it ends elsewhere: the key maps to nothing")
        if end.value_hash != hash_of(value):
            raise PathRejected("the key maps to another value")
        return
    if end is None:
        return
    if end.key == key:
        raise PathRejected("the key maps to a value, and none was presented")
    if _position(end.key, depth) != _position(key, depth):
        raise PathRejected("the pair at its end belongs to another path")


def _fold(key: bytes, path: Path) -> bytes:
    """The root that a path leads to."""
    computed = EMPTY if path.end is None else path.end.hash
    for depth in range(len(path.siblings) - 1, -1, -1):
        computed = _ordered(key, depth, computed, path.siblings[depth])
    return computed


def _ordered(key: bytes, depth: int, own: bytes, beside: bytes) -> bytes:
    """The branch over the subtree on the key's way and the one beside it."""
    return _branch_hash(beside, own) if _bit(key, depth) else _branch_hash(own, beside)


def _branch_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x03" + left + right).digest()


def _hash_at(position: Position, get_node: GetNode) -> bytes:
    node = get_node(position)
    return EMPTY if node is None else node.hash


def _bit(key: bytes, depth: int) -> int:
    return key[depth >> 3] >> (7 - (depth & 7)) & 1


def _position(key: bytes, depth: int) -> Position:
    return depth, int.from_bytes(key, "big") >> (KEY_BITS - depth)
