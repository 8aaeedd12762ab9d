"""What the log says in the end, proven to a signed checkpoint: for aliases, the newest version, and all that was said.

The rows of the catalogue can be changed by whoever can write the database. A snapshot cannot: it is the last leaf under the
checkpoint, and its root covers every alias, version and list of statements. Reading one of them takes one path and one signature.
Entries behind the newest checkpoint are pending and decide nothing.

A log without a snapshot was written by an earlier release; it gets its first one with the next entry.
"""

import re
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.database.snapshot_store import LEVELS_AT_ONCE, SqlSnapshot
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.signing.trust import ProvenTime, RevokedKey, key_status
from peft_registry.registry.transparency import completeness, log, merkle, note, prefix_tree, snapshot
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event, Leaf, LogEvent, LogSnapshot, leaf_of
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import LOG_EVENT, LOG_SNAPSHOT, StoredStatement
from peft_registry.schemas.version import Version

Value = TypeVar("Value", bound=Document)
_Said = TypeVar("_Said", StoredStatement, catalog.StatementHead)

_SNAPSHOT_MARK = LOG_SNAPSHOT.encode()

# an event in canonical form whose texts need no escapes: the keys in order, nothing between them, nothing after
_PLAIN_EVENT = re.compile(
    r'\{"at":"(?P<at>[0-9TZ:-]{20})","key":"(?P<key>[0-9A-Za-z._-]+)","kind":"(?P<kind>[a-z-]+)",'
    rf'"schema":"(?P<schema>{re.escape(LOG_EVENT)})",'
    r'"statement":"(?P<statement>sha256:[0-9a-f]{64})","subject":"(?P<subject>sha256:[0-9a-f]{64})"\}'
)


class SaidDiffers(IntegrityBroken):
    reference = "statements-differ-from-log"
    what = "what the database holds about {manifest} is not what was said"
    why = "{reason}"
    fix = "run `registry log check` to see what was removed or changed, and restore the home from a backup"

    manifest: Digest
    reason: str


class VersionsDiffer(IntegrityBroken):
    reference = "versions-differ-from-log"
    what = "the versions of {name} in the database are not those that were registered"
    why = "{reason}"
    fix = "run `registry log check` to see what was removed or changed, and restore the home from a backup"

    name: str
    reason: str


class SnapshotMalformed(IntegrityBroken):
    reference = "log-snapshot-malformed"
    what = "the last entry under the newest checkpoint is not a leaf of this log"
    why = "{reason}"
    fix = "run `registry log check`, and restore the home from a backup"

    reason: str


class CheckpointsRemoved(IntegrityBroken):
    reference = "checkpoints-removed"
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
        self._rows = SqlSnapshot(tx)
        self._under: dict[
            str, tuple[merkle.ProvenEntries, prefix_tree.ProvenTree]
        ] = {}  # by checkpoint, as those below
        self._leaves: dict[tuple[str, int], Leaf] = {}  # and number
        self._values: dict[tuple[str, bytes], bytes | None] = {}  # and key
        # what was read at once: to look for it again takes as long as to prove it
        self._keys_read: set[tuple[str, bytes]] = set()
        self._entries_read: set[tuple[str, int]] = set()

    @classmethod
    def of_reading(cls, registry: Registry, tx: catalog.Transaction) -> "TreeNodes":
        """Those that all readings of a block of `reading` share; of another transaction its own."""
        return registry.database.once_while_reading(tx, "tree nodes", lambda: cls(tx))

    def read(self, newest: Snapshot, *, keys: Iterable[bytes] = (), entries: Iterable[int] = ()) -> None:
        """Read at once these entries, and what proves them and these keys."""
        log, tree = self._trees(newest)
        some_keys = tuple(keys)
        numbers = tuple(entries)
        self._rows.read(position for key in some_keys for position in tree.unproven(key, LEVELS_AT_ONCE))
        self._keys_read.update((newest.checkpoint, key) for key in some_keys)
        self.log.read(place for index in numbers if index <= newest.size for place in log.unproven(index))
        self.log.read_leaves(numbers)
        self._entries_read.update((newest.checkpoint, index) for index in numbers)

    def leaf(self, newest: Snapshot, index: int) -> Leaf:
        """As `logged_leaf`."""
        known = self._leaves.get((newest.checkpoint, index))
        if known is None:
            known = self._leaves[newest.checkpoint, index] = read_leaf(self._proven_entry(newest, index))
        return known

    def value(self, newest: Snapshot, key: bytes) -> bytes | None:
        """As `proven`, the bytes of it."""
        place = (newest.checkpoint, key)
        if place not in self._values:
            _, tree = self._trees(newest)
            if place not in self._keys_read:
                self._rows.read(tree.unproven(key, LEVELS_AT_ONCE))
            self._values[place] = tree.value_of(key, self._rows.presented)
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


