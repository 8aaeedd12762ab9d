"""Which statements about an artifact speak of one version of it, and which modification record is that version's. Pure.

Equal bytes may be registered under several names, each with its own records: what accompanies one registration says nothing of
another. A version's record is the one that its own registration names, then each record that supersedes the one before it:

    first      a modification record named in `accompanied_by` of the registration, and logged with it
    next       a later one about the same artifact and name, which names the record before it by id and by digest, made by a key
               whose role may; what it says that people answered stands in their own signed statements

Of two that supersede the same record the one that was logged first holds. One that no checkpoint covers yet is pending: readers
stay with the record before it, and whoever makes the next record builds on it. So is an evaluation that was made later: its figures
are not those of the version yet. Every other modification record decides nothing, and is named with the reason. What is said of the
artifact itself (a later evaluation, a hold, a recall) speaks of all its versions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.compliance.first_record import NOTHING_ELSEWHERE, Elsewhere
from peft_registry.registry.compliance.inherited_values import InheritedCheck
from peft_registry.registry.records.record_checks import EntrySigner, RecordCheck, RecordChecks
from peft_registry.registry.records.snapshots import VersionsDiffer
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest, MalformedDigest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.statement import AliasPredicate, RegistrationPredicate, StoredStatement
from peft_registry.schemas.version import Version

MaySay = Callable[[StoredStatement], bool]
"""Whether the key that signed a statement has a role that may, at the time of its entry."""

PersonOf = Callable[[StoredStatement], str | None]
"""The person whom the trust file names for the key that signed a statement; None where nobody knows."""

Inherited = Callable[[RecordSections, RecordSections | None], InheritedCheck]
"""Holds what a record takes over from what its artifact was made from against that; with the record that it supersedes, if any."""


@dataclass(frozen=True, slots=True)
class _Checked:
    """How the modification records of an artifact stand.

    Attributes:
        records: each by its statement; of one that cannot be read, why.
        beside: by registration, what the record that it brought says otherwise than what is signed beside it, a line each.
    """

    records: Mapping[Digest, RecordCheck | str]
    beside: Mapping[Digest, tuple[str, ...]]


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


@dataclass(frozen=True, slots=True)
class SignedRecord:
    """A modification record, and the statement that holds it."""

    statement: StoredStatement
    record: RecordSections

    @property
    def digest(self) -> Digest:
        """Of its canonical bytes; computed each time, as few ask.

        It is not that of the predicate as JSON gives it: there the double 10^18 is an integer, which has no canonical form.
        """
        return self.record.canonical_digest()


@dataclass(frozen=True, slots=True)
class SetAside:
    """A modification record that decides nothing for the version, and why."""

    statement: StoredStatement
    reason: str


@dataclass(frozen=True, slots=True)
class VersionStatements:
    """What was said of one version.

    Attributes:
        statements: all that speak of it, in the order of the log.
        history: its modification records, each superseding the one before it; the last one is its record. Empty: it has none.
        set_aside: other modification records that name it, or no version at all, and those that are pending.
        pending: records that go on from `history` and stand once a checkpoint covers them.
        answers: statements of answers whose signer may give them.
        accompanied_by: the statements that its registration names.
        pending_evaluations: those of the statements that hold an evaluation which was made later and no checkpoint covers.
    """

    statements: tuple[StoredStatement, ...]
    history: tuple[SignedRecord, ...]
    set_aside: tuple[SetAside, ...]
    pending: tuple[SignedRecord, ...] = ()
    answers: frozenset[Digest] = frozenset()
    accompanied_by: frozenset[Digest] = frozenset()
    pending_evaluations: frozenset[Digest] = frozenset()

    @property
    def predicates(self) -> dict[str, dict[str, Any]]:
        """What stands of each kind (of a foreign type: of each predicate type), any JSON object: the newest statement.

        But the record of the version, and how it was made as its registration names it: a later word on that replaces neither.
        An evaluation that is pending does not stand yet.
        """
        newest = {
            stored.kind or stored.statement.predicate_type: stored.statement.predicate
            for stored in self.statements
            if stored.digest not in self.pending_evaluations
        }
        for stored in self.statements:
            if stored.kind == "provenance" and stored.digest in self.accompanied_by:
                newest["provenance"] = stored.statement.predicate
        if self.record is not None:
            newest["modification"] = self.record.statement.statement.predicate
        return newest

    @property
    def record(self) -> SignedRecord | None:
        """The version's record."""
        return self.history[-1] if self.history else None

    @property
    def chain(self) -> tuple[SignedRecord, ...]:
        """Its records with those that are pending, in the order of the log."""
        return (*self.history, *self.pending)

    @property
    def newest(self) -> SignedRecord | None:
        """The record that the next one supersedes: else the holder of the log key would get two in place of the same one."""
        return self.chain[-1] if self.history else None


