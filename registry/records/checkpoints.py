"""The signed state of the log: checkpoints made by the holder of the log key, and proofs from them.

Until a checkpoint covers an entry the entry is `pending`. Before signing, each new entry is checked: its statement is there, is the
one that the leaf names, was not logged before, and is signed by a key whose role may say it; a record says what people answered;
its time is neither before the last one nor ahead of our clock. Then the snapshot follows them: the last leaf under every checkpoint
says what all entries say in the end. Publishing is idempotent and repairs what a kill left over.

One entry that may not be signed over stops all behind it: a signature over the tree would prove it to everybody, for ever.
`pending_problems` names each of them, and `use_cases/reject_entries.py` takes them out.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from pydantic import ValidationError

from peft_registry.registry.compliance.carried_values import of_other_rules
from peft_registry.registry.compliance.first_record import Elsewhere
from peft_registry.registry.compliance.inherited_values import RecordedBefore
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import LogDamaged, SqlLogStore, append_event
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.homes.home import Registry, newest_checkpoints
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.intake.json import MalformedJson
from peft_registry.registry.records.entries import misplaced, read_statement, require_signed, statement_of_entry
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.recorded_elsewhere import Said, bases_in, makings_in
from peft_registry.registry.records.snapshots import (
    Snapshot,
    SnapshotMalformed,
    covered_by,
    logged_leaf,
    newest_snapshot,
    proven,
    read_leaf,
    snapshot_under,
)
from peft_registry.registry.signing.keys import PublicKey, Signer
from peft_registry.registry.signing.trust import key_status, public_keys
from peft_registry.registry.transparency import log, merkle, note, prefix_tree, snapshot
from peft_registry.registry.transparency.epochs import EpochNotOpened, StatedEpoch, begins, first_leaf
from peft_registry.registry.transparency.log import LogForked
from peft_registry.registry.transparency.projection import EntryRejected
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked, NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import CLOCK_TOLERANCE, Event, LogEpoch, LogSnapshot
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationRecord, modification_of
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import (
    MODIFICATION_V1,
    AliasPredicate,
    RegistrationPredicate,
    Statement,
    StoredStatement,
)
from peft_registry.schemas.values import timestamp
from peft_registry.schemas.version import Version


class PendingRejected(EntryRejected):
    reference = "pending-entry-rejected"
    what = "entry {index} of the log may not be signed over"
    fix = (
        "run `registry log sign` where the log key is: it names every such entry, and `registry log reject` takes one out; "
        "until then what was registered is pending"
    )


@dataclass(frozen=True, slots=True)
class PendingProblem:
    """An entry behind the newest checkpoint that may not be signed over, and why; `kind` None where it cannot be read."""

    index: int
    kind: str | None
    key_id: str | None
    error: KnownError


class NoCheckpoint(NotFound):
    reference = "no-checkpoint"
    what = "the log has no checkpoint"
    why = "nothing was registered, or whoever holds the log key has not signed yet"
    fix = "register something, or have `registry log sign` run where the log key is"


_LOOKED_AT = 64  # entries, from the newest down, of which one should say its time


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
        return _remember_signed(registry)
    if _is_published(registry):
        return _remember(registry)
    with registry.database.write() as tx:
        _follow_new_entries(registry, tx, newest_snapshot(registry, tx))
        _sign(registry, key, tx)
    return _remember(registry)


def open_epoch(registry: Registry, tx: catalog.Transaction, stated: StatedEpoch) -> None:
    """Begin an epoch that the registry's trust file states: its first leaf, and the first checkpoint of its origin.

    The log key is here. Once the transaction has ended, `publish_checkpoint` keeps the checkpoint outside the database.

    Raises:
        EpochNotOpened: the log does not hold exactly the entries that were kept.
        EntryRejected, and what a statement's own check raises: an entry behind the checkpoint of the backup may not be signed over.
        LogForked, LogTruncated, PathRejected: the log is not that of the checkpoint that the backup had.
    """
    key = registry.log_key
    assert key is not None, "whoever opens an epoch holds the log key"
    store = SqlLogStore(tx)
    size, root = store.size(), log.current_root(store)
    epoch = stated.epoch
    if (size, root.hex()) != (epoch.kept_size, epoch.kept_root):
        raise EpochNotOpened(
            epoch.number, f"{epoch.kept_size} entries were to be kept, and the log holds {size}, or others"
        )
    before = restored_snapshot(registry, tx)
    newest_time = read_leaf(store.get_leaf(size - 1)).at if size else ""
    append_event(tx, first_leaf(stated, at=max(newest_time, registry.clock())).to_canonical())
    _follow_new_entries(registry, tx, before)
    _sign(registry, key, tx)


def restored_snapshot(registry: Registry, tx: catalog.Transaction) -> Snapshot | None:
    """The snapshot under the newest checkpoint in a database that was restored, of whatever epoch; None where it has none.

    Raises:
        LogForked, LogTruncated: the log is not that of the checkpoint.
        MalformedNote, WrongOrigin, EpochUnknown, BadSignature, UnknownKey: the checkpoint is not ours.
    """
    text = catalog.latest_checkpoint(tx)
    if text is None:
        return None
    epochs = registry.epochs
    origin = epochs.origins[epochs.number_of(text)]
    checkpoint = note.verify_checkpoint(text, origin=origin, keys=registry.log_keys)
    return snapshot_under(SqlLogStore(tx), checkpoint, text)


def _sign(registry: Registry, key: Signer, tx: catalog.Transaction) -> None:
    """Sign a checkpoint over all entries, and put it into the database."""
    store = SqlLogStore(tx)
    size = store.size()
    root = log.current_root(store)
    _require_first(registry, size, root)
    text = note.sign_checkpoint(key, origin=registry.origin, size=size, root=root)
    catalog.put_checkpoint(tx, size=size, text=text)


def registration_proof(registry: Registry, version: Version) -> str | None:
    """The `.tlog-proof` text of a version's registration, or None while it is pending. Its `extra` is the leaf itself."""
    with registry.database.read() as tx:
        checkpoint = registry.recorded_checkpoint(tx)
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
        latest = registry.recorded_checkpoint(tx)
    if latest is None:
        raise NoCheckpoint
    return latest


