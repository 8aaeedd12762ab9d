"""`registry log show`: the entries of the log, newest first, each with what its leaf and its statement say."""

from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import statement_of_entry
from peft_registry.registry.records.snapshots import logged_leaf, newest_snapshot, read_leaf, snapshot_if_trusted
from peft_registry.registry.transparency import log, note
from peft_registry.registry.transparency.merkle import NotInLog
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogEpoch, LogSnapshot


class EntryShown(Frozen):
    """One entry: an event with the names that its statement gives; a snapshot or an epoch (`kind` is then that word)."""

    index: int
    kind: str
    at: str
    pending: bool
    subject: Digest | None = None
    statement: Digest | None = None
    key_id: str | None = None
    person: str | None = None
    about: str = ""  # the name that is registered, the alias that is moved, or the epoch; empty where there is none


class LogPage(Frozen):
    """Some entries, the newest first, and how much there is."""

    origin: str
    size: int
    covered: int
    entries: tuple[EntryShown, ...]


def show_log(registry: Registry, *, limit: int, before: int | None = None) -> LogPage:
    """At most `limit` entries, from the one before number `before` down (None: from the newest).

    Raises:
        EntryRejected, SnapshotMalformed: an entry is not what its statement says.
        ProofRejected, LogForked, LogTruncated: an entry is not the one that was signed over.
    """
    persons = {key.key_id: key.person for key in registry.trust.keys}
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        size = store.size()
        newest = snapshot_if_trusted(registry, tx)
        latest = registry.recorded_checkpoint(tx) if newest is None else newest.checkpoint
        covered = note.read_unverified(latest)[1] if latest else 0
        last = size if before is None else min(before, size)
        entries = []
        for index in range(last - 1, max(last - limit, 0) - 1, -1):
            leaf = read_leaf(store.get_leaf(index)) if newest is None else logged_leaf(tx, newest, index)
            pending = index >= covered
            if isinstance(leaf, LogSnapshot):
                entries.append(EntryShown(index=index, kind="snapshot", at=leaf.at, pending=pending))
                continue
            if isinstance(leaf, LogEpoch):
                lost = f"{leaf.number}, {leaf.lost_size} entries before"
                entries.append(EntryShown(index=index, kind="epoch", at=leaf.at, pending=pending, about=lost))
                continue
            predicate = statement_of_entry(tx, index, leaf).statement.predicate
            about = f"{predicate.get('name', '')}"
            if leaf.kind == "alias":
                about += f"@{predicate.get('alias', '')}" + (" removed" if predicate.get("removed") else "")
            entries.append(
                EntryShown(
                    index=index,
                    kind=leaf.says or leaf.kind,
                    at=leaf.at,
                    pending=pending,
                    subject=leaf.subject,
                    statement=leaf.statement,
                    key_id=leaf.key,
                    person=persons.get(leaf.key),
                    about=about if leaf.kind in ("registration", "alias") else "",
                )
            )
    return LogPage(origin=registry.origin, size=size, covered=covered, entries=tuple(entries))


def prove_entry(registry: Registry, index: int) -> str:
    """The `.tlog-proof` text of one entry, from the newest checkpoint. Its `extra` is the leaf itself.

    Raises:
        NotInLog: there is no such entry, or no checkpoint covers it yet.
        ProofRejected, LogForked, LogTruncated: the log is not that of its checkpoint.
    """
    with registry.database.read() as tx:
        store = SqlLogStore(tx)
        latest = registry.recorded_checkpoint(tx)
        if latest is None:
            raise NotInLog(index, 0)
        newest = newest_snapshot(registry, tx)  # raises where the log is not that of its checkpoint
        if newest is not None and 0 <= index < store.size():
            logged_leaf(tx, newest, index)  # likewise for the entry: nobody is handed a proof that proves nothing
        if not 0 <= index < note.read_unverified(latest)[1]:
            raise NotInLog(index, note.read_unverified(latest)[1])
        return log.prove(store, index, latest, extra=store.get_leaf(index))
