"""The signed state of the log: checkpoints made by the holder of the log key, and proofs from them.

Until a checkpoint covers an entry the entry is `pending`. Before signing, each new entry is checked: its statement is there, is the
one that the leaf names, was not logged before, and is signed by a key whose role may say it; a record says what people answered;
its time is neither before the last one nor ahead of our clock. Then the snapshot follows them: the last leaf under every checkpoint
says what all entries say in the end. Publishing is idempotent and repairs what a kill left over.

One entry that may not be signed over stops all behind it: a signature over the tree would prove it to everybody, for ever.
`pending_problems` names each of them, and `reject_entries` of `use_cases/sign_log.py` takes them out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import LogDamaged, SqlLogStore, append_event
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.remembered_stops import StopMemoryUnreadable
from peft_registry.registry.intake.json import MalformedJson
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.remembered_stops import is_signed
from peft_registry.registry.records.snapshots import (
    Snapshot,
    SnapshotMalformed,
    newest_snapshot,
    read_leaf,
    snapshot_under,
)
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.signing import dsse
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.signing.trust import key_status
from peft_registry.registry.transparency import log, note, prefix_tree
from peft_registry.registry.transparency.epochs import EpochNotOpened, StatedEpoch, first_leaf
from peft_registry.registry.transparency.log import LogForked
from peft_registry.schemas.acts import GatePredicate
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked, NotFound, Unavailable
from peft_registry.schemas.log import CLOCK_TOLERANCE, Event, LogSnapshot
from peft_registry.schemas.policy import CHECKPOINT_TYPE
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import timestamp
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class PendingProblem:
    """An entry behind the newest checkpoint that may not be signed over, and why; `kind` None where it cannot be read."""

    index: int
    kind: str | None
    key_id: str | None
    error: KnownError


class NoCheckpoint(NotFound):
    what = "the log has no checkpoint"
    why = "nothing was registered, or whoever holds the log key has not signed yet"
    fix = "register something, or have `registry log sign` run where the log key is"


class LogNotSigned(Unavailable):
    what = "what was signed is in the log, and pending: the log could not be signed over it"
    why = "{reason}"
    fix = "free some space or wait for the database, then run `registry log sign`; whoever signs the log next signs over it too"

    reason: str


class CheckpointNotKept(Unavailable):
    what = "what was signed is in the log, and counts; the newest checkpoint could not be kept beside the database"
    why = "{reason}"
    fix = "free some space, then run `registry log checkpoint`, which keeps it"

    reason: str


_LOOKED_AT = 64  # entries, from the newest down, of which one should say its time


def publish_checkpoint(registry: Registry) -> int:
    """Sign the log's present state and remember it outside the database; returns the size it covers.

    A stop that this user remembers, and the database has lost, enters the log again before. Without the log key nothing more
    happens: whoever holds it publishes later.

    Raises:
        EntryRejected, and what a statement's own check raises: a new entry may not be signed over.
        PathRejected: the stored snapshot is not the one that was signed.
        LogForked, LogTruncated: the log does not continue its checkpoint.
        LogNotSigned, CheckpointNotKept: a disk is full, or a database is away; what was recorded before is in the log all the same.
    """
    key = registry.log_key
    try:
        _record_lost_stops(registry)
        if key is not None and not _is_published(registry):
            with registry.database.write() as tx:
                view = view_to_sign(registry, tx)
                _follow_new_entries(view)
                _sign(view, key)
    except Unavailable as error:  # the transaction before this has ended: nobody is told that nothing was recorded
        raise LogNotSigned(f"{error}") from error
    try:
        covered = _remember_signed(registry) if key is None else _remember(registry)
    except Unavailable as error:
        raise CheckpointNotKept(f"{error}") from error
    # read once more: what the new checkpoint covers need not be remembered any longer
    _lost_stops(registry)
    return covered


def _record_lost_stops(registry: Registry) -> None:
    """Let the stops that this user remembers, and the database has lost, enter the log again."""
    if not _lost_stops(registry):
        return
    with registry.database.write() as tx:
        for stop in View(registry, tx).lost_stops():
            at = max(registry.clock(), newest_entry_time(tx) or "")
            # nobody signs over an entry of a key that is gone
            if not is_signed(registry, stop, at=at) or registry.trust.revocation(stop.key_id) is not None:
                continue
            subject = stop.statement.subject_digest
            envelope = dsse.Envelope.parse(stop.envelope)
            record_statement(tx, subject, SignedStatement(stop.statement, envelope, stop.digest, stop.key_id), at=at)
            if stop.kind == "gate":
                policy = GatePredicate.from_json(stop.statement.predicate).policy
                if policy is not None:
                    catalog.keep_object(tx, digest=policy, subject=subject, role="policy")


def _lost_stops(registry: Registry) -> tuple[StoredStatement, ...]:
    """Those that the database has lost; what a checkpoint covers is remembered no more."""
    memory = registry.stops
    if memory is None:
        return ()
    try:
        if next(memory.envelopes(), None) is None:
            return ()
        with registry.database.read() as tx:
            return View(registry, tx).lost_stops()
    except StopMemoryUnreadable as error:
        # what was signed is recorded by now: whoever asks what is stopped is refused
        memory.say(f"warning: {error}")
        return ()


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
    view = restored_view(registry, tx)
    newest_time = read_leaf(store.get_leaf(size - 1)).at if size else ""
    append_event(tx, first_leaf(stated, at=max(newest_time, registry.clock())).to_canonical())
    _follow_new_entries(view)
    _sign(view, key)


def view_to_sign(registry: Registry, tx: catalog.Transaction) -> View:
    """A view under the newest checkpoint for whoever signs the next one, also over what a log key signed that is revoked by now.

    Raises:
        LogForked, LogTruncated, CheckpointsRemoved: the log is not that of the checkpoint.
        NotChecked: no trust file says whose checkpoints count.
    """
    return View.under(registry, tx, newest_snapshot(registry, tx))


def restored_view(registry: Registry, tx: catalog.Transaction) -> View:
    """A view under the newest checkpoint in a database that was restored, of whatever epoch; under none where it has none.

    Raises:
        LogForked, LogTruncated: the log is not that of the checkpoint.
        MalformedNote, WrongOrigin, EpochUnknown, BadSignature, UnknownKey: the checkpoint is not ours.
    """
    text = catalog.latest_checkpoint(tx)
    if text is None:
        return View.under(registry, tx, None)
    epochs = registry.epochs
    origin = epochs.origins[epochs.number_of(text)]
    checkpoint = note.verify_checkpoint(text, origin=origin, keys=registry.log_keys)
    return View.under(registry, tx, snapshot_under(SqlLogStore(tx), checkpoint, text))


def _sign(view: View, key: Signer) -> None:
    """Sign a checkpoint over all entries, and put it into the database."""
    store = SqlLogStore(view.tx)
    size = store.size()
    root = log.current_root(store)
    _require_first(view.registry, size, root)
    text = note.sign_checkpoint(key, origin=view.registry.origin, size=size, root=root)
    catalog.put_checkpoint(view.tx, size=size, text=text)


def registration_proof(registry: Registry, version: Version) -> str | None:
    """The `.tlog-proof` text of a version's registration, or None while it is pending. Its `extra` is the leaf itself."""
    return entry_proof(registry, version.log_index)


