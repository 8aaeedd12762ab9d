"""`registry decide`: people answer what is open in a version's record, or decide what no figure does, under keys of their own.

The form holds the questions whose answers decide something, or every open field. It is one file for everybody: whoever signs it
signs what is theirs to answer, and the rest stays for the others. That part is checked whole and told at once, with its lines,
before anything is signed. The person's statement and the record that takes it up enter the log in one transaction: both or neither.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_args

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.answers import (
    AnswerProblem,
    OpenQuestion,
    SignedAnswers,
    as_answers,
    by_owner,
    changed_since,
    is_recorded,
    needless,
    open_questions,
    problems_of_answers,
    unsigned_questions,
)
from peft_registry.registry.compliance.completeness import completeness
from peft_registry.registry.compliance.deciding import (
    Purpose,
    ahead_of,
    as_proposed,
    decisions_that_decide,
    purposes,
)
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.disk.files import write_atomically
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.secrets import require_no_secrets
from peft_registry.registry.records.decisions import bound_evidence, decided_by, makers_of
from peft_registry.registry.records.record_histories import SignedRecord
from peft_registry.registry.records.signed_records import (
    record_to_supersede,
    records_of,
    required_record,
    version_statements,
)
from peft_registry.registry.records.standing_acts import person_of
from peft_registry.registry.records.stops import require_not_stopped
from peft_registry.registry.records.version_statements import VersionStatements
from peft_registry.registry.records.views import view_of
from peft_registry.registry.records.waiting_answers import records_since, waiting_answers
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.signing.statements import SignedStatement
from peft_registry.registry.signing.trust import UnlistedKey
from peft_registry.registry.use_cases.gap_form import AnswerRefused, FilledForm, answer_refused, form_text, read_form
from peft_registry.registry.use_cases.gate import ReadPolicy
from peft_registry.registry.use_cases.show_verdict import persons_decisions
from peft_registry.registry.use_cases.statements import (
    Saying,
    append_statement,
    sayable_at,
)
from peft_registry.registry.use_cases.supersede import Superseded, next_record, supersede
from peft_registry.registry.use_cases.take_up_answers import (
    FromElsewhere,
    from_elsewhere,
    known_at_home,
)
from peft_registry.schemas.acts import DecidedQuestion
from peft_registry.schemas.answers import AREA_ROLES, AnsweringRole, AnswersPredicate, Area
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import InputRefused, Refused, Taken, listed, raise_any
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lookalikes import folded
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.statement import PREDICATE_TYPES
from peft_registry.schemas.version import Version


class FormOfAnother(InputRefused):
    what = "{file} is not a form of {label}"
    why = "it asks about the record {record_id} of {version}, which is not one of {label}"
    fix = "name the version that it was written for, or write a form of {label} to another file"

    file: str
    label: str
    record_id: str
    version: str


class OwnDecision(Refused):
    what = "{person} does not decide about {label}"
    why = "a key of theirs had a part in making it, and whoever makes a version does not judge it"
    fix = "have another person sign the decision; nothing was signed"

    person: str
    label: str


class AnsweringKeyUnlisted(UnlistedKey):
    what = "the key {key_id:.16}… may not answer for anybody"
    why = "the trust file of this registry does not list it"
    fix = (
        "have whoever holds a root list its public half: `registry trust add KEY.pub --person NAME --role officer`; an engineer's "
        "key takes the role evaluator. Then run this command again"
    )


class RecordMovedOn(Taken):
    what = "the record of {label} has moved on since {file} was written"
    why = "{record_id} was superseded by {current}; {meanwhile}"
    fix = (
        "take what changed out of the form, and run the command again: the rest still counts. `registry decide {label} "
        "--form NEW.yml` asks what is open now; nothing was signed"
    )

    label: str
    file: str
    record_id: str
    current: str
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    lines: tuple[int, ...]  # of the changed fields in the form

    @property
    def meanwhile(self) -> str:
        """What became of the fields that the form answers."""
        changed = [f"{path} (line {line})" for path, line in zip(self.changed, self.lines, strict=True)]
        parts = [f"{listed(changed)} changed in the meantime"]
        if self.unchanged:
            parts.append(f"{listed(self.unchanged)} did not change")
        return ", and ".join(parts)


class WrittenForm(Frozen):
    """A form that was written: for which record, and how many questions each owner has."""

    version: str
    form: str
    record_id: str
    record: Digest
    questions: dict[str, int]

    besides: int = 0  # fields that are open or not signed by their owner, decide nothing, and are not asked

    @property
    def text(self) -> str:
        owners = ", ".join(f"{owner} {count}" for owner, count in self.questions.items())
        besides = f"; {self.besides} other fields decide nothing, and --all asks them too" if self.besides else ""
        return f"{sum(self.questions.values())} open questions ({owners or 'none'}){besides}"


class AnswersRecorded(Taken):
    what = "{file} holds no answer that is not recorded yet"
    why = "the record of {label} has all of them as they stand there, each under the signature of whoever gave it"
    fix = (
        "nothing is left to sign: `registry promote {label} ALIAS --policy regulated --explain` says what a gate waits for, and "
        "`registry decide {label} --form OTHER.yml --all` asks what is open and decides nothing"
    )

    file: str
    label: str


class TakenAnswers(Frozen):
    """What was answered, by whom, and the record that takes it up; a dry run has no statement and no new record.

    `left` counts the answers of the same form that are for others to sign, by who owes them. `taken_over` is what that record has
    besides, from the organisation's profile and from statements about its bases.
    """

    version: str
    person: str
    role: AnsweringRole
    paths: tuple[str, ...]
    statement: Digest | None
    record_id: str | None
    supersedes: str
    fields: str  # how many are filled, of how many
    left: dict[str, int]
    taken_over: tuple[FromElsewhere, ...]


def count_deciding(registry: Registry, version: Version, policy: ReadPolicy) -> int:
    """How many questions that people can answer decide something: a status, a document that is owed, or the gate of a policy."""
    said = version_statements(registry, version)
    if not said.chain:
        return 0
    questions = _open_questions(registry, record_to_supersede(said, version), version)
    return len(_purposes(registry, version, said, questions, policy))


def _open_questions(registry: Registry, current: SignedRecord, version: Version) -> tuple[OpenQuestion, ...]:
    """What nobody has answered, and what was typed and nobody who may answer it has signed."""
    is_open = open_questions(current.record, known_at_home(registry, current.record, version))
    return by_owner((*is_open, *unsigned_questions(current.record)))


def write_form(
    registry: Registry,
    version: Version,
    file: Path,
    owner: Area | None = None,
    *,
    policy: ReadPolicy | None = None,
    kept: Mapping[str, Any] | None = None,
) -> WrittenForm:
    """Write open questions of a version's record to a file; all of them, or those that one owner owes.

    Args:
        registry: open.
        version: that the form is of.
        file: to write; what is there is replaced.
        owner: who owes the questions; None: anybody.
        policy: ask what decides a status, a document that is owed or the gate of this policy; None: every open field.
        kept: answers that somebody typed and nobody signed yet, by path.

    Raises:
        NoRecord: the version has no record.
        NotWritable, DiskFull: the file cannot be written.
    """
    said = version_statements(registry, version)
    current = record_to_supersede(said, version)
    every = _open_questions(registry, current, version)
    asked = _Asked({question.path: (question, None) for question in every})
    if policy is not None:
        asked = _asked(registry, version, said, every, policy)
    questions = by_owner(question for question, _ in asked.questions.values() if owner in (None, question.area))
    decisive = {path: purpose for path, (_, purpose) in asked.questions.items() if purpose is not None}
    text = form_text(
        version,
        current,
        questions,
        file.name,
        owner=owner,
        purposes=None if policy is None else decisive,
        kept=kept,
        decisions=asked.decisions if owner is None else (),
    )
    write_atomically(file, text.encode())
    counts = {area: len(list(group)) for area, group in groupby(questions, key=lambda question: question.area)}
    return WrittenForm(
        version=version.label,
        form=f"{file}",
        record_id=current.record.record_id,
        record=current.digest,
        questions={f"{area}": count for area, count in counts.items()},
        besides=sum(question.path not in asked.questions for question in every),
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a form asks, by path, and what each answer decides; and what only persons decide."""

    questions: Mapping[str, tuple[OpenQuestion, Purpose | None]]
    decisions: tuple[DecidedQuestion, ...] = ()