def logged_leaf(tx: catalog.Transaction, newest: Snapshot, index: int, *, nodes: TreeNodes | None = None) -> Leaf:
    """An entry of the log, proven to the checkpoint; one that no checkpoint covers yet as it lies there.

    Args:
        tx: reads the log.
        newest: under whose checkpoint it lies.
        index: of the entry.
        nodes: what the transaction has read of the trees.

    Raises:
        NotInLog: there is no such entry.
        ProofRejected: it is not the one that was signed over.
    """
    return (nodes or TreeNodes(tx)).leaf(newest, index)


def proven_leaves(tx: catalog.Transaction, newest: Snapshot | None) -> Generator[tuple[int, bytes]]:
    """The number and bytes of every entry, in order: up to the newest checkpoint all that it covers, then what is pending.

    That they are shows once the last of them was read: what was read counts for nothing before. This reads the whole log, a second
    or two for each hundred thousand entries.

    Raises:
        LogForked, LogTruncated: the entries are not those that the checkpoint covers.
    """
    tree = merkle.Growing()
    size, root = (0, merkle.EMPTY_ROOT) if newest is None else note.read_unverified(newest.checkpoint)[1:]
    with closing(catalog.every_leaf(tx)) as leaves:
        for index, data in enumerate(leaves):
            tree.append(merkle.leaf_hash(data))
            if tree.size == size and tree.root() != root:
                raise log.LogForked("its first entries are others", size=size, signed=root, found=tree.root())
            yield index, data
    if tree.size < size:
        raise log.LogTruncated(signed_size=size, found_size=tree.size)


def proven(
    tx: catalog.Transaction, newest: Snapshot, key: bytes, form: type[Value], *, nodes: TreeNodes | None = None
) -> Value | None:
    """What a key maps to under the snapshot; None where it is proven to map to nothing.

    Args:
        tx: reads the tree.
        newest: whose root decides.
        key: of the value.
        form: of the value.
        nodes: what the transaction has read of the trees, and has not changed since.

    Raises:
        PathRejected: the stored nodes do not lead to the signed root.
    """
    data = (nodes or TreeNodes(tx)).value(newest, key)
    return None if data is None else snapshot.read_value(data, form)


def statements_about(registry: Registry, tx: catalog.Transaction, manifest: Digest) -> tuple[StoredStatement, ...]:
    """Everything that was said about a manifest digest, in log order: all of it, and nothing that was not said.

    Statements behind the newest checkpoint are pending; they come last.

    Raises:
        SaidDiffers: a statement was removed, relabelled or added in the database.
        PathRejected, LogForked, LogTruncated: the database is not that of its checkpoint.
    """
    return statements_under(tx, snapshot_if_trusted(registry, tx), manifest)


def statements_under(
    tx: catalog.Transaction,
    newest: Snapshot | None,
    manifest: Digest,
    *,
    nodes: TreeNodes | None = None,
    rows: tuple[StoredStatement, ...] | None = None,
) -> tuple[StoredStatement, ...]:
    """The same under a snapshot; without one nothing shows that it is all. `rows` are those of the transaction, if they were read.

    Raises:
        SaidDiffers, PathRejected: as `statements_about`.
    """
    stored = catalog.statements_of(tx, subject=manifest) if rows is None else rows
    if newest is not None:
        _require_all_said(tx, newest, manifest, stored, nodes)
    return stored


def require_all_heads(
    tx: catalog.Transaction,
    newest: Snapshot,
    manifest: Digest,
    heads: tuple[catalog.StatementHead, ...],
    *,
    nodes: TreeNodes | None = None,
) -> None:
    """Raise unless these are the statements that were made about a manifest digest, each of the kind that was logged.

    Raises:
        SaidDiffers, PathRejected: as `statements_about`.
    """
    _require_all_said(tx, newest, manifest, heads, nodes)