def covered_size(registry: Registry) -> int:
    """How many entries a signed checkpoint covers, wherever the largest one survives."""
    with registry.database.read() as tx:
        texts = newest_checkpoints(registry, tx)
    return max((note.read_unverified(text)[1] for text in texts), default=0)


def pending_elsewhere(registry: Registry) -> int:
    """How many entries wait for the holder of the log key; 0 where that key is here."""
    if registry.has_log_key:
        return 0
    with registry.database.read() as tx:
        size = SqlLogStore(tx).size()
    return max(0, size - covered_size(registry))


def newest_entry_time(tx: catalog.Transaction) -> str | None:
    """The time of the newest entry of the log that can be read, RFC 3339; None where there is none.

    Behind the newest checkpoint somebody may have put bytes that are no entry, as many as they like: of those `_LOOKED_AT` are
    read, and then the last entry that the checkpoint covers.

    Raises:
        LogDamaged: below the newest entry one is missing.
    """
    store = SqlLogStore(tx)
    size = store.size()
    if size == 0:
        return None
    newest = _time_of(store.get_leaf(size - 1))
    if newest is not None:
        return newest
    expected = size - 1
    for index, leaf in store.leaves_from(max(0, size - _LOOKED_AT)):
        if index != expected:
            break
        newest = _time_of(leaf)
        if newest is not None:
            return newest
        expected -= 1
    if expected >= max(0, size - _LOOKED_AT):
        raise LogDamaged(0, expected)
    return _newest_covered_time(tx, store)


