"""The Merkle tree against the recursive definitions of RFC 9162 and the vectors of another implementation."""

import base64
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_registry.registry.transparency import merkle
from peft_registry.schemas.errors import IntegrityBroken, NotFound


def leaves_of(count: int) -> list[bytes]:
    return [f"entry {number}".encode() for number in range(count)]


class StoredNodes:
    """A store of complete subtrees that refuses to write a node twice, as an append-only table does."""

    def __init__(self, leaves: list[bytes]):
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.reads = 0
        for index, data in enumerate(leaves):
            for level, position, digest in merkle.nodes_for_append(index, merkle.leaf_hash(data), self.get):
                assert (level, position) not in self.nodes
                self.nodes[level, position] = digest

    def get(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self.nodes[level, index]


# the definitions of RFC 9162 §2.1.1, §2.1.3.1 and §2.1.4.1, word for word and slow: the oracle


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = largest_power_below(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:split]) + mth(leaves[split:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = largest_power_below(len(leaves))
    if index < split:
        return [*path(index, leaves[:split]), mth(leaves[split:])]
    return [*path(index - split, leaves[split:]), mth(leaves[:split])]


def subproof(old: int, leaves: list[bytes], complete: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if complete else [mth(leaves)]
    split = largest_power_below(len(leaves))
    if old <= split:
        return [*subproof(old, leaves[:split], complete), mth(leaves[split:])]
    return [*subproof(old - split, leaves[split:], False), mth(leaves[:split])]


def largest_power_below(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def test_the_roots_are_those_of_the_classic_tree(test_data):
    classic = json.loads((test_data / "vectors" / "merkle" / "rfc6962_roots.json").read_bytes())
    leaves = [bytes.fromhex(text) for text in classic["leaf_inputs_hex"]]
    roots = [bytes.fromhex(text) for text in classic["root_by_size_hex"]]
    store = StoredNodes(leaves)
    assert [merkle.root_from_nodes(size, store.get) for size in range(9)] == roots
    assert [merkle.root_of(leaves[:size]) for size in range(9)] == roots


@pytest.mark.parametrize("name", ["inclusion", "consistency"])
def test_proofs_are_accepted_and_refused_as_by_another_implementation(test_data, name):
    lines = (test_data / "vectors" / "merkle" / f"{name}.jsonl").read_bytes().splitlines()
    wrong = []
    for case in map(json.loads, lines):
        proof = [base64.b64decode(one or "") for one in case["proof"] or ()]
        try:
            if name == "inclusion":
                leaf, root = base64.b64decode(case["leafHash"] or ""), base64.b64decode(case["root"] or "")
                merkle.check_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
            else:
                roots = (base64.b64decode(case[key] or "") for key in ("root1", "root2"))
                merkle.check_consistency(case["size1"], case["size2"], proof, *roots)
            refused = False
        except merkle.ProofRejected:
            refused = True
        if refused != (case["wantErr"] or not_hashes(case)):
            wrong.append(case["desc"])
    assert not wrong
    assert len(lines) == 35


def not_hashes(case: dict) -> bool:
    """One vector compares two equal texts that are no hashes; RFC 9162 knows only SHA-256, so here it is refused too."""
    return any(len(base64.b64decode(case.get(key) or "")) != 32 for key in ("root1", "root2") if key in case)


SIZES = range(1, 34)
LEAVES = leaves_of(max(SIZES))
STORE = StoredNodes(LEAVES)


@pytest.mark.parametrize("size", SIZES)
def test_every_entry_of_every_small_log_proves(size):
    root = mth(LEAVES[:size])
    assert merkle.root_from_nodes(size, STORE.get) == root
    assert merkle.root_of(LEAVES[:size]) == root
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, STORE.get)
        assert list(proof) == path(index, LEAVES[:size])
        merkle.check_inclusion(merkle.leaf_hash(LEAVES[index]), index, size, proof, root)


MANY = leaves_of(200)
STORE_OF_MANY = StoredNodes(MANY)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 127, 128, 200])
def test_entries_are_proven_from_the_subtrees_that_were_proven_before(size):
    frontier = {place: STORE_OF_MANY.get(*place) for place in merkle.frontier(size)}
    upper = {}
    for proofs in (merkle.ProvenEntries(size, frontier, upper), merkle.ProvenEntries(size, frontier, upper)):
        for index in range(size):
            needed = {place: STORE_OF_MANY.nodes[place] for place in proofs.unproven(index)}
            proofs.require(index, merkle.leaf_hash(MANY[index]), lambda *place, nodes=needed: nodes[place])
            assert proofs.unproven(index) == []
            with pytest.raises(merkle.ProofRejected):
                proofs.require(index, merkle.leaf_hash(b"another"), STORE_OF_MANY.get)
    for index in (-1, size):
        with pytest.raises(merkle.ProofRejected):
            proofs.require(index, merkle.leaf_hash(MANY[0]), STORE_OF_MANY.get)
    assert all(STORE_OF_MANY.nodes[place] == node and place[0] >= merkle.UPPER_FROM for place, node in upper.items())


@pytest.mark.parametrize("bit", [0, 255])
@pytest.mark.parametrize("level", range(7))
def test_no_entry_is_proven_by_an_altered_subtree_and_none_is_kept(level, bit):
    size = 128
    frontier = {place: STORE_OF_MANY.get(*place) for place in merkle.frontier(size)}
    upper = {}
    beside = (level, (5 >> level) ^ 1)
    nodes = STORE_OF_MANY.nodes | {beside: flipped(STORE_OF_MANY.nodes[beside], bit)}
    with pytest.raises(merkle.ProofRejected):
        merkle.ProvenEntries(size, frontier, upper).require(5, merkle.leaf_hash(MANY[5]), lambda *place: nodes[place])
    assert upper == {}


@pytest.mark.parametrize("new", SIZES)
def test_every_small_log_continues_each_of_its_beginnings(new):
    for old in range(1, new + 1):
        proof = merkle.consistency_proof(old, new, STORE.get)
        assert list(proof) == subproof(old, LEAVES[:new], True)
        merkle.check_consistency(old, new, proof, mth(LEAVES[:old]), mth(LEAVES[:new]))


def test_the_empty_log_is_the_beginning_of_every_log():
    assert merkle.root_from_nodes(0, STORE.get) == hashlib.sha256(b"").digest()
    merkle.check_consistency(0, 0, [], merkle.EMPTY_ROOT, merkle.EMPTY_ROOT)
    merkle.check_consistency(0, 5, merkle.consistency_proof(0, 5, STORE.get), merkle.EMPTY_ROOT, mth(LEAVES[:5]))
    with pytest.raises(merkle.ProofRejected):
        merkle.check_consistency(0, 5, [], mth(LEAVES[:1]), mth(LEAVES[:5]))
    with pytest.raises(merkle.ProofRejected):
        merkle.check_consistency(0, 0, [], mth(LEAVES[:1]), mth(LEAVES[:1]))


sizes = st.integers(1, max(SIZES))


@given(data=st.data(), size=sizes)
@settings(max_examples=200, deadline=None)
def test_any_flipped_bit_of_an_inclusion_proof_is_refused(data, size):
    index = data.draw(st.integers(0, size - 1))
    parts = [merkle.leaf_hash(LEAVES[index]), mth(LEAVES[:size]), *merkle.inclusion_proof(index, size, STORE.get)]
    chosen, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[chosen] = flipped(parts[chosen], bit)
    with pytest.raises(merkle.ProofRejected):
        merkle.check_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(data=st.data(), new=st.integers(2, max(SIZES)))
@settings(max_examples=200, deadline=None)
def test_any_flipped_bit_of_a_consistency_proof_is_refused(data, new):
    old = data.draw(st.integers(1, new - 1))
    parts = [mth(LEAVES[:old]), mth(LEAVES[:new]), *merkle.consistency_proof(old, new, STORE.get)]
    chosen, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[chosen] = flipped(parts[chosen], bit)
    with pytest.raises(merkle.ProofRejected):
        merkle.check_consistency(old, new, parts[2:], parts[0], parts[1])


@given(data=st.data(), size=sizes)
@settings(max_examples=100, deadline=None)
def test_an_entry_proves_at_no_other_place(data, size):
    index, other = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size + 2))
    if other == index:
        return
    proof = merkle.inclusion_proof(index, size, STORE.get)
    with pytest.raises(merkle.ProofRejected):
        merkle.check_inclusion(merkle.leaf_hash(LEAVES[index]), other, size, proof, mth(LEAVES[:size]))


