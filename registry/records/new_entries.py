"""Every entry of the log that no checkpoint covers yet: may it be signed over, and what does it change in the snapshot.

Each is held against its statement, the entries before it, the catalogue and the records of what it speaks of. One that may not be
signed over stops all behind it (`checkpoints.py`).
"""

from datetime import datetime
from functools import cached_property

from pydantic import ValidationError

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.database import catalog
from peft_registry.registry.database.log_store import SqlLogStore
from peft_registry.registry.records.bindings import MovedPastGate, binding_in_force, require_moved_through
from peft_registry.registry.records.entries import (
    is_said_once,
    misplaced,
    read_statement,
    require_signed,
    statement_of_entry,
)
from peft_registry.registry.records.logged_statements import (
    EntrySigner,
    LoggedStatement,
    signer_of,
    snapshot_after,
)
from peft_registry.registry.records.move_approvals import Move, require_approved
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.registry.records.record_inputs import Elsewhere, of_earlier_figures
from peft_registry.registry.records.record_statements import edition_of
from peft_registry.registry.records.snapshots import covered_by, read_leaf
from peft_registry.registry.records.stored_manifests import manifest_in, stored_manifest
from peft_registry.registry.records.views import View
from peft_registry.registry.signing.keys import PublicKey
from peft_registry.registry.signing.trust import public_keys
from peft_registry.registry.transparency import merkle, snapshot
from peft_registry.registry.transparency.epochs import begins
from peft_registry.registry.transparency.projection import EntryRejected
from peft_registry.schemas.acts import AliasPredicate, GatePredicate, guarded_subject, spelled_to_bind
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import CLOCK_TOLERANCE, Event, LogEpoch, LogSnapshot
from peft_registry.schemas.policy import TrustPolicy
from peft_registry.schemas.statement import PREDICATE_TYPES, RegistrationPredicate, Statement, StoredStatement
from peft_registry.schemas.values import timestamp

_HELD_TOGETHER = ("answers", "bias-evaluation", "modification", "observations", "provenance", "registration")
"""Kinds of statements of which a record is held against the others."""


class PendingRejected(EntryRejected):
    reference = "pending-entry-rejected"
    what = "entry {index} of the log may not be signed over"
    fix = (
        "run `registry log sign` where the log key is: it names every such entry, and `registry log reject` takes one out; "
        "until then what was registered is pending"
    )