def _newest_covered_time(tx: catalog.Transaction, store: SqlLogStore) -> str | None:
    text = catalog.latest_checkpoint(tx)
    covered = 0 if text is None else min(note.read_unverified(text)[1], store.size())
    return None if covered == 0 else _time_of(store.get_leaf(covered - 1))


def _time_of(leaf: bytes) -> str | None:
    """When an entry was made; None for bytes that are none: the holder of the log key takes them out."""
    try:
        return read_leaf(leaf).at
    except (MalformedJson, SnapshotMalformed):
        return None


def log_ahead_of_clock(registry: Registry) -> str | None:
    """The time of the newest entry, where this machine's clock is behind it by more than those of several machines may differ.

    The clock was set back, or it ran ahead when that entry was made; None where neither is the case.
    """
    allowed = timestamp(datetime.fromisoformat(registry.clock()) + CLOCK_TOLERANCE)
    try:
        with registry.database.read() as tx:
            newest = newest_entry_time(tx)
    except (IntegrityBroken, NotFound):  # a log with gaps, opened to be looked at: `registry log check` names them
        return None
    return newest if newest is not None and newest > allowed else None


def pending_problems(registry: Registry, tx: catalog.Transaction) -> tuple[PendingProblem, ...]:
    """Every entry behind the newest snapshot that may not be signed over, by number. Nothing is written.

    Raises:
        LogForked, LogTruncated, PathRejected: what is covered is not what was signed.
    """
    return problems_behind(registry, tx, newest_snapshot(registry, tx))


def problems_behind(registry: Registry, tx: catalog.Transaction, before: Snapshot | None) -> tuple[PendingProblem, ...]:
    """As `pending_problems`, behind a snapshot; None for all entries."""
    store = SqlLogStore(tx)
    changes = _Changes(registry, tx, before)
    problems = []
    for index in range(_first_new(before), store.size()):
        try:
            changes.follow(index)
        except (IntegrityBroken, NotChecked) as error:
            kind, key_id = _named(store, index)
            problems.append(PendingProblem(index, kind, key_id, error))
    return tuple(problems)


def _named(store: SqlLogStore, index: int) -> tuple[str | None, str | None]:
    """Kind and key of an entry, as far as it can be read."""
    try:
        leaf = read_leaf(store.get_leaf(index))
    except IntegrityBroken:
        return None, None
    if isinstance(leaf, Event):
        return leaf.says or leaf.kind, leaf.key
    return ("snapshot" if isinstance(leaf, LogSnapshot) else "epoch"), None


def _first_new(before: Snapshot | None) -> int:
    return 0 if before is None else before.size + 1


def _remember_signed(registry: Registry) -> int:
    """Keep the newest checkpoint that the holder of the log key made, here too; returns how many entries it covers.

    Raises:
        LogForked, LogTruncated: the log does not continue it.
        MalformedNote, WrongOrigin, BadSignature, UnknownKey: no log key signed it.
    """
    with registry.database.read() as tx:
        latest = registry.recorded_checkpoint(tx)
        if latest is None:
            return 0
        try:
            checkpoint = note.verify_checkpoint(latest, origin=registry.origin, keys=registry.log_keys)
        except NotChecked:  # no trust file says whose checkpoints count: nothing is remembered by it
            return note.read_unverified(latest)[1]
        log.check_prefix(SqlLogStore(tx), size=checkpoint.size, root=checkpoint.root)
    return _remember(registry)


def _is_published(registry: Registry) -> bool:
    """Whether the newest checkpoint covers every entry, by a log key that still counts.

    The last entry is then a snapshot, where an earlier release did not write it. Over what a log key signed that was revoked since,
    its successor signs again: the next proof is by a key that nobody has to look up a date for.
    """
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        size = store.size()
        latest = registry.recorded_checkpoint(tx)
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
        latest = registry.recorded_checkpoint(tx)
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
        origin, signed_size, signed_root = note.read_unverified(text)
        if (origin, signed_size) == (registry.origin, size) and signed_root != root:
            raise LogForked("another root was signed for as many entries", size=size, signed=signed_root, found=root)