def _asked(
    registry: Registry,
    version: Version,
    said: VersionStatements,
    every: Sequence[OpenQuestion],
    policy: ReadPolicy,
) -> _Asked:
    """What decides something now, and what decides the status of a high-risk system once that is answered: all in one form."""
    record = record_to_supersede(said, version).record
    decided = decided_by(persons_decisions(registry, version, said))
    known = known_at_home(registry, record, version)

    def questions_of(answered: ModificationRecord) -> tuple[OpenQuestion, ...]:
        return (*open_questions(answered, known), *unsigned_questions(answered))

    decisive = _purposes(registry, version, said, every, policy)
    now = {question.path: (question, decisive[question.path]) for question in every if question.path in decisive}
    proposed = as_proposed(record)
    ahead = ahead_of(proposed, questions_of, decided)
    is_typed = proposed != without_proposals(in_third_form(record))
    then = _then(proposed, questions_of(proposed), policy, decided) if ahead.questions and is_typed else {}
    decisions = dict.fromkeys((*decisions_that_decide(record, decided), *ahead.decisions))
    # in the order in which they come to decide; one that decides now says what it decides now
    return _Asked({**now, **then, **ahead.questions, **then, **now}, tuple(decisions))


def _then(
    proposed: ModificationRecord, questions: Sequence[OpenQuestion], policy: ReadPolicy, decided: Decided
) -> dict[str, tuple[OpenQuestion, Purpose]]:
    """What decides something once the choices that somebody typed are signed as they are."""
    decisive = purposes(
        proposed, questions, policy=policy.policy.name, asked_by_policy=_fields_of(policy), decided=decided
    )
    return {question.path: (question, decisive[question.path]) for question in questions if question.path in decisive}


