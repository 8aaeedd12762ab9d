"""What the log says in the end, proven to a signed checkpoint: for aliases, the newest version, and all that was said.

The rows of the catalogue can be changed by whoever can write the database. A snapshot cannot: it is the last leaf under the
checkpoint, and its root covers every alias, version and list of statements. Reading one of them takes one path and one signature.
Entries behind the newest checkpoint are pending and decide nothing.

A log without a snapshot was written by an earlier release; it gets its first one with the next entry.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.database.snapshot_store import LEVELS_AT_ONCE, SqlSnapshot
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.transparency import log, merkle, note, prefix_tree
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.log import Leaf, LogEvent, LogSnapshot, leaf_of
from peft_registry.schemas.statement import LOG_EVENT, LOG_SNAPSHOT, StoredStatement

_Said = TypeVar("_Said", StoredStatement, catalog.StatementHead)

_SNAPSHOT_MARK = LOG_SNAPSHOT.encode()

# an event in canonical form whose texts need no escapes: the keys in order, nothing between them, nothing after
_PLAIN_EVENT = re.compile(
    r'\{"at":"(?P<at>[0-9TZ:-]{20})","key":"(?P<key>[0-9A-Za-z._-]+)","kind":"(?P<kind>[a-z-]+)",'
    rf'"schema":"(?P<schema>{re.escape(LOG_EVENT)})",'
    r'"statement":"(?P<statement>sha256:[0-9a-f]{64})","subject":"(?P<subject>sha256:[0-9a-f]{64})"\}'
)


class SnapshotMalformed(IntegrityBroken):
    reference = "log-snapshot-malformed"
    what = "the last entry under the newest checkpoint is not a leaf of this log"
    why = "{reason}"
    fix = "run `registry log check`, and restore the home from a backup"

    reason: str


class CheckpointsRemoved(IntegrityBroken):
    what = "the checkpoint that was signed over entry {entry} of the log is gone"
    why = "every snapshot in the log was written together with its checkpoint, and {covered} entries are covered by those kept"
    fix = "restore the checkpoints, or the home, from a backup; `registry log check` says what else was changed"

    entry: int
    covered: int


@dataclass(frozen=True, slots=True)
class Proven:
    """What was shown of the two trees under one checkpoint, and stays shown while the home is open: nodes of them.

    Nobody writes into it but `ProvenTree` and `ProvenEntries`, which take up a node only once it led to the signed root.
    """

    frontier: dict[tuple[int, int], bytes]  # the complete subtrees that the log's root is a fold over
    entries: dict[tuple[int, int], bytes]
    tree: prefix_tree.ProvenNodes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The snapshot under a checkpoint that a log key signed, and the checkpoint's text."""

    leaf: LogSnapshot
    checkpoint: str
    key_id: str  # of the log key that signed the checkpoint
    hashes: tuple[bytes, ...]  # they prove that the leaf is the last entry under the checkpoint
    proven: Proven = field(compare=False, repr=False)

    @property
    def root(self) -> bytes:
        return bytes.fromhex(self.leaf.root)

    @property
    def size(self) -> int:
        """How many entries it speaks of."""
        return self.leaf.size


class TreeNodes:
    """What one reading transaction has seen of the two trees: the nodes near the roots are on the way to every answer.

    What it proved under a checkpoint it proves once.
    """

    def __init__(self, tx: catalog.Transaction) -> None:
        self.log = SqlLogStore(tx)
        self.tree = SqlSnapshot(tx)
        self._under: dict[
            str, tuple[merkle.ProvenEntries, prefix_tree.ProvenTree]
        ] = {}  # by checkpoint, as those below
        self._leaves: dict[tuple[str, int], Leaf] = {}  # and number
        self._values: dict[tuple[str, bytes], bytes | None] = {}  # and key
        # what was read at once: to look for it again takes as long as to prove it
        self._keys_read: set[tuple[str, bytes]] = set()
        self._entries_read: set[tuple[str, int]] = set()

    def read(self, newest: Snapshot, *, keys: Iterable[bytes] = (), entries: Iterable[int] = ()) -> None:
        """Read at once these entries, and what proves them and these keys."""
        log, tree = self._trees(newest)
        some_keys = tuple(keys)
        numbers = tuple(entries)
        self.tree.read(position for key in some_keys for position in tree.unproven(key, LEVELS_AT_ONCE))
        self._keys_read.update((newest.checkpoint, key) for key in some_keys)
        self.log.read(place for index in numbers if index <= newest.size for place in log.unproven(index))
        self.log.read_leaves(numbers)
        self._entries_read.update((newest.checkpoint, index) for index in numbers)

    def leaf(self, newest: Snapshot, index: int) -> Leaf:
        """An entry, proven where the checkpoint covers it; as `View.leaf`."""
        known = self._leaves.get((newest.checkpoint, index))
        if known is None:
            known = self._leaves[newest.checkpoint, index] = read_leaf(self._proven_entry(newest, index))
        return known

    def value(self, newest: Snapshot, key: bytes) -> bytes | None:
        """The bytes that a key maps to; None where it is proven to map to nothing."""
        place = (newest.checkpoint, key)
        if place not in self._values:
            _, tree = self._trees(newest)
            if place not in self._keys_read:
                self.tree.read(tree.unproven(key, LEVELS_AT_ONCE))
            self._values[place] = tree.value_of(key, self.tree.presented)
        return self._values[place]

    def _proven_entry(self, newest: Snapshot, index: int) -> bytes:
        """The bytes of an entry, proven where the checkpoint covers it."""
        data = self.log.get_leaf(index)
        if index <= newest.size:  # the snapshot itself is the last entry under its checkpoint
            log, _ = self._trees(newest)
            if (newest.checkpoint, index) not in self._entries_read:
                self.log.read(log.unproven(index))
            log.require(index, merkle.leaf_hash(data), self.log.get_node)
        return data

    def _trees(self, newest: Snapshot) -> tuple[merkle.ProvenEntries, prefix_tree.ProvenTree]:
        """What is proven of both trees under a snapshot; what was proven before, while the home was open, among it."""
        if newest.checkpoint not in self._under:
            shown = newest.proven
            self._under[newest.checkpoint] = (
                merkle.ProvenEntries(newest.size + 1, shown.frontier, shown.entries),
                prefix_tree.ProvenTree(newest.root, shown.tree),
            )
        return self._under[newest.checkpoint]