# --- the snapshot ---


def _follow_new_entries(registry: Registry, tx: catalog.Transaction, before: Snapshot | None) -> None:
    """Check every entry behind the last snapshot, follow it in the tree, and append the snapshot that says so."""
    size = SqlLogStore(tx).size()
    changes = _Changes(registry, tx, before)
    for index in range(_first_new(before), size):
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
    for manifest in sorted(changes.standing_now, key=str):
        _mirror_again(tx, manifest)


def _mirror_again(tx: catalog.Transaction, manifest: Digest) -> None:
    """Have the versions of an artifact copied once more: what was pending when they were copied stands now."""
    for version in catalog.version_by_digest(tx, manifest):
        if not catalog.is_awaited(tx, version.label):
            catalog.enqueue(tx, kind="version", subject=manifest, version_label=version.label, payload={})


_HELD_TOGETHER = ("answers", "bias-evaluation", "modification", "provenance", "registration")
"""Kinds of statements of which a record is held against the others."""


class _Changes:
    """What new entries change in the tree, entry by entry."""

    def __init__(self, registry: Registry, tx: catalog.Transaction, before: Snapshot | None) -> None:
        self.newest_time = "" if before is None else before.leaf.at
        # artifacts of which an entry holds a record that supersedes another, or an evaluation: these were pending until now
        self.standing_now: set[Digest] = set()
        self._registry = registry
        self._tx = tx
        self._store = SqlLogStore(tx)
        self._before = before
        allowed = timestamp(datetime.fromisoformat(registry.clock()) + CLOCK_TOLERANCE)
        # where a clock was set back, the time that the log key signed last is that of the entries until the clock passes it
        self._latest = max(allowed, self.newest_time)
        self._changed: dict[bytes, Document] = {}
        self._said: dict[Digest, list[snapshot.Said]] = {}
        self._covered: dict[Digest, tuple[StoredStatement, ...]] = {}  # by artifact
        self._answered: dict[Digest, RecordChecks] = {}  # likewise
        self._new: dict[Digest, list[Said]] = {}  # by artifact, those of the entries that were followed

    @cached_property
    def _trust(self) -> TrustPolicy:
        """Whom the home trusts now; it may have changed since the home was opened."""
        return self._registry.read_trust(at=self._registry.clock())

    @cached_property
    def _keys(self) -> tuple[PublicKey, ...]:
        return public_keys(self._trust)

    def follow(self, index: int) -> None:
        """Check one entry and note what it changes.

        Raises:
            EntryRejected, IntegrityBroken, NotChecked: it may not be signed over.
        """
        data = self._store.get_leaf(index)
        self._require_in_tree(index, data)
        leaf = read_leaf(data)
        if isinstance(leaf, LogSnapshot):
            # a log of an earlier release has none; behind the last checkpoint the holder of the log key alone writes them
            raise PendingRejected(index, "it is a snapshot that no checkpoint covers")
        if isinstance(leaf, LogEpoch):
            if leaf.size != index or not begins(leaf, self._registry.epochs):
                raise PendingRejected(index, "it begins an epoch that no root stated")
            self.newest_time = max(leaf.at, self.newest_time)
            return
        try:
            said = statement_of_entry(self._tx, index, leaf)
        except EntryRejected as error:
            raise PendingRejected(index, error.reason) from error
        if self._before is not None:  # the entries of an earlier release were accepted when they were appended
            if leaf.at < self.newest_time:
                raise PendingRejected(index, f"it is dated {leaf.at}, the entry before it {self.newest_time}")
            if leaf.at > self._latest:
                raise PendingRejected(index, f"it is dated {leaf.at}, later than this machine's clock allows")
            require_signed(said, index, leaf, trust=self._trust, keys=self._keys)
            self._require_not_revoked(index, leaf)
            self._require_projected(index, leaf, said.statement)
            self._require_of_a_base(index, leaf)
            self._require_answered(index, leaf, said.statement)
        self.newest_time = max(leaf.at, self.newest_time)
        self._follow_statement(leaf)
        self._new.setdefault(leaf.subject, []).append((leaf.statement, said.statement))
        is_later_record = said.statement.kind == "modification" and said.statement.predicate.get("supersedes")
        if is_later_record or said.statement.kind == "bias-evaluation":
            self.standing_now.add(leaf.subject)
        if leaf.kind == "registration":
            self._follow_registration(index, leaf, said.statement)
        elif leaf.kind == "alias":
            self._follow_move(index, leaf, said.statement)

    def _require_not_revoked(self, index: int, leaf: Event) -> None:
        """Raise where the key of an entry is revoked by now, for whatever reason.

        Only the entry itself says that it was made before, and whoever has the key and can write the database dates it as they like
        behind the last entry that is covered.
        """
        revocation = self._trust.revocation(leaf.key)
        if revocation is not None:
            reason = (
                f"its key was revoked at {revocation.revoked_at} ({revocation.reason}) before a checkpoint covered it"
            )
            raise PendingRejected(index, reason)

    def _require_of_a_base(self, index: int, leaf: Event) -> None:
        """Raise where an entry calls a base what its manifest says is none.

        Raises:
            PendingRejected: it does.
            ObjectMissing, StoreUnavailable, MalformedJson, ManifestMalformed: the store does not have that manifest.
        """
        if leaf.kind != "base":
            return
        reason = misplaced(leaf.kind, read_manifest(self._registry.store.read_bytes(leaf.subject)))
        if reason:
            raise PendingRejected(index, reason)

    def _require_in_tree(self, index: int, data: bytes) -> None:
        """Raise unless the stored hashes are those of the bytes that are checked: the signature is over the hashes."""
        for level, place, node in merkle.nodes_for_append(index, merkle.leaf_hash(data), self._store.get_node):
            if self._store.get_node(level, place) != node:
                raise PendingRejected(index, "its stored hash is not that of its bytes")

    def _require_projected(self, index: int, leaf: Event, statement: Statement) -> None:
        """Raise unless a registration or a move is one that can follow, and the catalogue has it as this entry says."""
        if leaf.kind == "registration":
            name = _predicate(index, RegistrationPredicate, statement).name
            number = self._next_number(name)
            version = catalog.idempotent_version(self._tx, name=name, manifest_digest=leaf.subject)
            if version is None or (version.number, version.log_index) != (number, index):
                raise PendingRejected(index, f"it registers {name}:{number}, and the catalogue has it otherwise")
        elif leaf.kind == "alias":
            move = _predicate(index, AliasPredicate, statement)
            version = catalog.idempotent_version(self._tx, name=move.name, manifest_digest=leaf.subject)
            value = (
                None
                if version is None
                else self._current(snapshot.version_key(move.name, version.number), snapshot.VersionValue)
            )
            if value is None or value.manifest != leaf.subject:
                raise PendingRejected(index, f"no version of {move.name} has the manifest {leaf.subject}")

    def _require_answered(self, index: int, leaf: Event, statement: Statement) -> None:
        """Raise where a record says something else than people answered, or answers are not those of the key that signed them.

        Once it is covered, its artifact would be broken for ever.
        """
        if statement.kind not in _HELD_TOGETHER:
            return
        # those of an earlier release were covered when the home was upgraded
        if statement.predicate_type == MODIFICATION_V1:
            raise PendingRejected(
                index, "its record is in the first form, of which less is asked; the second is written now"
            )
        answered = self._answered.get(leaf.subject)
        if answered is None:
            answered = self._answered_before(leaf.subject)
            self._answered[leaf.subject] = answered
        try:
            if statement.kind == "modification":
                self._require_these_rules(index, statement)
            contradictions = answered.follow(leaf.statement, statement, self._trust.key(leaf.key), at=leaf.at)
        except ValidationError as error:
            raise PendingRejected(index, f"its statement is malformed: {first_problem(error)}") from error
        if contradictions:
            raise PendingRejected(index, "; ".join(contradictions))
        if answered.takes_over(leaf.subject, leaf.statement):
            self._require_inherited(index, leaf, answered)
        if statement.kind == "registration":
            self._require_own_record(index, leaf, answered)

    @staticmethod
    def _require_these_rules(index: int, statement: Statement) -> None:
        """Raise where a record is written by rules that this tool does not know, by which nothing derived in it is held.

        Raises:
            PendingRejected: it is.
            ValidationError: it is not a record.
        """
        record = modification_of(statement.predicate_type, statement.predicate)
        reasons = of_other_rules(record) if isinstance(record, ModificationRecord) else ()
        if reasons:
            raise PendingRejected(index, "; ".join(reasons))

    def _require_own_record(self, index: int, leaf: Event, answered: RecordChecks) -> None:
        """Raise where a registration brings a record that is not of its manifest, or of what is signed beside it.

        Raises:
            PendingRejected: it does.
            ObjectMissing, ObjectCorrupt: the store has no manifest that would tell.
        """
        manifest = read_manifest(self._registry.store.read_bytes(leaf.subject))
        if manifest.kind != "base" and not answered.has_first_record(leaf.subject, leaf.statement):
            raise PendingRejected(index, "it registers a result and brings no modification record")
        lines = answered.first_records(leaf.subject, manifest, registration=leaf.statement)
        wrong = [text for _, text in lines]
        if wrong:
            raise PendingRejected(index, "; ".join(wrong))

    def _require_inherited(self, index: int, leaf: Event, answered: RecordChecks) -> None:
        """Raise where a record says of what its artifact was made from what is not recorded there.

        Raises:
            PendingRejected: it says so.
            ObjectMissing, ObjectCorrupt: the store has no manifest that would tell.
        """
        manifest = read_manifest(self._registry.store.read_bytes(leaf.subject))
        for digest, check in answered.inherited(leaf.subject, manifest, self._record_in):
            if digest == leaf.statement and (check.wrong or check.unseen):
                raise PendingRejected(index, "; ".join((*check.wrong, *check.unseen)))

    def _manifest_in(self, digest: Digest) -> Manifest | None:
        """A manifest from the store; None where it is not there."""
        try:
            return read_manifest(self._registry.store.read_bytes(digest))
        except KnownError:  # whatever is wrong with it is said of its own artifact
            return None

    def _record_in(self, digest: Digest) -> RecordedBefore | None:
        """The record, of a modification or a base, that a logged statement holds; None where none was logged, or it holds none."""
        stored = catalog.statement(self._tx, digest)
        if stored is None or stored.log_index is None or self._before is None:
            return None
        leaf = logged_leaf(self._tx, self._before, stored.log_index)
        if not isinstance(leaf, Event) or leaf.statement != digest:
            return None
        said = read_statement(stored.envelope, stored.log_index, leaf).statement
        try:
            if said.kind == "base":
                key = self._trust.key(leaf.key)
                base = BaseRecord.from_json(said.predicate)
                return RecordedBefore(said.subject_digest, base, "" if key is None else key.role)
            if said.kind != "modification":
                return None
            return RecordedBefore(said.subject_digest, modification_of(said.predicate_type, said.predicate))
        except ValidationError:  # it says nothing that could be taken over
            return None

    def _answered_before(self, manifest: Digest) -> RecordChecks:
        """Answers and records about an artifact up to the last snapshot, as that proves; those alone whose signer may make them."""
        answered = RecordChecks(
            Elsewhere(
                manifest=self._manifest_in,
                bases=lambda digest: bases_in(self._said_about(digest)),
                made=lambda digest: makings_in(self._said_about(digest)),
            )
        )
        for stored in self._covered_about(manifest):
            if self._before is None or stored.kind not in _HELD_TOGETHER:
                continue
            index = stored.log_index or 0
            leaf = logged_leaf(self._tx, self._before, index)
            if not isinstance(leaf, Event):
                raise EntryRejected(index, "the database records a statement for it, and it is not an event")
            said = read_statement(stored.envelope, index, leaf)
            try:
                require_signed(said, index, leaf, trust=self._trust, keys=self._keys)
                answered.follow(stored.digest, said.statement, self._trust.key(leaf.key), at=leaf.at)
            except (KnownError, ValidationError):
                continue  # covered already: `registry verify` says what is wrong with it, and it answers nothing
        return answered

    def _said_about(self, manifest: Digest) -> list[Said]:
        """Everything that was said of an artifact, up to the entry that is followed."""
        covered = [(stored.digest, stored.statement) for stored in self._covered_about(manifest)]
        return [*covered, *self._new.get(manifest, ())]

    def values(self) -> dict[bytes, bytes]:
        """The bytes of every key that changed."""
        for manifest, statements in self._said.items():
            self._changed[snapshot.artifact_key(manifest)] = snapshot.statements_value(statements)
        return snapshot.values_of(self._changed.items())

    def _follow_statement(self, leaf: Event) -> None:
        said = self._said.get(leaf.subject)
        if said is None:
            said = self._said_before(leaf.subject)
            self._said[leaf.subject] = said
        said.append((leaf.statement, leaf.kind))

    def _said_before(self, manifest: Digest) -> list[snapshot.Said]:
        """What was said about an artifact up to the last snapshot, as that proves."""
        return [(statement.digest, statement.logged_kind) for statement in self._covered_about(manifest)]

    def _covered_about(self, manifest: Digest) -> tuple[StoredStatement, ...]:
        """The statements about an artifact up to the last snapshot: all of them, and no others."""
        known = self._covered.get(manifest)
        if known is None:
            known = self._read_covered(manifest)
            self._covered[manifest] = known
        return known

    def _read_covered(self, manifest: Digest) -> tuple[StoredStatement, ...]:
        if self._before is None:
            return ()
        value = proven(self._tx, self._before, snapshot.artifact_key(manifest), snapshot.ArtifactValue)
        if value is None:
            return ()
        stored = covered_by(self._before, catalog.statements_of(self._tx, subject=manifest))
        said = [(statement.digest, statement.logged_kind) for statement in stored]
        if snapshot.statements_value(said) != value:
            raise EntryRejected(self._before.size, f"what the database holds about {manifest} is not what was said")
        return stored

    def _follow_registration(self, index: int, leaf: Event, statement: Statement) -> None:
        name = _predicate(index, RegistrationPredicate, statement).name
        number = self._next_number(name)
        self._changed[snapshot.name_key(name)] = snapshot.NameValue(versions=number)
        self._changed[snapshot.version_key(name, number)] = snapshot.VersionValue(manifest=leaf.subject, entry=index)

    def _follow_move(self, index: int, leaf: Event, statement: Statement) -> None:
        move = _predicate(index, AliasPredicate, statement)
        target = None if move.removed else leaf.subject
        self._changed[snapshot.alias_key(move.name, move.alias)] = snapshot.AliasValue(manifest=target, entry=index)

    def _next_number(self, name: str) -> int:
        versions = self._current(snapshot.name_key(name), snapshot.NameValue)
        return 1 if versions is None else versions.versions + 1

    def _current(self, key: bytes, form: type[snapshot.Value]) -> snapshot.Value | None:
        """What a key maps to now: after the entries that were followed, else as the last snapshot proves."""
        changed = self._changed.get(key)
        if isinstance(changed, form):
            return changed
        return None if self._before is None else proven(self._tx, self._before, key, form)


def _predicate(index: int, form: type[snapshot.Value], statement: Statement) -> snapshot.Value:
    try:
        return form.from_json(statement.predicate)
    except ValidationError as error:
        raise PendingRejected(index, f"its statement is malformed: {first_problem(error)}") from error
