"""The modification records of an artifact: what each registration brought, and which record supersedes which. Pure.

A version's record is the one that its own registration names, then each record that supersedes the one before it:

    first      a modification record named in `accompanied_by` of the registration, and logged with it
    next       a later one about the same artifact and name, which names the record before it by id and by digest, made by a key
               whose role may; what it says that people answered stands in their own signed statements

Of two that supersede the same record the one that was logged first holds. Every other record decides nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import ValidationError

from peft_registry.registry.records.logged_statements import EntrySigner
from peft_registry.registry.records.next_record_checks import RecordCheck
from peft_registry.registry.records.record_checks import RecordChecks
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.statement import RegistrationPredicate, StoredStatement
from peft_registry.schemas.version import Version

MaySay = Callable[[StoredStatement], bool]
"""Whether the key that signed a statement has a role that may, at the time of its entry."""

SignerOf = Callable[[StoredStatement], EntrySigner]
"""Whose key signed a statement, and where and when it entered the log."""


class RecordUnreadable(IntegrityBroken):
    reference = "modification-record-unreadable"
    what = "the modification record that {label} was registered with cannot be read"
    why = "statement {statement.short}: {reason}"
    fix = "register the result again under another name, with `registry train` or `registry merge`"

    label: str
    statement: Digest
    reason: str


class RecordContradicted(IntegrityBroken):
    reference = "modification-record-contradicted"
    what = "the modification record that {label} was registered with contradicts what was signed with it"
    why = "{reasons!l}"
    fix = "keep the home for whoever looks into it, and register the result again under another name"

    label: str
    reasons: tuple[str, ...]


class EditionUnknown(NotChecked):
    reference = "record-edition-unknown"
    what = "the modification record of {label} cannot be checked by this release"
    why = "{reason}"
    fix = (
        "use the release that wrote it, or a later one; or have an approver, an officer or a root announce that edition: "
        "`registry admin upgrade --key FILE`, by that release"
    )

    label: str
    reason: str


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A modification record, and the statement that holds it."""

    statement: StoredStatement
    record: RecordSections
    # why this release did not derive it, or one before it, again; empty where it did, or it is from before editions
    note: str = ""

    @property
    def digest(self) -> Digest:
        """Of its canonical bytes.

        It is not that of the predicate as JSON gives it: there the double 10^18 is an integer, which has no canonical form.
        """
        return self.record.canonical_digest()


@dataclass(frozen=True, slots=True)
class Registration:
    """A registration among the statements of an artifact.

    Attributes:
        accompanied_by: the statements that it names.
        brought: those of them that entered the log with it, right before it. The others were said before, with another version
            or of one, and stay what they were: else a later registration took a record away from a version by naming it.
    """

    stored: StoredStatement
    name: str
    accompanied_by: frozenset[Digest]
    brought: frozenset[Digest]

    @classmethod
    def of(cls, stored: StoredStatement, statements: Sequence[StoredStatement]) -> "Registration":
        registration = stored.statement.read_by(RegistrationPredicate.from_json)
        named = frozenset(registration.accompanied_by)
        if stored.log_index is None:
            return cls(stored, registration.name, named, named)
        at_index = {other.log_index: other.digest for other in statements}
        brought = set()
        index = stored.log_index - 1
        while index in at_index and at_index[index] in named:
            brought.add(at_index[index])
            index -= 1
        return cls(stored, registration.name, named, frozenset(brought))


