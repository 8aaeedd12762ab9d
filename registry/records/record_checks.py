"""Modification records held against what was said of their artifact before, statement by statement in the order of the log. Pure.

A record that supersedes another is judged by that one, by the answers that people signed in between and by the evaluations that
were logged; a first record by its manifest, its run and the evaluation that are signed with it.
So do the reader of a version, `registry log sign` before a checkpoint is signed, `registry log check`, and `registry verify`.
"""

import json
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from peft_registry.registry.compliance.answers import SignedAnswers
from peft_registry.registry.compliance.base_as_recorded import SaidOfBase
from peft_registry.registry.compliance.carried_values import LoggedEvaluation, check_carried, of_other_rules
from peft_registry.registry.compliance.first_record import (
    Elsewhere,
    RecordClaims,
    Registering,
    SignedBeside,
    check_beside,
    check_manifest,
)
from peft_registry.registry.compliance.inherited_values import (
    InheritedCheck,
    RecordedBefore,
    RecordFinder,
    check_inherited,
    rests_on_others,
)
from peft_registry.registry.compliance.made_as_recorded import Flags, Made, flags_of
from peft_registry.registry.compliance.taken_up import check_answers
from peft_registry.registry.records.provenance import production_of
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.modification import ModificationRecord, RecordSections, modification_of
from peft_registry.schemas.policy import TrustedKey
from peft_registry.schemas.statement import RegistrationPredicate, Statement
from peft_registry.schemas.values import Timestamp


def answers_as_another(statement: Statement, key: TrustedKey | None) -> str:
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
class EntrySigner:
    """Whose key signed a statement, and when it entered the log; None for what is not known here."""

    key_id: str | None = None
    person: str | None = None
    logged_at: Timestamp | None = None
    role: str | None = None  # empty: the trust file does not list the key


_MOST_UNPACKED = 8  # statements; a registration brings three or four

SignedStatement = tuple[str, dict[str, Any], EntrySigner]
"""The kind of a statement, its predicate (any JSON object), and who signed it."""


def signed_beside(brought: Iterable[SignedStatement]) -> SignedBeside:
    """How a version was made and what was scored, of what is signed with it; of several evaluations the last speaks.

    Args:
        brought: the statements in the order in which they are signed.
    """
    beside = SignedBeside()
    for kind, predicate, signer in brought:
        if kind == "provenance":
            beside = replace(beside, production=production_of(predicate))
        elif kind == "bias-evaluation":
            evaluation = EvaluationRecord.from_json(predicate)
            beside = replace(beside, evaluation=evaluation, key_id=signer.key_id, person=signer.person)
    return beside


def _several(records: Sequence[Digest], brought: Sequence[SignedStatement]) -> Iterator[str]:
    """What a registration names more than once, so that nothing says which of them stands."""
    if len(records) > 1:
        yield f"its registration names {len(records)} modification records, and a version begins with one"
    productions = sum(kind == "provenance" for kind, _, _ in brought)
    if productions > 1:
        yield f"its registration names {productions} statements of how it was made, and it was made once"


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """A record held against what was said before it.

    Attributes:
        record: of either form.
        wrong: what it says and nobody signed, a line each.
        missing: statements of answers that it rests on and that were not given before, or not by somebody who may.
        unevaluated: likewise of evaluations.
        unseen: names a record before it that was not said, so that nothing tells what it may carry on; None for none.
    """

    record: RecordSections
    wrong: tuple[str, ...]
    missing: tuple[Digest, ...]
    unevaluated: tuple[Digest, ...] = ()
    unseen: str | None = None

    @property
    def is_without_earlier(self) -> bool:
        """Whether a record that it supersedes, itself or through others, was not said before."""
        return self.unseen is not None

    @property
    def lacking(self) -> tuple[str, ...]:
        """What it rests on and was not said before, a line each."""
        lines = [f"no record {self.unseen} that it supersedes"] if self.is_without_earlier else []
        lines += [f"nobody whose role may signed the answers {digest.short} that it names" for digest in self.missing]
        lines += [f"nobody logged the evaluation {digest.short} that it names" for digest in self.unevaluated]
        return tuple(lines)


