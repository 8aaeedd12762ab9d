"""What a log says in the end: its entries replayed in order, nothing else believed. Pure.

The catalogue in the database is a projection of the log, for quick reading. This is the same projection made from the entries
and the signed statements that they point to, so that the two can be compared:

    a version's number    its position among the registrations of its name
    an alias              its last move
    what was said         the statements about a manifest digest, in the order of the log

Whoever signed a statement is checked by the caller, who knows the keys. Here each entry is held against its own statement and
against every entry before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from peft_registry.registry.transparency import snapshot
from peft_registry.schemas.acts import AliasPredicate
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import Event
from peft_registry.schemas.statement import RegistrationPredicate, Statement


class EntryRejected(IntegrityBroken):
    reference = "log-entry-rejected"
    what = "entry {index} of the log contradicts its statement or the entries before it"
    why = "{reason}"
    fix = "keep the database as evidence, and restore the home from a backup that `registry log check` passes"

    index: int
    reason: str


@dataclass(frozen=True, slots=True)
class LoggedVersion:
    """A registration: `number` counts from 1 among those of its name."""

    name: str
    number: int
    manifest: Digest
    index: int
    key: str
    registered_at: str


@dataclass(frozen=True, slots=True)
class LoggedMove:
    """An alias was pointed at a manifest, or taken away (None)."""

    name: str
    alias: str
    manifest: Digest | None
    statement: Digest
    index: int
    moved_at: str


@dataclass(slots=True)
class LogState:
    """The state after the entries that were applied so far, in the order of the log."""

    versions: dict[str, list[LoggedVersion]] = field(default_factory=dict)
    moves: list[LoggedMove] = field(default_factory=list)
    statements: dict[Digest, list[snapshot.StatementAndKind]] = field(default_factory=dict)
    _numbers: dict[tuple[str, Digest], int] = field(default_factory=dict)
    _newest_version: LoggedVersion | None = None
    _logged: set[Digest] = field(default_factory=set)
    newest_time: str = ""

    @property
    def aliases(self) -> Mapping[tuple[str, str], LoggedMove]:
        """Where each alias points in the end, by (name, alias); those that were taken away are gone."""
        newest = {(move.name, move.alias): move for move in self.moves}
        return {key: move for key, move in newest.items() if move.manifest is not None}

    def number_of(self, name: str, manifest: Digest) -> int | None:
        """The version's number, or None where this name never had this artifact."""
        return self._numbers.get((name, manifest))

    def apply(self, index: int, event: Event, statement: Statement) -> None:
        """Follow one entry.

        Args:
            index: its number in the log, from 0.
            event: the leaf.
            statement: the one whose payload digest the leaf names (the caller compared them).

        Raises:
            EntryRejected: it contradicts its statement or what came before; nothing of it was followed.
        """
        self._require_consistent(index, event, statement)
        match event.kind:
            case "registration":
                self._register(index, event, statement)
            case "alias":
                self._move(index, event, statement)
            case _:
                pass
        self._logged.add(event.statement)
        self.newest_time = event.at
        self.statements.setdefault(event.subject, []).append((event.statement, event.kind))

    def changed_by(self, index: int, event: Event) -> dict[bytes, Document]:
        """The keys of a snapshot that an entry changed, with what they map to now; asked right after `apply`.

        What was said about the entry's subject changed too; `said_about` has it, once for all entries before a snapshot.
        """
        changed: dict[bytes, Document] = {}
        if event.kind == "registration":
            version = self._newest_version
            assert version is not None, "a registration that was applied"
            changed[snapshot.name_key(version.name)] = snapshot.NameValue(versions=version.number)
            changed[snapshot.version_key(version.name, version.number)] = snapshot.VersionValue(
                manifest=version.manifest, entry=index
            )
        elif event.kind == "alias":
            move = self.moves[-1]
            changed[snapshot.alias_key(move.name, move.alias)] = snapshot.AliasValue(
                manifest=move.manifest, entry=index
            )
        return changed

    def said_about(self, manifest: Digest) -> snapshot.ArtifactValue:
        """What a snapshot holds of the statements about a manifest digest of which there are some."""
        return snapshot.statements_value(self.statements[manifest])

    def _require_consistent(self, index: int, event: Event, statement: Statement) -> None:
        if statement.logged_kind != event.kind:
            raise EntryRejected(
                index, f"the entry is of kind {event.kind}, its statement of kind {statement.logged_kind}"
            )
        if not statement.is_about(event.subject):
            raise EntryRejected(index, f"it is about {event.subject}, its statement about {statement.subject_digest}")
        if event.statement in self._logged:
            raise EntryRejected(index, f"the statement {event.statement} was logged before")
        if event.at < self.newest_time:
            raise EntryRejected(index, f"it is dated {event.at}, the entry before it {self.newest_time}")

    def _register(self, index: int, event: Event, statement: Statement) -> None:
        try:
            name = RegistrationPredicate.from_json(statement.predicate).name
        except ValidationError as error:
            raise EntryRejected(index, f"its registration is malformed: {first_problem(error)}") from error
        number = self.number_of(name, event.subject)
        if number is not None:
            raise EntryRejected(index, f"{name}:{number} is this artifact already")
        numbered = self.versions.setdefault(name, [])
        version = LoggedVersion(name, len(numbered) + 1, event.subject, index, event.key, event.at)
        numbered.append(version)
        self._newest_version = version
        self._numbers[name, event.subject] = version.number

    def _move(self, index: int, event: Event, statement: Statement) -> None:
        try:
            move = AliasPredicate.from_json(statement.predicate)
        except ValidationError as error:
            raise EntryRejected(index, f"its alias is malformed: {first_problem(error)}") from error
        if self.number_of(move.name, event.subject) is None:
            raise EntryRejected(index, f"no version of {move.name} has the manifest {event.subject}")
        target = None if move.removed else event.subject
        self.moves.append(LoggedMove(move.name, move.alias, target, event.statement, index, event.at))