def snapshot_if_trusted(
    registry: Registry, tx: catalog.Transaction, *, known: Snapshot | None = None
) -> Snapshot | None:
    """The snapshot that decides; None also where no trust file says whose checkpoints count: verification reports that.

    Where several readings share a transaction it is verified once.

    Raises:
        RevokedKey: the log key that signed the checkpoint is revoked, and not only since the snapshot was made.
        LogTruncated, LogForked, CheckpointsRemoved, MalformedNote, WrongOrigin, BadSignature: as `newest_snapshot`.
    """

    def verified() -> Snapshot | None:
        try:
            newest = newest_snapshot(registry, tx, known=known)
            if newest is not None and newest is not known:
                _require_signer(registry, newest)
        except NotChecked:
            return None
        return newest

    return registry.database.once_while_reading(tx, "snapshot", verified)


def _require_signer(registry: Registry, newest: Snapshot) -> None:
    """Raise RevokedKey where whoever has the log key now may be a thief, who could have signed any snapshot."""
    status = key_status(
        registry.trust,
        newest.key_id,
        predicate_type=CHECKPOINT_TYPE,
        signed_at_proven=ProvenTime(newest.leaf.at),
        now=registry.clock(),
    )
    if status.state == "revoked":
        raise RevokedKey(status.key_id, status.reason)


def _require_all_said(
    tx: catalog.Transaction,
    newest: Snapshot,
    manifest: Digest,
    stored: tuple[_Said, ...],
    nodes: TreeNodes | None,
) -> None:
    covered = [(statement.digest, statement.logged_kind) for statement in covered_by(newest, stored)]
    value = proven(tx, newest, snapshot.artifact_key(manifest), snapshot.ArtifactValue, nodes=nodes)
    if value is None:
        if covered:
            raise SaidDiffers(manifest, f"{len(covered)} statements are stored, and the log has none")
        return
    if value.count != len(covered):
        raise SaidDiffers(manifest, f"the log has {value.count} statements, {len(covered)} are stored")
    if snapshot.statements_value(covered) != value:
        raise SaidDiffers(manifest, "as many are stored as the log has, and one of them is another or of another kind")


def completeness_proof(
    tx: catalog.Transaction,
    newest: Snapshot,
    manifest: Digest,
    stored: tuple[StoredStatement, ...],
    *,
    trust: TrustPolicy,
) -> str | None:
    """The text of `evidence/complete.tlog-proof`: which statements are all that was said up to the newest checkpoint, and when.

    `stored` are those of `statements_under`; `trust` says who keeps the log. None where the log says nothing of this manifest.
    """
    covered = covered_by(newest, stored)
    if not covered:
        return None
    tree = SqlSnapshot(tx)
    key = snapshot.artifact_key(manifest)
    tree.read_path(key)
    path = prefix_tree.path_to(key, tree.get_node)
    store = SqlLogStore(tx)
    store.read_frontier(newest.size + 1)
    return completeness.render_list(
        note.Proof(index=newest.size, hashes=newest.hashes, checkpoint_text=newest.checkpoint),
        newest.leaf,
        path,
        tuple((statement.digest, statement.logged_kind) for statement in covered),
        entries=tuple(_entry_proof(store, newest, statement) for statement in covered),
        earlier=_earlier_checkpoints(tx, store, newest, covered, trust),
    )


def _entry_proof(store: SqlLogStore, newest: Snapshot, statement: StoredStatement) -> completeness.EntryProof:
    """Where a statement stands in the log.

    Raises:
        SnapshotMalformed: what stands there is not an event.
    """
    assert statement.log_index is not None, "a statement that the checkpoint covers"
    leaf = read_leaf(store.get_leaf(statement.log_index))
    if not isinstance(leaf, Event):
        raise SnapshotMalformed(f"entry {statement.log_index} is not an event")
    return completeness.EntryProof(
        index=statement.log_index, leaf=leaf, hashes=_hashes_of(store, newest, statement.log_index)
    )


def _hashes_of(store: SqlLogStore, newest: Snapshot, index: int) -> tuple[str, ...]:
    """The hashes beside the way from an entry to the root under the newest checkpoint."""
    store.read_path(index, newest.size + 1)
    return tuple(node.hex() for node in merkle.inclusion_proof(index, newest.size + 1, store.get_node))


