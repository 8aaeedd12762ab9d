"""Modification records derived again from what they name, statement by statement in the order of the log. Pure.

A record of an edition that is known here is derived from its inputs and compared whole. One from before editions is held as data
(`older_records.py`). So do the reader of a version, `registry log sign` before a checkpoint is signed, `registry log check`, and
`registry verify`; and whoever makes the next record of a version derives it here.
"""

import json
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.compliance.answers import SignedAnswers, unanswerable
from peft_registry.registry.compliance.base_facts import facts_with_statement
from peft_registry.registry.compliance.derivation import (
    FirstInputs,
    LaterBase,
    NextInputs,
    ancestor_of,
    as_derivable,
    base_input,
    derive_first,
    derive_next,
    differences,
    readable_sections,
)
from peft_registry.registry.compliance.editions import editions
from peft_registry.registry.compliance.fields import stated_leaves
from peft_registry.registry.compliance.first_form import as_read
from peft_registry.registry.compliance.making import Production, made_otherwise
from peft_registry.registry.compliance.older_records import (
    OlderClaims,
    claimed_otherwise,
    figures_otherwise,
)
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature
from peft_registry.registry.compliance.rule_files import deriving_by
from peft_registry.registry.records.logged_statements import (
    NOBODY,
    EntrySigner,
    LoggedStatement,
    signer_of,
)
from peft_registry.registry.records.provenance import production_of
from peft_registry.registry.records.record_inputs import (
    Brought,
    Elsewhere,
    InputsAsLogged,
    inputs_otherwise,
    profile_otherwise,
    registered_otherwise,
    said_in_text,
)
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.base_model import BaseOrigin, BaseRecord, DeclaredFacts
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import (
    InputKind,
    ModificationPredicate,
    ModificationRecord,
    RecordInput,
    RecordSections,
    modification_of,
)
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.policy import TrustedKey
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.statement import PREDICATE_TYPES, ROLE_KINDS, RegistrationPredicate, Statement
from peft_registry.schemas.values import Timestamp

_MOST_UNPACKED = 8  # statements; a registration brings four or five
_MOST_NAMED = 8  # differences; a record of which more differ is of something else


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


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """A record, and what became of deriving it again.

    Attributes:
        record: of whatever form.
        wrong: what it says and its inputs do not give, a line each.
        missing: statements of its own version that it follows from and that are not here.
        unseen: names a record before it that was not said; None for none.
        note: why it was not derived again, or which of its sections were not; empty where all of it was.
        unchecked: why it could not be checked at all; empty where it was.
    """

    record: RecordSections
    wrong: tuple[str, ...] = ()
    missing: tuple[RecordInput, ...] = ()
    unseen: str | None = None
    note: str = ""
    unchecked: str = ""

    @property
    def is_without_earlier(self) -> bool:
        """Whether a record that it supersedes was not said before."""
        return self.unseen is not None

    @property
    def lacking(self) -> tuple[str, ...]:
        """What it follows from and was not said before, a line each."""
        lines = [f"no record {self.unseen} that it supersedes"] if self.is_without_earlier else []
        lines += [
            _LACKING.get(entry.kind, "nobody logged the {0} {1} that it names").format(entry.kind, entry.digest.short)
            for entry in self.missing
        ]
        return tuple(lines)


_LACKING = {
    "answers": "nobody whose role may signed the {0} {1} that it names",
    "bias-evaluation": "nobody logged the evaluation {1} that it names",
}


@dataclass(slots=True)
class _Kept:
    """A statement that may be asked for again; packed once others came after it, because as objects a record takes 350 kB, and a
    log has one a version."""

    kind: str
    subject: Digest
    signer: EntrySigner
    _statement: Statement | None  # None once it is packed
    _packed: bytes = b""

    def pack(self) -> None:
        """Keep the bytes in place of the objects."""
        if self._statement is not None:
            self._packed = zlib.compress(json.dumps(self._statement.to_json()).encode(), level=1)
            self._statement = None

    def statement(self) -> Statement:
        if self._statement is not None:
            return self._statement
        return Statement.from_json(json.loads(zlib.decompress(self._packed)))


@dataclass(frozen=True, slots=True)
class FirstCheck:
    """What became of deriving the record that a registration brought; as `RecordCheck`, each line with its statement."""

    statement: Digest
    wrong: tuple[str, ...] = ()
    note: str = ""


