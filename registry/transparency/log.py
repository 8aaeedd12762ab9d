"""What a stored log must withstand: its proofs, and its agreement with a checkpoint that was kept elsewhere.

A shortened or replaced database is consistent in itself; only an older checkpoint shows it. Appending is the store's,
in the transaction of the change that the entry describes, with `merkle.nodes_for_append`.
"""

from collections.abc import Iterable
from typing import Protocol

from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.transparency import merkle, note
from peft_registry.registry.transparency.merkle import ProofRejected
from peft_registry.registry.transparency.note import Checkpoint, Proof
from peft_registry.schemas.errors import IntegrityBroken


class LogForked(IntegrityBroken):
    what = "the log is not a continuation of its checkpoint at {size} entries"
    why = "{reason}: the signed root is {signed_root}, the store gives {stored_root}"
    fix = "keep the store and the checkpoint as evidence, and restore the store from a backup that passes"

    reason: str
    size: int
    signed: bytes
    found: bytes

    @property
    def signed_root(self) -> str:
        return self.signed.hex()

    @property
    def stored_root(self) -> str:
        return self.found.hex()


class LogTruncated(IntegrityBroken):
    what = "entries are missing from the log"
    why = "a signed checkpoint covers {signed_size} entries, the store holds {found_size}"
    fix = (
        "keep the store and the checkpoint as evidence, and restore the store from a newer backup; where there is none, "
        "whoever holds the root accepts the loss with `registry log accept-restore`"
    )

    signed_size: int
    found_size: int


class LogStore(Protocol):
    """Where entries and complete subtrees are kept."""

    def size(self) -> int:
        """How many entries there are."""
        ...

    def get_node(self, level: int, index: int) -> bytes:
        """The 32 bytes stored for the complete subtree `(level, index)`; see `merkle`."""
        ...

    def get_leaf(self, index: int) -> bytes:
        """The entry's bytes, exactly as they were hashed."""
        ...


def current_root(store: LogStore) -> bytes:
    """The root over all entries, to be signed in a checkpoint of `store.size()`."""
    return merkle.root_from_nodes(store.size(), store.get_node)


def prove(store: LogStore, index: int, checkpoint: str, *, extra: bytes | None = None) -> str:
    """The text of a `.tlog-proof` file: entry `index` is in the tree of `checkpoint` (the text of a signed checkpoint).

    Raises:
        NotInLog: the checkpoint does not cover the entry.
        LogTruncated: the checkpoint covers more entries than the store holds.
        LogForked: the checkpoint's root is not the store's.
        MalformedNote: the text is not a checkpoint.
    """
    _, size, root = note.read_unverified(checkpoint)
    check_prefix(store, size=size, root=root)
    hashes = merkle.inclusion_proof(index, size, store.get_node)
    return note.render_proof(Proof(index=index, hashes=hashes, checkpoint_text=checkpoint, extra=extra))


def verify_proof(proof: Proof, leaf_bytes: bytes, *, origin: str, keys: Iterable[PublicKey]) -> Checkpoint:
    """The signed checkpoint that covers an entry with exactly these bytes; needs no store. The index of the proof is proven too.

    Raises:
        WrongOrigin, BadSignature, UnknownKey: as for `note.verify_checkpoint`.
        ProofRejected: the entry is not in that log.
    """
    checkpoint = note.verify_checkpoint(proof.checkpoint_text, origin=origin, keys=keys)
    leaf = merkle.leaf_hash(leaf_bytes)
    merkle.check_inclusion(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    return checkpoint


def check_against_remembered(
    store: LogStore, remembered_checkpoint: str | None, keys: Iterable[PublicKey], *, origin: str
) -> Checkpoint | None:
    """The remembered checkpoint, if the store continues it; None when none was ever made.

    Raises:
        LogTruncated: the store holds fewer entries than were signed.
        LogForked: its first entries are others than those signed, or its own nodes disagree.
        MalformedNote, WrongOrigin, BadSignature, UnknownKey: the remembered text is not ours.
    """
    if remembered_checkpoint is None:
        return None
    checkpoint = note.verify_checkpoint(remembered_checkpoint, origin=origin, keys=keys)
    check_prefix(store, size=checkpoint.size, root=checkpoint.root)
    size = store.size()
    root = current_root(store)
    proof = merkle.consistency_proof(checkpoint.size, size, store.get_node)
    try:
        merkle.check_consistency(checkpoint.size, size, proof, checkpoint.root, root)
    except ProofRejected as error:
        raise LogForked(error.why, size=checkpoint.size, signed=checkpoint.root, found=error.computed) from error
    return checkpoint


def check_prefix(store: LogStore, *, size: int, root: bytes) -> None:
    """Raise unless the first `size` entries of the store have this root, as its nodes state it.

    Raises:
        LogTruncated: the store holds fewer entries.
        LogForked: its first entries are others.
    """
    found_size = store.size()
    if found_size < size:
        raise LogTruncated(signed_size=size, found_size=found_size)
    computed = merkle.root_from_nodes(size, store.get_node)
    if computed != root:
        raise LogForked("its first entries are others", size=size, signed=root, found=computed)
