"""The prefix tree: what its paths prove, and that nothing else can be proven with them."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_registry.registry.transparency import prefix_tree
from peft_registry.registry.transparency.prefix_tree import (
    EMPTY,
    Branch,
    Node,
    Pair,
    PathRejected,
    Position,
    ProvenNode,
    ProvenTree,
)


def key_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Stored:
    """A tree in memory that is written as a registry writes its own: one update after the other."""

    def __init__(self) -> None:
        self.nodes: dict[Position, Node] = {}

    def put(self, *pairs: tuple[bytes, bytes]) -> None:
        self.nodes |= prefix_tree.changed_nodes(pairs, self.nodes.get, root=self.root)

    @property
    def root(self) -> bytes:
        return prefix_tree.root_hash(self.nodes.get)


def tree_of(values: dict[bytes, bytes], position: Position = prefix_tree.ROOT) -> dict[Position, Node]:
    """All nodes of the tree over these pairs, from nothing, as the header of the module states them."""
    depth, prefix = position
    if len(values) < 2:
        pairs = [Pair(key, hashlib.sha256(value).digest()) for key, value in values.items()]
        return dict(zip([position], pairs, strict=False))
    nodes: dict[Position, Node] = {}
    hashes = []
    for bit in (0, 1):
        below = (depth + 1, prefix << 1 | bit)
        nodes |= tree_of(
            {key: value for key, value in values.items() if int.from_bytes(key) >> (255 - depth) & 1 == bit}, below
        )
        hashes.append(nodes[below].hash if below in nodes else bytes(32))
    return nodes | {position: Branch(hashlib.sha256(b"\x03" + b"".join(hashes)).digest())}


# keys that share long prefixes, as an adversary would make them, and ordinary ones
NEAR = [bytes(31) + bytes([number]) for number in range(4)] + [b"\xff" * 32, b"\xff" * 31 + b"\xfe"]
KEYS = st.one_of(
    st.sampled_from(NEAR), st.binary(min_size=32, max_size=32), st.integers(0, 40).map(lambda n: key_of(f"{n}"))
)
PAIRS = st.lists(st.tuples(KEYS, st.binary(max_size=8)), max_size=24)


def test_the_empty_tree_has_the_empty_root_and_proves_that_a_key_maps_to_nothing() -> None:
    tree = Stored()
    assert tree.root == EMPTY
    prefix_tree.check_path(key_of("a"), None, prefix_tree.path_to(key_of("a"), tree.nodes.get), EMPTY)


def test_hashes_are_those_that_the_header_states() -> None:
    """Written out by hand for two keys that differ in the first bit."""
    low, high = bytes(32), b"\x80" + bytes(31)
    tree = Stored()
    tree.put((low, b"1"), (high, b"2"))
    left = hashlib.sha256(b"\x02" + low + hashlib.sha256(b"1").digest()).digest()
    right = hashlib.sha256(b"\x02" + high + hashlib.sha256(b"2").digest()).digest()
    assert tree.root == hashlib.sha256(b"\x03" + left + right).digest()


@given(PAIRS)
def test_updates_one_by_one_and_all_at_once_give_the_tree_built_from_nothing(pairs: list[tuple[bytes, bytes]]) -> None:
    one_by_one, at_once = Stored(), Stored()
    for pair in pairs:
        one_by_one.put(pair)
    at_once.put(*pairs)
    assert one_by_one.nodes == at_once.nodes == tree_of(dict(pairs))


@given(PAIRS, KEYS)
def test_every_key_proves_what_it_maps_to_and_nothing_else(pairs: list[tuple[bytes, bytes]], stranger: bytes) -> None:
    tree, values = Stored(), dict(pairs)
    tree.put(*pairs)
    for key in {*values, stranger}:
        path = prefix_tree.path_to(key, tree.nodes.get)
        prefix_tree.check_path(key, values.get(key), path, tree.root)
        wrong = b"another value"
        with pytest.raises(PathRejected):
            prefix_tree.check_path(key, wrong, path, tree.root)
        if key in values:
            with pytest.raises(PathRejected):
                prefix_tree.check_path(key, None, path, tree.root)


def presented(nodes: dict[Position, Node], values: dict[bytes, bytes]) -> prefix_tree.GetProof:
    """What a store gives for a position: the node and, of a pair, the value that it has for the pair's key."""

    def at(position: Position) -> ProvenNode:
        node = nodes.get(position)
        return ProvenNode(node, values.get(node.key) if isinstance(node, Pair) else None)

    return at


@given(PAIRS, KEYS)
def test_a_proven_tree_says_of_every_key_what_its_path_proves(
    pairs: list[tuple[bytes, bytes]], stranger: bytes
) -> None:
    tree, values = Stored(), dict(pairs)
    tree.put(*pairs)
    kept: prefix_tree.ProvenNodes = {}
    first = ProvenTree(tree.root, kept)
    for key in sorted({*values, stranger}):
        needed = {prefix_tree.ROOT, *first.unproven(key, prefix_tree.KEY_BITS)}
        some = {position: node for position, node in tree.nodes.items() if position in needed}
        assert first.value_of(key, presented(some, values)) == values.get(key)
    # what is kept was proven: a second reading of the same root believes nothing else that is stored by then
    second = ProvenTree(tree.root, kept)
    for key in sorted({*values, stranger}):
        assert second.value_of(key, presented({}, {})) == values.get(key)