def _fields_of(policy: ReadPolicy) -> set[str]:
    return {FieldPath.parse(path).rule for path in policy.policy.fields_read}


def _purposes(
    registry: Registry,
    version: Version,
    said: VersionStatements,
    questions: Sequence[OpenQuestion],
    policy: ReadPolicy,
) -> dict[str, Purpose]:
    return purposes(
        record_to_supersede(said, version).record,
        questions,
        policy=policy.policy.name,
        asked_by_policy=_fields_of(policy),
        decided=decided_by(persons_decisions(registry, version, said)),
    )


def renew_form(registry: Registry, version: Version, file: Path, policy: ReadPolicy) -> WrittenForm | None:
    """Write a form anew with what decides something now, where more does than it asks; None where it does not.

    The file as it was signed is kept beside it. What others typed into it and did not sign yet stands in the new one.
    """
    form = read_form(file)
    said = version_statements(registry, version)
    current = record_to_supersede(said, version)
    every = _open_questions(registry, current, version)
    questions = _asked(registry, version, said, every, policy).questions
    asked = {path for path, (question, _) in questions.items() if form.owner in (None, question.area)}
    if asked <= form.paths:
        return None
    kept = {path: value for path, value in form.answers.items() if not is_recorded(current.record, path, value)}
    write_atomically(file.with_name(f"{file.stem}-{form.digest.hex[:12]}{file.suffix}"), form.data)
    return write_form(registry, version, file, form.owner, policy=policy, kept=kept)


def decide_question(
    registry: Registry,
    version: Version,
    question: DecidedQuestion,
    policy: ReadPolicy,
    signer: Signer,
    *,
    is_yes: bool,
    reason: str,
) -> SignedStatement:
    """Sign what a person decides of a question that no figure does, about a version as its record and evaluations are now.

    Raises:
        NoRecord: the version has no record.
        OwnDecision: a key of that person made it.
        KnownError: as `append_statement`: the key may not decide, the reason is blank or looks like a secret.
    """
    predicate = decision_predicate(registry, version, question, policy, signer, is_yes=is_yes, reason=reason)
    return append_statement(
        registry,
        subject=version.manifest_digest,
        kind="decision",
        predicate=predicate,
        signer=signer,
        evidence=(policy.data,),
    )


