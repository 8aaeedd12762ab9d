"""What persons decided of a version: which of it counts today, and why the rest does not.

A decision, as an approval, is for what a person looked at: it is bound to the record and to the evaluations that speak of the
version. Evidence that changed since makes it stale, and nobody decides about what a key of theirs made.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.entries import require_may_say
from peft_registry.registry.records.evaluations import newest_of_each, stale_for
from peft_registry.registry.records.signed_records import Records, records_of
from peft_registry.registry.records.standing_acts import person_behind
from peft_registry.schemas.acts import DecidedQuestion, DecisionPredicate
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.statement import PREDICATE_TYPES, StoredStatement
from peft_registry.schemas.version import Version


@dataclass(frozen=True, slots=True)
class PersonsDecision:
    """A decision as signed; `objection` says why it does not count, empty where it does."""

    question: DecidedQuestion
    is_yes: bool
    person: str
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
        return f"{self.question}: {outcome}, decided by {self.person} on {(self.at or '')[:10]}: {self.reason}"


def decisions_of(registry: Registry, version: Version, records: Records | None = None) -> tuple[PersonsDecision, ...]:
    """Every decision about a version, in the order of the log; `records` are its signed records, where they are known.

    Raises:
        IntegrityBroken: what is recorded of it is not what was signed.
    """
    records = records or records_of(registry, version)
    return tuple(_decisions(registry, version, records))


def decided_by(decisions: Iterable[PersonsDecision]) -> Decided:
    """What counts of decisions; of several about one question the last."""
    newest = {decision.question: decision for decision in decisions if not decision.objection}
    outcomes = {question.replace("-", "_"): decision.is_yes for question, decision in newest.items()}
    of_model = tuple(decision.text for question, decision in newest.items() if question == "qualitative-change")
    of_system = tuple(decision.text for question, decision in newest.items() if question != "qualitative-change")
    return Decided(**outcomes, of_model=of_model, of_system=of_system)


def changed_since(
    record: Digest | None, evaluations: tuple[Digest, ...], *, now: Digest | None, evaluated: tuple[Digest, ...]
) -> str:
    """Why what was signed for a record and evaluations is stale; empty where both are as they were."""
    if record != now:
        return "its record says something else since"
    return "" if evaluations == evaluated else "it was evaluated since"


def bound_evaluations(registry: Registry, version: Version, records: Records) -> tuple[Digest, ...]:
    """The evaluations that speak of a version now, by the digest of each: what an approval is given for."""
    speaking = [
        record for record in newest_of_each(records.evaluations) if stale_for(registry, version, record) is None
    ]
    return tuple(sorted(record.canonical_digest() for record in speaking))


def bound_record(records: Records) -> Digest | None:
    """The modification record of a version, by the digest of its canonical bytes; None where it has none."""
    return None if records.modification is None else records.modification.canonical_digest()


def makers_of(registry: Registry, records: Records) -> Iterator[str]:
    """The persons whose keys had a part in making a version, or registered its bytes under another name.

    Whoever reads a move holds its approvals against all of them (`move_approvals.py`).
    """
    for key_id in records.made_by:
        person = registry.trust.person_of(key_id)
        if person is not None:
            yield person


def objection_to(registry: Registry, entry: StoredStatement) -> str:
    """Why what a person signed does not count today; empty where it does."""
    if entry.log_index is None or entry.log_index >= covered_size(registry):
        return "no checkpoint covers it yet"
    kind = entry.statement.kind
    if kind is None:
        return "it is of no known kind"
    try:
        require_may_say(registry.trust, entry.key_id, PREDICATE_TYPES[kind], at=entry.appended_at or registry.clock())
    except KnownError as error:
        return f"{error.what}: {error.why}"
    return ""


def _decisions(registry: Registry, version: Version, records: Records) -> Iterator[PersonsDecision]:
    said = [entry for entry in records.statements if entry.kind == "decision"]
    if not said:
        return
    record, evaluations = bound_record(records), bound_evaluations(registry, version, records)
    makers = {folded(maker) for maker in makers_of(registry, records)}
    for entry in said:
        try:
            decision = DecisionPredicate.from_json(entry.statement.predicate)
        except ValidationError:
            continue
        person = person_behind(registry, entry)
        objection = objection_to(registry, entry)
        if folded(person) in makers:
            objection = objection or "a key of theirs made the version"
        stale = changed_since(decision.record, decision.evaluations, now=record, evaluated=evaluations)
        yield PersonsDecision(
            question=decision.question,
            is_yes=decision.outcome == "yes",
            person=person,
            key_id=entry.key_id,
            at=entry.appended_at,
            reason=decision.reason,
            policy=decision.policy,
            policy_name=decision.policy_name,
            objection=objection or stale,
        )
