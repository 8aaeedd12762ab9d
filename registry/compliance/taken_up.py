"""Whether a record says what people answered. Pure.

A record that takes answers up names their statement in `correction.answers`, and each value that was answered names it as its
evidence. So whoever has both can tell a value that a person signed from one that a thief of the home's key made up:

    named now        the statement answers the record that is superseded, or one before that in which each answered value was the
                     same up to now; and holds that value, in the area of its role
    carried over     the value stands in the record before it, evidence and all
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from peft_registry.registry.compliance.answers import SignedAnswers, changed_since, value_of_answer
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import FieldRules, field_rules, leaves, stated_leaves
from peft_registry.registry.compliance.inherited_values import taken_over
from peft_registry.registry.compliance.recorded_evaluation import WRITTEN_BY_EVALUATIONS
from peft_registry.registry.compliance.superseding import in_second_form, with_values
from peft_registry.schemas.answers import Answer, AnswersPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.log import CLOCK_TOLERANCE
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value

Superseded = Callable[[RecordSections], RecordSections | None]
"""The record that another supersedes; None where that is not here."""


@dataclass(frozen=True, slots=True)
class AnswersCheck:
    """What in a record is not what people answered, and which statements and records would have to be here to tell.

    `unseen` names a superseded record that is not here; None where nothing is missing.
    """

    wrong: tuple[str, ...]
    missing: tuple[Digest, ...]
    unseen: str | None = None


def check_answers(
    record: RecordSections,
    before: RecordSections | None,
    answers: Mapping[Digest, SignedAnswers],
    superseded: Superseded = lambda _: None,
    rules: FieldRules | None = None,
) -> AnswersCheck:
    """Whether each value of a record that rests on answers is what people answered.

    Args:
        record: of either form.
        before: the record that it supersedes; None where it supersedes none or that is not here.
        answers: those that count, by their statements: signed by a key of the role that they name.
        superseded: finds the records before that one.
        rules: whose each field is, and was; those of this tool where there are no others.
    """
    rules = rules or field_rules()
    if not isinstance(record, ModificationRecord):
        return AnswersCheck((), ())
    named = record.correction.answers
    unseen = _superseded_name(record) if before is None and record.supersedes_another else None
    # most records of a log are first ones and name no answers: then nothing is looked up by path
    is_looked_up = bool(named) or record.supersedes_another or before is not None
    stated = {leaf.path: leaf.value for leaf in leaves(record)} if is_looked_up else {}
    earlier = {} if before is None else {leaf.path: leaf.value for leaf in leaves(in_second_form(before))}
    missing = {digest for digest in named if digest not in answers}
    wrong: list[str] = []
    # the first record of a merge takes over what is signed of other versions, and names their statements
    of_bases = {leaf.path for leaf in taken_over(record, before)} if record.supersedes_another else set()
    for path, value in stated.items() if record.supersedes_another else ():
        if value.rests_on_statement and path not in of_bases:
            if any(digest in named for digest in value.evidence):
                continue  # held against its statement below
            if before is None:
                missing |= set(value.evidence)
            elif earlier.get(path) != value:
                wrong.append(f"{path}: it names answers that this record does not take up")
    for digest in named:
        if digest in answers:
            seen = _seen(record, before, answers[digest].predicate, superseded)
            unseen = unseen or seen.unseen
            wrong += _not_taken_up(record, answers[digest], earlier, seen, rules)
    wrong += _answered_by_nobody(record, stated, answers)
    if before is not None or not record.supersedes_another:
        wrong += _signed_by_nobody(record, answers, earlier)
    wrong += _dropped(record, stated, earlier)
    return AnswersCheck(tuple(dict.fromkeys(wrong)), tuple(sorted(missing, key=str)), unseen)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The records from the one that is superseded back to the one that was answered; none where these are the same.

    `is_answered` says whether they lead there; where they do not, `unseen` names the record that is not here, if one is.
    """

    records: tuple[RecordSections, ...]
    is_answered: bool
    unseen: str | None = None


def _superseded_name(record: ModificationRecord) -> str:
    """The record that another supersedes: its id, else its digest."""
    return record.supersedes or f"{record.correction.supersedes_digest}"


def _seen(
    record: ModificationRecord, before: RecordSections | None, predicate: AnswersPredicate, superseded: Superseded
) -> _Seen:
    """What was recorded between the record that answers are to and the one that takes them up."""
    if record.correction.supersedes_digest == predicate.record:
        return _Seen((), record.supersedes == predicate.record_id)
    records: list[RecordSections] = []
    after: RecordSections = record
    while isinstance(after, ModificationRecord) and after.supersedes_another:
        earlier = before if after is record else superseded(after)
        if earlier is None:
            return _Seen(tuple(records), is_answered=False, unseen=_superseded_name(after))
        records.append(earlier)
        if after.correction.supersedes_digest == predicate.record:
            return _Seen(tuple(records), after.supersedes == predicate.record_id)
        after = earlier
    return _Seen(tuple(records), is_answered=False)


