"""The signed state of the log: checkpoints made by the holder of the log key, and proofs from them.

Until a checkpoint covers an entry the entry is `pending`. Before signing, each new entry is checked: its statement is there, is the
one that the leaf names, was not logged before, and is signed by a key whose role may say it; its time is neither before the last
one nor ahead of our clock. Then the snapshot follows them: the last leaf under every checkpoint says what all entries say in the
end. Publishing is idempotent and repairs what a kill left over.
"""

from datetime import datetime, timedelta
from functools import cached_property

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore, append_event
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import require_sayable, statement_of_entry
from peft_registry.registry.records.snapshots import Snapshot, newest_snapshot, proven, read_leaf
from peft_registry.registry.signing.trust import key_status
from peft_registry.registry.transparency import log, note, prefix_tree, snapshot
from peft_registry.registry.transparency.log import LogForked
from peft_registry.registry.transparency.projection import EntryRejected
from peft_registry.schemas.document import Document
from peft_registry.schemas.errors import NotChecked, NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogEvent, LogSnapshot
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import AliasPredicate, RegistrationPredicate, Statement
from peft_registry.schemas.values import timestamp
from peft_registry.schemas.version import Version


class NoCheckpoint(NotFound):
    reference = "no-checkpoint"
    what = "the log has no checkpoint"
    why = "nothing was registered, or whoever holds the log key has not signed yet"
    fix = "register something, or have `registry log checkpoint` run where the log key is"


CLOCK_TOLERANCE = timedelta(minutes=5)  # between the machines that write one log


def publish_checkpoint(registry: Registry) -> int:
    """Sign the log's present state and remember it outside the database; returns the size it covers.

    Without the log key nothing happens: whoever holds it publishes later.

    Raises:
        EntryRejected, and what a statement's own check raises: a new entry may not be signed over.
        PathRejected: the stored snapshot is not the one that was signed.
        LogForked, LogTruncated: the log does not continue its checkpoint.
    """
    key = registry.log_key
    if key is None:
        return _covered(registry)
    if _is_published(registry):
        return _remember(registry)
    with registry.database.write() as tx:
        _follow_new_entries(registry, tx)
        store = SqlLogStore(tx)
        size = store.size()
        root = log.current_root(store)
        _require_first(registry, size, root)
        text = note.sign_checkpoint(key, origin=registry.origin, size=size, root=root)
        catalog.put_checkpoint(tx, size=size, text=text)
    return _remember(registry)


def registration_proof(registry: Registry, version: Version) -> str | None:
    """The `.tlog-proof` text of a version's registration, or None while it is pending. Its `extra` is the leaf itself."""
    with registry.database.read() as tx:
        checkpoint = catalog.latest_checkpoint(tx)
        if checkpoint is None or note.read_unverified(checkpoint)[1] <= version.log_index:
            return None
        store = SqlLogStore(tx)
        return log.prove(store, version.log_index, checkpoint, extra=store.get_leaf(version.log_index))


def newest_checkpoint(registry: Registry) -> str:
    """The text of the newest checkpoint.

    Raises:
        NoCheckpoint: none was made yet.
    """
    with registry.database.read() as tx:
        latest = catalog.latest_checkpoint(tx)
    if latest is None:
        raise NoCheckpoint
    return latest


def _covered(registry: Registry) -> int:
    """How many entries the newest checkpoint of the database covers."""
    with registry.database.read() as tx:
        latest = catalog.latest_checkpoint(tx)
    return note.read_unverified(latest)[1] if latest else 0


def _is_published(registry: Registry) -> bool:
    """Whether the newest checkpoint covers every entry, by a log key that still counts.

    The last entry is then a snapshot, where an earlier release did not write it. Over what a log key signed that was revoked since,
    its successor signs again: the next proof is by a key that nobody has to look up a date for.
    """
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        size = store.size()
        latest = catalog.latest_checkpoint(tx)
        covered = note.read_unverified(latest)[1] if latest else 0
        if size == 0 or latest is None:
            return covered == size
        is_snapshot = covered == size and isinstance(read_leaf(store.get_leaf(size - 1)), LogSnapshot)
    return is_snapshot and not _needs_successor(registry, latest)


def _needs_successor(registry: Registry, checkpoint: str) -> bool:
    """Whether a checkpoint was signed by a log key that is revoked by now, and the key here is one that is not."""
    key = registry.log_key
    try:
        trust = registry.trust
    except NotChecked:  # whoever signs says what is wrong with the trust file
        return False
    signer = note.verify_checkpoint(checkpoint, origin=registry.origin, keys=registry.log_keys).key_id
    if key is None or trust.revocation(signer) is None:
        return False
    status = key_status(
        trust, key.public.key_id, predicate_type=CHECKPOINT_TYPE, signed_at_proven=None, now=registry.clock()
    )
    return status.state == "ok"


def _remember(registry: Registry) -> int:
    """Keep the database's newest checkpoint outside it too; returns its size."""
    with registry.database.read() as tx:
        latest = catalog.latest_checkpoint(tx)
    if latest is None:
        return 0
    size = note.read_unverified(latest)[1]
    if registry.remembered_checkpoint() != latest:
        registry.remember_checkpoint(latest, size)
    return size


def _require_first(registry: Registry, size: int, root: bytes) -> None:
    """Raise if the log key signed another root for this many entries, wherever that checkpoint survives.

    Raises:
        LogForked: it did.
    """
    for _, text in registry.remembered_checkpoints():
        _, signed_size, signed_root = note.read_unverified(text)
        if signed_size == size and signed_root != root:
            raise LogForked("another root was signed for as many entries", size=size, signed=signed_root, found=root)


