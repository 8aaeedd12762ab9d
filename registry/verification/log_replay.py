"""The log followed entry by entry from its bytes, and what the entries give: trees, versions, aliases, what speaks of an artifact.

Nothing that the database says is believed: not the stored leaf hashes, not the nodes, not the projection. Each entry is held
against what came before it, and what its rows repeat against its leaf. The rows beside the log are held against all of it
afterwards, by `replayed_rows.py`.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING

from pydantic import ValidationError

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bindings import (
    Bindings,
    MovedPastGate,
    require_moved_through,
)
from peft_registry.registry.records.entries import read_statement, require_signed
from peft_registry.registry.records.logged_statements import LoggedSnapshot
from peft_registry.registry.records.move_approvals import ApprovalFact, Move, approvals_asked, require_enough, said_by
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.record_inputs import Elsewhere, of_earlier_figures
from peft_registry.registry.records.snapshots import read_leaf
from peft_registry.registry.records.stored_manifests import manifest_in
from peft_registry.registry.signing.statements import OpenedStatement
from peft_registry.registry.signing.trust import public_keys
from peft_registry.registry.transparency import merkle, prefix_tree, snapshot
from peft_registry.registry.transparency.epochs import (
    EpochUnknown,
    begins,
)
from peft_registry.registry.transparency.projection import EntryRejected, LogState
from peft_registry.schemas.acts import AliasPredicate, GatePredicate, guarded_subject, spelled_to_bind
from peft_registry.schemas.document import Document, Frozen, first_problem
from peft_registry.schemas.edition import Edition, EditionPredicate
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event, LogEpoch, LogSnapshot
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started
from peft_registry.schemas.statement import (
    MODIFICATION_V1,
    PREDICATE_TYPES,
    CardPredicate,
    RegistrationPredicate,
    Statement,
)

if TYPE_CHECKING:
    from peft_registry.registry.database.catalog import EntryRow, StatementColumns
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


@dataclass(frozen=True, slots=True)
class LogFindings:
    """What was found so far, no more of a kind than anybody reads.

    Attributes:
        contradictions: what is wrong.
        unchecked: what could not be checked, and why; accuses nobody.
        accepted: checkpoints whose loss a root accepted.
    """

    contradictions: list[Contradiction] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)

    def contradict(self, place: str, error: KnownError | str, reference: str = "log-contradicted") -> None:
        """Note what is wrong at a place; the reference is that of the error, where it is one."""
        if len(self.contradictions) >= _MAX_NAMED:
            return
        if isinstance(error, KnownError):
            text = f"{error.what}: {error.why}"
            reference = error.reference
        else:
            text = error
        self.contradictions.append(Contradiction(place=place, text=text, reference=reference))

    def leave_unchecked(self, place: str, error: KnownError) -> None:
        """Note what could not be checked at a place."""
        if len(self.unchecked) < _MAX_NAMED:
            self.unchecked.append(f"{place}: {error.what}: {error.why}")


@dataclass(slots=True)
class LogReplay:
    """The replay so far. `sizes` are those at which a root is wanted, because a checkpoint or an epoch names them."""

    registry: Registry
    sizes: frozenset[int]
    projection: LogState = field(default_factory=LogState)
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
    said: dict[Digest, list[ApprovalFact]] = field(default_factory=dict)  # by artifact, what bears on its approvals
    bindings: Bindings = field(default_factory=Bindings)
    snapshot_nodes: dict[prefix_tree.Position, prefix_tree.Node] = field(default_factory=dict)
    snapshot_values: dict[bytes, bytes] | None = (
        None  # by key, for whoever writes them again; None keeps none in memory
    )
    records: RecordChecks = field(init=False)
    statements: int = 0
    findings: LogFindings = field(default_factory=LogFindings)
    announced: list[Edition] = field(default_factory=list)
    snapshots: list[LoggedSnapshot] = field(default_factory=list)
    begun: set[int] = field(default_factory=set)  # numbers of the epochs whose first leaf was met

    def __post_init__(self) -> None:
        # what many were made from is asked for again and again
        find = lru_cache(maxsize=_MANIFESTS_KEPT)(lambda digest: manifest_in(self.registry, digest))
        self.records = RecordChecks(
            Elsewhere(manifest=find, snapshot_after=self._snapshot_after, announced=self._is_announced),
            has_whole_log=True,
        )

    def _snapshot_after(self, entry: int) -> LoggedSnapshot | None:
        place = bisect_right(self.snapshots, entry, key=attrgetter("entry"))
        return self.snapshots[place] if place < len(self.snapshots) else None

    def _is_announced(self, edition: Edition) -> bool:
        return edition in self.announced

    @property
    def size(self) -> int:
        return self.tree.size

    @property
    def root(self) -> bytes:
        return self.tree.root()

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
                self.findings.contradict(f"entry {lost}", "missing: entries are numbered without gaps")
            expected = row.index + 1
            self._follow(row, trust, keys)
            self._note_root()
            if self.size % _REPORT_EVERY == 0:
                observe(Advanced("log", self.size))
        observe(Finished("log"))

    def _follow(self, row: "EntryRow", trust: "TrustPolicy | None", keys: "tuple[PublicKey, ...]") -> None:
        self._append(row)
        place = f"entry {row.index}"
        try:
            leaf = read_leaf(row.leaf)
            if isinstance(leaf, LogSnapshot):
                self._follow_snapshot(row, leaf)
                return
            if isinstance(leaf, LogEpoch):
                self._follow_epoch(row, leaf)
                return
            stated = self._statement_of(row, leaf)
        except IntegrityBroken as error:
            self.findings.contradict(place, error)
            return
        if stated is not None:
            self._follow_event(row, leaf, stated, trust, keys)

    def _append(self, row: "EntryRow") -> None:
        """Put the bytes of an entry into the tree."""
        hashed = merkle.leaf_hash(row.leaf)
        if hashed != row.leaf_hash:
            self.findings.contradict(f"entry {row.index}", "its stored hash is not that of its bytes")
        for level, index, node in self.tree.append(hashed):
            if level:
                self.nodes[level, index] = node

    def _follow_event(
        self,
        row: "EntryRow",
        event: Event,
        stated: OpenedStatement,
        trust: "TrustPolicy | None",
        keys: "tuple[PublicKey, ...]",
    ) -> None:
        """What an entry says is what its signed statement says, and counts where the key that signed it may say it."""
        place = f"entry {row.index}"
        self._compare_columns(row, event, stated.statement)
        try:
            self.projection.apply(row.index, event, stated.statement)
        except EntryRejected as error:
            self.findings.contradict(place, error)
            return
        self.changed |= self.projection.changed_by(row.index, event)
        self.spoken_of.add(event.subject)
        self._note_files(place, event, stated.statement)
        if trust is None:
            return
        try:
            require_signed(stated, row.index, event, trust=trust, keys=keys)
        except NotChecked as error:
            self.findings.leave_unchecked(place, error)
        except KnownError as error:
            self.findings.contradict(place, error)
        else:
            self._compare_answers(row.index, event, stated.statement, trust)
            self._compare_gate(row.index, event, stated.statement, trust)

    def _compare_answers(self, index: int, event: Event, statement: Statement, trust: "TrustPolicy") -> None:
        """A record follows from what it names, and answers are given in the role of their key."""
        place = f"entry {index}"
        if statement.predicate_type == MODIFICATION_V1 and self.newest_snapshot is not None:
            # the releases that wrote that form wrote no snapshots
            self.findings.contradict(
                place, "its record is in the first form, of which less is asked, behind a snapshot"
            )
        is_older = statement.kind == "modification" and statement.predicate_type != PREDICATE_TYPES["modification"]
        if is_older and self.announced:
            # whoever announces an edition derives by one
            self.findings.contradict(place, "its record is from before editions, behind the entry that announces one")
        try:
            if statement.kind == "bias-evaluation" and self.announced:
                record = EvaluationRecord.from_json(statement.predicate)
                for line in of_earlier_figures(record):
                    self.findings.contradict(place, f"{line}, behind the entry that announces an edition")
            if statement.kind == "edition":
                self.announced.append(EditionPredicate.from_json(statement.predicate).edition)
            signer = trust.key(event.key)
            for text in self.records.follow(event.statement, statement, signer, at=event.at, index=index):
                self.findings.contradict(place, text)
        except ValidationError as error:
            self.findings.contradict(place, f"its statement is malformed: {first_problem(error)}")

    def _compare_gate(self, index: int, event: Event, statement: Statement, trust: "TrustPolicy") -> None:
        """A move passed the policy that its alias was bound to before it."""
        place = f"entry {index}"
        try:
            if event.says == "gate":
                gate = GatePredicate.from_json(statement.predicate)
                if guarded_subject(gate.name, gate.alias) != event.subject:
                    self.findings.contradict(place, "it binds another alias than it is about")
                    return
                if gate.policy is not None and gate.alias != spelled_to_bind(gate.alias):
                    self.findings.contradict(place, f"it binds {gate.alias} in a spelling in which nothing is bound")
                self.bindings.follow(gate, event, trust)
            elif event.kind == "alias":
                move = AliasPredicate.from_json(statement.predicate)
                if not move.removed:
                    self._require_passed(move, event, index)
        except ValidationError as error:
            self.findings.contradict(place, f"its statement is malformed: {first_problem(error)}")
        except MovedPastGate as error:
            self.findings.contradict(place, error)
        except NotChecked as error:
            self.findings.leave_unchecked(place, error)
        said = said_by(statement, trust.person_of(event.key) or f"key {event.key}")
        if said is not None:
            self.said.setdefault(event.subject, []).append(said)

    def _require_passed(self, move: AliasPredicate, event: Event, index: int) -> None:
        """Raise unless a move passed the policy that its alias is bound to, with the approvals that this asks for.

        Raises:
            MovedPastGate: it did not.
            BoundPolicyUnread, ObjectMissing, ObjectCorrupt: the bytes of the policy cannot be read.
        """
        binding = self.bindings.in_force(move.name, move.alias)
        require_moved_through(binding, move.name, move.alias, move.gate, index)
        rule = None if binding is None else approvals_asked(self.registry, binding)
        if binding is not None and rule is not None:
            require_enough(binding, rule, self.said.get(event.subject, ()), Move(move, event.subject, index))

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
            self.findings.contradict(place, f"its statement is malformed: {first_problem(error)}")

    def _statement_of(self, row: "EntryRow", event: Event) -> OpenedStatement | None:
        """The statement that the leaf points to, from the signed bytes; None where no row has it."""
        if row.statement is None:
            self.findings.contradict(f"entry {row.index}", f"its statement {event.statement} is not in the database")
            return None
        self.statements += 1
        return read_statement(row.statement.envelope, row.index, event)

    def _follow_snapshot(self, row: "EntryRow", leaf: LogSnapshot) -> None:
        """A snapshot has the root of everything that the entries before it say."""
        place = f"entry {row.index}"
        if row.statement is not None:
            self.findings.contradict(place, "it is a snapshot, and a statement is recorded for it")
        if leaf.size != row.index:
            self.findings.contradict(place, f"it is a snapshot of {leaf.size} entries")
        if leaf.at < self.projection.newest_time:
            self.findings.contradict(place, f"it is dated {leaf.at}, the entry before it {self.projection.newest_time}")
        for manifest in self.spoken_of:
            self.changed[snapshot.artifact_key(manifest)] = self.projection.said_about(manifest)
        root = prefix_tree.root_hash(self.snapshot_nodes.get)
        values = snapshot.values_of(self.changed.items())
        if self.snapshot_values is not None:
            self.snapshot_values |= values
        self.snapshot_nodes |= prefix_tree.changed_nodes(values.items(), self.snapshot_nodes.get, root=root)
        self.changed = {}
        self.spoken_of = set()
        self.newest_snapshot = row.index
        self.snapshots.append(LoggedSnapshot(row.index, leaf.at))
        computed = prefix_tree.root_hash(self.snapshot_nodes.get)
        if computed.hex() != leaf.root:
            self.findings.contradict(place, f"its root is {leaf.root}, the entries before it give {computed.hex()}")

    def _follow_epoch(self, row: "EntryRow", leaf: LogEpoch) -> None:
        """The first leaf of an epoch is the one that a root stated, behind the entries that were kept."""
        place = f"entry {row.index}"
        if row.statement is not None:
            self.findings.contradict(place, "it begins an epoch, and a statement is recorded for it")
        if leaf.size != row.index or not begins(leaf, self.registry.epochs):
            self.findings.contradict(
                place, f"it begins epoch {leaf.number}, and no root stated that", EpochUnknown.reference
            )
            return
        if leaf.at < self.projection.newest_time:
            self.findings.contradict(place, f"it is dated {leaf.at}, the entry before it {self.projection.newest_time}")
        self.begun.add(leaf.number)

    def _compare_columns(self, row: "EntryRow", event: Event, statement: Statement) -> None:
        """A row repeats what its leaf says; where it does not, `show` would print something that nobody signed."""
        columns = row.statement
        assert columns is not None, "a statement without a row was reported before"
        stated = _columns_by_name(columns)
        for name, value in _columns_of(event, statement).items():
            if stated[name] != value:
                self.findings.contradict(
                    f"statement {columns.digest.short}", f"its {name} is recorded as {stated[name]}, logged is {value}"
                )

    def _trust(self) -> "TrustPolicy | None":
        try:
            return self.registry.trust
        except NotChecked as error:
            self.findings.unchecked.append(f"signatures: {error.what}: {error.why}")
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
