"""Answers that people sign, on their way into a record: which questions are open, what keeps an answer from being one, and the
record that takes answers up. Whether a record says what was answered, `taken_up` tells. Pure.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from peft_registry.registry.compliance import retention
from peft_registry.registry.compliance.answer_forms import as_recorded
from peft_registry.registry.compliance.completeness import gap_of, is_filled, own_required_leaves
from peft_registry.registry.compliance.contradictions import (
    contradictions_with_run,
    problem_paths,
    whatever_else_is_meant,
)
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import FieldRule, FieldRules, field_rules, leaves
from peft_registry.registry.compliance.proposals import is_proposal, unsigned_in, why_asked
from peft_registry.registry.compliance.stated import RETIRED, misfits_of_fact, says_not_applicable, says_unknown
from peft_registry.registry.compliance.superseding import in_third_form, superseding
from peft_registry.schemas.answers import AREA_ROLES, Answer, AnsweringRole, AnswersPredicate, Area
from peft_registry.schemas.codes import Code, Said, code
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp, Value, not_applicable
from peft_registry.schemas.version import Version

_NOBODY = Digest.of(b"answers that are only tried")


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """An open value of a record: its path, the rule of its field, the base or data that it is of, and why it is open."""

    path: str
    rule: FieldRule
    part: str
    reason: Said

    @property
    def area(self) -> Area:
        """Who owes it."""
        return _area(self.rule)


@dataclass(frozen=True, slots=True)
class AnswerProblem:
    """What keeps an answer from being one, and what would; `place` is where inside it, empty for the whole."""

    path: str
    reason: str
    remedy: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class SignedAnswers:
    """A statement of answers: its digest, what it says, and when it entered the log; None where that is not known here."""

    statement: Digest
    predicate: AnswersPredicate
    logged_at: Timestamp | None


def open_questions(record: RecordSections, defaults: Mapping[str, Value] | None = None) -> tuple[OpenQuestion, ...]:
    """What a record has to have, people can answer and nobody has; by owner, and then in the order of the schema.

    The days of retention are not among them: they follow from the day of placing.

    Args:
        record: of either form.
        defaults: what is known elsewhere, by path; it is not asked again.
    """
    rules = field_rules().by_path()
    questions = [
        OpenQuestion(leaf.path, rules[leaf.rule], _part_name(record, leaf.path), gap_of(leaf).reason)
        for leaf in own_required_leaves(record)
        if not is_filled(leaf)
        and leaf.path not in retention.DAYS
        and rules[leaf.rule].takes_answers
        and leaf.path not in (defaults or {})
    ]
    return by_owner(questions)


def by_owner(questions: Iterable[OpenQuestion]) -> tuple[OpenQuestion, ...]:
    """Questions in the order of their owners, those of one in the order that they come in."""
    order = get_args(Area)
    return tuple(sorted(questions, key=lambda question: order.index(question.area)))


def unsigned_questions(record: RecordSections) -> tuple[OpenQuestion, ...]:
    """What a record has as somebody typed it, signed by nobody who may answer it; what is legal's is open, and not among these."""
    rules = field_rules().by_path()
    unsigned = [leaf for leaf in unsigned_in(record) if rules[leaf.rule].takes_answers and not is_proposal(leaf)]
    return tuple(
        OpenQuestion(leaf.path, rules[leaf.rule], _part_name(record, leaf.path), why_asked(leaf)) for leaf in unsigned
    )