def _not_taken_up(
    record: ModificationRecord, signed: SignedAnswers, earlier: Mapping[str, Value], seen: _Seen, rules: FieldRules
) -> Iterator[str]:
    """Where a record that names a statement does not say what that answers."""
    predicate = signed.predicate
    if not seen.is_answered:
        yield f"answers {signed.statement.short} are to the record {predicate.record_id}, which is not the one that is superseded"
        return
    for path in changed_since([answer.path for answer in predicate.answers], seen.records):
        yield f"{path}: it changed after {predicate.person} saw it, in a record between"
    rule_of = rules.by_path()
    stated = {leaf.path: leaf.value for leaf in leaves(record)}
    for answer in predicate.answers:
        rule = rule_of.get(FieldPath.parse(answer.path).rule)
        value = stated.get(answer.path)
        if rule is None or value is None:
            yield f"{answer.path}: the record has no such field"
        elif rule.act is not None or answer.area not in rules.owners(rule, at=signed.logged_at):
            yield f"{answer.path}: answered for {answer.area}, and it is not theirs to answer"
        elif value != _expected(value, answer, signed):
            answered = _expected(value, answer, signed)
            if not _is_the_tools(record, answer.path, value, earlier, answered=answered):
                yield f"{answer.path}: it is recorded otherwise than {predicate.person} answered"
        elif _is_dated_after(value, signed):
            recorded = f"it is recorded as answered at {value.asserted_at}"
            yield f"{answer.path}: {recorded}, and the answer was logged at {signed.logged_at}"


def _is_the_tools(
    record: ModificationRecord, path: str, value: Value, earlier: Mapping[str, Value], *, answered: Value
) -> bool:
    """Whether the tool stands behind a value in place of an answer: it was recorded so before, or it follows from the rest of the
    record whatever was answered.

    What a record calls measured or derived is only its word: whoever holds the home's key could contradict an answer by it.
    """
    if not value.is_from_tool:
        return False
    if earlier.get(path) == value:
        return True
    # with the answer in its place: what the tool derives only where nobody has answered takes the place of no answer
    assessed = with_assessment(with_values(record, {path: answered}))
    return next(leaf.value for leaf in leaves(assessed) if leaf.path == path) == value


def _expected(value: Value, answer: Answer, signed: SignedAnswers) -> Value:
    """The value that an answer gives, with the time that the record states."""
    return value_of_answer(answer, SignedAnswers(signed.statement, signed.predicate, value.asserted_at))


def _is_dated_after(value: Value, signed: SignedAnswers) -> bool:
    """Whether a value says that it was answered after the answer entered the log; False where nothing here tells when that was."""
    if value.asserted_at is None or signed.logged_at is None:
        return False
    return datetime.fromisoformat(value.asserted_at) > datetime.fromisoformat(signed.logged_at) + CLOCK_TOLERANCE


def _answered_by_nobody(
    record: ModificationRecord, stated: Mapping[str, Value], answers: Mapping[Digest, SignedAnswers]
) -> Iterator[str]:
    """Values that name a statement which the record takes up and which does not answer them.

    What this tool derives from an answer names its statement too: it is held against the rules that derive it.
    """
    derived_here: dict[str, Value] | None = None
    for digest in record.correction.answers:
        if digest not in answers:
            continue
        answered = {answer.path for answer in answers[digest].predicate.answers}
        for path, value in stated.items():
            if digest not in value.evidence or path in answered:
                continue
            if value.is_from_tool and derived_here is None:
                derived_here = {leaf.path: leaf.value for leaf in leaves(with_assessment(record))}
            if derived_here is None or not value.is_from_tool or derived_here[path] != value:
                yield f"{path}: nobody answered it in the statement {digest.short} that it names"


def _signed_by_nobody(
    record: ModificationRecord,
    answers: Mapping[Digest, SignedAnswers],
    earlier: Mapping[str, Value],
) -> Iterator[str]:
    """Approvals, verdicts and holds that no person signed, whatever the record calls their source and names as evidence."""
    rules = field_rules().by_path()
    signed = {
        (answer.path, digest)
        for digest in record.correction.answers
        if digest in answers
        for answer in answers[digest].predicate.answers
    }
    for leaf in stated_leaves(record):
        if not leaf.value.known or not rules[leaf.rule].is_signed_by_people or earlier.get(leaf.path) == leaf.value:
            continue
        if not any((leaf.path, digest) in signed for digest in leaf.value.evidence):  # else it is held against them
            yield f"{leaf.path}: nobody signed it"


def _dropped(record: ModificationRecord, stated: Mapping[str, Value], earlier: Mapping[str, Value]) -> Iterator[str]:
    """Signed answers of the record before that something else stands in place of, which is not newer and no figure."""
    for path, before in earlier.items():
        after = stated.get(path)
        if not before.evidence or before.source != "declared" or before == after:
            continue  # whoever learns what somebody did not know may state it
        is_answered_anew = after is not None and any(digest in record.correction.answers for digest in after.evidence)
        is_derived = after is not None and _is_the_tools(record, path, after, earlier, answered=before)
        is_evaluated = path in WRITTEN_BY_EVALUATIONS and bool(record.correction.evaluations)
        if not (is_answered_anew or is_derived or is_evaluated):
            yield f"{path}: what {before.asserted_by} answered is gone, and nobody answered it anew"
