"""One reading of a registry: its transaction, the newest checkpoint that is proven, and whose word counts.

The rows of the catalogue can be changed by whoever can write the database. What a view says of versions, aliases and statements is
held against the snapshot under the newest checkpoint (`records/snapshots.py`). Where there is none, because the log is of an
earlier release or no trust file says whose checkpoints count, nothing is proven and the rows count as they are.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Self, TypeVar

from peft_registry.registry.database import catalog
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.remembered_stops import is_signed, remembered_stops
from peft_registry.registry.records.snapshots import (
    Snapshot,
    TreeNodes,
    covered_by,
    newest_snapshot,
    read_leaf,
)
from peft_registry.registry.signing.trust import ProvenTime, RevokedKey, key_status
from peft_registry.registry.transparency import log, merkle, note, snapshot
from peft_registry.schemas.document import Document
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event, Leaf
from peft_registry.schemas.policy import CHECKPOINT_TYPE, TrustPolicy
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import Version

_SNAPSHOT = "snapshot"
_STATEMENTS_KEPT = 8  # artifacts whose statements a block of `reading` remembers: those of one take a megabyte
Value = TypeVar("Value", bound=Document)
Made = TypeVar("Made")
_Said = TypeVar("_Said", StoredStatement, catalog.StatementHead)


class SaidDiffers(IntegrityBroken):
    reference = "statements-differ-from-log"
    what = "the rows of the database about {manifest} differ from what was signed"
    why = "{reason}"
    fix = "run `registry log check` to see what was removed or changed, and restore the home from a backup"

    manifest: Digest
    reason: str


class VersionsDiffer(IntegrityBroken):
    reference = "versions-differ-from-log"
    what = "the versions of {name} in the database are not those that were registered"
    why = "{reason}"
    fix = "run `registry log check` to see what was changed; `registry admin rebuild` makes the catalogue again from the log"

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class View:
    """What a safe read of a registry needs. Nothing is read before it is asked for, and what was proven is proven once.

    A view is for reading before its transaction writes: of what is written afterwards it knows nothing. None of its answers is
    kept beyond the transaction, but those that all readings of a block of `reading` share.

    Attributes:
        registry: whose log it is.
        tx: reads it.
        known: the newest snapshot, where the caller has checked it: under the same checkpoint it is not checked again.
        given_trust: whom the user trusts; None for the home's own trust file.
    """

    registry: Registry
    tx: Transaction
    known: Snapshot | None = None
    given_trust: TrustPolicy | None = None

    @classmethod
    def under(
        cls, registry: Registry, tx: Transaction, newest: Snapshot | None, *, trust: TrustPolicy | None = None
    ) -> Self:
        """A view under a snapshot that its caller has checked; None: nothing is held against the log, and the rows count."""
        view = cls(registry, tx, given_trust=trust)
        vars(view)["newest"] = newest  # where `newest` keeps what it read
        return view

    def trusting(self, policy: TrustPolicy) -> Self:
        """The same view by the word of others."""
        return self.under(self.registry, self.tx, self.newest, trust=policy)

    @cached_property
    def newest(self) -> Snapshot | None:
        """The snapshot that decides; None also where no trust file says whose checkpoints count: verification reports that.

        Where several readings share a transaction it is verified once.

        Raises:
            RevokedKey: the log key that signed the checkpoint is revoked, and not only since the snapshot was made.
            LogTruncated, LogForked, CheckpointsRemoved, MalformedNote, WrongOrigin, BadSignature: as `newest_snapshot`.
        """
        return self.once(_SNAPSHOT, self._newest)

    def _newest(self) -> Snapshot | None:
        try:
            newest = newest_snapshot(self.registry, self.tx, known=self.known)
            if newest is not None and newest is not self.known:
                _require_signer(self.registry, newest)
        except NotChecked:
            return None
        return newest

    def require_log(self) -> None:
        """Raise unless the log is that of its newest checkpoint, as `newest`; asked first where a row decides what is read."""
        _ = self.newest

    @cached_property
    def nodes(self) -> TreeNodes:
        """What was read of the two trees."""
        return self.once("tree nodes", lambda: TreeNodes(self.tx))

    def once(self, what: str, make: Callable[[], Made]) -> Made:
        """What `make` gives: made once in a block of `reading`, each time outside of one; `what` names it."""
        return self.registry.database.once_while_reading(self.tx, what, make)

    def read_ahead(self, *, keys: Iterable[bytes] = (), entries: Iterable[int] = ()) -> None:
        """Read at once these entries, and what proves them and these keys: one after the other takes several times as long."""
        if self.newest is not None:
            self.nodes.read(self.newest, keys=keys, entries=entries)

    def forget(self) -> None:
        """Drop what was read of the two trees, unless a block of `reading` shares it: of all versions it would fill the memory."""
        vars(self).pop("nodes", None)

    @property
    def trust(self) -> TrustPolicy:
        """Whose word counts.

        Raises:
            NotChecked, IntegrityBroken: no trust file says so.
        """
        return self.registry.trust if self.given_trust is None else self.given_trust

    def leaf(self, index: int) -> Leaf:
        """An entry of the log, proven to the newest checkpoint; as it lies there where no checkpoint covers it.

        Raises:
            NotInLog: there is no such entry.
            ProofRejected: it is not the one that was signed over.
        """
        if self.newest is None:
            return read_leaf(self.nodes.log.get_leaf(index))
        return self.nodes.leaf(self.newest, index)

    def leaves(self) -> Generator[tuple[int, bytes]]:
        """The number and bytes of every entry, in order: up to the newest checkpoint all that it covers, then what is pending.

        That they are shows once the last of them was read: what was read counts for nothing before. This reads the whole log, a
        second or two for each hundred thousand entries.

        Raises:
            LogForked, LogTruncated: the entries are not those that the checkpoint covers.
        """
        tree = merkle.Growing()
        size, root = (0, merkle.EMPTY_ROOT) if self.newest is None else note.read_unverified(self.newest.checkpoint)[1:]
        with closing(catalog.every_leaf(self.tx)) as leaves:
            for index, data in enumerate(leaves):
                tree.append(merkle.leaf_hash(data))
                if tree.size == size and tree.root() != root:
                    raise log.LogForked("its first entries are others", size=size, signed=root, found=tree.root())
                yield index, data
        if tree.size < size:
            raise log.LogTruncated(signed_size=size, found_size=tree.size)

    def is_covered(self, index: int) -> bool:
        """Whether the newest checkpoint covers an entry."""
        return self.newest is not None and index < self.newest.size

    def value(self, key: bytes, form: type[Value]) -> Value | None:
        """What a key maps to under the newest checkpoint; None where it is proven to map to nothing, or nothing is proven.

        Raises:
            PathRejected: the stored nodes do not lead to the signed root.
        """
        if self.newest is None:
            return None
        data = self.nodes.value(self.newest, key)
        return None if data is None else snapshot.read_value(data, form)

    # --- statements ---

    def statements(
        self, manifest: Digest, *, rows: tuple[StoredStatement, ...] | None = None
    ) -> tuple[StoredStatement, ...]:
        """Everything that was said about a manifest digest, in log order: all of it, and nothing that was not said.

        Statements behind the newest checkpoint are pending; they come last. `rows` are those of the transaction, if they were read.

        Raises:
            SaidDiffers: a statement was removed, relabelled or added in the database.
            PathRejected, LogForked, LogTruncated: the database is not that of its checkpoint.
        """
        # in a block of `reading`: what an artifact was made from is asked for by several checks, and by its neighbours
        proven = self.once("statements as logged", dict[tuple[Digest, str | None], tuple[StoredStatement, ...]])
        key = (manifest, None if self.newest is None else self.newest.checkpoint)
        if rows is None and key in proven:
            proven[key] = proven.pop(key)  # the last that is dropped
            return proven[key]
        stored = catalog.statements_of(self.tx, subject=manifest) if rows is None else rows
        self._require_all_said(manifest, stored)
        while len(proven) >= _STATEMENTS_KEPT:
            del proven[next(iter(proven))]
        proven[key] = stored
        return stored

    @cached_property
    def remembered(self) -> tuple[StoredStatement, ...]:
        """The stops that this user remembers, whether the database has them or not.

        Raises:
            StopMemoryUnreadable: one of them cannot be read.
        """
        return remembered_stops(self.registry)

    def acts(self, subject: Digest) -> tuple[StoredStatement, ...]:
        """As `statements`; last come the stops about a subject that this user remembers and the database has lost, in no entry.

        A stop that is pending is remembered from now on, and one that the checkpoint covers is not any more.

        Raises:
            SaidDiffers, PathRejected, LogForked, LogTruncated: as `statements`.
            StopMemoryUnreadable: as `remembered`.
        """
        said = self.statements(subject)
        memory = self.registry.stops
        if memory is None:
            return said
        here = {entry.digest: entry for entry in said}
        lost: list[StoredStatement] = []
        for stop in self.remembered:
            if stop.statement.subject_digest != subject:
                continue
            entry = here.get(stop.digest)
            if entry is None:
                lost.append(stop)
            elif self._covers(entry):
                memory.drop(stop.digest)
        known = {stop.digest for stop in self.remembered}
        for entry in said:
            is_new = entry.digest not in known and not self._covers(entry) and entry.statement.is_stop
            if is_new and is_signed(self.registry, entry, at=entry.appended_at or self.registry.clock()):
                memory.keep(entry.digest, entry.envelope)
        return (*said, *lost)

    def lost_stops(self) -> tuple[StoredStatement, ...]:
        """The stops that this user remembers and the database has lost.

        Raises:
            SaidDiffers, PathRejected, StopMemoryUnreadable: as `acts`.
        """
        subjects = dict.fromkeys(stop.statement.subject_digest for stop in self.remembered)
        acts = (entry for subject in subjects for entry in self.acts(subject))
        return tuple(entry for entry in acts if entry.log_index is None)

    def _covers(self, entry: StoredStatement) -> bool:
        """Whether the newest checkpoint covers a statement that was shown to be among all that were made."""
        return entry.log_index is not None and self.newest is not None and entry.log_index < self.newest.size

    def heads(self, manifests: Iterable[Digest]) -> dict[Digest, tuple[catalog.StatementHead, ...]]:
        """Which statements the rows have about each of these; `require_all_heads` proves that it is all that was made.

        In a block of `reading` they are read once.
        """
        known = self.once("statement heads", dict[Digest, tuple[catalog.StatementHead, ...]])
        asked = tuple(dict.fromkeys(manifests))
        known |= catalog.statement_heads(self.tx, subjects=[manifest for manifest in asked if manifest not in known])
        return {manifest: known[manifest] for manifest in asked}

    def require_all_heads(self, manifest: Digest, heads: tuple[catalog.StatementHead, ...]) -> None:
        """Raise unless these are the statements that were made about a manifest digest, each of the kind that was logged.

        In a block of `reading` they are held against the log once.

        Raises:
            SaidDiffers, PathRejected: as `statements`.
        """
        proven = self.once("heads as logged", dict[Digest, tuple[catalog.StatementHead, ...]])
        if proven.get(manifest) != heads:
            self._require_all_said(manifest, heads)
            proven[manifest] = heads

    def _require_all_said(self, manifest: Digest, stored: tuple[_Said, ...]) -> None:
        if self.newest is None:
            return
        covered = [(statement.digest, statement.logged_kind) for statement in covered_by(self.newest, stored)]
        value = self.value(snapshot.artifact_key(manifest), snapshot.ArtifactValue)
        if value is None:
            if covered:
                raise SaidDiffers(manifest, f"{len(covered)} statements are stored, and the log has none")
            return
        if value.count != len(covered):
            raise SaidDiffers(manifest, f"the log has {value.count} statements, {len(covered)} are stored")
        if snapshot.statements_value(covered) != value:
            raise SaidDiffers(
                manifest, "as many are stored as the log has, and one of them is another or of another kind"
            )

    # --- versions ---

    def require_logged(self, version: Version) -> None:
        """Raise unless the log gives a version its name and number; one whose entry is behind the newest checkpoint is pending.

        Raises:
            VersionsDiffer: it was renumbered, exchanged, or no entry registers it.
        """
        if self.newest is None:
            return
        value = self.value(snapshot.version_key(version.name, version.number), snapshot.VersionValue)
        if value is None:
            self._require_pending(version, self.newest)
        elif (value.manifest, value.entry) != (version.manifest_digest, version.log_index):
            raise VersionsDiffer(
                version.name,
                f"entry {value.entry} registers {value.manifest} as {version.label}, the catalogue has another",
            )

    def _require_pending(self, version: Version, newest: Snapshot) -> None:
        """Raise unless an entry behind the checkpoint registers the artifact of a version that the snapshot does not have."""
        unregistered = VersionsDiffer(version.name, f"{version.label} is in the catalogue, and no entry registers it")
        if version.log_index <= newest.size:
            raise unregistered
        try:
            leaf = read_leaf(self.nodes.log.get_leaf(version.log_index))
        except merkle.NotInLog as error:
            raise unregistered from error
        if not isinstance(leaf, Event) or (leaf.kind, leaf.subject) != ("registration", version.manifest_digest):
            raise unregistered

    def is_logged(self, name: str, number: int) -> bool:
        """Whether the snapshot has a version of that name and number."""
        return self.value(snapshot.version_key(name, number), snapshot.VersionValue) is not None

    def newest_number(self, name: str) -> int | None:
        """How many versions a name has under the snapshot; None if none is registered."""
        value = self.value(snapshot.name_key(name), snapshot.NameValue)
        return None if value is None else value.versions

    def alias_target(self, name: str, alias: str) -> snapshot.AliasValue | None:
        """Where an alias points under the snapshot; None if it never pointed anywhere or was taken away."""
        value = self.value(snapshot.alias_key(name, alias), snapshot.AliasValue)
        return None if value is None or value.manifest is None else value


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


def forget_what_was_read(registry: Registry) -> None:
    """Drop what a block of `reading` shares, but the newest snapshot; what reads all versions does so now and then."""
    registry.database.forget_while_reading(but=_SNAPSHOT)


@contextmanager
def view_of(registry: Registry, *, trust: TrustPolicy | None = None, known: Snapshot | None = None) -> Iterator[View]:
    """A view of a registry for as long as the block runs; `trust` and `known` as its attributes `given_trust` and `known`."""
    with registry.database.read() as tx:
        yield View(registry, tx, known=known, given_trust=trust)
