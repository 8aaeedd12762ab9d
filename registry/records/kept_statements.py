"""The statements that records follow from, as they were taken up in the order of the log. Pure: decides nothing about them."""

import json
import zlib
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from peft_registry.registry.compliance.answers import SignedAnswers
from peft_registry.registry.records.logged_statements import EntrySigner, LoggedStatement
from peft_registry.registry.records.record_inputs import Elsewhere
from peft_registry.registry.records.record_statements import stated_in
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import (
    InputKind,
    ModificationPredicate,
    ModificationRecord,
    RecordSections,
    modification_in,
)
from peft_registry.schemas.statement import PREDICATE_TYPES, Statement

_KEPT = frozenset({"provenance", "observations", "bias-evaluation", "base", "modification", "registration"})
_MOST_UNPACKED = 8  # statements; a registration brings four or five


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


@dataclass(slots=True)
class KeptStatements:
    """The statements that were taken up so far, of any number of artifacts.

    Attributes:
        elsewhere: finds what is not among these.
        has_whole_log: everything that was logged is, or will be, among these.
        answers: by statement.
    """

    elsewhere: Elsewhere
    has_whole_log: bool = False
    answers: dict[Digest, SignedAnswers] = field(default_factory=dict)
    _kept: dict[Digest, _Kept] = field(default_factory=dict)
    _unpacked: deque[_Kept] = field(default_factory=deque)  # those that were said last, of whatever kind
    _taken: set[Digest] = field(default_factory=set)  # every statement so far
    # evaluations that came with a registration: of several, the last speaks for the version
    _brought: set[Digest] = field(default_factory=set)
    # by artifact, in the order of the log
    _evaluations: dict[Digest, list[Digest]] = field(default_factory=dict)
    _said: dict[Digest, list[Digest]] = field(default_factory=dict)  # what is kept
    # by statement, of evaluations: each superseding record asks for those of every evaluation before it
    _evaluation_digests: dict[Digest, Digest] = field(default_factory=dict)
    # by artifact, the records of before editions by their own digest, once that is asked
    _older: dict[Digest, list[Digest]] = field(default_factory=dict)
    _older_by_digest: dict[Digest, dict[Digest, Digest]] = field(default_factory=dict)
    # the statement that was taken up last, its record and what it says of that: most are registered right after they were said
    _newest: tuple[Digest, RecordSections, ModificationPredicate | None] | None = None

    # --- taking up ---

    def take(self, digest: Digest, statement: Statement, signer: EntrySigner) -> None:
        """Take up a statement of any kind.

        Raises:
            ValidationError: it is of the kind `answers` and holds something else.
        """
        subject = statement.subject_digest
        self._taken.add(digest)
        kind = statement.kind
        if kind == "answers":
            predicate = statement.read_by(AnswersPredicate.from_json)
            self.answers[digest] = SignedAnswers(digest, predicate, signer.logged_at)
        if kind in _KEPT and digest not in self._kept:
            self._keep(digest, statement, signer)
        if kind == "bias-evaluation" and digest not in self._evaluations.setdefault(subject, []):
            self._evaluations[subject].append(digest)

    def take_record(
        self, subject: Digest, digest: Digest, record: RecordSections, stated: ModificationPredicate | None
    ) -> None:
        """Note the record that a statement holds, and what that says of it; None for a record from before editions."""
        if stated is None:
            self._older.setdefault(subject, []).append(digest)
        self._newest = (digest, record, stated)

    def take_brought(self, evaluations: Collection[Digest]) -> None:
        """Note evaluations that came with a registration."""
        self._brought.update(evaluations)

    def try_answers(self, signed: SignedAnswers) -> None:
        """Take up answers that nobody has signed, to see what would follow from them."""
        self.answers[signed.statement] = signed

    def _keep(self, digest: Digest, statement: Statement, signer: EntrySigner) -> None:
        """Keep a statement for whoever asks for it again: most are asked for by what comes right after them."""
        kept = _Kept(f"{statement.kind}", statement.subject_digest, signer, statement)
        self._kept[digest] = kept
        self._said.setdefault(statement.subject_digest, []).append(digest)
        self._unpacked.append(kept)
        if len(self._unpacked) > _MOST_UNPACKED:
            self._unpacked.popleft().pack()

    # --- what was taken up ---

    def has_all(self, named: Collection[Digest]) -> bool:
        """Whether each of the statements was taken up."""
        return self._taken.issuperset(named)

    def by_kind(self, named: Collection[Digest], subject: Digest) -> dict[str, list[Digest]]:
        """Of the statements that are named those that are kept and about the subject, by kind."""
        of_kind: dict[str, list[Digest]] = {}
        for digest in named:
            kept = self._kept.get(digest)
            if kept is not None and kept.subject == subject:
                of_kind.setdefault(kept.kind, []).append(digest)
        return of_kind

    def signer(self, digest: Digest) -> EntrySigner:
        """Whose key signed a statement that is kept."""
        return self._kept[digest].signer

    def evaluations_of(self, subject: Digest) -> Sequence[Digest]:
        """The evaluations of an artifact, in the order of the log."""
        return self._evaluations.get(subject, ())

    def came_with_registration(self, evaluation: Digest) -> bool:
        """Whether a registration brought an evaluation."""
        return evaluation in self._brought

    def find(self, digest: Digest, kind: InputKind) -> LoggedStatement | None:
        """A statement of a kind, among these or elsewhere."""
        kept = self._kept.get(digest)
        if kept is None:
            found = self.elsewhere.statement(digest)
            return found if found is not None and found.statement.kind == kind else None
        return LoggedStatement(digest, kept.statement(), kept.signer) if kept.kind == kind else None

    def about(self, subject: Digest) -> Sequence[LoggedStatement] | None:
        """Everything of the kinds that are kept that was logged about an artifact; None where the log is not at hand."""
        if not self.has_whole_log:
            return self.elsewhere.about(subject)
        kept = [(digest, self._kept[digest]) for digest in self._said.get(subject, ())]
        return tuple(LoggedStatement(digest, entry.statement(), entry.signer) for digest, entry in kept)

    def record_in(self, statement: Digest) -> RecordSections | None:
        """The modification record that a statement holds; None where it is not here, or holds none."""
        if self._newest is not None and self._newest[0] == statement:
            return self._newest[1]
        found = self.find(statement, "modification")
        if found is None:
            return None
        return modification_in(found.statement)

    def stated_in(self, found: LoggedStatement) -> ModificationPredicate | None:
        """What a statement says of its record; None of a record from before editions."""
        if self._newest is not None and self._newest[0] == found.digest:
            return self._newest[2]
        is_of_edition = found.statement.predicate_type == PREDICATE_TYPES["modification"]
        return stated_in(found.statement) if is_of_edition else None

    def evaluation(self, statement: Digest) -> EvaluationRecord:
        """The evaluation that a statement holds.

        Raises:
            LookupError: it is not here.
            ValidationError: it is not what its kind says.
        """
        found = self.find(statement, "bias-evaluation")
        if found is None:
            raise LookupError(f"the evaluation {statement.short} is not here")
        return found.statement.read_by(EvaluationRecord.from_json)

    def evaluation_digest(self, statement: Digest) -> Digest:
        """The digest of the evaluation that a statement holds.

        Raises:
            LookupError: it is not here.
            ValidationError: it is not what its kind says.
        """
        digest = self._evaluation_digests.get(statement)
        if digest is None:
            digest = self._evaluation_digests[statement] = self.evaluation(statement).canonical_digest()
        return digest

    def superseded_by(self, subject: Digest, record: RecordSections) -> RecordSections | None:
        """The record of before editions that another names by its id and its digest; None where none was said before it."""
        if not isinstance(record, ModificationRecord) or record.correction.supersedes_digest is None:
            return None
        by_digest = self._older_by_digest.setdefault(subject, {})
        # a digest takes as long as reading the record, and nearly none is superseded
        for statement in self._older.pop(subject, ()):
            older = self.record_in(statement)
            if older is not None:
                by_digest[older.canonical_digest()] = statement
        named = by_digest.get(record.correction.supersedes_digest)
        before = None if named is None else self.record_in(named)
        return before if before is not None and before.record_id == record.supersedes else None