def entry_proof(registry: Registry, index: int) -> str | None:
    """The `.tlog-proof` text of an entry, or None while it is pending. Its `extra` is the leaf itself."""
    with view_of(registry) as view:
        checkpoint = view.once("recorded checkpoint", lambda: registry.recorded_checkpoint(view.tx))
        if checkpoint is None or note.read_unverified(checkpoint)[1] <= index:
            return None
        store = view.nodes.log
        return log.prove(store, index, checkpoint, extra=store.get_leaf(index))


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
        return registry.database.once_while_reading(tx, "covered", lambda: _covered(registry.newest_checkpoints(tx)))


def _covered(checkpoints: Iterable[str]) -> int:
    return max((note.read_unverified(text)[1] for text in checkpoints), default=0)


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


def pending_problems(view: View) -> tuple[PendingProblem, ...]:
    """Every entry behind the snapshot of a view that may not be signed over, by number; of all where it has none.

    Nothing is written. The view is that of whoever signs (`view_to_sign`), or of a backup (`restored_view`).

    Raises:
        PathRejected: what is covered is not what was signed.
    """
    from peft_registry.registry.records.new_entries import NewEntries

    store = SqlLogStore(view.tx)
    changes = NewEntries(view)
    problems = []
    for index in range(_first_new(view.newest), store.size()):
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


def _follow_new_entries(view: View) -> None:
    """Check every entry behind the last snapshot, follow it in the tree, and append the snapshot that says so."""
    from peft_registry.registry.records.new_entries import NewEntries

    tx, before = view.tx, view.newest
    size = SqlLogStore(tx).size()
    changes = NewEntries(view)
    for index in range(_first_new(before), size):
        changes.follow(index)
    values = changes.values()
    tree = SqlSnapshot(tx)
    signed_root = prefix_tree.EMPTY if before is None else before.root
    if before is None:
        tree.clear()  # nothing was signed over what may be there
    for key in values:
        tree.read_paths(key)
    nodes = prefix_tree.changed_nodes(values.items(), tree.get_node, root=signed_root)
    tree.write(nodes, values)
    at = max(changes.newest_time, view.registry.clock())
    leaf = LogSnapshot(size=size, root=prefix_tree.root_hash(tree.get_node).hex(), at=at)
    append_event(tx, leaf.to_canonical())