class NewEntries:
    """What new entries change in the tree, entry by entry: behind the snapshot of a view, None for all entries."""

    def __init__(self, view: View) -> None:
        before = view.newest
        self.newest_time = "" if before is None else before.leaf.at
        self._view = view
        self._registry = view.registry
        self._tx = view.tx
        self._store = SqlLogStore(view.tx)
        self._before = before
        allowed = timestamp(datetime.fromisoformat(view.registry.clock()) + CLOCK_TOLERANCE)
        # where a clock was set back, the time that the log key signed last is that of the entries until the clock passes it
        self._latest = max(allowed, self.newest_time)
        self._changed: dict[bytes, Document] = {}
        self._said: dict[Digest, list[snapshot.StatementAndKind]] = {}
        self._covered: dict[Digest, tuple[StoredStatement, ...]] = {}  # by artifact
        self._answered: dict[Digest, RecordChecks] = {}  # likewise
        self._new: dict[Digest, list[LoggedStatement]] = {}  # by artifact, those of the entries that were followed

    @cached_property
    def _trust(self) -> TrustPolicy:
        """Whom the home trusts now; it may have changed since the home was opened."""
        return self._registry.read_trust(at=self._registry.clock())

    @cached_property
    def _trusting(self) -> View:
        """The view by the word of those."""
        return self._view.trusting(self._trust)

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
            self._require_key_counts(index, leaf)
            self._require_not_rejected(index, leaf, said.statement)
            self._require_projected(index, leaf, said.statement)
            self._require_of_a_base(index, leaf)
            self._require_gate(index, leaf, said.statement)
            self._require_answered(index, leaf, said.statement)
        self.newest_time = max(leaf.at, self.newest_time)
        self._follow_statement(leaf)
        logged = LoggedStatement(leaf.statement, said.statement, self._signer(leaf, index))
        self._new.setdefault(leaf.subject, []).append(logged)
        if leaf.kind == "registration":
            self._follow_registration(index, leaf, said.statement)
        elif leaf.kind == "alias":
            self._follow_move(index, leaf, said.statement)

    def _require_key_counts(self, index: int, leaf: Event) -> None:
        """Raise where the key of an entry is revoked by now, for whatever reason, or expired.

        Only the entry itself says that it was made before, and whoever has the key and can write the database dates it as they like
        behind the last entry that is covered.
        """
        key = self._trust.key(leaf.key)
        if key is not None and key.valid_until <= self._registry.clock():
            reason = f"its key counted until {key.valid_until}, and no checkpoint covered it by then"
            raise PendingRejected(index, reason)
        revocation = self._trust.revocation(leaf.key)
        if revocation is not None:
            reason = (
                f"its key was revoked at {revocation.revoked_at} ({revocation.reason}) before a checkpoint covered it"
            )
            raise PendingRejected(index, reason)

    def _require_not_rejected(self, index: int, leaf: Event, statement: Statement) -> None:
        """Raise where the statement of an entry was taken out of the log before.

        What was taken out is kept as it was signed, and whoever can write the database can put it back without a key.

        Raises:
            PendingRejected: it was.
            EntryRejected: what was said of it is not in the database as it was logged.
        """
        if not is_said_once(statement) or statement.is_stop:  # a stop stays in the log, whoever rejects it
            return
        said = [stored.kind for stored in self._covered_about(leaf.statement)]
        said += [logged.statement.kind for logged in self._new.get(leaf.statement, ())]
        if "rejection" in said:
            raise PendingRejected(index, "its statement was rejected before; who still means it signs another one")

    def _require_of_a_base(self, index: int, leaf: Event) -> None:
        """Raise where an entry calls a base what its manifest says is none.

        Raises:
            PendingRejected: it does.
            ObjectMissing, StoreUnavailable, MalformedJson, ManifestMalformed: the store does not have that manifest.
        """
        if leaf.kind != "base":
            return
        reason = misplaced(leaf.kind, stored_manifest(self._registry, leaf.subject))
        if reason:
            raise PendingRejected(index, reason)

    def _require_gate(self, index: int, leaf: Event, statement: Statement) -> None:
        """Raise where a move did not pass the policy that its alias is bound to, or lacks its approvals; or a binding is misplaced.

        Raises:
            PendingRejected: it is so.
            SaidDiffers, PathRejected: what was said of the alias or the version before is not in the database as it was signed.
            BoundPolicyUnread, ObjectMissing, ObjectCorrupt: the bytes of the policy cannot be read.
        """
        if leaf.says == "gate":
            said = _predicate(index, GatePredicate, statement)
            if guarded_subject(said.name, said.alias) != leaf.subject:
                raise PendingRejected(index, "it binds another alias than it is about")
            if said.policy is not None and said.alias != spelled_to_bind(said.alias):
                raise PendingRejected(
                    index, f"it binds nothing: {spelled_to_bind(said.alias)} is how a binding spells {said.alias}"
                )
        elif leaf.kind == "alias":
            move = _predicate(index, AliasPredicate, statement)
            if move.removed:
                return
            binding = binding_in_force(self._trusting, move.name, move.alias, before=index)
            try:
                require_moved_through(binding, move.name, move.alias, move.gate, index)
                to = Move(move, leaf.subject, index)
                require_approved(self._trusting, binding, to)
            except MovedPastGate as error:
                raise PendingRejected(index, f"{error}") from error

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
        """Raise where a record does not follow from what it names, or answers are not those of the key that signed them.

        Once it is covered, its artifact would be broken for ever.
        """
        if statement.kind not in _HELD_TOGETHER:
            return
        answered = self._answered.get(leaf.subject)
        if answered is None:
            answered = self._answered_before(leaf.subject)
            self._answered[leaf.subject] = answered
        try:
            if statement.kind == "modification":
                self._require_known_edition(index, statement)
            if statement.kind == "bias-evaluation":
                self._require_known_figures(index, statement)
            contradictions = answered.follow(
                leaf.statement, statement, self._trust.key(leaf.key), at=leaf.at, index=index
            )
        except ValidationError as error:
            raise PendingRejected(index, f"its statement is malformed: {first_problem(error)}") from error
        if contradictions:
            raise PendingRejected(index, "; ".join(contradictions))
        if statement.kind == "registration":
            self._require_own_record(index, leaf, answered)

    @staticmethod
    def _require_known_edition(index: int, statement: Statement) -> None:
        """Raise where a record is of an edition by which this release cannot derive it, or from before there were any.

        Raises:
            PendingRejected: it is.
            ValidationError: it names no edition.
        """
        if statement.predicate_type != PREDICATE_TYPES["modification"]:
            # those of an earlier release were covered when the home was upgraded
            raise PendingRejected(
                index, "its record is in an earlier form, of which less is asked; the third is written now"
            )
        edition = edition_of(statement.predicate)
        if editions().standing(edition) != "known":
            raise PendingRejected(
                index,
                f"its record is of the edition {edition.name} ({edition.digest.short}), by which this release derives none",
            )

    @staticmethod
    def _require_known_figures(index: int, statement: Statement) -> None:
        """Raise where an evaluation has the figures of an earlier release, by whose rules harm has milder words.

        Raises:
            PendingRejected: it has; those of an earlier release were covered when the home was upgraded.
            ValidationError: the statement is not an evaluation.
        """
        for line in of_earlier_figures(statement.read_by(EvaluationRecord.from_json)):
            raise PendingRejected(index, line)

    def _require_own_record(self, index: int, leaf: Event, answered: RecordChecks) -> None:
        """Raise where a registration brings a record that is not of its manifest, or of what is signed beside it.

        Raises:
            PendingRejected: it does.
            ObjectMissing, ObjectCorrupt: the store has no manifest that would tell.
        """
        manifest = stored_manifest(self._registry, leaf.subject)
        if manifest.kind != "base" and not answered.has_first_record(leaf.subject, leaf.statement):
            raise PendingRejected(index, "it registers a result and brings no modification record")
        wrong = tuple(answered.first_records(leaf.subject, manifest, registration=leaf.statement))
        if wrong:
            raise PendingRejected(index, "; ".join(wrong))

    def _answered_before(self, manifest: Digest) -> RecordChecks:
        """Answers and records about an artifact up to the last snapshot, as that proves; those alone whose signer may make them."""
        answered = RecordChecks(
            Elsewhere(
                manifest=lambda digest: manifest_in(self._registry, digest),
                statement=self._said_with,
                about=self._said_about,
                snapshot_after=lambda entry: snapshot_after(self._store.get_leaf, self._store.size(), entry),
            )
        )
        for stored in self._covered_about(manifest):
            if self._before is None or stored.kind not in _HELD_TOGETHER:
                continue
            index = stored.log_index or 0
            leaf = self._view.leaf(index)
            if not isinstance(leaf, Event):
                raise EntryRejected(index, "the database records a statement for it, and it is not an event")
            said = read_statement(stored.envelope, index, leaf)
            try:
                require_signed(said, index, leaf, trust=self._trust, keys=self._keys)
                answered.follow(stored.digest, said.statement, self._trust.key(leaf.key), at=leaf.at, index=index)
            except (KnownError, ValidationError):
                continue  # covered already: `registry verify` says what is wrong with it, and it answers nothing
        return answered

    def _said_about(self, manifest: Digest) -> tuple[LoggedStatement, ...]:
        """Everything that was said of an artifact, up to the entry that is followed."""
        covered = tuple(
            LoggedStatement(stored.digest, stored.statement, self._signer_of_row(stored))
            for stored in self._covered_about(manifest)
        )
        return (*covered, *self._new.get(manifest, ()))

    def _said_with(self, digest: Digest) -> LoggedStatement | None:
        """The statement with a digest, up to the entry that is followed; None where none was logged."""
        stored = catalog.statement(self._tx, digest)
        if stored is None:
            return None
        about = self._said_about(stored.statement.subject_digest)
        return next((entry for entry in about if entry.digest == digest), None)

    def _signer(self, leaf: Event, index: int) -> EntrySigner:
        return signer_of(self._trust.key(leaf.key), at=leaf.at, index=index)

    def _signer_of_row(self, stored: StoredStatement) -> EntrySigner:
        return signer_of(self._trust.key(stored.key_id), at=stored.appended_at, index=stored.log_index)

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

    def _said_before(self, manifest: Digest) -> list[snapshot.StatementAndKind]:
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
        value = self._view.value(snapshot.artifact_key(manifest), snapshot.ArtifactValue)
        if value is None:
            return ()
        stored = covered_by(self._before, catalog.statements_of(self._tx, subject=manifest))
        said = [(statement.digest, statement.logged_kind) for statement in stored]
        if snapshot.statements_value(said) != value:
            raise EntryRejected(
                self._before.size, f"the rows of the database about {manifest} differ from what was signed"
            )
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
        return self._view.value(key, form)


def _predicate(index: int, form: type[snapshot.Value], statement: Statement) -> snapshot.Value:
    try:
        return form.from_json(statement.predicate)
    except ValidationError as error:
        raise PendingRejected(index, f"its statement is malformed: {first_problem(error)}") from error
