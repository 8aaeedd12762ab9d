"""Modification records derived again from what they name, statement by statement in the order of the log. Pure.

A record of an edition that is known here is derived from its inputs and compared whole: the one that a version begins with
(`first_record_checks.py`), and each that supersedes another (`next_record_checks.py`). One from before editions is held as data.
The reader of a version does so, `registry log sign` before it signs a checkpoint, `registry log check`, and `registry verify`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.records.first_record_checks import FirstCheck, check_first
from peft_registry.registry.records.kept_statements import KeptStatements
from peft_registry.registry.records.logged_statements import NOBODY, EntrySigner, LoggedStatement, signer_of
from peft_registry.registry.records.next_record_checks import RecordCheck, check_next, check_older
from peft_registry.registry.records.record_inputs import NOTHING_ELSEWHERE, Elsewhere, RegisteredStatements
from peft_registry.registry.records.record_statements import stated_in
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationPredicate, modification_in
from peft_registry.schemas.policy import TrustedKey
from peft_registry.schemas.statement import PREDICATE_TYPES, ROLE_KINDS, RegistrationPredicate, Statement
from peft_registry.schemas.values import Timestamp


def answers_as_another(statement: Statement, key: TrustedKey | EntrySigner | None) -> str:
    """In whose place answers are given that are not the key's own: its role and person; empty for none, and for other statements.

    A key keeps the person and the role that it was listed for, so that today's trust file judges answers of any time.
    """
    if statement.kind != "answers":
        return ""
    role, person = statement.predicate.get("role"), statement.predicate.get("person")
    if key is None or role != key.role:
        return f"it answers as {role}, which is not the role of its key"
    if person != key.person:
        return f"it answers in the name of {person}, and its key is listed for {key.person}"
    return ""


@dataclass(slots=True)
class RecordChecks:
    """What became of deriving records again, of any number of artifacts.

    Attributes:
        elsewhere: finds what is not among the statements so far.
        has_whole_log: everything that was logged is, or will be, among these.
        statements: those that were taken up so far.
    """

    elsewhere: Elsewhere = NOTHING_ELSEWHERE
    has_whole_log: bool = False
    statements: KeptStatements = field(init=False)
    _checked: dict[Digest, FirstCheck] = field(default_factory=dict)  # by registration, what became of its record
    _aside: set[Digest] = field(default_factory=set)  # records that their inputs do not give
    # by artifact, in the order of the log
    _first: dict[Digest, list[RegisteredStatements]] = field(default_factory=dict)
    _without_record: dict[Digest, list[Digest]] = field(default_factory=dict)  # registrations that bring none
    # of records that were not derived again
    _notes: dict[Digest, list[tuple[Digest, str]]] = field(default_factory=dict)
    _unchecked: dict[Digest, list[tuple[Digest, str]]] = field(default_factory=dict)  # of those that could not be

    def __post_init__(self) -> None:
        self.statements = KeptStatements(self.elsewhere, self.has_whole_log)

    # --- taking up ---

    def follow(
        self,
        digest: Digest,
        statement: Statement,
        key: TrustedKey | None,
        *,
        at: Timestamp | None = None,
        index: int | None = None,
    ) -> tuple[str, ...]:
        """Take up a statement whose signer may make it; returns what in it does not follow from its inputs, a line each.

        Args:
            digest: of the statement.
            statement: of any kind; only answers and modification records are held against anything.
            key: the signer's, as the trust file lists it.
            at: when it entered the log; None where that is not known.
            index: its entry, likewise.

        Raises:
            ValidationError: it is not what its kind says.
        """
        another = answers_as_another(statement, key)
        if another:
            return (another,)
        check = self.take(digest, statement, signer_of(key, at=at, index=index))
        return () if check is None else (*check.wrong, *check.lacking)

    def take(self, digest: Digest, statement: Statement, signer: EntrySigner = NOBODY) -> RecordCheck | None:
        """Take up a statement that counts; what the check gives where it holds a record.

        The record that a version begins with is derived by `first_records`, once its registration was taken up.

        Raises:
            ValidationError: it is not what its kind says.
        """
        self.statements.take(digest, statement, signer)
        if statement.kind == "registration":
            self._register(digest, statement, signer)
        if statement.kind != "modification":
            return None
        return self._take_record(digest, statement, signer)

    def _take_record(self, digest: Digest, statement: Statement, signer: EntrySigner) -> RecordCheck:
        subject = statement.subject_digest
        if statement.predicate_type != PREDICATE_TYPES["modification"]:
            record = modification_in(statement)
            stated: ModificationPredicate | None = None
            check = check_older(self.statements, subject, record)
        else:
            stated = stated_in(statement)
            record = stated.record
            check = self._check(subject, stated, signer)
        if check.wrong or check.lacking:
            self._aside.add(digest)
        self.statements.take_record(subject, digest, record, stated)
        if check.note:
            self._notes.setdefault(subject, []).append((digest, check.note))
        if check.unchecked:
            self._unchecked.setdefault(subject, []).append((digest, check.unchecked))
        return check

    def _check(self, subject: Digest, stated: ModificationPredicate, signer: EntrySigner) -> RecordCheck:
        """A record as far as it follows from the one before it; that of a registration is derived once that is taken up."""
        standing = editions().standing(stated.edition)
        record = stated.record
        named = f"{stated.edition.name} ({stated.edition.digest.short})"
        if standing == "contradicted":
            return RecordCheck(record, (f"edition: no release derives by {named}",))
        if standing != "known":
            if not self.elsewhere.announced(stated.edition):
                why = f"edition: nobody whose role may has announced {named}, by which this release does not derive"
                return RecordCheck(record, unchecked=why)
            later = "is newer" if standing == "newer" else "is another draft than that of this release"
            return RecordCheck(record, note=f"not derived again: the edition {named} {later}")
        if signer.index is not None and stated.as_of > signer.index:
            # whatever is said next would alter what it has to follow from
            line = f"as_of: it follows from {stated.as_of} entries of the log, and there were {signer.index}"
            return RecordCheck(record, (line,))
        if not record.supersedes_another:
            return RecordCheck(record)
        return check_next(self.statements, subject, stated)

    def _register(self, registration: Digest, statement: Statement, signer: EntrySigner) -> None:
        """Note what a registration brought."""
        subject = statement.subject_digest
        predicate = statement.read_by(RegistrationPredicate.from_json)
        named = predicate.accompanied_by
        of_kind = self.statements.by_kind(named, subject)
        records = of_kind.get("modification", [])
        # where a statement is withheld, it may be the record
        if not records and self.statements.has_all(named):
            self._without_record.setdefault(subject, []).append(registration)
        if not records:
            return
        evaluations = of_kind.get("bias-evaluation", [])
        self.statements.take_brought(evaluations)
        first = RegisteredStatements(
            subject=subject,
            registration=registration,
            name=predicate.name,
            signer=signer,
            records=tuple(records),
            productions=tuple(of_kind.get("provenance", ())),
            observations=tuple(of_kind.get("observations", ())),
            evaluation=evaluations[-1] if evaluations else None,
            accompanied_by=frozenset(named),
        )
        self._first.setdefault(subject, []).append(first)
        manifest = self.elsewhere.manifest(subject) if self.has_whole_log else None
        if manifest is not None:
            # now, while what it follows from is not packed yet
            self._check_first(first, manifest)

    def _check_first(self, first: RegisteredStatements, manifest: Manifest) -> FirstCheck:
        known = self._checked.get(first.registration)
        if known is None:
            known = check_first(self.statements, first, manifest, self._aside_among)
            self._checked[first.registration] = known
        return known

    def _aside_among(self, about: Sequence[LoggedStatement]) -> set[Digest]:
        """The records of another artifact that decide nothing: their inputs do not give them, or no role of their signer's may."""
        records = [entry for entry in about if entry.statement.kind == "modification"]
        unsaid = {entry.digest for entry in records if not _may_say(entry)}
        if self.has_whole_log:
            return unsaid | self._aside
        if len(records) < 2:
            # the one that it was registered with is checked where that is read
            return unsaid
        checks = RecordChecks(self.elsewhere)
        for entry in about:
            signer = entry.signer
            if signer.role is None or not answers_as_another(entry.statement, signer):
                try:
                    checks.take(entry.digest, entry.statement, signer)
                except ValidationError:
                    unsaid.add(entry.digest)
        return unsaid | checks._aside

    # --- what became of them ---

    def has_first_record(self, subject: Digest, registration: Digest) -> bool:
        """Whether a registration of an artifact brought a record."""
        return any(first.registration == registration for first in self._first.get(subject, ()))

    def first_records(
        self, subject: Digest, manifest: Manifest, *, registration: Digest | None = None
    ) -> Iterator[str]:
        """What the records that an artifact was registered with say and their inputs do not give.

        A line each, which names the statement that holds the record; of a result without one, the registration.

        Args:
            subject: the digest of the manifest.
            manifest: that of the artifact.
            registration: only of the record that this statement names; None for those of all registrations.
        """
        for statement in self._without_record.get(subject, ()) if manifest.kind != "base" else ():
            if registration in (None, statement):
                yield f"registration {statement.short}, it registers a result and brings no modification record"
        for first in self._first.get(subject, ()):
            if registration in (None, first.registration):
                check = self._check_first(first, manifest)
                if check.note:
                    self._notes.setdefault(subject, []).append((check.statement, check.note))
                for line in check.wrong:
                    yield f"modification {check.statement.short}, {line}"

    def wrong_beside(self, subject: Digest, registration: Digest) -> tuple[str, ...]:
        """What the record that a registration brought says and its inputs do not give, a line each; its manifest is elsewhere."""
        manifest = self.elsewhere.manifest(subject)
        for first in self._first.get(subject, ()):
            if first.registration == registration and manifest is not None:
                return self._check_first(first, manifest).wrong
        return ()

    def notes(self, subject: Digest) -> tuple[tuple[Digest, str], ...]:
        """The records of an artifact that were not derived again, or not whole, each with the reason."""
        return tuple(dict.fromkeys(self._notes.get(subject, ())))

    def unchecked(self, subject: Digest) -> tuple[tuple[Digest, str], ...]:
        """The records of an artifact that could not be checked, each with the reason."""
        return tuple(dict.fromkeys(self._unchecked.get(subject, ())))


def _may_say(entry: LoggedStatement) -> bool:
    """Whether the role of whoever signed a statement may say such a thing; so it may where nobody knows the role."""
    role = entry.signer.role
    return role is None or entry.statement.kind in ROLE_KINDS.get(role, ())