@given(data=st.data(), size=st.integers(2, max(SIZES)))
@settings(max_examples=100, deadline=None)
def test_a_proof_with_a_hash_too_few_or_too_many_is_refused(data, size):
    index = data.draw(st.integers(0, size - 1))
    leaf, root = merkle.leaf_hash(LEAVES[index]), mth(LEAVES[:size])
    proof = merkle.inclusion_proof(index, size, STORE.get)
    for changed in (proof[:-1], (*proof, root), proof[1:]):
        with pytest.raises(merkle.ProofRejected):
            merkle.check_inclusion(leaf, index, size, changed, root)


def test_the_nodes_of_a_path_are_those_that_its_proof_reads():
    for size in range(1, 34):
        for index in range(size):
            needed = {(level, at): STORE.get(level, at) for level, at in merkle.path_nodes(index, size)}
            asked = StoredNodes([])
            asked.nodes = needed
            merkle.inclusion_proof(index, size, asked.get)
            assert asked.reads == len(needed)


def test_a_refusal_carries_both_hashes_and_is_broken_integrity():
    root = mth(LEAVES[:4])
    with pytest.raises(merkle.ProofRejected) as caught:
        merkle.check_inclusion(merkle.leaf_hash(b"another"), 1, 4, merkle.inclusion_proof(1, 4, STORE.get), root)
    assert caught.value.expected == root
    assert len(caught.value.computed) == 32
    assert isinstance(caught.value, IntegrityBroken)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_is_made_for_an_entry_outside_the_log(index, size):
    with pytest.raises(merkle.NotInLog) as caught:
        merkle.inclusion_proof(index, size, STORE.get)
    assert isinstance(caught.value, NotFound)
    with pytest.raises(merkle.NotInLog):
        merkle.consistency_proof(4, 3, STORE.get)


def test_no_checkpoint_is_advised_for_an_entry_that_there_can_never_be():
    assert "sign" not in str(merkle.NotInLog(-1, 3).fix)
    assert "`registry log sign`" in str(merkle.NotInLog(3, 3).fix)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_hashes_of_another_length_are_refused_before_anything_is_computed(length):
    with pytest.raises(merkle.ProofRejected):
        merkle.check_inclusion(bytes(length), 0, 1, [], bytes(length))


def test_appending_writes_two_nodes_an_entry_on_average_and_proofs_read_few():
    store = StoredNodes(leaves_of(1000))
    assert len(store.nodes) < 2 * 1000
    store.reads = 0
    merkle.inclusion_proof(617, 1000, store.get)
    merkle.consistency_proof(617, 1000, store.get)
    merkle.root_from_nodes(1000, store.get)
    assert store.reads <= 3 * 2 * 10  # 2·log2(n) each


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
