"""Records that supersede others, derived again from the statements that they name. Pure.

One from before editions is held as data: of it only the record before it and its time are compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.compliance.answers import SignedAnswers, unanswerable
from peft_registry.registry.compliance.base_facts import facts_with_statement
from peft_registry.registry.compliance.derivation import (
    LaterBase,
    NextInputs,
    as_derivable,
    derive_next,
    difference_lines,
)
from peft_registry.registry.compliance.fields import stated_leaves
from peft_registry.registry.compliance.recorded_evaluation import EvaluationSignature
from peft_registry.registry.compliance.rule_files import deriving_by
from peft_registry.registry.records.kept_statements import KeptStatements
from peft_registry.registry.records.record_inputs import profile_otherwise
from peft_registry.registry.records.record_statements import stated_in
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.document import problem_of
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import (
    ModificationPredicate,
    ModificationRecord,
    RecordInput,
    RecordSections,
    modification_in,
)
from peft_registry.schemas.observations import Observations
from peft_registry.schemas.statement import PREDICATE_TYPES


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


# --- checking ---


def check_older(statements: KeptStatements, subject: Digest, record: RecordSections) -> RecordCheck:
    """A record from before editions, as far as it stands in place of the one that it names."""
    if not isinstance(record, ModificationRecord) or not record.supersedes_another:
        return RecordCheck(record)
    before = statements.superseded_by(subject, record)
    if before is None:
        return RecordCheck(record, unseen=record.supersedes or f"{record.correction.supersedes_digest}")
    wrong = []
    if record.record_created_at < before.record_created_at:
        wrong.append(
            f"record_created_at: {record.record_created_at} is before {before.record_created_at}, when the record that it "
            "supersedes was made"
        )
    return RecordCheck(record, tuple(wrong))


def check_next(statements: KeptStatements, subject: Digest, stated: ModificationPredicate) -> RecordCheck:
    """A superseding record of a known edition, derived again from its inputs."""
    record = stated.record
    entry = _before_named(subject, stated)
    before = None if entry is None else statements.record_in(entry)
    if entry is None or before is None:
        return RecordCheck(record, unseen=record.supersedes or f"{record.correction.supersedes_digest}")
    wrong = list(_not_next(record, before))
    missing = tuple(named for named in stated.inputs if not _is_here(statements, named))
    wrong += _named_otherwise(statements, subject, stated, before)
    if wrong or missing:
        return RecordCheck(record, tuple(wrong), missing)
    try:
        name = str(record.identity.result_name.value)
        inputs = next_inputs(statements, subject, before, stated.inputs, name=name, recorded=record)
        wrong += () if inputs.observations is None else profile_otherwise(inputs.observations)
        with deriving_by(stated.edition.name):
            # all records before it are read for answers alone
            chain = _chain(statements, subject, stated) if inputs.answers else ()
            wrong += [line for signed in inputs.answers for line in unanswerable(chain, signed)]
            derived = derive_next(inputs, record_id=record.record_id, now=record.record_created_at)
    except (KnownError, ValidationError, LookupError, ValueError) as error:
        return RecordCheck(record, (*wrong, f"inputs: nothing follows from them: {problem_of(error)}"))
    left = ("base", "upstream") if any(base.role is None for base in inputs.bases) else ()
    wrong += difference_lines(record, as_derivable(record, derived, left))
    note = "base, upstream: not derived, because whose keys signed what is said of the base is not known here"
    return RecordCheck(record, tuple(wrong), note=note if left else "")


def _before_named(subject: Digest, stated: ModificationPredicate) -> Digest | None:
    """The statement that holds the record which another supersedes; None where it names none."""
    named = stated.inputs_of("modification", subject)
    return named[0] if len(named) == 1 else None


def _is_here(statements: KeptStatements, named: RecordInput) -> bool:
    if named.kind == "answers":
        return named.digest in statements.answers
    found = statements.find(named.digest, named.kind)
    return found is not None and found.statement.subject_digest == named.about


def _named_otherwise(
    statements: KeptStatements, subject: Digest, stated: ModificationPredicate, before: RecordSections
) -> Iterator[str]:
    """Inputs that are named twice or are of something else, and evaluations that are not those that were logged since."""
    for place, named in enumerate(stated.inputs):
        if named in stated.inputs[:place]:
            yield f"inputs: {named.kind} {named.digest.short} is named twice"
        # what is said of a base is about that; everything else is about the version itself
        if named.kind == "provenance" or (named.kind != "base" and named.about != subject):
            yield f"inputs: {named.kind} {named.digest.short} is not one of them"
    if len(stated.inputs_of("observations")) > 1:
        yield "inputs: it names several observations"
    yield from _evaluations_otherwise(statements, subject, stated, before)


def _evaluations_otherwise(
    statements: KeptStatements, subject: Digest, stated: ModificationPredicate, before: RecordSections
) -> Iterator[str]:
    """A record has the figures of every evaluation that was logged before it, in their order."""
    named = stated.inputs_of("bias-evaluation", subject)
    later = uncounted(statements, subject, before)
    for digest in named:
        if digest in statements.evaluations_of(subject) and digest not in later:
            # its figures would take the place of newer ones
            yield f"inputs: bias-evaluation {digest.short} is in the record that it supersedes"
    # lines of a folder that nothing dates may be in any order
    dated = [digest for digest in later if statements.signer(digest).logged_at is not None]
    for digest in dated:
        if digest not in named:
            yield f"inputs: bias-evaluation {digest.short} is left out"
    if [digest for digest in named if digest in dated] != [digest for digest in dated if digest in named]:
        yield "inputs: the evaluations are not in the order of the log"


def _not_next(record: ModificationRecord, before: RecordSections) -> Iterator[str]:
    """What keeps a record from standing in place of the one that it names."""
    if record.supersedes != before.record_id or record.correction.supersedes_digest != before.canonical_digest():
        yield "supersedes: the record that its inputs hold is another"
    if record.record_created_at < before.record_created_at:
        yield (
            f"record_created_at: {record.record_created_at} is before {before.record_created_at}, when the record that it "
            "supersedes was made"
        )


def _chain(statements: KeptStatements, subject: Digest, stated: ModificationPredicate) -> tuple[RecordSections, ...]:
    """The record that another supersedes, and those before it, newest first, as far as they are here."""
    records: list[RecordSections] = []
    current: ModificationPredicate | None = stated
    while current is not None:
        named = _before_named(subject, current)
        found = None if named is None else statements.find(named, "modification")
        if found is None:
            break
        records.append(modification_in(found.statement))
        is_of_edition = found.statement.predicate_type == PREDICATE_TYPES["modification"]
        current = stated_in(found.statement) if is_of_edition else None
    older: RecordSections | None = records[-1] if records else None
    while isinstance(older, ModificationRecord) and older.supersedes_another:
        older = statements.superseded_by(subject, older)
        if older is not None:
            records.append(older)
    return tuple(records)


# --- what the next record follows from ---


def next_inputs(
    statements: KeptStatements,
    subject: Digest,
    before: RecordSections,
    named: Sequence[RecordInput],
    *,
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
    answers = [_dated(statements.answers[entry.digest], recorded) for entry in named if entry.kind == "answers"]
    later = [entry.digest for entry in named if entry.kind == "bias-evaluation"]
    seen = [entry.digest for entry in named if entry.kind == "observations"]
    observations = statements.find(seen[0], "observations") if seen else None
    bases = [base for entry in named if entry.kind == "base" for base in _later_bases(statements, entry.digest, before)]
    return NextInputs(
        before=before,
        name=name,
        manifest=subject,
        answers=tuple(answers),
        evaluations=tuple((digest, statements.evaluation(digest)) for digest in later),
        signatures=tuple(_signatures(statements, subject, before, later, recorded)) if later else (),
        bases=tuple(bases),
        observations=None if observations is None else observations.statement.read_by(Observations.from_json),
    )


def uncounted(statements: KeptStatements, subject: Digest, record: RecordSections) -> tuple[Digest, ...]:
    """The evaluations of an artifact that were logged by themselves, and whose figures a record does not have."""
    return tuple(
        digest
        for digest in statements.evaluations_of(subject)
        if not statements.came_with_registration(digest) and not _is_counted(statements, digest, record)
    )


def _is_counted(statements: KeptStatements, evaluation: Digest, record: RecordSections) -> bool:
    """Whether a record has the figures of an evaluation: it names the statement, or as a first record the evaluation itself."""
    named = set(record.evaluation.signed_by.evidence)
    if evaluation in named:
        return True
    return len(named) == 1 and statements.evaluation_digest(evaluation) in named


def _dated(signed: SignedAnswers, recorded: ModificationRecord | None) -> SignedAnswers:
    """Answers with the time of their entry; where nothing here tells that, with the one that the record states."""
    if signed.logged_at is not None or recorded is None:
        return signed
    stated = (leaf.value.asserted_at for leaf in stated_leaves(recorded) if signed.statement in leaf.value.evidence)
    return SignedAnswers(signed.statement, signed.predicate, next(stated, None))


def _later_bases(statements: KeptStatements, statement: Digest, before: RecordSections) -> Iterator[LaterBase]:
    """What a statement of a base says of the bases of a record: of those with its weights and its name."""
    found = statements.find(statement, "base")
    if found is None:
        raise LookupError(f"the statement {statement.short} about a base is not here")
    base = found.statement.read_by(BaseRecord.from_json)
    facts = facts_with_statement(base.facts, statement)
    for position, used in enumerate(before.base):
        is_it = used.tensor_digest.value == str(base.identity.weights) and base.name in (None, used.name.value)
        if is_it:
            yield LaterBase(position, statement, facts, found.signer.role)


def _signatures(
    statements: KeptStatements,
    subject: Digest,
    before: RecordSections,
    later: Sequence[Digest],
    recorded: ModificationRecord | None,
) -> Iterator[EvaluationSignature]:
    """Who signed each evaluation that counts, and when; what is not known here is taken from the record."""
    rows = [] if recorded is None else recorded.evaluation.signed_by.value
    for statement in statements.evaluations_of(subject):
        if statement not in later and not _is_counted(statements, statement, before):
            continue
        digest = statements.evaluation_digest(statement)
        own = [row for row in rows or () if isinstance(row, dict) and row.get("evaluation") == str(digest)]
        row = own[0] if own else {}
        signer = statements.signer(statement)
        yield EvaluationSignature(
            statement=statement,
            evaluation=digest,
            key_id=signer.key_id or str(row.get("key")),
            person=signer.person or row.get("person"),
            at=signer.logged_at or row.get("at"),
        )