def problems_of_answers(
    record: RecordSections, answers: Mapping[str, Any], *, role: AnsweringRole, version: Version, at: Timestamp
) -> Iterator[AnswerProblem]:
    """Everything that keeps answers from being signed; nothing where they are answers.

    Args:
        record: that is answered.
        answers: any JSON value by path; `{unknown: reason}` says that nobody knows,
            `{not_applicable: code}` that there is no answer to give.
        role: under which the signer's key is listed.
        version: that the record is of.
        at: the time now: what has happened is not later.
    """
    known = {leaf.path: leaf for leaf in leaves(in_third_form(record))}
    rules = field_rules().by_path()
    sound = dict(answers)
    for path, value in answers.items():
        leaf = known.get(path)
        earlier = rules.get(FieldPath.parse(path).rule)
        if leaf is None and earlier is not None and earlier.until is not None:
            problems = [_problem_of_earlier(path, earlier)]
        elif leaf is None:
            paths = [leaf.path for leaf in known.values() if rules[leaf.rule].takes_answers]
            remedy = did_you_mean(closest(path, paths), "`registry record` shows every path")
            problems = [AnswerProblem(path, "the record has no such field", remedy)]
        else:
            problems = list(_problems_of(path, rules[leaf.rule], leaf.value, value, role))
        if problems:
            del sound[path]
        yield from problems
    if sound:
        yield from _problems_together(record, sound, answers.keys() - sound.keys(), role=role, version=version, at=at)


def as_answers(answers: Mapping[str, Any]) -> tuple[Answer, ...]:
    """Answers without problems, as they are signed: by path, with the area of the field's owner."""
    rules = field_rules().by_path()
    signed = []
    for path, value in answers.items():
        rule = rules[FieldPath.parse(path).rule]
        if says_unknown(value):
            signed.append(Answer(path=path, area=_area(rule), unknown=str(value["unknown"])))
        elif says_not_applicable(value):
            signed.append(Answer(path=path, area=_area(rule), not_applicable=value["not_applicable"]))
        else:
            signed.append(Answer(path=path, area=_area(rule), value=as_recorded(rule, value)))
    return tuple(signed)


def as_written(answer: Answer) -> Any:  # any JSON value
    """An answer as it stands in a form; the inverse of `as_answers` for one of them."""
    if answer.not_applicable is not None:
        return {"not_applicable": answer.not_applicable}
    return answer.value if answer.unknown is None else {"unknown": answer.unknown}


def unanswerable(
    chain: Sequence[RecordSections], signed: SignedAnswers, rules: FieldRules | None = None
) -> Iterator[str]:
    """Why a record may not take signed answers up, a line each; nothing where it may.

    Args:
        chain: the record that it supersedes and those before that, newest first.
        signed: the answers.
        rules: whose each field is, and was; those of this tool where there are no others.
    """
    predicate = signed.predicate
    seen = next((place for place, record in enumerate(chain) if record.canonical_digest() == predicate.record), None)
    if seen is None or chain[seen].record_id != predicate.record_id:
        yield f"answers {signed.statement.short} are to the record {predicate.record_id}, which is not the one that is superseded"
        return
    for path in changed_since([answer.path for answer in predicate.answers], chain[: seen + 1]):
        yield f"{path}: it changed after {predicate.person} saw it, in a record between"
    rules = rules or field_rules()
    stated = {leaf.path: leaf.value for leaf in leaves(in_third_form(chain[0]))}
    for answer in predicate.answers:
        rule = rules.by_path().get(FieldPath.parse(answer.path).rule)
        recorded = stated.get(answer.path)
        if rule is None or recorded is None:
            yield f"{answer.path}: the record has no such field"
        elif not rule.takes_answers or answer.area not in rules.owners(rule, at=signed.logged_at):
            yield f"{answer.path}: answered for {answer.area}, and it is not theirs to answer"
        elif recorded.source == "measured":
            yield f"{answer.path}: this tool measured it, and no answer takes its place"
        elif recorded.source == "derived" and FieldPath.parse(answer.path).outermost == "compute":
            # what else is derived follows anew from the answers, and compute from how it was made alone
            yield f"{answer.path}: it follows from how it was made, and no answer takes its place"
        elif answer.not_applicable is not None and answer.not_applicable not in rule.not_applicable:
            yield f"{answer.path}: {answer.not_applicable} is not a reason for which it has no answer"