# --- the snapshot ---


def _follow_new_entries(registry: Registry, tx: catalog.Transaction) -> None:
    """Check every entry behind the last snapshot, follow it in the tree, and append the snapshot that says so."""
    before = newest_snapshot(registry, tx)
    size = SqlLogStore(tx).size()
    first = 0 if before is None else before.size + 1
    changes = _Changes(registry, tx, before)
    for index in range(first, size):
        changes.follow(index)
    values = changes.values()
    tree = SqlSnapshot(tx)
    signed_root = prefix_tree.EMPTY if before is None else before.root
    if before is None:
        tree.clear()  # nothing was signed over what may be there
    for key in values:
        tree.read_path(key)
    nodes = prefix_tree.changed_nodes(values.items(), tree.get_node, root=signed_root)
    tree.write(nodes, values)
    at = max(changes.newest_time, registry.clock())
    leaf = LogSnapshot(size=size, root=prefix_tree.root_hash(tree.get_node).hex(), at=at)
    append_event(tx, leaf.to_canonical())


class _Changes:
    """What new entries change in the tree, entry by entry."""

    def __init__(self, registry: Registry, tx: catalog.Transaction, before: Snapshot | None) -> None:
        self.newest_time = "" if before is None else before.leaf.at
        self._registry = registry
        self._tx = tx
        self._store = SqlLogStore(tx)
        self._before = before
        allowed = timestamp(datetime.fromisoformat(registry.clock()) + CLOCK_TOLERANCE)
        # where a clock was set back, the time that the log key signed last is that of the entries until the clock passes it
        self._latest = max(allowed, self.newest_time)
        self._changed: dict[bytes, Document] = {}
        self._said: dict[Digest, list[snapshot.Said]] = {}

    @cached_property
    def _trust(self) -> TrustPolicy:
        """Whom the home trusts now; it may have changed since the home was opened."""
        return self._registry.read_trust(at=self._registry.clock())

    def follow(self, index: int) -> None:
        """Check one entry and note what it changes.

        Raises:
            EntryRejected, IntegrityBroken: it may not be signed over.
        """
        leaf = read_leaf(self._store.get_leaf(index))
        if isinstance(leaf, LogSnapshot):
            # a log of an earlier release has none; behind the last checkpoint the holder of the log key alone writes them
            raise EntryRejected(index, "it is a snapshot that no checkpoint covers")
        statement = statement_of_entry(self._tx, index, leaf)
        if self._before is not None:  # the entries of an earlier release were accepted when they were appended
            if leaf.at < self.newest_time:
                raise EntryRejected(index, f"it is dated {leaf.at}, the entry before it {self.newest_time}")
            if leaf.at > self._latest:
                raise EntryRejected(index, f"it is dated {leaf.at}, later than this machine's clock allows")
            require_sayable(self._trust, self._tx, index, leaf)
        self.newest_time = max(leaf.at, self.newest_time)
        self._follow_statement(leaf)
        if leaf.kind == "registration":
            self._follow_registration(index, leaf, statement)
        elif leaf.kind == "alias":
            self._follow_move(index, leaf, statement)

    def values(self) -> dict[bytes, bytes]:
        """The bytes of every key that changed."""
        for manifest, statements in self._said.items():
            self._changed[snapshot.artifact_key(manifest)] = snapshot.statements_value(statements)
        return snapshot.values_of(self._changed.items())

    def _follow_statement(self, leaf: LogEvent) -> None:
        said = self._said.get(leaf.subject)
        if said is None:
            said = self._said_before(leaf.subject)
            self._said[leaf.subject] = said
        said.append((leaf.statement, leaf.kind))

    def _said_before(self, manifest: Digest) -> list[snapshot.Said]:
        """What was said about an artifact up to the last snapshot, as that proves."""
        if self._before is None:
            return []
        value = proven(self._tx, self._before, snapshot.artifact_key(manifest), snapshot.ArtifactValue)
        if value is None:
            return []
        said = [
            (statement.digest, f"{statement.kind}")
            for statement in catalog.statements_of(self._tx, subject=manifest)
            if statement.log_index is not None and statement.log_index < self._before.size
        ]
        if snapshot.statements_value(said) != value:
            raise EntryRejected(self._before.size, f"what the database holds about {manifest} is not what was said")
        return said

    def _follow_registration(self, index: int, leaf: LogEvent, statement: Statement) -> None:
        name = RegistrationPredicate.from_json(statement.predicate).name
        versions = self._current(snapshot.name_key(name), snapshot.NameValue)
        number = 1 if versions is None else versions.versions + 1
        self._changed[snapshot.name_key(name)] = snapshot.NameValue(versions=number)
        self._changed[snapshot.version_key(name, number)] = snapshot.VersionValue(manifest=leaf.subject, entry=index)

    def _follow_move(self, index: int, leaf: LogEvent, statement: Statement) -> None:
        move = AliasPredicate.from_json(statement.predicate)
        target = None if move.removed else leaf.subject
        self._changed[snapshot.alias_key(move.name, move.alias)] = snapshot.AliasValue(manifest=target, entry=index)

    def _current(self, key: bytes, form: type[snapshot.Value]) -> snapshot.Value | None:
        """What a key maps to now: after the entries that were followed, else as the last snapshot proves."""
        changed = self._changed.get(key)
        if isinstance(changed, form):
            return changed
        return None if self._before is None else proven(self._tx, self._before, key, form)