@dataclass(slots=True)
class RecordChecks:
    """The statements that records follow from, so far, of any number of artifacts.

    `elsewhere` finds what is not among these. `has_whole_log`: everything that was logged is, or will be, among these.
    """

    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    has_whole_log: bool = False
    _kept: dict[Digest, _Kept] = field(default_factory=dict)
    _unpacked: deque[_Kept] = field(default_factory=deque)  # those that were said last, of whatever kind
    _answers: dict[Digest, SignedAnswers] = field(default_factory=dict)
    _taken: set[Digest] = field(default_factory=set)  # every statement so far
    _checked: dict[Digest, FirstCheck] = field(default_factory=dict)  # by registration, what became of its record
    # evaluations that came with a registration: of several, the last speaks for the version
    _brought: set[Digest] = field(default_factory=set)
    # by artifact, in the order of the log
    _evaluations: dict[Digest, list[Digest]] = field(default_factory=dict)
    _first: dict[Digest, list[Brought]] = field(default_factory=dict)
    _without_record: dict[Digest, list[Digest]] = field(default_factory=dict)  # registrations that bring none
    _notes: dict[Digest, list[tuple[Digest, str]]] = field(
        default_factory=dict
    )  # of records that were not derived again
    _unchecked: dict[Digest, list[tuple[Digest, str]]] = field(default_factory=dict)  # of those that could not be
    _aside: set[Digest] = field(default_factory=set)  # records that their inputs do not give
    # by artifact, the records of before editions by their own digest, once that is asked
    _older: dict[Digest, list[Digest]] = field(default_factory=dict)
    _older_by_digest: dict[Digest, dict[Digest, Digest]] = field(default_factory=dict)
    _said: dict[Digest, list[Digest]] = field(default_factory=dict)  # by artifact, what is kept
    # the statement that was taken up last, its record and what it says of that: most are registered right after they were said
    _newest: tuple[Digest, RecordSections, ModificationPredicate | None] | None = None

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
        subject = statement.subject_digest
        self._taken.add(digest)
        kind = statement.kind
        if kind == "answers":
            predicate = AnswersPredicate.from_json(statement.predicate)
            self._answers[digest] = SignedAnswers(digest, predicate, signer.logged_at)
        if kind in _KEPT and digest not in self._kept:
            self._keep(digest, statement, signer)
        if kind == "bias-evaluation" and digest not in self._evaluations.setdefault(subject, []):
            self._evaluations[subject].append(digest)
        if kind == "registration":
            self._register(digest, statement, signer)
        if kind != "modification":
            return None
        return self._take_record(digest, statement, signer)

    def _take_record(self, digest: Digest, statement: Statement, signer: EntrySigner) -> RecordCheck:
        subject = statement.subject_digest
        if statement.predicate_type != PREDICATE_TYPES["modification"]:
            record = modification_of(statement.predicate_type, statement.predicate)
            stated = None
            check = self._check_older(subject, record)
            self._older.setdefault(subject, []).append(digest)
        else:
            stated = statement_of(statement.predicate)
            record = stated.record
            check = self._check(subject, stated, signer)
        if check.wrong or check.lacking:
            self._aside.add(digest)
        self._newest = (digest, record, stated)
        if check.note:
            self._notes.setdefault(subject, []).append((digest, check.note))
        if check.unchecked:
            self._unchecked.setdefault(subject, []).append((digest, check.unchecked))
        return check

    def _keep(self, digest: Digest, statement: Statement, signer: EntrySigner) -> None:
        """Keep a statement for whoever asks for it again: most are asked for by what comes right after them."""
        kept = _Kept(f"{statement.kind}", statement.subject_digest, signer, statement)
        self._kept[digest] = kept
        self._said.setdefault(statement.subject_digest, []).append(digest)
        self._unpacked.append(kept)
        if len(self._unpacked) > _MOST_UNPACKED:
            self._unpacked.popleft().pack()

    def _register(self, registration: Digest, statement: Statement, signer: EntrySigner) -> None:
        """Note what a registration brought."""
        subject = statement.subject_digest
        predicate = RegistrationPredicate.from_json(statement.predicate)
        named = predicate.accompanied_by
        of_kind: dict[str, list[Digest]] = {}
        for digest in named:
            kept = self._kept.get(digest)
            if kept is not None and kept.subject == subject:
                of_kind.setdefault(kept.kind, []).append(digest)
        records = of_kind.get("modification", [])
        # where a statement is withheld, it may be the record
        if not records and self._taken.issuperset(named):
            self._without_record.setdefault(subject, []).append(registration)
        if not records:
            return
        evaluations = of_kind.get("bias-evaluation", [])
        self._brought.update(evaluations)
        first = Brought(
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

    # --- what was taken up ---

    def _find(self, digest: Digest, kind: InputKind) -> LoggedStatement | None:
        """A statement of a kind, among these or elsewhere."""
        kept = self._kept.get(digest)
        if kept is None:
            found = self.elsewhere.statement(digest)
            return found if found is not None and found.statement.kind == kind else None
        return LoggedStatement(digest, kept.statement(), kept.signer) if kept.kind == kind else None

    def _about(self, subject: Digest) -> Sequence[LoggedStatement] | None:
        """Everything of the kinds that are kept that was logged about an artifact; None where the log is not at hand."""
        if not self.has_whole_log:
            return self.elsewhere.about(subject)
        kept = [(digest, self._kept[digest]) for digest in self._said.get(subject, ())]
        return tuple(LoggedStatement(digest, entry.statement(), entry.signer) for digest, entry in kept)

    def _record_in(self, statement: Digest) -> RecordSections | None:
        """The modification record that a statement holds; None where it is not here, or holds none."""
        if self._newest is not None and self._newest[0] == statement:
            return self._newest[1]
        found = self._find(statement, "modification")
        if found is None:
            return None
        return modification_of(found.statement.predicate_type, found.statement.predicate)

    def superseded_by(self, subject: Digest, record: RecordSections) -> RecordSections | None:
        """The record of before editions that another names by its id and its digest; None where none was said before it."""
        if not isinstance(record, ModificationRecord) or record.correction.supersedes_digest is None:
            return None
        by_digest = self._older_by_digest.setdefault(subject, {})
        # a digest takes as long as reading the record, and nearly none is superseded
        for statement in self._older.pop(subject, ()):
            older = self._record_in(statement)
            if older is not None:
                by_digest[older.canonical_digest()] = statement
        named = by_digest.get(record.correction.supersedes_digest)
        before = None if named is None else self._record_in(named)
        return before if before is not None and before.record_id == record.supersedes else None

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

    # --- records from before editions ---

    def _check_older(self, subject: Digest, record: RecordSections) -> RecordCheck:
        if not isinstance(record, ModificationRecord) or not record.supersedes_another:
            return RecordCheck(record)
        before = self.superseded_by(subject, record)
        if before is None:
            return RecordCheck(record, unseen=record.supersedes or f"{record.correction.supersedes_digest}")
        wrong = []
        if record.record_created_at < before.record_created_at:
            wrong.append(
                f"record_created_at: {record.record_created_at} is before {before.record_created_at}, when the record that it "
                "supersedes was made"
            )
        return RecordCheck(record, tuple(wrong))

    # --- records of an edition ---

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
        return self._check_next(subject, stated)

    def _check_next(self, subject: Digest, stated: ModificationPredicate) -> RecordCheck:
        record = stated.record
        entry = self.before_named(subject, stated)
        before = None if entry is None else self._record_in(entry)
        if entry is None or before is None:
            return RecordCheck(record, unseen=record.supersedes or f"{record.correction.supersedes_digest}")
        wrong = list(_not_next(record, before))
        missing = tuple(named for named in stated.inputs if not self._is_here(named))
        wrong += self._named_otherwise(subject, stated, before)
        if wrong or missing:
            return RecordCheck(record, tuple(wrong), missing)
        try:
            name = str(record.identity.result_name.value)
            inputs = self.next_inputs(subject, before, stated.inputs, name, record)
            wrong += () if inputs.observations is None else profile_otherwise(inputs.observations)
            with deriving_by(stated.edition.name):
                wrong += unanswerable_lines(self._chain(subject, stated), inputs.answers)
                derived = derive_next(inputs, record_id=record.record_id, now=record.record_created_at)
        except (KnownError, ValidationError, LookupError, ValueError) as error:
            return RecordCheck(record, (*wrong, f"inputs: nothing follows from them: {_why(error)}"))
        left = ("base", "upstream") if any(base.role is None for base in inputs.bases) else ()
        wrong += _lines(record, as_derivable(record, derived, left))
        note = "base, upstream: not derived, because whose keys signed what is said of the base is not known here"
        return RecordCheck(record, tuple(wrong), note=note if left else "")

    def before_named(self, subject: Digest, stated: ModificationPredicate) -> Digest | None:
        """The statement that holds the record which another supersedes; None where it names none."""
        named = stated.inputs_of("modification", subject)
        return named[0] if len(named) == 1 else None

    def _is_here(self, named: RecordInput) -> bool:
        if named.kind == "answers":
            return named.digest in self._answers
        found = self._find(named.digest, named.kind)
        return found is not None and found.statement.subject_digest == named.about

    def _named_otherwise(self, subject: Digest, stated: ModificationPredicate, before: RecordSections) -> Iterator[str]:
        """Inputs that are named twice or are of something else, and evaluations that are not those that were logged since."""
        for place, named in enumerate(stated.inputs):
            if named in stated.inputs[:place]:
                yield f"inputs: {named.kind} {named.digest.short} is named twice"
            # what is said of a base is about that; everything else is about the version itself
            if named.kind == "provenance" or (named.kind != "base" and named.about != subject):
                yield f"inputs: {named.kind} {named.digest.short} is not one of them"
        if len(stated.inputs_of("observations")) > 1:
            yield "inputs: it names several observations"
        yield from self._evaluations_otherwise(subject, stated, before)

    def _evaluations_otherwise(
        self, subject: Digest, stated: ModificationPredicate, before: RecordSections
    ) -> Iterator[str]:
        """A record has the figures of every evaluation that was logged before it, in their order."""
        named = stated.inputs_of("bias-evaluation", subject)
        later = self.uncounted(subject, before)
        for digest in named:
            if digest in self._evaluations.get(subject, ()) and digest not in later:
                # its figures would take the place of newer ones
                yield f"inputs: bias-evaluation {digest.short} is in the record that it supersedes"
        # lines of a folder that nothing dates may be in any order
        dated = [digest for digest in later if self._kept[digest].signer.logged_at is not None]
        for digest in dated:
            if digest not in named:
                yield f"inputs: bias-evaluation {digest.short} is left out"
        if [digest for digest in named if digest in dated] != [digest for digest in dated if digest in named]:
            yield "inputs: the evaluations are not in the order of the log"

    def _is_counted(self, evaluation: Digest, record: RecordSections) -> bool:
        """Whether a record has the figures of an evaluation: it names the statement, or as a first record the evaluation itself."""
        named = set(record.evaluation.signed_by.evidence)
        if evaluation in named:
            return True
        return len(named) == 1 and self._evaluation(evaluation).canonical_digest() in named

    def _evaluation(self, statement: Digest) -> EvaluationRecord:
        found = self._find(statement, "bias-evaluation")
        if found is None:
            raise LookupError(f"the evaluation {statement.short} is not here")
        return EvaluationRecord.from_json(found.statement.predicate)

    def uncounted(self, subject: Digest, record: RecordSections) -> tuple[Digest, ...]:
        """The evaluations of an artifact that were logged by themselves, and whose figures a record does not have."""
        return tuple(
            digest
            for digest in self._evaluations.get(subject, ())
            if digest not in self._brought and not self._is_counted(digest, record)
        )

    def try_answers(self, signed: SignedAnswers) -> None:
        """Take up answers that nobody has signed, to see what would follow from them."""
        self._answers[signed.statement] = signed

    def next_inputs(
        self,
        subject: Digest,
        before: RecordSections,
        named: Sequence[RecordInput],
        name: str,
        recorded: ModificationRecord | None = None,
    ) -> NextInputs:
        """What the next record of a version follows from.

        Args:
            subject: the manifest digest of the version.
            before: the record that it supersedes.
            named: the statements; all of them are here.
            name: that the version is registered under.
            recorded: the record that is checked, which says when something was signed where nothing else here does.

        Raises:
            LookupError: one of them is not here.
            ValidationError: one of them is not what its kind says.
        """
        answers = [self._dated(self._answers[entry.digest], recorded) for entry in named if entry.kind == "answers"]
        later = [entry.digest for entry in named if entry.kind == "bias-evaluation"]
        seen = [entry.digest for entry in named if entry.kind == "observations"]
        observations = self._find(seen[0], "observations") if seen else None
        bases = [base for entry in named if entry.kind == "base" for base in self._later_bases(entry.digest, before)]
        return NextInputs(
            before=before,
            name=name,
            manifest=subject,
            answers=tuple(answers),
            evaluations=tuple((digest, self._evaluation(digest)) for digest in later),
            signatures=tuple(self._signatures(subject, before, later, recorded)) if later else (),
            bases=tuple(bases),
            observations=None if observations is None else Observations.from_json(observations.statement.predicate),
        )

    @staticmethod
    def _dated(signed: SignedAnswers, recorded: ModificationRecord | None) -> SignedAnswers:
        """Answers with the time of their entry; where nothing here tells that, with the one that the record states."""
        if signed.logged_at is not None or recorded is None:
            return signed
        stated = (leaf.value.asserted_at for leaf in stated_leaves(recorded) if signed.statement in leaf.value.evidence)
        return SignedAnswers(signed.statement, signed.predicate, next(stated, None))

    def _later_bases(self, statement: Digest, before: RecordSections) -> Iterator[LaterBase]:
        """What a statement of a base says of the bases of a record: of those with its weights and its name."""
        found = self._find(statement, "base")
        if found is None:
            raise LookupError(f"the statement {statement.short} about a base is not here")
        base = BaseRecord.from_json(found.statement.predicate)
        facts = facts_with_statement(base.facts, statement)
        for position, used in enumerate(before.base):
            is_it = used.tensor_digest.value == str(base.identity.weights) and base.name in (None, used.name.value)
            if is_it:
                yield LaterBase(position, statement, facts, found.signer.role)

    def _signatures(
        self, subject: Digest, before: RecordSections, later: Sequence[Digest], recorded: ModificationRecord | None
    ) -> Iterator[EvaluationSignature]:
        """Who signed each evaluation that counts, and when; what is not known here is taken from the record."""
        rows = [] if recorded is None else recorded.evaluation.signed_by.value
        for statement in self._evaluations.get(subject, ()):
            if statement not in later and not self._is_counted(statement, before):
                continue
            digest = self._evaluation(statement).canonical_digest()
            own = [row for row in rows or () if isinstance(row, dict) and row.get("evaluation") == str(digest)]
            row = own[0] if own else {}
            signer = self._kept[statement].signer
            yield EvaluationSignature(
                statement=statement,
                evaluation=digest,
                key_id=signer.key_id or str(row.get("key")),
                person=signer.person or row.get("person"),
                at=signer.logged_at or row.get("at"),
            )

    def _chain(self, subject: Digest, stated: ModificationPredicate) -> tuple[RecordSections, ...]:
        """The record that another supersedes, and those before it, newest first, as far as they are here."""
        records: list[RecordSections] = []
        current: ModificationPredicate | None = stated
        while current is not None:
            named = self.before_named(subject, current)
            found = None if named is None else self._find(named, "modification")
            if found is None:
                break
            predicate_type = found.statement.predicate_type
            records.append(modification_of(predicate_type, found.statement.predicate))
            is_of_edition = predicate_type == PREDICATE_TYPES["modification"]
            current = statement_of(found.statement.predicate) if is_of_edition else None
        older: RecordSections | None = records[-1] if records else None
        while isinstance(older, ModificationRecord) and older.supersedes_another:
            older = self.superseded_by(subject, older)
            if older is not None:
                records.append(older)
        return tuple(records)

    # --- the record that a version begins with ---

    def _stated_in(self, found: LoggedStatement) -> ModificationPredicate | None:
        """What a statement says of its record; None of a record from before editions."""
        if self._newest is not None and self._newest[0] == found.digest:
            return self._newest[2]
        is_of_edition = found.statement.predicate_type == PREDICATE_TYPES["modification"]
        return statement_of(found.statement.predicate) if is_of_edition else None

    def _check_first(self, first: Brought, manifest: Manifest) -> FirstCheck:
        known = self._checked.get(first.registration)
        if known is None:
            try:
                known = self._derived_again(first, manifest)
            except ValidationError as error:
                # what was logged unasked may be nothing that its kind says
                known = FirstCheck(first.records[-1], (f"malformed: {first_problem(error)}",))
            self._checked[first.registration] = known
        return known

    def _derived_again(self, first: Brought, manifest: Manifest) -> FirstCheck:
        statement = first.records[-1]
        found = self._find(statement, "modification")
        assert found is not None, "it was taken up before its registration"
        several = tuple(_several(first))
        production = self._production(first)
        stated = self._stated_in(found)
        if stated is None:
            record = modification_of(found.statement.predicate_type, found.statement.predicate)
            evaluation = None if first.evaluation is None else self._evaluation(first.evaluation)
            claims = claimed_otherwise(OlderClaims.of(record), manifest, self.elsewhere.manifest)
            return FirstCheck(statement, (*several, *figures_otherwise(record, production, evaluation), *claims))
        if stated.record.supersedes_another:
            begins = (
                f"it supersedes {stated.record.supersedes}, and a version begins with a record that supersedes none"
            )
            return FirstCheck(statement, (*several, begins))
        if editions().standing(stated.edition) != "known":
            return FirstCheck(statement, several)  # said already
        if production is None:
            return FirstCheck(statement, (*several, "provenance: nothing that is signed with it says how it was made"))
        wrong = (*several, *made_otherwise(production, manifest))
        check = self._derive_first(first, manifest, production, stated)
        return FirstCheck(check.statement, (*wrong, *check.wrong), check.note)

    def _production(self, first: Brought) -> Production | None:
        found = self._find(first.productions[-1], "provenance") if first.productions else None
        return None if found is None else production_of(found.statement.predicate)

    def _derive_first(
        self, first: Brought, manifest: Manifest, production: Production, stated: ModificationPredicate
    ) -> FirstCheck:
        subject = first.subject
        statement = first.records[-1]
        record = stated.record
        wrong: list[str] = []
        named = stated.inputs_of("observations", subject)
        found = self._find(named[0], "observations") if len(named) == 1 else None
        if found is None:
            if len(named) != 1:
                wrong.append("inputs: it names no observations of its own")
            elif named[0] not in first.accompanied_by or self._about(subject) is not None:
                # where the log is at hand nothing is withheld
                wrong.append(f"inputs: the observations {named[0].short} that it names were not logged with it")
            note = "not derived again: what was observed when it was made is withheld"
            return FirstCheck(statement, tuple(wrong), "" if wrong else note)
        seen = Observations.from_json(found.statement.predicate)
        wrong += inputs_otherwise(subject, first, stated, seen)
        wrong += registered_otherwise(first, production, seen, record)
        logged = InputsAsLogged(self._find, self._about, self.elsewhere, self._aside_among)
        wrong += logged.chosen(manifest, production, stated, seen)
        if first.evaluation is not None:
            wrong += said_in_text(self._evaluation(first.evaluation))
        if wrong:
            return FirstCheck(statement, tuple(wrong))
        try:
            inputs = self.first_inputs(manifest, production, seen, first.evaluation)
            with deriving_by(stated.edition.name):
                derived = derive_first(inputs, refuses_facts=False)
        except (KnownError, ValidationError, LookupError, ValueError) as error:
            return FirstCheck(statement, (f"inputs: nothing follows from them: {_why(error)}",))
        left = inputs.not_derived
        absent = (*inputs.absent_bases, *inputs.absent_ancestors)
        note = f"{', '.join(left)}: not derived, because {', '.join(absent)} is not here" if left else ""
        return FirstCheck(statement, tuple(_lines(record, as_derivable(record, derived, left))), note)

    def first_inputs(
        self, manifest: Manifest, production: Production, seen: Observations, evaluation: Digest | None
    ) -> FirstInputs:
        """What the record of a registration follows from; what is not here has a stand-in, and is named.

        Raises:
            LookupError: the evaluation is not here.
            ValidationError: one of the statements is not what its kind says.
        """
        absent_bases: list[str] = []
        absent_ancestors: list[str] = []
        bases = []
        for base in seen.bases:
            found = self._find(base.statement, "base")
            if found is None:
                absent_bases.append(f"the record of the base {base.name}")
            record = _stand_in(production) if found is None else BaseRecord.from_json(found.statement.predicate)
            bases.append(base_input(base, record))
        ancestors = []
        for ancestor in seen.ancestors:
            made = None if ancestor.made is None else self._find(ancestor.made, "provenance")
            held = None if ancestor.record is None else self._record_in(ancestor.record)
            if (ancestor.made is not None and made is None) or (ancestor.record is not None and held is None):
                absent_ancestors.append(f"the record of {ancestor.label}")
            run = None if made is None else production_of(made.statement.predicate)
            ancestors.append(ancestor_of(ancestor, run if isinstance(run, RunRecord) else None, _as_read(held)))
        return FirstInputs(
            manifest=manifest,
            production=production,
            observations=seen,
            bases=tuple(bases),
            ancestors=tuple(ancestors),
            evaluation=None if evaluation is None else self._evaluation(evaluation),
            absent_bases=tuple(absent_bases),
            absent_ancestors=tuple(absent_ancestors),
        )

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


# --- one statement ---

_KEPT = frozenset({"provenance", "observations", "bias-evaluation", "base", "modification", "registration"})


def _may_say(entry: LoggedStatement) -> bool:
    """Whether the role of whoever signed a statement may say such a thing; so it may where nobody knows the role."""
    role = entry.signer.role
    return role is None or entry.statement.kind in ROLE_KINDS.get(role, ())


def statement_of(predicate: dict[str, Any]) -> ModificationPredicate:
    """The statement of a record in the third form.

    One of a later edition may have what this release cannot read: what it can read of it is shown, and nothing is derived.

    Raises:
        ValidationError: it is not one, or not of an edition that may have other sections.
    """
    try:
        return ModificationPredicate.from_json(predicate)
    except ValidationError:
        if editions().standing(edition_of(predicate)) not in ("newer", "draft"):
            raise
        return ModificationPredicate.from_json(predicate | {"record": readable_sections(predicate.get("record"))})


def _several(first: Brought) -> Iterator[str]:
    """What a registration names more than once, so that nothing says which of them stands."""
    if len(first.records) > 1:
        yield f"its registration names {len(first.records)} modification records, and a version begins with one"
    if len(first.productions) > 1:
        yield f"its registration names {len(first.productions)} statements of how it was made, and it was made once"
    if len(first.observations) > 1:
        yield f"its registration names {len(first.observations)} statements of what was observed, and there is one"


def _not_next(record: ModificationRecord, before: RecordSections) -> Iterator[str]:
    """What keeps a record from standing in place of the one that it names."""
    if record.supersedes != before.record_id or record.correction.supersedes_digest != before.canonical_digest():
        yield "supersedes: the record that its inputs hold is another"
    if record.record_created_at < before.record_created_at:
        yield (
            f"record_created_at: {record.record_created_at} is before {before.record_created_at}, when the record that it "
            "supersedes was made"
        )


class _OfEdition(Document):
    edition: Edition


def edition_of(predicate: dict[str, Any]) -> Edition:
    """The edition that the statement of a record names, whatever else that says.

    Raises:
        ValidationError: it names none.
    """
    return _OfEdition.from_json({"edition": predicate.get("edition")}).edition


def unanswerable_lines(chain: Sequence[RecordSections], answers: Sequence[SignedAnswers]) -> list[str]:
    """Answers that a record may not take up, a line each; `chain` has the records before it, newest first."""
    return [line for signed in answers for line in unanswerable(chain, signed)]


def _lines(record: ModificationRecord, derived: ModificationRecord) -> Iterator[str]:
    """What a record says otherwise than is derived, a line each: the first of them, and how many more."""
    found = [difference.sentence for difference in differences(record, derived)]
    found.sort(key=lambda line: not line.startswith("compute."))  # what the law counts first
    yield from found[:_MOST_NAMED]
    if len(found) > _MOST_NAMED:
        yield f"and {len(found) - _MOST_NAMED} other values"


def _why(error: Exception) -> str:
    return first_problem(error) if isinstance(error, ValidationError) else str(error)


def _as_read(record: RecordSections | None) -> RecordSections | None:
    return None if record is None else as_read(record)


def _stand_in(production: Production) -> BaseRecord:
    """In place of the record of a base that is not here: nothing that follows from it is compared."""
    parameters = 1 if isinstance(production, ImportRecord) else production.parameters_total
    return BaseRecord(
        identity=production.base.identity,
        origin=BaseOrigin(format="huggingface", source="not here"),
        architecture="",
        parameters_total=parameters,
        parameters_matmul=parameters,
        context_length=None,
        facts=DeclaredFacts(),
    )