def superseding_with_answers(
    before: RecordSections,
    *signed: SignedAnswers,
    version: Version,
    record_id: str,
    now: Timestamp,
    defaults: Mapping[str, Value] | None = None,
) -> ModificationRecord:
    """The record that takes signed answers up and supersedes the one that they answer.

    Args:
        before: the record that is answered.
        signed: answers to it, in the order of the log; no two of them answer the same question.
        version: that the record is of.
        record_id: of the new record.
        now: when it is made.
        defaults: what is known elsewhere and the record does not state, by path. An answer stands in place of one.
    """
    values = dict(defaults or {})
    for answers in signed:
        values |= {answer.path: value_of_answer(answer, answers) for answer in answers.predicate.answers}
    return superseding(
        before,
        name=version.name,
        manifest=version.manifest_digest,
        record_id=record_id,
        now=now,
        reason=answers_as_reason(signed),
        answers=tuple(answers.statement for answers in signed),
        values=values,
    )


def answers_as_reason(signed: Iterable[SignedAnswers]) -> Code:
    """Why a record that takes answers up stands in place of another: who answered, each once."""
    who = {
        (answers.predicate.person, answers.predicate.role): code(
            "person_as", person=answers.predicate.person, role=answers.predicate.role
        )
        for answers in signed
    }
    return code("answers_of", who=list(who.values()))


def value_of_answer(answer: Answer, signed: SignedAnswers) -> Value:
    """The value that an answer gives a record, with the statement as its evidence."""
    person = signed.predicate.person
    if answer.unknown is not None:
        return Value(
            source="unknown",
            reason=code("stated_unknown", said=answer.unknown, by=person),
            evidence=(signed.statement,),
            asserted_by=person,
            asserted_at=signed.logged_at,
        )
    if answer.not_applicable is not None:
        # whether it is a reason of this field is held against the table when the answers are taken up
        reason = Code(code=answer.not_applicable)
        return not_applicable(reason, by=person, at=signed.logged_at).revised(evidence=(signed.statement,))
    return Value(
        value=answer.value,
        source="declared",
        evidence=(signed.statement,),
        asserted_by=person,
        asserted_at=signed.logged_at,
    )


def is_recorded(record: RecordSections, path: str, value: Any) -> bool:
    """Whether a record has an answer, any JSON value, as it stands in a form, under somebody's signature."""
    recorded = next((leaf.value for leaf in leaves(in_third_form(record)) if leaf.path == path), None)
    rule = field_rules().by_path().get(FieldPath.parse(path).rule)
    if recorded is None or not recorded.evidence or rule is None or any(misfits_of_fact(path, rule, value)):
        return False
    if says_unknown(value):
        reason = recorded.reason
        return isinstance(reason, Code) and reason == code(
            "stated_unknown", said=value["unknown"], by=recorded.asserted_by
        )
    if says_not_applicable(value):
        return recorded.reason == Code(code=value["not_applicable"])
    return recorded.source == "declared" and bool(recorded.value == as_recorded(rule, value))


def changed_since(paths: Iterable[str], records: Sequence[RecordSections]) -> tuple[str, ...]:
    """Those of the paths whose value is not the same in each of these records of a version."""
    if len(records) < 2:
        return ()
    stated = [{leaf.path: leaf.value for leaf in leaves(in_third_form(record))} for record in records]
    return tuple(path for path in paths if any(values.get(path) != stated[0].get(path) for values in stated))


# --- what an answer may be ---


def _area(rule: FieldRule) -> Area:
    assert rule.owner != "tool", "nobody answers what the tool records"
    return rule.owner


def _part_name(record: RecordSections, path: str) -> str:
    """The name of the base or data that a path is of; empty for none."""
    item = FieldPath.parse(path).item
    return "" if item is None else str(getattr(record, item[0])[item[1]].name.value)


