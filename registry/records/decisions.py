"""What persons decided of a version: which of it counts today, and why the rest does not.

A decision, as an approval, is for what a person looked at: it is bound to the record and to the evaluations that speak of the
version. Evidence that changed since makes it stale, and nobody decides about what a key of theirs made.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.evaluations import newest_of_each, stale_for
from peft_registry.registry.records.signed_records import Records, records_of
from peft_registry.registry.records.trusted_reading import TrustedReading, WhoseWord
from peft_registry.schemas.acts import DecidedQuestion, DecisionPredicate
from peft_registry.schemas.evaluation import EvaluationRecord
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.policy import signer_text
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class PersonsDecision:
    """A decision as signed; `objection` says why it does not count, empty where it does.

    `person` and `role` are those of the key that signed it; without a role, as no trust file lists it, `person` is the key's id.
    """

    question: DecidedQuestion
    is_yes: bool
    person: str
    role: str | None
    key_id: str
    at: str | None  # when it entered the log, RFC 3339
    reason: str
    policy: Digest
    policy_name: str
    objection: str

    @property
    def text(self) -> str:
        """All of it in a line."""
        outcome = "yes" if self.is_yes else "no"
        who = signer_text(self.key_id, self.person if self.role else None, self.role)
        return f"{self.question}: {outcome}, decided by {who} on {(self.at or '')[:10]}: {self.reason}"


def decisions_of(registry: Registry, version: Version, records: Records | None = None) -> tuple[PersonsDecision, ...]:
    """Every decision about a version, in the order of the log; `records` are its signed records, where they are known.

    Raises:
        IntegrityBroken: what is recorded of it is not what was signed.
    """
    records = records or records_of(registry, version)
    if not any(entry.kind == "decision" for entry in records.statements):
        return ()
    return decisions_among(records, bound_evidence(registry, version, records), strict_reading(registry))


def decided_by(decisions: Iterable[PersonsDecision]) -> Decided:
    """What counts of decisions; of several about one question the last."""
    newest = {decision.question: decision for decision in decisions if not decision.objection}
    outcomes = {question.replace("-", "_"): decision.is_yes for question, decision in newest.items()}
    of_model = tuple(decision.text for question, decision in newest.items() if question == "qualitative-change")
    of_system = tuple(decision.text for question, decision in newest.items() if question != "qualitative-change")
    return Decided(**outcomes, of_model=of_model, of_system=of_system)


@dataclass(frozen=True, slots=True)
class BoundEvidence:
    """What a decision, an approval or a waiver is bound to besides the version, by the digest of canonical bytes.

    Attributes:
        record: the modification record of the version; None where it has none.
        evaluations: those that speak of it, sorted.
    """

    record: Digest | None
    evaluations: tuple[Digest, ...]

    @classmethod
    def of(cls, record: RecordSections | None, speaking: Iterable[EvaluationRecord]) -> "BoundEvidence":
        """What somebody who decides now looks at."""
        return cls(
            None if record is None else record.canonical_digest(),
            tuple(sorted(evaluation.canonical_digest() for evaluation in speaking)),
        )

    def objection_to(self, record: Digest | None, evaluations: tuple[Digest, ...]) -> str:
        """Why what was signed for a record and evaluations is stale; empty where both are as they were."""
        if record != self.record:
            return "its record says something else since"
        return "" if evaluations == self.evaluations else "it was evaluated since"

    def as_signed(self) -> dict[str, Any]:
        """As the predicates of the three have it, plain JSON types."""
        return {
            "record": None if self.record is None else str(self.record),
            "evaluations": [str(digest) for digest in self.evaluations],
        }


def bound_evidence(registry: Registry, version: Version, records: Records) -> BoundEvidence:
    """The record of a version, and the evaluations that speak of it now."""
    evaluations = newest_of_each(records.evaluations)
    speaking = [evaluation for evaluation in evaluations if stale_for(registry, version, evaluation) is None]
    return BoundEvidence.of(records.modification, speaking)


def makers_of(registry: Registry, records: Records) -> Iterator[str]:
    """The persons whose keys had a part in making a version, or registered its bytes under another name.

    Whoever reads a move holds its approvals against all of them (`move_approvals.py`).
    """
    return makers_among(records, WhoseWord(registry.trust))


def makers_among(records: Records, word: WhoseWord) -> Iterator[str]:
    """The same by the word of whoever the reader trusts."""
    for key_id in records.made_by:
        person = word.person_of(key_id)
        if person is not None:
            yield person


def strict_reading(registry: Registry) -> TrustedReading:
    """What decides whether a person's word counts: without trust nothing can be said of it."""
    return TrustedReading(registry.trust, covered_size(registry), registry.clock())


def decisions_among(records: Records, bound: BoundEvidence, reading: TrustedReading) -> tuple[PersonsDecision, ...]:
    """Every decision among the records of a version, in the order of the log. Pure.

    Args:
        records: of the version.
        bound: its record and evaluations as they are now.
        reading: by whose word it counts.
    """
    return tuple(_decisions(records, bound, reading))


def _decisions(records: Records, bound: BoundEvidence, reading: TrustedReading) -> Iterator[PersonsDecision]:
    makers = {folded(maker) for maker in makers_among(records, reading)}
    for entry in records.statements:
        if entry.kind != "decision":
            continue
        try:
            decision = DecisionPredicate.from_json(entry.statement.predicate)
        except ValidationError:
            continue
        person = reading.person_behind(entry)
        objection = reading.objection_to(entry)
        if folded(person) in makers:
            objection = objection or "a key of theirs made the version"
        stale = bound.objection_to(decision.record, decision.evaluations)
        yield PersonsDecision(
            question=decision.question,
            is_yes=decision.outcome == "yes",
            person=person,
            role=reading.role_of(entry.key_id),
            key_id=entry.key_id,
            at=entry.appended_at,
            reason=decision.reason,
            policy=decision.policy,
            policy_name=decision.policy_name,
            objection=objection or stale,
        )