@dataclass(frozen=True, slots=True)
class ArtifactRecords:
    """The modification records of an artifact, each held against what was said before it.

    Attributes:
        statements: everything that was said about the artifact, in the order of the log.
        registrations: those that register it, under whatever name.
        later: the records that no registration brought.
        checks: each record by its statement; of one that cannot be read, why.
        beside: by registration, what the record that it brought says otherwise than what is signed beside it, a line each.
        may_say: asked of the signer of each record that would supersede another.
    """

    statements: tuple[StoredStatement, ...]
    registrations: tuple[Registration, ...]
    later: tuple[StoredStatement, ...]
    checks: Mapping[Digest, RecordCheck | str]
    beside: Mapping[Digest, tuple[str, ...]]
    may_say: MaySay

    @classmethod
    def of(
        cls,
        statements: Sequence[StoredStatement],
        *,
        may_say: MaySay,
        record_checks: RecordChecks,
        signer_of: SignerOf,
    ) -> "ArtifactRecords":
        """Take up every statement; `record_checks` is empty before, and has all of them afterwards."""
        registrations = tuple(
            Registration.of(stored, statements) for stored in statements if stored.kind == "registration"
        )
        accompanying = frozenset(digest for entry in registrations for digest in entry.brought)
        later = tuple(
            stored for stored in statements if stored.kind == "modification" and stored.digest not in accompanying
        )
        checks: dict[Digest, RecordCheck | str] = {}
        beside: dict[Digest, tuple[str, ...]] = {}
        for stored in statements:
            if stored.kind == "answers" and not may_say(stored):
                continue
            try:
                check = record_checks.take(stored.digest, stored.statement, signer_of(stored))
            except ValidationError as error:
                checks[stored.digest] = first_problem(error)
                continue
            if check is not None:
                checks[stored.digest] = check
            if stored.kind == "registration":
                beside[stored.digest] = record_checks.wrong_beside(stored.statement.subject_digest, stored.digest)
        return cls(tuple(statements), registrations, later, checks, beside, may_say)

    def history_of(self, registered: Registration) -> tuple[SignedRecord, ...]:
        """The record that a registration names, and those that supersede it, in the order of the log.

        Raises:
            RecordUnreadable, RecordContradicted: the record that it names.
            EditionUnknown: one of them is of an edition that nobody announced.
        """
        named = [
            stored
            for stored in self.statements
            if stored.kind == "modification" and stored.digest in registered.brought
        ]
        if not named:
            return ()
        first = self.checks[named[-1].digest]
        if isinstance(first, str):
            raise RecordUnreadable(registered.name, named[-1].digest, first)
        objections = (*_first_objections(first), *self.beside.get(registered.stored.digest, ()))
        if objections:
            raise RecordContradicted(registered.name, objections)
        if first.unchecked:
            raise EditionUnknown(registered.name, first.unchecked)
        history = [SignedRecord(named[-1], first.record, first.note)]
        for stored in self.later:
            # in the order of the log: of two that supersede one, the second finds another record before it
            check = self.checks[stored.digest]
            if isinstance(check, RecordCheck) and _is_after(stored, registered.stored):
                # what follows from a record that was not derived was not, either
                link = SignedRecord(stored, check.record, check.note or history[-1].note)
                is_next = not _objection(link, history[-1], registered.name)
                if is_next and not (check.wrong or check.lacking) and self.may_say(stored):
                    if check.unchecked:
                        raise EditionUnknown(registered.name, check.unchecked)
                    history.append(link)
        return tuple(history)

    def readable_history_of(self, registered: Registration) -> tuple[SignedRecord, ...]:
        """The same, of a version that nobody asked for: a record of it that says nothing is no reason to refuse another version."""
        try:
            return self.history_of(registered)
        except (RecordUnreadable, RecordContradicted, EditionUnknown):
            return ()

    def why_aside(self, stored: StoredStatement, version: Version, chain: tuple[SignedRecord, ...]) -> str:
        """Why a record that is not in the chain of a version decides nothing for it."""
        check = self.checks[stored.digest]
        if isinstance(check, str):
            return f"it is not a modification record: {check}"
        if not chain:
            return f"{version.label} was registered without a record"
        link = SignedRecord(stored, check.record)
        for before, after in pairwise(chain):
            if not _objection(link, before, version.name):
                return f"{before.record.record_id} was superseded before, by {after.record.record_id}"
        objection = _objection(link, chain[-1], version.name)
        if objection:
            return objection
        if not self.may_say(stored):
            return "the role of the key that signed it may not say so"
        reasons = (*check.wrong, *check.lacking)
        return reasons[0] if reasons else "it was logged before the version was registered"


def _is_after(stored: StoredStatement, registration: StoredStatement) -> bool:
    return (stored.log_index or 0) > (registration.log_index or 0)


def _first_objections(first: RecordCheck) -> Iterator[str]:
    """Why a record is not one that a version begins with: nothing was said before it that it could carry on."""
    if isinstance(first.record, ModificationRecord) and first.record.supersedes_another:
        yield f"it supersedes {first.record.supersedes}, and a version begins with a record that supersedes none"
    yield from first.wrong


def _objection(link: SignedRecord, before: SignedRecord, name: str) -> str:
    """Why a record does not supersede another of the version with this name; empty if it does."""
    record = link.record
    if record.supersedes is None or not isinstance(record, ModificationRecord):
        return "it names no record that it supersedes"
    if record.identity.result_name.value != name:
        return f"it is about {record.identity.result_name.value}, and not about {name}"
    if record.identity.result_manifest.value != str(link.statement.statement.subject_digest):
        return "it says that it is about another artifact"
    if record.supersedes != before.record.record_id:
        return f"it supersedes {record.supersedes}, and not {before.record.record_id}"
    if record.correction.supersedes_digest != before.digest:
        return f"it names {before.record.record_id} with the digest of another record"
    return ""