def _earlier_checkpoints(
    tx: catalog.Transaction,
    store: SqlLogStore,
    newest: Snapshot,
    statements: tuple[StoredStatement, ...],
    trust: TrustPolicy,
) -> tuple[completeness.EarlierCheckpoint, ...]:
    """The first checkpoint over each statement, where somebody else than the statement's signer keeps the log.

    Only then is its date more than the signer's own word, and most registries have one person for both.
    """
    keepers = {key.person for key in trust.keys if key.role == "log"}
    texts = {}
    for statement in statements:
        assert statement.log_index is not None, "a statement that the checkpoint covers"
        if keepers <= {trust.person_of(statement.key_id)}:
            continue
        text = catalog.first_checkpoint_over(tx, statement.log_index)
        if text is not None:
            texts[note.read_unverified(text)[1]] = text
    earlier = (_earlier(store, newest, size, text) for size, text in sorted(texts.items()) if size <= newest.size)
    return tuple(checkpoint for checkpoint in earlier if checkpoint is not None)


def _earlier(store: SqlLogStore, newest: Snapshot, size: int, text: str) -> completeness.EarlierCheckpoint | None:
    """A checkpoint with the snapshot under it; None for one of the first release, which had no snapshots."""
    leaf = read_leaf(store.get_leaf(size - 1))
    if not isinstance(leaf, LogSnapshot):
        return None
    consistency = merkle.consistency_proof(size, newest.size + 1, store.get_node)
    return completeness.EarlierCheckpoint(
        text=text,
        leaf=leaf,
        hashes=_hashes_of(store, newest, size - 1),
        consistency=tuple(node.hex() for node in consistency),
    )


def covered_by(newest: Snapshot, stored: tuple[_Said, ...]) -> tuple[_Said, ...]:
    """The statements that are not pending."""
    return tuple(
        statement for statement in stored if statement.log_index is not None and statement.log_index < newest.size
    )


# --- versions ---


def require_logged(
    tx: catalog.Transaction, newest: Snapshot, version: Version, *, nodes: TreeNodes | None = None
) -> None:
    """Raise unless the log gives a version its name and number; one whose entry is behind the newest checkpoint is pending.

    Raises:
        VersionsDiffer: it was renumbered, exchanged, or no entry registers it.
    """
    key = snapshot.version_key(version.name, version.number)
    value = proven(tx, newest, key, snapshot.VersionValue, nodes=nodes)
    if value is None:
        _require_pending(tx, newest, version)
    elif (value.manifest, value.entry) != (version.manifest_digest, version.log_index):
        raise VersionsDiffer(
            version.name,
            f"entry {value.entry} registers {value.manifest} as {version.label}, the catalogue has another",
        )


def _require_pending(tx: catalog.Transaction, newest: Snapshot, version: Version) -> None:
    """Raise unless an entry behind the newest checkpoint registers the artifact of a version that the snapshot does not have."""
    unregistered = VersionsDiffer(version.name, f"{version.label} is in the catalogue, and no entry registers it")
    if version.log_index <= newest.size:
        raise unregistered
    try:
        leaf = read_leaf(SqlLogStore(tx).get_leaf(version.log_index))
    except merkle.NotInLog as error:
        raise unregistered from error
    if not isinstance(leaf, Event) or (leaf.kind, leaf.subject) != ("registration", version.manifest_digest):
        raise unregistered


def is_logged(tx: catalog.Transaction, newest: Snapshot, name: str, number: int) -> bool:
    """Whether the snapshot has a version of that name and number."""
    return proven(tx, newest, snapshot.version_key(name, number), snapshot.VersionValue) is not None


def newest_number(
    tx: catalog.Transaction, newest: Snapshot, name: str, *, nodes: TreeNodes | None = None
) -> int | None:
    """How many versions a name has under the snapshot; None if none is registered."""
    value = proven(tx, newest, snapshot.name_key(name), snapshot.NameValue, nodes=nodes)
    return None if value is None else value.versions


def alias_target(
    tx: catalog.Transaction, newest: Snapshot, name: str, alias: str, *, nodes: TreeNodes | None = None
) -> snapshot.AliasValue | None:
    """Where an alias points under the snapshot; None if it never pointed anywhere or was taken away."""
    value = proven(tx, newest, snapshot.alias_key(name, alias), snapshot.AliasValue, nodes=nodes)
    return None if value is None or value.manifest is None else value