def decision_predicate(
    registry: Registry,
    version: Version,
    question: DecidedQuestion,
    policy: ReadPolicy,
    signer: Signer,
    *,
    is_yes: bool,
    reason: str,
) -> dict[str, Any]:
    """What such a decision says, before it is signed.

    Raises:
        NoRecord, OwnDecision: as `decide_question`.
    """
    required_record(version_statements(registry, version), version)
    records = records_of(registry, version)
    person = person_of(registry, signer.public.key_id)
    if person is not None and folded(person) in map(folded, makers_of(registry, records)):
        raise OwnDecision(person, version.label)
    return {
        "question": question,
        "outcome": "yes" if is_yes else "no",
        "policy": str(policy.digest),
        "policy_name": policy.policy.name,
        **bound_evidence(registry, version, records).as_signed(),
        "reason": reason,
        "nonce": registry.nonce(),
    }


def decide(registry: Registry, version: Version, file: Path, signer: Signer, *, dry_run: bool = False) -> TakenAnswers:
    """Sign what a person may answer of a form and record it; all of that, or nothing where one is none.

    What is for others to answer, and what the record has already as it stands there, is passed over. Answers of others that wait
    for a record are taken up by the same one.

    Args:
        registry: open, and writable unless nothing is to be signed.
        version: that the form is of.
        file: the form, as it was filled in.
        signer: the key of the person who answers.
        dry_run: check everything, and sign nothing.

    Raises:
        NoRecord: the version has no record.
        MalformedYaml, SecretRefused, FormRefused, FormUnanswered, FormOfAnother: it is not a form of this version.
        AnswerRefused, SeveralProblems: what is wrong in it, all at once.
        AnswersRecorded: the record has everything that it answers.
        RecordMovedOn: another record superseded the one that it asks about, and what the form answers is another value there.
        RevokedKey, KeyLacksRole, AnsweringKeyUnlisted, ExpiredKey: whoever reads the answers would not rely on this key.
        VersionStopped: it is recalled, or something that it was made from is.
    """
    types = (PREDICATE_TYPES["answers"],)
    with view_of(registry) as view:
        try:
            at = sayable_at(view, signer.public.key_id, types)
        except UnlistedKey as error:
            raise AnsweringKeyUnlisted(error.subject, error.tried, error.key_id) from error
    key = registry.read_trust(at=at).key(signer.public.key_id)
    assert key is not None and key.role in get_args(AnsweringRole), "a key of no such role may not say it"
    role = cast(AnsweringRole, key.role)  # one of them, as was asked before
    # the record that takes answers up would be registered of what nobody may use any more
    require_not_stopped(registry, "register", version)
    said = version_statements(registry, version)
    whole = read_form(file)
    form, left = _own_part(whole, record_to_supersede(said, version), role)
    if not form.answers:
        raise AnswersRecorded(whole.name, version.label)
    seen, current = _records_of_form(said, version, form)
    waiting = waiting_answers(said, version)
    raise_any(_problems(form, current, waiting, version, role=role, person=key.person, at=at))
    follows = needless(current.record, form.answers, role=role, version=version, at=at)
    form = replace(form, answers={path: value for path, value in form.answers.items() if path not in follows})
    predicate = AnswersPredicate(
        record_id=seen.record.record_id,
        record=seen.digest,
        form=form.digest,
        answers=as_answers(form.answers),
        person=key.person,
        role=role,
        nonce=registry.nonce(),
    )
    require_no_secrets(predicate.to_json(), what=file.name)
    if dry_run:
        tried = next_record(registry, version, tried=SignedAnswers(form.digest, predicate, at), at=at)
        assert tried is not None, "something is answered"
        return _decided(version, predicate, tried.before, tried.record, statement=None, record_id=None, left=left)
    registry.unlock()
    made = _sign_both(registry, version, form, predicate, signer)
    record = made.record
    signed = made.statements[0].digest
    return _decided(version, predicate, made.before, record, statement=signed, record_id=record.record_id, left=left)