def statements_of_version(
    version: Version,
    statements: Sequence[StoredStatement],
    *,
    may_say: MaySay,
    covered: int,
    inherited: Inherited = lambda _record, _before: InheritedCheck((), ()),
    known: Elsewhere = NOTHING_ELSEWHERE,
    person_of: PersonOf = lambda _stored: None,
) -> VersionStatements:
    """What speaks of a version.

    Args:
        version: as the log has it.
        statements: everything that was said about its artifact, in the order of the log.
        may_say: asked of the signer of each record that would supersede another, and of answers.
        covered: how many entries of the log a signed checkpoint covers. A version whose registration is behind it keeps the record
            that it was registered with.
        inherited: asked of each record that takes something over from what its artifact was made from.
        known: finds what is recorded of other artifacts.
        person_of: asked of each statement, so that a record names those who signed.

    Raises:
        RecordUnreadable: the record that it was registered with is not one.
        RecordContradicted: that record contradicts its run or its evaluation, or states what only a person's signature does.
        VersionsDiffer: none of the statements registers it.
    """
    registrations = [_Registered.of(stored, statements) for stored in statements if stored.kind == "registration"]
    own = next((entry for entry in registrations if entry.stored.log_index == version.log_index), None)
    if own is None or own.name != version.name:
        raise VersionsDiffer(version.name, f"no statement about its artifact registers {version.label}")
    others = [entry for entry in registrations if entry is not own]
    accompanying = frozenset(digest for entry in registrations for digest in entry.brought)
    later = tuple(
        stored for stored in statements if stored.kind == "modification" and stored.digest not in accompanying
    )
    checked = _checked(statements, may_say, inherited, RecordChecks(known), person_of)
    chain = _history(own, statements, later, may_say, checked)
    elsewhere = [link for entry in others for link in _readable_history(entry, statements, later, may_say, checked)]
    in_chain = {link.statement.digest for link in chain}
    standing = tuple(link for link in chain[1:] if _is_covered(link.statement, covered))
    history = (*chain[:1], *standing)
    pending = chain[len(history) :]
    of_others = {digest for entry in others for digest in entry.brought}
    of_others |= {link.statement.digest for link in elsewhere}
    of_others -= own.accompanied_by | in_chain
    other_records = {link.digest for link in elsewhere}
    if other_records:
        other_records -= {link.digest for link in chain}
    other_names = {entry.name for entry in others}
    of_others |= {
        stored.digest
        for stored in statements
        if _speaks_elsewhere(stored, version, checked, other_records, other_names)
    }
    return VersionStatements(
        statements=tuple(stored for stored in statements if stored.digest not in of_others),
        history=history,
        set_aside=(
            *(SetAside(link.statement, _why_pending(link.statement)) for link in pending),
            *(
                SetAside(stored, _why_aside(stored, version, chain, may_say, checked))
                for stored in later
                if stored.digest not in in_chain | of_others
            ),
        ),
        pending=pending,
        answers=frozenset(stored.digest for stored in statements if stored.kind == "answers" and may_say(stored)),
        accompanied_by=own.accompanied_by,
        pending_evaluations=frozenset(
            stored.digest
            for stored in statements
            if stored.kind == "bias-evaluation"
            and stored.digest not in own.accompanied_by
            and not _is_covered(stored, covered)
        ),
    )


def own_card(version: Version, statements: Sequence[StoredStatement], recorded: Digest | None) -> Digest | None:
    """The digest of the model card that a version was registered with.

    The catalogue has one card for each artifact, that of its first registration. A row that names a card which nobody signed
    stays what is looked at, so that it is found.

    Args:
        version: as the log has it.
        statements: everything that was said about its artifact.
        recorded: the card in the catalogue's row.
    """
    cards = {stored.digest: stored.statement.predicate.get("sha256") for stored in statements if stored.kind == "card"}
    if recorded is None or str(recorded) not in cards.values():
        return recorded
    for stored in statements:
        if stored.kind == "registration" and stored.log_index == version.log_index:
            named = stored.statement.predicate.get("accompanied_by")
            own = [card for digest, card in cards.items() if isinstance(named, list) and str(digest) in named]
            try:
                return Digest.parse(str(own[-1])) if own else recorded
            except MalformedDigest:  # whoever checks the statement says so
                return recorded
    return recorded


@dataclass(frozen=True, slots=True)
class _Registered:
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
    def of(cls, stored: StoredStatement, statements: Sequence[StoredStatement]) -> "_Registered":
        registration = RegistrationPredicate.from_json(stored.statement.predicate)
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