def _problem_of_earlier(path: str, rule: FieldRule) -> AnswerProblem:
    """Why nobody answers a field that newer records do not have."""
    if rule.act is not None:
        act = field_rules().acts[rule.act]
        return AnswerProblem(path, act.reason, act.instead)
    return AnswerProblem(path, RETIRED, did_you_mean(rule.answered_by, "take it out of the form"))


def _problems_of(
    path: str, rule: FieldRule, recorded: Value, value: Any, role: AnsweringRole
) -> Iterator[AnswerProblem]:
    if rule.act is not None and not rule.takes_answers:
        act = field_rules().acts[rule.act]
        yield AnswerProblem(path, act.reason, act.instead)
    elif rule.owner == "tool":
        yield AnswerProblem(path, "this tool records it itself", "take it out of the form")
    elif recorded.is_from_tool:
        why = f"it was {recorded.source}: {recorded.method or 'by this tool'}"
        yield AnswerProblem(path, why, "take it out of the form")
    elif role not in AREA_ROLES[rule.owner]:
        why = f"{rule.owner} owes it, and a key of the role {role} does not answer for {rule.owner}"
        yield AnswerProblem(path, why, f"have it answered with a key of the role {' or '.join(AREA_ROLES[rule.owner])}")
    else:
        for misfit in misfits_of_fact(path, rule, value):
            yield AnswerProblem(path, misfit.why, misfit.fix, misfit.path.removeprefix(path))


def _problems_together(
    record: RecordSections,
    answers: Mapping[str, Any],
    refused: Collection[str],
    *,
    role: AnsweringRole,
    version: Version,
    at: Timestamp,
) -> Iterator[AnswerProblem]:
    """What only shows in the record that takes the answers up: dates out of order, half answers, what is derived.

    Nobody knows what will stand in place of answers that were `refused`: what would be told of their fields is not.
    """
    signed, trial = _tried(record, answers, role=role, version=version, at=at)
    for problem in whatever_else_is_meant(contradictions_with_run(trial, answers), refused):
        # the refusal stands at what was answered now
        path = next((path for path in problem_paths(problem) if path in answers), "")
        yield AnswerProblem(path, f"{problem.what}: {problem.why}", problem.fix)
    stated = {leaf.path: leaf.value for leaf in leaves(trial)}
    for answer in signed.predicate.answers:
        value = stated[answer.path]
        if value != value_of_answer(answer, signed) and not _is_needless(answer, value):
            why = f"it follows from other values of the record: {value.method or value.reason}"
            yield AnswerProblem(answer.path, why, "take it out of the form")


def needless(
    record: RecordSections, answers: Mapping[str, Any], *, role: AnsweringRole, version: Version, at: Timestamp
) -> frozenset[str]:
    """Of answers without a problem those which say that nobody knows what follows from the others: nothing is signed of them.

    Whoever has no meter says so of the energy, and states the watts from which it follows.
    """
    if not any(isinstance(value, dict) and "unknown" in value for value in answers.values()):
        return frozenset()
    signed, trial = _tried(record, answers, role=role, version=version, at=at)
    stated = {leaf.path: leaf.value for leaf in leaves(trial)}
    return frozenset(answer.path for answer in signed.predicate.answers if _is_needless(answer, stated[answer.path]))


def _is_needless(answer: Answer, value: Value) -> bool:
    return answer.unknown is not None and value.known


def _tried(
    record: RecordSections, answers: Mapping[str, Any], *, role: AnsweringRole, version: Version, at: Timestamp
) -> tuple[SignedAnswers, ModificationRecord]:
    """Answers as somebody would sign them, and the record that would take them up."""
    predicate = AnswersPredicate(
        record_id=record.record_id,
        record=record.canonical_digest(),
        form=_NOBODY,
        answers=as_answers(answers),
        person="somebody",
        role=role,
        nonce="00",
    )
    signed = SignedAnswers(_NOBODY, predicate, at)
    return signed, superseding_with_answers(record, signed, version=version, record_id="tried", now=at)