@dataclass(slots=True)
class _Kept:
    """A statement that may be asked for again; packed once others came after it, because as objects a record takes 350 kB, and a
    log has one a version."""

    subject: Digest
    predicate_type: str
    signer: EntrySigner
    _predicate: dict[str, Any] | None  # any JSON object; None once it is packed
    _packed: bytes = b""

    @classmethod
    def of(cls, statement: Statement, signer: EntrySigner) -> "_Kept":
        return cls(statement.subject_digest, statement.predicate_type, signer, statement.predicate)

    def pack(self) -> None:
        """Keep the bytes in place of the objects."""
        self._packed = zlib.compress(json.dumps(self._predicate).encode(), level=1)
        self._predicate = None

    def predicate(self) -> dict[str, Any]:
        if self._predicate is not None:
            return self._predicate
        unpacked: dict[str, Any] = json.loads(zlib.decompress(self._packed))
        return unpacked

    def record(self) -> RecordSections:
        return modification_of(self.predicate_type, self.predicate())

    def evaluation(self) -> EvaluationRecord:
        return EvaluationRecord.from_json(self.predicate())

    def logged_as(self, statement: Digest) -> LoggedEvaluation:
        return LoggedEvaluation(
            statement, self.evaluation, self.signer.key_id, self.signer.person, self.signer.logged_at
        )


@dataclass(frozen=True, slots=True)
class _FirstRecord:
    """A record that a version was registered with: its statement, what it says of the manifest, and what is wrong beside that."""

    registration: Digest
    statement: Digest
    claims: RecordClaims
    wrong: tuple[str, ...]
    is_base_here: bool  # something is recorded of its base that it was held against
    rules: str  # why it is not by the rules of this tool; empty where it is, or is of the form that had none