def newest_snapshot(registry: Registry, tx: catalog.Transaction, *, known: Snapshot | None = None) -> Snapshot | None:
    """The snapshot that decides; None where no checkpoint was made, or the log is of an earlier release.

    Args:
        registry: whose log it is.
        tx: reads it.
        known: what this gave before; where it is under the same checkpoint, it is not checked again.

    Raises:
        LogTruncated, LogForked: the log is not the one of its newest checkpoint.
        CheckpointsRemoved: a later checkpoint was made, and is neither in the database nor beside it.
        MalformedNote, WrongOrigin, BadSignature, UnknownKey: the checkpoint is not ours.
    """
    store = SqlLogStore(tx)
    text = _newest_checkpoint(registry, tx, entries=store.size())
    if text is None:
        _require_no_later(store, 0)
        return None
    if known is not None and known.checkpoint == text:
        return known
    size = note.read_unverified(text)[1]
    _require_no_later(store, size)
    keys = registry.log_keys

    def under_checkpoint() -> Snapshot | None:
        checkpoint = note.verify_checkpoint(text, origin=registry.origin, keys=keys)
        return snapshot_under(store, checkpoint, text)

    if store.size() < size:  # entries were cut off since: that is said anew
        return under_checkpoint()
    return registry.kept("snapshot", (text, keys, registry.origin), under_checkpoint)


def snapshot_under(store: SqlLogStore, checkpoint: note.Checkpoint, text: str) -> Snapshot | None:
    """The snapshot under a checkpoint that a log key signed, and its text; None where a log of an earlier release has none.

    Raises:
        LogTruncated, LogForked: the log is not the one of the checkpoint.
        SnapshotMalformed: its last entry is not one that this program writes.
    """
    if checkpoint.size == 0:
        return None
    store.read_frontier(checkpoint.size)
    log.check_prefix(store, size=checkpoint.size, root=checkpoint.root)
    data = store.get_leaf(checkpoint.size - 1)
    frontier = {place: store.get_node(*place) for place in merkle.frontier(checkpoint.size)}  # shown by `check_prefix`
    proof = merkle.inclusion_proof(checkpoint.size - 1, checkpoint.size, store.get_node)
    merkle.check_inclusion(merkle.leaf_hash(data), checkpoint.size - 1, checkpoint.size, proof, checkpoint.root)
    leaf = read_leaf(data)
    if not isinstance(leaf, LogSnapshot):
        return None
    if leaf.size != checkpoint.size - 1:
        raise SnapshotMalformed(f"it is entry {checkpoint.size - 1} and speaks of {leaf.size} entries")
    return Snapshot(leaf, text, checkpoint.key_id, tuple(proof), Proven(frontier, {}, {}))


def _require_no_later(store: SqlLogStore, covered: int) -> None:
    """Raise CheckpointsRemoved where an entry that no checkpoint covers is a snapshot.

    Whoever removes the newest checkpoints, or all of them, would else make what they cover pending, or the log one of an earlier
    release: an alias would point where it did before, and a recall could be taken out.
    """
    if covered >= store.size():
        return
    for index, data in store.leaves_from(covered):
        # nearly no entry has these bytes; a statement's own type may have them too
        if _SNAPSHOT_MARK in data and isinstance(read_leaf(data), LogSnapshot):
            raise CheckpointsRemoved(index, covered)


def _newest_checkpoint(registry: Registry, tx: catalog.Transaction, *, entries: int) -> str | None:
    """The text of the checkpoint that covers most of these entries, of those in the database and the one beside it.

    Whoever can write the database can remove its newest checkpoints, or record an older one as the largest: every alias
    would then point where it did at that time.
    """
    kept = (registry.recorded_checkpoint(tx), registry.remembered_checkpoint())
    sizes = {text: note.read_unverified(text)[1] for text in kept if text is not None}
    # one beyond the entries was signed after this transaction began; that the log continues it was checked when it was opened
    within = {text: size for text, size in sizes.items() if size <= entries or text == kept[0]}
    return max(within, key=lambda text: within[text], default=None)


def read_leaf(data: bytes) -> Leaf:
    """A leaf from its bytes.

    Raises:
        SnapshotMalformed: they are none in canonical form.
    """
    # in Latin-1 each byte is a character: what is not ASCII matches nothing
    plain = _PLAIN_EVENT.fullmatch(data.decode("latin-1"))
    try:
        if plain is not None:  # nearly every leaf; reading and writing it as any JSON takes ten times as long
            return LogEvent.from_json(plain.groupdict())
        leaf = leaf_of(read_json(data, what="an entry of the log"))
    except ValidationError as error:
        raise SnapshotMalformed(first_problem(error)) from error
    if leaf.to_canonical() != data:
        raise SnapshotMalformed("it is not written in canonical form")
    return leaf


def covered_by(newest: Snapshot, stored: tuple[_Said, ...]) -> tuple[_Said, ...]:
    """The statements that are not pending."""
    return tuple(
        statement for statement in stored if statement.log_index is not None and statement.log_index < newest.size
    )