@given(PAIRS.filter(lambda pairs: len(pairs) > 3))
def test_of_a_large_tree_only_what_lies_near_its_root_is_kept(pairs: list[tuple[bytes, bytes]]) -> None:
    tree, values = Stored(), dict(pairs)
    tree.put(*pairs)
    kept: prefix_tree.ProvenNodes = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_tree, "UPPER_LEVELS", 1)
        patch.setattr(prefix_tree, "DEEPER_NODES", 4)
        large = ProvenTree(tree.root, kept)
        assert [large.value_of(key, presented(tree.nodes, values)) for key in values] == list(values.values())
    deeper = [depth for depth, _ in kept if depth > 1]
    assert len(kept) <= 4 + 1 and len(deeper) <= 2, "the root, the two below it, and two of one level"


@settings(max_examples=200)
@given(PAIRS.filter(bool), st.data())
def test_a_proven_tree_takes_up_no_node_that_is_not_under_its_root(
    pairs: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    tree, values = Stored(), dict(pairs)
    tree.put(*pairs)
    position = data.draw(st.sampled_from(sorted(tree.nodes)))
    other = data.draw(st.sampled_from([None, Branch(bytes(32)), Branch(key_of("x")), Pair(key_of("x"), key_of("y"))]))
    forged = {where: node for where, node in tree.nodes.items() if where != position}
    forged |= {} if other is None else {position: other}
    kept: prefix_tree.ProvenNodes = {}
    for key, value in values.items():
        try:
            assert ProvenTree(tree.root, kept).value_of(key, presented(forged, values)) == value
        except PathRejected:
            continue
    assert all(proof.node == tree.nodes.get(where) for where, proof in kept.items())


def test_a_value_of_another_row_of_the_same_key_is_refused() -> None:
    tree = Stored()
    tree.put((key_of("a"), b"1"), (key_of("b"), b"2"))
    with pytest.raises(PathRejected, match="another value"):
        ProvenTree(tree.root, {}).value_of(key_of("a"), presented(tree.nodes, {key_of("a"): b"3", key_of("b"): b"2"}))
    with pytest.raises(PathRejected, match="none was presented"):
        ProvenTree(tree.root, {}).value_of(key_of("a"), presented(tree.nodes, {key_of("b"): b"2"}))


@settings(max_examples=200)
@given(PAIRS.filter(bool), st.data())
def test_no_altered_path_proves_anything_about_the_signed_root(
    pairs: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    tree, values = Stored(), dict(pairs)
    tree.put(*pairs)
    key = data.draw(st.sampled_from(sorted(values)))
    path = prefix_tree.path_to(key, tree.nodes.get)
    altered = data.draw(
        st.sampled_from(
            [
                replace(path, end=None),
                replace(path, end=Pair(key, prefix_tree.hash_of(b"forged"))),
                replace(path, end=Pair(bytes(32) if any(key) else b"\x01" * 32, prefix_tree.hash_of(b""))),
                replace(path, siblings=(*path.siblings, EMPTY)),
                *([replace(path, siblings=path.siblings[:-1])] if path.siblings else []),
                *([replace(path, siblings=(bytes(31), *path.siblings[1:]))] if path.siblings else []),
                *([replace(path, siblings=(b"\x01" * 32, *path.siblings[1:]))] if path.siblings else []),
            ]
        )
    )
    for claimed in (None, b"forged", b"", values[key]):
        if altered == path and claimed == values[key]:
            continue
        with pytest.raises(PathRejected):
            prefix_tree.check_path(key, claimed, altered, tree.root)


def test_absence_is_not_proven_by_a_pair_from_another_path() -> None:
    """A pair that really is in the tree, but not where the key would stand."""
    tree = Stored()
    tree.put(*((bytes([number]) + bytes(31), b"x") for number in (0, 64, 128, 192)))
    key = bytes([1]) + bytes(31)
    elsewhere = prefix_tree.path_to(bytes([192]) + bytes(31), tree.nodes.get)
    with pytest.raises(PathRejected, match="another path"):
        prefix_tree.check_path(key, None, elsewhere, tree.root)


@pytest.mark.parametrize("edit", ["a pair", "a branch beside the way", "a missing node"])
def test_a_tree_that_somebody_edited_is_never_built_on(edit: str) -> None:
    tree = Stored()
    tree.put(*((key_of(f"{number}"), b"x") for number in range(64)))
    root = tree.root
    position = max(position for position, node in tree.nodes.items() if isinstance(node, Pair))
    pair = tree.nodes[position]
    assert isinstance(pair, Pair)
    match edit:
        case "a pair":
            tree.nodes[position] = Pair(pair.key, prefix_tree.hash_of(b"forged"))
        case "a branch beside the way":
            first_bit = pair.key[0] >> 7
            tree.nodes[1, first_bit ^ 1] = Branch(bytes(32))
        case _:
            del tree.nodes[position]
    with pytest.raises(PathRejected):
        prefix_tree.changed_nodes([(pair.key, b"y")], tree.nodes.get, root=root)


def test_a_path_is_about_as_long_as_the_logarithm_of_the_number_of_keys() -> None:
    values = {key_of(f"{number}"): b"" for number in range(1024)}
    nodes = tree_of(values)
    lengths = [len(prefix_tree.path_to(key, nodes.get).siblings) for key in values]
    assert (
        10 <= sum(lengths) / len(lengths) <= 13
    )  # log2(1024) is 10; a random key needs little more than one bit besides
    assert max(lengths) <= 40