@dataclass(slots=True)
class RecordChecks:
    """The records, the answers and the evaluations that count so far, of any number of artifacts.

    `elsewhere` finds what is recorded of artifacts that are not among these.
    """

    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    _answers: dict[Digest, SignedAnswers] = field(default_factory=dict)
    _bases: dict[Digest, RecordedBefore] = field(default_factory=dict)  # by statement, as are the records
    _named_bases: dict[Digest, list[SaidOfBase]] = field(default_factory=dict)  # by artifact
    _made: dict[Digest, list[Made]] = field(default_factory=dict)  # likewise
    _flags: dict[Digest, Flags] = field(default_factory=dict)  # likewise
    _records: dict[Digest, _Kept] = field(default_factory=dict)
    _unpacked: deque[_Kept] = field(default_factory=deque)  # those that were said last, of whatever kind
    # by artifact, in the order of the log
    _evaluations: dict[Digest, dict[Digest, _Kept]] = field(default_factory=dict)
    _read: dict[Digest, dict[Digest, LoggedEvaluation]] = field(default_factory=dict)  # those that were read once
    # by artifact, the statements: as they were said, by the digest of the record in them once that is asked, and of those
    # that take something over
    _said: dict[Digest, list[Digest]] = field(default_factory=dict)
    _by_record: dict[Digest, dict[Digest, Digest]] = field(default_factory=dict)
    _resting: dict[Digest, list[Digest]] = field(default_factory=dict)
    # by statement: a registration of equal bytes under another name may name what an earlier one brought
    _productions: dict[Digest, _Kept] = field(default_factory=dict)
    _first: dict[Digest, list[_FirstRecord]] = field(default_factory=dict)  # by artifact
    _without_record: dict[Digest, list[Digest]] = field(
        default_factory=dict
    )  # by artifact, registrations that bring none
    _taken: set[Digest] = field(default_factory=set)  # every statement so far
    # the statement that was taken up last, and its record: most are registered right after they were said
    _newest: tuple[Digest, RecordSections] | None = None

    def follow(
        self, digest: Digest, statement: Statement, key: TrustedKey | None, *, at: Timestamp | None = None
    ) -> tuple[str, ...]:
        """Take up a statement whose signer may make it; returns what in it nobody signed before it, a line each.

        Args:
            digest: of the statement.
            statement: of any kind; only answers, modification records and registrations are held against anything.
            key: the signer's, as the trust file lists it.
            at: when it entered the log; None where that is not known.

        Raises:
            ValidationError: it is not what its kind says.
        """
        another = answers_as_another(statement, key)
        if another:
            return (another,)
        signer = (
            EntrySigner(logged_at=at, role="") if key is None else EntrySigner(key.key_id, key.person, at, key.role)
        )
        check = self.take(digest, statement, signer)
        return () if check is None else (*check.wrong, *check.lacking)

    def take(self, digest: Digest, statement: Statement, signer: EntrySigner = EntrySigner()) -> RecordCheck | None:
        """Take up a statement that counts; what the check gives where it holds a record.

        Args:
            digest: of the statement.
            statement: of any kind.
            signer: of its entry, as far as that is known.

        Raises:
            ValidationError: it is not what its kind says.
        """
        self._taken.add(digest)
        if statement.kind == "answers":
            predicate = AnswersPredicate.from_json(statement.predicate)
            self._answers[digest] = SignedAnswers(digest, predicate, signer.logged_at)
        if statement.kind == "base":
            base = BaseRecord.from_json(statement.predicate)
            self._bases[digest] = RecordedBefore(statement.subject_digest, base, signer.role)
            self._named_bases.setdefault(statement.subject_digest, []).append(SaidOfBase(base, signer.logged_at))
        if statement.kind == "bias-evaluation":
            of_artifact = self._evaluations.setdefault(statement.subject_digest, {})
            of_artifact.setdefault(digest, self._keep(statement, signer))
        if statement.kind == "provenance":
            self._productions[digest] = self._keep(statement, signer)
        if statement.kind == "registration":
            self._register(digest, statement, signer)
        if statement.kind != "modification":
            return None
        record = modification_of(statement.predicate_type, statement.predicate)
        subject = statement.subject_digest
        before = self.superseded_by(subject, record)
        check = self._check(subject, record, before)
        self._records[digest] = self._keep(statement, signer)
        self._newest = (digest, record)
        self._flags[subject] = {**self._flags.get(subject, {}), **flags_of(record)}  # as `flags_in` has them
        self._said.setdefault(subject, []).append(digest)
        if rests_on_others(record, before):
            self._resting.setdefault(subject, []).append(digest)
        return check

    def _keep(self, statement: Statement, signer: EntrySigner) -> _Kept:
        """A statement for whoever asks for it again: most are asked for by the registration that comes right after them."""
        kept = _Kept.of(statement, signer)
        self._unpacked.append(kept)
        if len(self._unpacked) > _MOST_UNPACKED:
            self._unpacked.popleft().pack()
        return kept

    def record_in(self, statement: Digest) -> RecordedBefore | None:
        """The record, of a modification or of a base, that a statement holds which was taken up; None for any other."""
        kept = self._records.get(statement)
        return self._bases.get(statement) if kept is None else RecordedBefore(kept.subject, kept.record())

    def _register(self, registration: Digest, statement: Statement, signer: EntrySigner) -> None:
        """Hold the record that a registration names against what it names beside it."""
        subject = statement.subject_digest
        predicate = RegistrationPredicate.from_json(statement.predicate)
        named = predicate.accompanied_by
        # where a statement is withheld, it may be the record
        if self._taken.issuperset(named) and not any(digest in self._records for digest in named):
            self._without_record.setdefault(subject, []).append(registration)
        brought = tuple(self._brought(subject, named))
        beside = signed_beside(brought)
        if beside.production is not None:
            self._made.setdefault(subject, []).append(Made.of(beside.production))
        records = [digest for digest in named if self._is_about(subject, self._records.get(digest))]
        if not records:
            return
        record = self._record_in(records[-1])
        registering = Registering(subject, predicate.name, signer.key_id, signer.person, signer.logged_at)
        around = Elsewhere(bases=self._bases_of)
        wrong = (*_several(records, brought), *check_beside(record, beside, registering, around))
        rules = "; ".join(of_other_rules(record)) if isinstance(record, ModificationRecord) else ""
        base = None if beside.production is None else beside.production.base.manifest
        is_base_here = base is None or bool(self._bases_of(base))
        claims = RecordClaims.of(record, beside.production)
        first = _FirstRecord(registration, records[-1], claims, wrong, is_base_here, rules)
        self._first.setdefault(subject, []).append(first)

    def _bases_of(self, manifest: Digest) -> Sequence[SaidOfBase]:
        return self._named_bases.get(manifest) or self.elsewhere.bases(manifest)

    def _flags_of(self, manifest: Digest) -> Flags:
        return self._flags.get(manifest) or self.elsewhere.flags(manifest)

    def _made_of(self, manifest: Digest) -> Sequence[Made]:
        return self._made.get(manifest) or self.elsewhere.made(manifest)

    def _record_in(self, statement: Digest) -> RecordSections:
        if self._newest is not None and self._newest[0] == statement:
            return self._newest[1]
        return self._records[statement].record()

    def _brought(self, subject: Digest, named: Iterable[Digest]) -> Iterator[SignedStatement]:
        evaluations = self._evaluations.get(subject, {})
        for digest in named:
            production, evaluation = self._productions.get(digest), evaluations.get(digest)
            if production is not None and self._is_about(subject, production):
                yield "provenance", production.predicate(), production.signer
            if evaluation is not None:
                yield "bias-evaluation", evaluation.predicate(), evaluation.signer

    @staticmethod
    def _is_about(subject: Digest, kept: _Kept | None) -> bool:
        return kept is not None and kept.subject == subject

    def has_first_record(self, subject: Digest, registration: Digest) -> bool:
        """Whether a registration of an artifact brought a record."""
        return any(first.registration == registration for first in self._first.get(subject, ()))

    def wrong_beside(self, subject: Digest, registration: Digest) -> tuple[str, ...]:
        """What the record that a registration brought says otherwise than what is signed beside it, a line each."""
        brought = (first for first in self._first.get(subject, ()) if first.registration == registration)
        return next((first.wrong for first in brought), ())

    def first_records(
        self, subject: Digest, manifest: Manifest, *, registration: Digest | None = None
    ) -> Iterator[str]:
        """What the records that an artifact was registered with say otherwise than its manifest and what is signed beside them.

        A line each, which names the statement that holds the record; of a result without one, the registration.

        Args:
            subject: the digest of the manifest.
            manifest: that of the artifact.
            registration: only of the record that this statement names; None for those of all registrations.
        """
        around = Elsewhere(self.elsewhere.manifest, self._bases_of, self._made_of, self._flags_of)
        for statement in self._without_record.get(subject, ()) if manifest.kind != "base" else ():
            if registration in (None, statement):
                yield f"registration {statement.short}, it registers a result and brings no modification record"
        for first in self._first.get(subject, ()):
            if registration in (None, first.registration):
                for line in (*first.wrong, *check_manifest(first.claims, manifest, around)):
                    yield f"modification {first.statement.short}, {line}"

    def not_held(self, subject: Digest, manifest: Manifest) -> Iterator[tuple[Digest, str]]:
        """What the first records of an artifact say of others of which nothing is here, a line each with the record's statement."""
        for first in self._first.get(subject, ()):
            if not first.is_base_here:
                yield first.statement, "base: nothing that is recorded of it is here"
            unknown = [digest for digest in (first.claims.runs or ()) if not self._made_of(digest)]
            if unknown and manifest.made_from:
                yield first.statement, f"compute.inputs: the records of {len(unknown)} runs before it are not here"

    def other_rules(self, subject: Digest) -> Iterator[tuple[Digest, str]]:
        """The first records of an artifact by rules that this tool does not know, so that nothing that they derive was held."""
        for first in self._first.get(subject, ()):
            if first.rules:
                yield first.statement, first.rules

    def takes_over(self, subject: Digest, statement: Digest) -> bool:
        """Whether a statement holds a record of an artifact that takes over what people said of something else."""
        return statement in self._resting.get(subject, ())

    def inherited(
        self, subject: Digest, manifest: Manifest, recorded: RecordFinder
    ) -> Iterator[tuple[Digest, InheritedCheck]]:
        """The records of an artifact that take something over from what it was made from, and whether that is recorded there.

        By the statements that hold them; `manifest` and `recorded` are those of `check_inherited`.
        """
        for statement in self._resting.get(subject, ()):
            record = self._records[statement].record()
            yield statement, check_inherited(record, manifest, recorded, self.superseded_by(subject, record))

    def check(self, subject: Digest, record: RecordSections) -> RecordCheck:
        """How a record about an artifact would stand if it were said next."""
        return self._check(subject, record, self.superseded_by(subject, record))

    def _check(self, subject: Digest, record: RecordSections, before: RecordSections | None) -> RecordCheck:
        """The same, held against the record that it supersedes."""
        check = check_answers(record, before, self._answers, lambda after: self.superseded_by(subject, after))
        carried = check_carried(record, before, {} if before is None else self._evaluations_of(subject))
        return RecordCheck(
            record, (*check.wrong, *carried.wrong), check.missing, unevaluated=carried.missing, unseen=check.unseen
        )

    def _evaluations_of(self, subject: Digest) -> dict[Digest, LoggedEvaluation]:
        """What was evaluated of an artifact so far, in the order of the log.

        Raises:
            ValidationError: one of them is not an evaluation, whether a record names it or not.
        """
        read = self._read.setdefault(subject, {})
        for statement, kept in self._evaluations.get(subject, {}).items():
            if statement not in read:
                kept.evaluation()
                read[statement] = kept.logged_as(statement)
        return read

    def superseded_by(self, subject: Digest, record: RecordSections) -> RecordSections | None:
        """The record that another names both by its id and by its digest; None where none was said before it."""
        if not isinstance(record, ModificationRecord) or record.correction.supersedes_digest is None:
            return None
        # nearly no record is superseded: a digest takes as long as reading the record
        by_record = self._by_record.setdefault(subject, {})
        for statement in self._said.pop(subject, ()):
            by_record[self._record_in(statement).canonical_digest()] = statement
        named = by_record.get(record.correction.supersedes_digest)
        before = None if named is None else self._record_in(named)
        return before if before is not None and before.record_id == record.supersedes else None
