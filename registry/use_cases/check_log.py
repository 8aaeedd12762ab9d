"""`registry log check`: the whole log replayed from its bytes, and everything in the database held against it.

Nothing that the database says is believed: not the stored leaf hashes, not the nodes, not the projection. What remains is

    entries      gapless, each a canonical log event; leaf hashes and nodes are those of the bytes
    statements   one an entry, of the digest, kind and subject that the leaf names, signed by a key whose role may say it
    snapshots    each has the root of everything that the entries before it say; the stored tree is that of the last one
    gates        a move passed the policy that its alias was bound to by the entries before it
    projection   versions, numbers and aliases are those that the entries give, no more and no fewer
    artifacts    every row that describes one, its edges in the lineage graph too, is what its signed manifest says
    checkpoints  each one kept in the database or beside it is signed by a log key and is a prefix of this log, or an accepted loss
    epochs       each accepted loss has its first leaf, behind exactly the entries that were kept

Every contradiction is named, not only the first. Reads the whole log and the manifest of every artifact: minutes at millions of
entries. What is read at every command is `records/references.py`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import ValidationError

from peft_registry.registry.compliance.first_record import Elsewhere
from peft_registry.registry.database import catalog
from peft_registry.registry.database.snapshot_store import SqlSnapshot
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bindings import Binding, MovedPastGate, binding_said, require_moved_through
from peft_registry.registry.records.entries import EntryStatement, misplaced, read_statement, require_signed
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.snapshots import CheckpointsRemoved, read_leaf
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.registry.signing.oms import parse_bundle
from peft_registry.registry.signing.trust import public_keys
from peft_registry.registry.transparency import merkle, note, prefix_tree, snapshot
from peft_registry.registry.transparency.epochs import (
    EpochNotOpened,
    EpochUnknown,
    LossNotAccepted,
    begins,
    require_signed_losses,
)
from peft_registry.registry.transparency.projection import EntryRejected, Projection
from peft_registry.registry.verification.recorded_rows import version_contradictions
from peft_registry.registry.verification.signed_versions import held_against_manifest
from peft_registry.schemas.acts import GatePredicate, guarded_subject
from peft_registry.schemas.document import Document, Frozen, first_problem
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.log import Event, LogEpoch, LogSnapshot
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.schemas.statement import (
    MODIFICATION_V1,
    AliasPredicate,
    CardPredicate,
    RegistrationPredicate,
    Statement,
)

if TYPE_CHECKING:
    from peft_registry.registry.database.catalog import EntryRow, NumberedVersion, StatementColumns
    from peft_registry.registry.signing.keys import PublicKey
    from peft_registry.schemas.policy import TrustPolicy

_MANIFESTS_KEPT = 256
_REPORT_EVERY = 5_000  # entries between two lines of progress
_MAX_NAMED = 1_000  # contradictions that are named; a log of which more are wrong is another log


class Contradiction(Frozen):
    """One thing that does not agree with the log: where, and what is wrong."""

    place: str
    text: str
    reference: str  # of the error that names this kind of contradiction


class LogReport(Frozen):
    """What a whole check found. `covered` entries stand under a signed checkpoint; those behind are pending."""

    origin: str
    size: int
    covered: int
    root: str
    versions: int
    aliases: int
    statements: int
    checkpoints: int
    contradictions: tuple[Contradiction, ...]
    unchecked: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()  # checkpoints whose loss a root accepted: nothing is compared with them

    @property
    def exit_code(self) -> int:
        """0, 5 where something could not be checked, 6 where something contradicts."""
        if self.contradictions:
            return IntegrityBroken.exit_code
        return NotChecked.exit_code if self.unchecked else 0


def check_log(registry: Registry, *, against: Iterable[str] = (), observe: Observe = ignore) -> LogReport:
    """Replay the log of an open registry.

    Args:
        registry: opened with `check_log=False`, so that a log that does not continue its checkpoint can be looked at.
        against: texts of checkpoints that were kept elsewhere; each must be a prefix of this log.
        observe: hears of progress.
    """
    with registry.database.read() as tx:
        recorded = catalog.every_checkpoint(tx)
        kept = [("the database", text) for _, text in recorded]
        kept += registry.remembered_checkpoints()
        kept += [("the checkpoint that was given", text) for text in against]
        kept_sizes = frozenset(stated.epoch.kept_size for stated in registry.epochs.stated)
        replay = _Replay(registry, sizes=_sizes_of(text for _, text in kept) | kept_sizes)
        replay.read_entries(tx, observe)
        replay.compare_nodes(tx)
        replay.compare_snapshot(tx)
        replay.compare_projection(tx)
        replay.compare_artifacts(tx, observe)
        replay.compare_sizes(recorded)
        replay.compare_epochs()
    covered = replay.compare_checkpoints(kept)
    return LogReport(
        origin=registry.origin,
        size=replay.size,
        covered=covered,
        root=replay.root.hex(),
        versions=sum(len(numbered) for numbered in replay.projection.versions.values()),
        aliases=len(replay.projection.aliases),
        statements=replay.statements,
        checkpoints=len(kept),
        contradictions=tuple(replay.contradictions),
        unchecked=tuple(dict.fromkeys(replay.unchecked)),
        accepted=tuple(dict.fromkeys(replay.accepted)),
    )


def _sizes_of(checkpoints: Iterable[str]) -> frozenset[int]:
    """The sizes at which a root is wanted, as far as the texts can be read."""
    sizes = set()
    for text in checkpoints:
        try:
            sizes.add(note.read_unverified(text)[1])
        except IntegrityBroken:
            continue  # reported when the checkpoint itself is compared
    return frozenset(sizes)


@dataclass(slots=True)
class _Replay:
    """The replay so far, and what was wrong with it."""

    registry: Registry
    sizes: frozenset[int]
    projection: Projection = field(default_factory=Projection)
    tree: merkle.Growing = field(default_factory=merkle.Growing)
    has_gaps: bool = False
    roots: dict[int, bytes] = field(default_factory=dict)  # by the size at which a checkpoint wants it
    nodes: dict[tuple[int, int], bytes] = field(default_factory=dict)
    newest_snapshot: int | None = None  # its entry
    changed: dict[bytes, Document] = field(default_factory=dict)  # since the last snapshot
    spoken_of: set[Digest] = field(default_factory=set)  # likewise
    listings: dict[Digest, set[Digest]] = field(default_factory=dict)  # signed for an artifact, by its registrations
    cards: dict[Digest, set[Digest]] = field(default_factory=dict)  # signed for an artifact
    bases: dict[Digest, list[str]] = field(default_factory=dict)  # by artifact, the entries that call it a base
    bindings: dict[Digest, Binding | None] = field(default_factory=dict)  # by what an alias of a name, or of all, is
    snapshot_nodes: dict[prefix_tree.Position, prefix_tree.Node] = field(default_factory=dict)
    records: RecordChecks = field(init=False)
    statements: int = 0
    contradictions: list[Contradiction] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)  # numbers of the epochs whose first leaf was met

    def __post_init__(self) -> None:
        # what many were made from is asked for again and again
        find = lru_cache(maxsize=_MANIFESTS_KEPT)(lambda digest: manifest_in(self.registry, digest))
        self.records = RecordChecks(Elsewhere(manifest=find))

    @property
    def size(self) -> int:
        return self.tree.size

    @property
    def root(self) -> bytes:
        return self.tree.root()

    def contradict(self, place: str, error: KnownError | str, reference: str = "log-contradicted") -> None:
        if len(self.contradictions) >= _MAX_NAMED:
            return
        if isinstance(error, KnownError):
            text, reference = f"{error.what}: {error.why}", error.reference
        else:
            text = error
        self.contradictions.append(Contradiction(place=place, text=text, reference=reference))

    def leave_unchecked(self, place: str, error: KnownError) -> None:
        if len(self.unchecked) < _MAX_NAMED:
            self.unchecked.append(f"{place}: {error.what}: {error.why}")

    # --- entries and their statements ---

    def read_entries(self, tx: catalog.Transaction, observe: Observe) -> None:
        """Follow every entry in order."""
        trust = self._trust()
        keys = () if trust is None else public_keys(trust)
        observe(Started("log", total=0, unit="entries"))
        self._note_root()
        expected = 0
        for row in catalog.every_entry(tx):
            if row.index != expected:
                self.has_gaps = True
                lost = f"{expected}" if row.index == expected + 1 else f"{expected} to {row.index - 1}"
                self.contradict(f"entry {lost}", "missing: entries are numbered without gaps")
            expected = row.index + 1
            self._follow(row, trust, keys)
            self._note_root()
            if self.size % _REPORT_EVERY == 0:
                observe(Advanced("log", self.size))
        observe(Finished("log"))

    def _follow(self, row: "EntryRow", trust: "TrustPolicy | None", keys: "tuple[PublicKey, ...]") -> None:
        place = f"entry {row.index}"
        hashed = merkle.leaf_hash(row.leaf)
        if hashed != row.leaf_hash:
            self.contradict(place, "its stored hash is not that of its bytes")
        for level, index, node in self.tree.append(hashed):
            if level:
                self.nodes[level, index] = node
        try:
            leaf = read_leaf(row.leaf)
            if isinstance(leaf, LogSnapshot):
                self._follow_snapshot(row, leaf)
                return
            if isinstance(leaf, LogEpoch):
                self._follow_epoch(row, leaf)
                return
            said = self._statement_of(row, leaf)
        except IntegrityBroken as error:
            self.contradict(place, error)
            return
        if said is None:
            return
        event = leaf
        self._compare_columns(row, event, said.statement)
        try:
            self.projection.apply(row.index, event, said.statement)
        except EntryRejected as error:
            self.contradict(place, error)
            return
        self.changed |= self.projection.changed_by(row.index, event)
        self.spoken_of.add(event.subject)
        self._note_files(place, event, said.statement)
        if trust is None:
            return
        try:
            require_signed(said, row.index, event, trust=trust, keys=keys)
        except NotChecked as error:
            self.leave_unchecked(place, error)
        except KnownError as error:
            self.contradict(place, error)
        else:
            self._compare_answers(place, event, said.statement, trust)
            self._compare_gate(row.index, event, said.statement, trust)

    def _compare_answers(self, place: str, event: Event, statement: Statement, trust: "TrustPolicy") -> None:
        """A record says what people answered before it, and answers are given in the role of their key."""
        if statement.predicate_type == MODIFICATION_V1 and self.newest_snapshot is not None:
            # the releases that wrote that form wrote no snapshots
            self.contradict(place, "its record is in the first form, of which less is asked, behind a snapshot")
        try:
            for text in self.records.follow(event.statement, statement, trust.key(event.key), at=event.at):
                self.contradict(place, text)
        except ValidationError as error:
            self.contradict(place, f"its statement is malformed: {first_problem(error)}")

    def _compare_gate(self, index: int, event: Event, statement: Statement, trust: "TrustPolicy") -> None:
        """A move passed the policy that its alias was bound to before it."""
        place = f"entry {index}"
        try:
            if event.says == "gate":
                said = GatePredicate.from_json(statement.predicate)
                if guarded_subject(said.name, said.alias) != event.subject:
                    self.contradict(place, "it binds another alias than it is about")
                    return
                self.bindings[event.subject] = binding_said(said, index, event, trust)
            elif event.kind == "alias":
                move = AliasPredicate.from_json(statement.predicate)
                if not move.removed:
                    require_moved_through(self._bound(move), move.name, move.alias, move.gate, index)
        except ValidationError as error:
            self.contradict(place, f"its statement is malformed: {first_problem(error)}")
        except MovedPastGate as error:
            self.contradict(place, error)

    def _bound(self, move: AliasPredicate) -> Binding | None:
        """What an alias is bound to by the entries so far: as its name has it, else as that alias of every name."""
        own = self.bindings.get(guarded_subject(move.name, move.alias))
        return own or self.bindings.get(guarded_subject(None, move.alias))

    def _note_files(self, place: str, event: Event, statement: Statement) -> None:
        """Remember what a statement says of files and manifests, which the rows of the artifact are held against later."""
        if event.kind == "base":
            self.bases.setdefault(event.subject, []).append(place)
        try:
            if event.kind == "registration":
                listing = RegistrationPredicate.from_json(statement.predicate).signature
                self.listings.setdefault(event.subject, set()).add(listing)
            elif event.kind == "card":
                self.cards.setdefault(event.subject, set()).add(CardPredicate.from_json(statement.predicate).sha256)
        except ValidationError as error:
            self.contradict(place, f"its statement is malformed: {first_problem(error)}")

    def _statement_of(self, row: "EntryRow", event: Event) -> EntryStatement | None:
        """The statement that the leaf points to, from the signed bytes; None where no row has it."""
        if row.statement is None:
            self.contradict(f"entry {row.index}", f"its statement {event.statement} is not in the database")
            return None
        self.statements += 1
        return read_statement(row.statement.envelope, row.index, event)

    def _follow_snapshot(self, row: "EntryRow", leaf: LogSnapshot) -> None:
        """A snapshot has the root of everything that the entries before it say."""
        place = f"entry {row.index}"
        if row.statement is not None:
            self.contradict(place, "it is a snapshot, and a statement is recorded for it")
        if leaf.size != row.index:
            self.contradict(place, f"it is a snapshot of {leaf.size} entries")
        if leaf.at < self.projection.newest_time:
            self.contradict(place, f"it is dated {leaf.at}, the entry before it {self.projection.newest_time}")
        for manifest in self.spoken_of:
            self.changed[snapshot.artifact_key(manifest)] = self.projection.said_about(manifest)
        root = prefix_tree.root_hash(self.snapshot_nodes.get)
        values = snapshot.values_of(self.changed.items())
        self.snapshot_nodes |= prefix_tree.changed_nodes(values.items(), self.snapshot_nodes.get, root=root)
        self.changed = {}
        self.spoken_of = set()
        self.newest_snapshot = row.index
        computed = prefix_tree.root_hash(self.snapshot_nodes.get)
        if computed.hex() != leaf.root:
            self.contradict(place, f"its root is {leaf.root}, the entries before it give {computed.hex()}")

    def _follow_epoch(self, row: "EntryRow", leaf: LogEpoch) -> None:
        """The first leaf of an epoch is the one that a root stated, behind the entries that were kept."""
        place = f"entry {row.index}"
        if row.statement is not None:
            self.contradict(place, "it begins an epoch, and a statement is recorded for it")
        if leaf.size != row.index or not begins(leaf, self.registry.epochs):
            self.contradict(place, f"it begins epoch {leaf.number}, and no root stated that", EpochUnknown.reference)
            return
        if leaf.at < self.projection.newest_time:
            self.contradict(place, f"it is dated {leaf.at}, the entry before it {self.projection.newest_time}")
        self.begun.add(leaf.number)

    def _compare_columns(self, row: "EntryRow", event: Event, statement: Statement) -> None:
        """A row repeats what its leaf says; where it does not, `show` would print something that nobody signed."""
        columns = row.statement
        assert columns is not None, "a statement without a row was reported before"
        stated = _columns_by_name(columns)
        for name, value in _columns_of(event, statement).items():
            if stated[name] != value:
                self.contradict(
                    f"statement {columns.digest.short}", f"its {name} is recorded as {stated[name]}, logged is {value}"
                )

    # --- nodes, projection, checkpoints ---

    def compare_snapshot(self, tx: catalog.Transaction) -> None:
        """The stored tree is that of the last snapshot."""
        if self.newest_snapshot is None:
            return  # of an earlier release; its database may have no such table
        missing = dict(self.snapshot_nodes)
        for row in SqlSnapshot(tx).rows():
            place = f"snapshot node {row.prefix} at depth {row.depth}"
            try:
                expected = missing.pop(row.position, None)
                stored = row.node  # a pair has the hash of its value: an edited value is another node
            except IntegrityBroken as error:
                self.contradict(place, error)
                continue
            if stored != expected:
                self.contradict(place, "it is not that of the last snapshot")
        for depth, prefix in missing:
            self.contradict(f"snapshot node {prefix:x} at depth {depth}", "it is not stored")

    def compare_nodes(self, tx: catalog.Transaction) -> None:
        """The stored subtrees are those of the entries, each once."""
        if self.has_gaps:
            return  # every later subtree is another then, which says no more than the gap does
        missing = dict(self.nodes)
        for level, index, node in catalog.every_node(tx):
            place = f"subtree {index} of level {level}"
            expected = missing.pop((level, index), None)
            if expected is None:
                self.contradict(place, "it is stored, and the entries give no such subtree")
            elif expected != node:
                self.contradict(place, "its stored hash is not that of its entries")
        for level, index in missing:
            self.contradict(f"subtree {index} of level {level}", "it is not stored")

    def compare_projection(self, tx: catalog.Transaction) -> None:
        """Versions, numbers and aliases are those that the entries give."""
        logged = {
            (version.name, version.number): version
            for numbered in self.projection.versions.values()
            for version in numbered
        }
        for row in catalog.every_version(tx):
            version = logged.pop((row.name, row.number), None)
            place = f"{row.name}:{row.number}"
            if version is None:
                self.contradict(place, "it is in the catalogue, and no entry registers it")
            elif (version.manifest, version.index) != (row.manifest, row.log_index):
                self.contradict(
                    place, f"entry {version.index} registers {version.manifest}, recorded is {row.manifest}"
                )
            elif (version.key, version.at) != (row.key_id, row.registered_at):
                self.contradict(
                    place,
                    f"entry {version.index} is of {version.at} by key {version.key:.12}…, "
                    f"recorded is {row.registered_at} by key {row.key_id:.12}…",
                )
        for name, number in logged:
            self.contradict(f"{name}:{number}", "an entry registers it, and the catalogue does not have it")
        self._compare_moves(tx)

    def _compare_moves(self, tx: catalog.Transaction) -> None:
        logged = {move.statement: move for move in self.projection.moves}
        newest = -1
        for row in catalog.every_move(tx):
            place = f"{row.name}@{row.alias}"
            move = logged.pop(row.statement_digest, None)
            if move is None:
                self.contradict(place, f"a move to {row.number} is recorded, and no entry says so")
                continue
            number = None if move.manifest is None else self.projection.number_of(move.name, move.manifest)
            if (move.name, move.alias, number) != (row.name, row.alias, row.number):
                self.contradict(place, f"entry {move.index} moves {move.name}@{move.alias} to {number}")
            if move.at != row.at:
                self.contradict(place, f"entry {move.index} moves it at {move.at}, recorded is {row.at}")
            if move.index < newest:
                self.contradict(place, f"entry {move.index} moves it, recorded is a later move before")
            newest = max(newest, move.index)
        for move in logged.values():
            self.contradict(f"{move.name}@{move.alias}", f"entry {move.index} moves it, and no such move is recorded")
        numbers = {
            key: self.projection.number_of(move.name, move.manifest)
            for key, move in self.projection.aliases.items()
            if move.manifest is not None
        }
        for name, alias, number in catalog.every_alias(tx):
            logged_number = numbers.pop((name, alias), None)
            if logged_number != number:
                self.contradict(f"{name}@{alias}", f"it points to {number}, the log says {logged_number or 'nothing'}")
        for (name, alias), number in numbers.items():
            self.contradict(f"{name}@{alias}", f"the log points it to {number}, the catalogue has no such alias")

    def compare_artifacts(self, tx: catalog.Transaction, observe: Observe) -> None:
        """Every row that describes an artifact, and what the rows of its versions repeat, is what its signed manifest says."""
        versions: dict[Digest, list[NumberedVersion]] = {}
        for row in catalog.every_version(tx):
            versions.setdefault(row.manifest, []).append(row)
        recorded = catalog.every_artifact(tx)
        described = set(recorded)
        for logged in (version for numbered in self.projection.versions.values() for version in numbered):
            if f"{logged.manifest}" not in described:
                self.contradict(
                    f"{logged.name}:{logged.number}",
                    "an entry registers it, and the catalogue describes no such artifact",
                )
        observe(Started("artifacts", total=len(recorded), unit="artifacts"))
        for done, text in enumerate(recorded, start=1):
            try:
                digest = Digest.parse(text)
            except MalformedDigest as error:
                self.contradict(f"artifact {text}", error)
                continue
            self._compare_artifact(tx, digest, versions.get(digest, []))
            if done % _REPORT_EVERY == 0:
                observe(Advanced("artifacts", done))
        observe(Finished("artifacts"))

    def _compare_artifact(self, tx: catalog.Transaction, digest: Digest, versions: "list[NumberedVersion]") -> None:
        labels = [f"{row.name}:{row.number}" for row in versions]
        place = labels[0] if labels else f"artifact {digest.short}"
        try:
            recorded = catalog.recorded_artifact(tx, manifest_digest=digest)
            manifest, contradictions = held_against_manifest(self.registry, recorded, digest)
            for contradiction in contradictions:
                self.contradict(place, contradiction)
        except (IntegrityBroken, catalog.ArtifactUnknown) as error:
            self.contradict(place, error)
            return
        except NotChecked as error:  # the store lost its manifest, which accuses nobody
            self.leave_unchecked(place, error)
            return
        reason = misplaced("base", manifest)
        for entry in self.bases.get(digest, ()) if reason else ():
            self.contradict(entry, reason)
        for statement, inherited in self.records.inherited(digest, manifest, self.records.record_in):
            for text in (*inherited.wrong, *inherited.unseen):
                self.contradict(place, f"modification {statement.short}, {text}")
        for text in self.records.first_records(digest, manifest):
            self.contradict(place, text)
        for statement, rules in self.records.other_rules(digest):
            self.unchecked.append(f"{place}: modification {statement.short}, {rules}")
        for label, row in zip(labels, versions, strict=True):
            for contradiction in version_contradictions(row, manifest):
                self.contradict(label, contradiction)
        if digest in self.listings:  # of a registration that was taken out of the log only the rows are left
            self._compare_files(place, digest, recorded)

    def _compare_files(self, place: str, digest: Digest, recorded: catalog.RecordedArtifact) -> None:
        """The card and the signature that a row points to are those that were signed."""
        card, signature = recorded.columns["card_digest"], recorded.columns["signature_digest"]
        cards = self.cards.get(digest, set())
        if (card is not None or cards) and card not in cards:
            self.contradict(place, f"card: {card} in the catalogue, and nobody signed it")
        if signature is None:
            self.contradict(place, "signature: none in the catalogue, and one was registered")
            return
        try:
            assert isinstance(signature, Digest), "the column holds digests"
            listing = parse_bundle(self.registry.store.read_bytes(signature)).payload_digest
        except IntegrityBroken as error:
            self.contradict(place, error)
        except NotChecked as error:
            self.leave_unchecked(place, error)
        else:
            if listing not in self.listings[digest]:
                self.contradict(place, f"signature: {signature} in the catalogue is not the one that was registered")

    def compare_sizes(self, recorded: Iterable[tuple[int, str]]) -> None:
        """Each checkpoint in the database is recorded under its own size: by that the newest is found."""
        for size, text in recorded:
            try:
                signed = note.read_unverified(text)[1]
            except IntegrityBroken:
                continue  # reported when the checkpoint itself is compared
            if size != signed:
                self.contradict("the database, checkpoints", f"one of size {signed} is recorded as of size {size}")

    def compare_epochs(self) -> None:
        """Each accepted loss that the log had since begins an epoch, behind the entries that were kept."""
        try:
            require_signed_losses(self.registry.epochs, self.registry.log_keys)
        except NotChecked:
            return  # said of the checkpoints
        except KnownError as error:
            self.contradict("the trust file", error)
        for stated in self.registry.epochs.standing_in_log:
            epoch = stated.epoch
            place = f"epoch {epoch.number}"
            if epoch.number not in self.begun:
                missing = EpochNotOpened(epoch.number, f"entry {epoch.kept_size} is not the leaf that begins it")
                self.contradict(place, missing)
            root = self.roots.get(epoch.kept_size)
            if root is None or root.hex() != epoch.kept_root:
                other = EpochNotOpened(
                    epoch.number, f"its first {epoch.kept_size} entries are not those that were kept"
                )
                self.contradict(place, other)

    def compare_checkpoints(self, kept: Iterable[tuple[str, str]]) -> int:
        """Every checkpoint is a signed prefix of this log; returns how many entries the largest one covers."""
        covered = 0
        try:
            keys = self.registry.log_keys
        except NotChecked as error:
            self.unchecked.append(f"checkpoints: {error.what}: {error.why}")
            return covered
        epochs = self.registry.epochs
        for where, text in kept:
            try:
                origin = epochs.origins[epochs.number_of(text)]
                checkpoint = note.verify_checkpoint(text, origin=origin, keys=keys)
            except KnownError as error:
                self.contradict(where, error)
                continue
            place = f"{where}, size {checkpoint.size}"
            match epochs.standing_of(text, size=self.size, root_at=self.roots.get):
                case "accepted":
                    self._accept(place, text)
                case "shorter":
                    self.contradict(
                        place, f"it covers {checkpoint.size} entries, the log holds {self.size}", "log-truncated"
                    )
                case "beyond":
                    lost = "it is of an earlier epoch, and nobody accepted the loss of what it covers"
                    self.contradict(place, lost, LossNotAccepted.reference)
                case "forked":
                    self.contradict(place, "its root is not that of the first entries", "log-forked")
                case "continued":
                    covered = max(covered, checkpoint.size)
        if self.newest_snapshot is not None and self.newest_snapshot >= covered:
            self.contradict(f"entry {self.newest_snapshot}", CheckpointsRemoved(self.newest_snapshot, covered))
        return covered

    def _accept(self, place: str, text: str) -> None:
        stated = self.registry.epochs.accepted_loss(text)
        assert stated is not None, "the standing of this checkpoint"
        epoch = stated.epoch
        self.accepted.append(
            f"{place}: accepted loss in epoch {epoch.number}, by {epoch.accepted_by} at {epoch.accepted_at}: {epoch.reason}"
        )

    def _trust(self) -> "TrustPolicy | None":
        try:
            return self.registry.trust
        except NotChecked as error:
            self.unchecked.append(f"signatures: {error.what}: {error.why}")
            return None

    def _note_root(self) -> None:
        if self.size in self.sizes:
            self.roots[self.size] = self.tree.root()


def _columns_of(event: Event, statement: Statement) -> dict[str, object]:
    return {
        "digest": event.statement,
        "subject": event.subject,
        "kind": statement.kind,
        "predicate_type": statement.predicate_type,
        "key_id": event.key,
        "appended_at": event.at,
    }


def _columns_by_name(columns: "StatementColumns") -> dict[str, object]:
    return {
        "digest": columns.digest,
        "subject": columns.subject,
        "kind": columns.kind,
        "predicate_type": columns.predicate_type,
        "key_id": columns.key_id,
        "appended_at": columns.appended_at,
    }