def _own_part(form: FilledForm, current: SignedRecord, role: AnsweringRole) -> tuple[FilledForm, dict[str, int]]:
    """The form with what a role may answer and the record has not, and how many of its answers are for whom else.

    Where a role may give none of them it is left as it is: who owes what is said of each.
    """
    rules = field_rules().by_path()
    others: Counter[str] = Counter()
    own: dict[str, Any] = {}
    for path, value in form.answers.items():
        rule = rules.get(FieldPath.parse(path).rule)
        if rule is not None and rule.takes_answers and role not in AREA_ROLES[cast(Area, rule.owner)]:
            others[rule.owner] += not is_recorded(current.record, path, value)
        elif not is_recorded(current.record, path, value):
            own[path] = value
    if not own and others.total():
        return form, {}
    return replace(form, answers=own), {owner: count for owner, count in others.items() if count}


def _sign_both(
    registry: Registry, version: Version, form: FilledForm, predicate: AnswersPredicate, signer: Signer
) -> Superseded:
    """Log the answers and the record that takes them up in one transaction.

    Raises:
        RecordMovedOn: another record came first and changed what is answered; nothing is logged.
        KnownError: as `supersede`.
    """

    def answers() -> Saying:
        _records_of_form(version_statements(registry, version), version, form)
        return Saying("answers", predicate.to_json(), signer)

    made = supersede(registry, version, answers=answers)
    assert made is not None, "something is answered"
    return made


def _decided(
    version: Version,
    predicate: AnswersPredicate,
    current: SignedRecord,
    record: ModificationRecord,
    *,
    statement: Digest | None,
    record_id: str | None,
    left: dict[str, int],
) -> TakenAnswers:
    return TakenAnswers(
        version=version.label,
        person=predicate.person,
        role=predicate.role,
        paths=tuple(answer.path for answer in predicate.answers),
        statement=statement,
        record_id=record_id,
        supersedes=current.record.record_id,
        fields=completeness(record).sentence,
        left=left,
        taken_over=from_elsewhere(record, current.record),
    )


def _records_of_form(said: VersionStatements, version: Version, form: FilledForm) -> tuple[SignedRecord, SignedRecord]:
    """The record that a form is of, and the newest one: the same, or one in which what the form answers is as it was.

    Raises:
        FormOfAnother: it is of no record of this version.
        RecordMovedOn: what it answers has changed since.
    """
    current = record_to_supersede(said, version)
    asked = str(form.header.get("record")), str(form.header.get("record_id"))
    seen = next((link for link in said.chain if (str(link.digest), link.record.record_id) == asked), None)
    if seen is None or form.header.get("version") != version.label:
        raise FormOfAnother(form.name, version.label, asked[1][:80], str(form.header.get("version"))[:80])
    changed = changed_since(form.answers, records_since(said.chain, seen.digest))
    if changed:
        unchanged = tuple(path for path in form.answers if path not in changed)
        lines = tuple(form.line("answers", path) for path in changed)
        raise RecordMovedOn(
            version.label, form.name, seen.record.record_id, current.record.record_id, changed, unchanged, lines
        )
    return seen, current


def _problems(
    form: FilledForm,
    current: SignedRecord,
    waiting: Sequence[SignedAnswers],
    version: Version,
    *,
    role: AnsweringRole,
    person: str,
    at: str,
) -> Iterator[AnswerRefused]:
    asserted_by = form.header.get("asserted_by")
    if asserted_by is not None and asserted_by != person:
        yield AnswerRefused(
            form.name,
            form.line("asserted_by"),
            "asserted_by",
            f"the trust file names {person} for the key that signs",
            f"write {person}, or leave it empty; or sign with the key of whoever answers",
        )
    for problem in problems_of_answers(current.record, form.answers, role=role, version=version, at=at):
        yield answer_refused(form, problem)
    for answers in waiting:
        for path in (answer.path for answer in answers.predicate.answers if answer.path in form.answers):
            who = f"{answers.predicate.person} has answered it, and no record has taken that up yet"
            yield answer_refused(form, AnswerProblem(path, who, "take it out, and answer anew once a record has it"))
