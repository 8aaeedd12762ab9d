"""The log over a store: proofs that need no store, and every way in which a store can lie about its past."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_registry.registry.signing.dsse import UnknownKey
from peft_registry.registry.transparency import log, merkle, note
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from tests.builders.signing import ORIGIN, an_ed25519_key

KEY, STRANGER = an_ed25519_key(1), an_ed25519_key(2)


class MemoryLog:
    """The log in dictionaries; nothing stops a test from rewriting them."""

    def __init__(self, leaves=()):
        self.leaves: list[bytes] = []
        self.nodes: dict[tuple[int, int], bytes] = {}
        for data in leaves:
            self.append(data)

    def append(self, data: bytes) -> None:
        for level, index, digest in merkle.nodes_for_append(self.size(), merkle.leaf_hash(data), self.get_node):
            self.nodes[level, index] = digest
        self.leaves.append(data)

    def checkpoint(self) -> str:
        return note.sign_checkpoint(KEY, origin=ORIGIN, size=self.size(), root=log.current_root(self))

    def size(self) -> int:
        return len(self.leaves)

    def get_node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]

    def get_leaf(self, index: int) -> bytes:
        return self.leaves[index]


def entries(count: int) -> list[bytes]:
    return [f"entry {number}".encode() for number in range(count)]


def check(store: MemoryLog, checkpoint: str | None, keys=(KEY.public,)):
    return log.check_against_remembered(store, checkpoint, keys, origin=ORIGIN)


def verify(proof_text: str, data: bytes, *, origin: str, keys) -> note.Checkpoint:
    return log.verify_proof(note.parse_proof(proof_text), data, origin=origin, keys=keys)


@pytest.mark.parametrize("size", range(1, 12))
def test_a_proof_of_every_entry_verifies_without_the_store(size):
    store = MemoryLog(entries(size))
    checkpoint = store.checkpoint()
    for index, data in enumerate(store.leaves):
        found = verify(log.prove(store, index, checkpoint), data, origin=ORIGIN, keys=[KEY.public])
        assert (found.size, found.key_id) == (size, KEY.public.key_id)


def test_a_proof_against_an_earlier_checkpoint_still_verifies_after_the_log_has_grown():
    store = MemoryLog(entries(5))
    early = store.checkpoint()
    for data in (b"later 1", b"later 2"):
        store.append(data)
    proof = log.prove(store, 3, early)
    assert verify(proof, b"entry 3", origin=ORIGIN, keys=[KEY.public]).size == 5


def test_a_proof_of_other_bytes_or_by_a_stranger_fails():
    store = MemoryLog(entries(5))
    proof = log.prove(store, 3, store.checkpoint())
    with pytest.raises(merkle.ProofRejected):
        verify(proof, b"entry 4", origin=ORIGIN, keys=[KEY.public])
    with pytest.raises(UnknownKey):
        verify(proof, b"entry 3", origin=ORIGIN, keys=[STRANGER.public])
    with pytest.raises(note.WrongOrigin):
        verify(proof, b"entry 3", origin="peft-registry/other", keys=[KEY.public])


PROVEN = MemoryLog(entries(6))
PROOF = log.prove(PROVEN, 2, PROVEN.checkpoint())


@given(position=st.integers(0, len(PROOF.encode()) - 1), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_no_flipped_bit_of_a_proof_file_passes(position, bit):
    data = bytearray(PROOF.encode())
    data[position] ^= 1 << bit
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # whoever reads the file refuses it
    # NotChecked: one base64 character holds bits of the key id and of the signature, and a line whose key and
    # signature are both unknown is what a stranger's looks like
    with pytest.raises((IntegrityBroken, NotChecked)):
        verify(text, b"entry 2", origin=ORIGIN, keys=[KEY.public])


def test_an_entry_after_the_checkpoint_has_no_proof_yet():
    store = MemoryLog(entries(3))
    early = store.checkpoint()
    store.append(b"later")
    with pytest.raises(merkle.NotInLog):
        log.prove(store, 3, early)


def test_a_log_without_a_remembered_checkpoint_has_nothing_to_check():
    assert check(MemoryLog(entries(3)), None) is None


@pytest.mark.parametrize("size", [0, 3])
def test_a_log_of_no_entries_has_one_root(size):
    """A signed checkpoint over nothing with a root of something is no beginning of any log."""
    store = MemoryLog(entries(size))
    empty = note.sign_checkpoint(KEY, origin=ORIGIN, size=0, root=merkle.EMPTY_ROOT)
    assert check(store, empty).size == 0
    other = note.sign_checkpoint(KEY, origin=ORIGIN, size=0, root=merkle.leaf_hash(b"entry 0"))
    with pytest.raises(log.LogForked):
        check(store, other)


@pytest.mark.parametrize("old", range(10))
@pytest.mark.parametrize("added", [0, 1, 2, 7])
def test_a_log_that_only_grew_continues_what_is_remembered(old, added):
    store = MemoryLog(entries(old))
    remembered = store.checkpoint()
    for number in range(added):
        store.append(f"later {number}".encode())
    found = check(store, remembered)
    assert found is not None
    assert found.size == old


@pytest.mark.parametrize("kept", [0, 1, 4])
def test_a_truncated_log_is_noticed(kept):
    remembered = MemoryLog(entries(5)).checkpoint()
    with pytest.raises(log.LogTruncated) as caught:
        check(MemoryLog(entries(kept)), remembered)
    assert (caught.value.signed_size, caught.value.found_size) == (5, kept)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("changed", range(5))
@pytest.mark.parametrize("size", [5, 9])
def test_a_log_rebuilt_with_one_other_entry_is_noticed(changed, size):
    remembered = MemoryLog(entries(5)).checkpoint()
    history = entries(size)
    history[changed] = b"rewritten"
    with pytest.raises(log.LogForked) as caught:
        check(MemoryLog(history), remembered)
    assert caught.value.signed != caught.value.found
    assert caught.value.exit_code == 6


def test_a_changed_node_that_only_later_roots_use_is_noticed():
    store = MemoryLog(entries(5))
    remembered = store.checkpoint()
    for number in range(3):
        store.append(f"later {number}".encode())
    store.nodes[3, 0] = bytes(32)  # the root of eight entries; no root before used it
    with pytest.raises(log.LogForked):
        check(store, remembered)


def test_a_checkpoint_by_a_stranger_proves_nothing_about_the_store():
    store = MemoryLog(entries(5))
    with pytest.raises(UnknownKey):
        check(store, store.checkpoint(), keys=[STRANGER.public])


def test_proving_against_a_checkpoint_of_another_history_is_refused():
    foreign = MemoryLog([b"other", *entries(4)]).checkpoint()
    with pytest.raises(log.LogForked):
        log.prove(MemoryLog(entries(5)), 1, foreign)
    with pytest.raises(log.LogTruncated):
        log.prove(MemoryLog(entries(4)), 1, foreign)
