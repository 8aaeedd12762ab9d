"""The entries of the log, each with what its leaf and its statement say: newest first for `registry log show`, else onwards."""

from dataclasses import dataclass, field

from peft_registry.registry.database.catalog import version_by_digest
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.entries import statement_of_entry
from peft_registry.registry.records.snapshots import newest_snapshot
from peft_registry.registry.records.views import View, view_of
from peft_registry.registry.transparency import log, note
from peft_registry.registry.transparency.merkle import NotInLog
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import LogEpoch, LogSnapshot
from peft_registry.schemas.values import Timestamp


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
    # the name that is registered, the alias that is moved, the epoch, or the version that a statement is about; else empty
    about: str = ""


@dataclass(slots=True)
class _Labels:
    """Labels of the versions that artifacts are, each looked up once."""

    view: View
    known: dict[Digest, str] = field(default_factory=dict)

    def of(self, manifest: Digest) -> str:
        """The label of the first version of an artifact; empty where there is none."""
        if manifest not in self.known:
            first = next(iter(version_by_digest(self.view.tx, manifest)), None)
            if first is not None:
                self.view.require_logged(first)
            self.known[manifest] = "" if first is None else first.label
        return self.known[manifest]


class LogPage(Frozen):
    """Some entries, the newest first, and how much there is; `waiting_since` is the time of the oldest pending entry."""

    origin: str
    size: int
    covered: int
    entries: tuple[EntryShown, ...]
    waiting_since: Timestamp | None = None


def show_log(registry: Registry, *, limit: int, before: int | None = None) -> LogPage:
    """At most `limit` entries, from the one before number `before` down (None: from the newest).

    Raises:
        EntryRejected, SnapshotMalformed: an entry is not what its statement says.
        VersionsDiffer: the version that a statement is about is another one in the log.
        ProofRejected, LogForked, LogTruncated: an entry is not the one that was signed over.
    """
    with view_of(registry) as view:
        size, covered = _sizes(registry, view)
        last = size if before is None else min(before, size)
        entries = _entries(registry, view, range(last - 1, max(last - limit, 0) - 1, -1), covered)
        waiting_since = view.leaf(covered).at if covered < size else None
    return LogPage(origin=registry.origin, size=size, covered=covered, entries=entries, waiting_since=waiting_since)


def entries_since(registry: Registry, first: int, *, limit: int) -> tuple[EntryShown, ...]:
    """At most `limit` entries from number `first` on, the oldest first; none where there is no such entry yet.

    Raises:
        EntryRejected, SnapshotMalformed, VersionsDiffer, ProofRejected, LogForked, LogTruncated: as `show_log`.
    """
    with view_of(registry) as view:
        size, covered = _sizes(registry, view)
        first = max(first, 0)
        return _entries(registry, view, range(first, min(first + limit, size)), covered)


def _sizes(registry: Registry, view: View) -> tuple[int, int]:
    """How many entries there are, and how many of them the newest checkpoint covers."""
    newest = view.newest
    latest = registry.recorded_checkpoint(view.tx) if newest is None else newest.checkpoint
    return SqlLogStore(view.tx).size(), note.read_unverified(latest)[1] if latest else 0


def _entries(registry: Registry, view: View, numbers: range, covered: int) -> tuple[EntryShown, ...]:
    """The entries of these numbers, in their order."""
    persons = {key.key_id: key.person for key in registry.trust.keys}
    labels = _Labels(view)
    entries = []
    for index in numbers:
        leaf = view.leaf(index)
        pending = index >= covered
        if isinstance(leaf, LogSnapshot):
            entries.append(EntryShown(index=index, kind="snapshot", at=leaf.at, pending=pending))
            continue
        if isinstance(leaf, LogEpoch):
            lost = f"{leaf.number}, {leaf.lost_size} entries before"
            entries.append(EntryShown(index=index, kind="epoch", at=leaf.at, pending=pending, about=lost))
            continue
        predicate = statement_of_entry(view.tx, index, leaf).statement.predicate
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
                about=about if leaf.kind in ("registration", "alias") else labels.of(leaf.subject),
            )
        )
    return tuple(entries)


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
            # likewise for the entry: nobody is handed a proof that proves nothing
            View.under(registry, tx, newest).leaf(index)
        if not 0 <= index < note.read_unverified(latest)[1]:
            raise NotInLog(index, note.read_unverified(latest)[1])
        return log.prove(store, index, latest, extra=store.get_leaf(index))