def _checked(
    statements: Sequence[StoredStatement],
    may_say: MaySay,
    inherited: Inherited,
    checks: RecordChecks,
    person_of: PersonOf,
) -> _Checked:
    """Each record held against what was said before it and with it; `checks` is empty, and takes up all of it."""
    records: dict[Digest, RecordCheck | str] = {}
    beside: dict[Digest, tuple[str, ...]] = {}
    for stored in statements:
        if stored.kind == "answers" and not may_say(stored):
            continue
        try:
            signer = EntrySigner(stored.key_id, person_of(stored), stored.appended_at)
            check = checks.take(stored.digest, stored.statement, signer)
        except ValidationError as error:
            records[stored.digest] = first_problem(error)
        else:
            if check is not None:
                subject = stored.statement.subject_digest
                if checks.takes_over(subject, stored.digest):
                    source = inherited(check.record, checks.superseded_by(subject, check.record))
                    check = replace(check, wrong=(*check.wrong, *source.wrong, *source.unseen))
                records[stored.digest] = check
            if stored.kind == "registration":
                beside[stored.digest] = checks.wrong_beside(stored.statement.subject_digest, stored.digest)
    return _Checked(records, beside)


def _history(
    registered: _Registered,
    statements: Sequence[StoredStatement],
    later: Iterable[StoredStatement],
    may_say: MaySay,
    checked: _Checked,
) -> tuple[SignedRecord, ...]:
    """The record that a registration names, and those that supersede it, in the order of the log."""
    named = [stored for stored in statements if stored.kind == "modification" and stored.digest in registered.brought]
    if not named:
        return ()
    first = checked.records[named[-1].digest]
    if isinstance(first, str):
        raise RecordUnreadable(registered.name, named[-1].digest, first)
    objections = (*_first_objections(first), *checked.beside.get(registered.stored.digest, ()))
    if objections:
        raise RecordContradicted(registered.name, objections)
    history = [_signed(named[-1], first)]
    for stored in later:
        # in the order of the log: of two that supersede one, the second finds another record before it
        check = checked.records[stored.digest]
        if isinstance(check, RecordCheck) and _is_after(stored, registered.stored):
            link = _signed(stored, check)
            is_next = not _objection(link, history[-1], registered.name)
            if is_next and not (check.wrong or check.lacking) and may_say(stored):
                history.append(link)
    return tuple(history)


def _readable_history(
    registered: _Registered,
    statements: Sequence[StoredStatement],
    later: Iterable[StoredStatement],
    may_say: MaySay,
    checked: _Checked,
) -> tuple[SignedRecord, ...]:
    """The same of another version; a record of it that says nothing is no reason to refuse this one."""
    try:
        return _history(registered, statements, later, may_say, checked)
    except (RecordUnreadable, RecordContradicted):
        return ()


def _signed(stored: StoredStatement, check: RecordCheck) -> SignedRecord:
    return SignedRecord(stored, check.record)


def _is_after(stored: StoredStatement, registration: StoredStatement) -> bool:
    return (stored.log_index or 0) > (registration.log_index or 0)


def _is_covered(stored: StoredStatement, covered: int) -> bool:
    return stored.log_index is not None and stored.log_index < covered


def _why_pending(stored: StoredStatement) -> str:
    where = "it is not in the log" if stored.log_index is None else f"no checkpoint covers entry {stored.log_index}"
    return f"pending: {where} yet; it stands once whoever holds the log key has run `registry log sign`"


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


def _why_aside(
    stored: StoredStatement,
    version: Version,
    chain: tuple[SignedRecord, ...],
    may_say: MaySay,
    checked: _Checked,
) -> str:
    check = checked.records[stored.digest]
    if isinstance(check, str):
        return f"it is not a modification record: {check}"
    if not chain:
        return f"{version.label} was registered without a record"
    link = _signed(stored, check)
    for before, after in pairwise(chain):
        if not _objection(link, before, version.name):
            return f"{before.record.record_id} was superseded before, by {after.record.record_id}"
    objection = _objection(link, chain[-1], version.name)
    if not objection and not may_say(stored):
        return "the role of the key that signed it may not say so"
    reasons = [objection] if objection else [*check.wrong, *check.lacking]
    return reasons[0] if reasons else "it was logged before the version was registered"


def _speaks_elsewhere(
    stored: StoredStatement,
    version: Version,
    checked: _Checked,
    other_records: set[Digest],
    other_names: set[str],
) -> bool:
    """Whether a statement that accompanied no registration speaks of another version of the artifact."""
    predicate = stored.statement.predicate
    match stored.kind:
        case "registration":
            return stored.log_index != version.log_index
        case "alias":
            return AliasPredicate.from_json(predicate).name != version.name
        case "answers":
            return AnswersPredicate.from_json(predicate).record in other_records
        case "modification":
            check = checked.records[stored.digest]
            if isinstance(check, str):
                return False
            name = check.record.identity.result_name.value
            return name != version.name and name in other_names
        case _:
            return False
