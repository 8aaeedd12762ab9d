"""What people answered about artifacts, and the records made of it, statement by statement in the order of the log.

A record that takes answers up is held against the answers and the record before it: by `registry log sign`, before a checkpoint is
signed over its entry, and by `registry log check`. `registry verify` holds the same against what a folder presents.
"""

from dataclasses import dataclass, field

from peft_registry.registry.compliance.answers import check_answers
from peft_registry.registry.records.signed_records import answers_as_another
from peft_registry.schemas.answers import AnswersPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections, modification_of
from peft_registry.schemas.policy import TrustedKey
from peft_registry.schemas.statement import Statement


@dataclass(slots=True)
class AnswersSoFar:
    """Answers that count, by their statements, and records, by what they say of themselves and by digest once that is asked."""

    answers: dict[Digest, AnswersPredicate] = field(default_factory=dict)
    _records: list[RecordSections] = field(default_factory=list)
    _by_digest: dict[Digest, RecordSections] = field(default_factory=dict)

    def follow(self, digest: Digest, statement: Statement, key: TrustedKey | None) -> tuple[str, ...]:
        """Add a statement whose signer may make it; returns what in it is otherwise than people answered before it.

        Args:
            digest: of the statement.
            statement: of any kind; only answers and modification records are held against anything.
            key: the signer's, as the trust file lists it.

        Raises:
            ValidationError: it is not what its kind says.
        """
        if statement.kind == "answers":
            another = answers_as_another(statement, key)
            if another:
                return (another,)
            self.answers[digest] = AnswersPredicate.from_json(statement.predicate)
        elif statement.kind == "modification":
            record = modification_of(statement.predicate_type, statement.predicate)
            check = check_answers(record, self._superseded_by(record), self.answers)
            self._records.append(record)
            return (*check.wrong, *check.lacking)
        return ()

    def _superseded_by(self, record: RecordSections) -> RecordSections | None:
        """The record before this one; None where it names none, or none that was followed."""
        digest = record.correction.supersedes_digest if isinstance(record, ModificationRecord) else None
        if digest is None:
            return None
        # nearly no record is superseded: a digest takes as long as reading the record
        self._by_digest |= {before.canonical_digest(): before for before in self._records}
        self._records.clear()
        return self._by_digest.get(digest)
