"""Which open questions of a record decide something: a status, what a policy asks, or a document that is owed. Pure.

Found by trying: an answer is put into the record, and what the tables of verdicts and the forms say then is compared. So a question
is asked because of what follows from it, and a rule that changes changes what is asked.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

from peft_registry.registry.compliance.answer_forms import AnswerForm, FieldType, as_recorded
from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.answers import OpenQuestion
from peft_registry.registry.compliance.assessment import with_assessment
from peft_registry.registry.compliance.completeness import conditions_of, is_exempt
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import field_rules, leaves
from peft_registry.registry.compliance.form_rows import FormName, answered, forms
from peft_registry.registry.compliance.notations import countries
from peft_registry.registry.compliance.proposals import proposed_answer
from peft_registry.registry.compliance.record_verdicts import (
    Verdict,
    high_risk_answers,
    high_risk_verdict,
    verdicts_of,
)
from peft_registry.registry.compliance.superseding import in_third_form, with_values
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.schemas.acts import DecidedQuestion
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Value

# Art. 11(1): the provider of a high-risk system draws up Annex IV, and whoever became one by Arts. 3(3), 25 is
_ROWS_OF_A_PROVIDER = frozenset({"H2", "H4", "H5", "H6", "H8", "H13"})
_ROWS_THAT_CHANGE_NO_PROVIDER = frozenset({"H3", "H9"})
# Annexes XI and XII by Art. 53(1)(a) and (b), whose form the Code of Practice gives; the public summary by Art. 53(1)(d)
_OF_A_MODELS_PROVIDER: tuple[FormName, ...] = ("annex_xi", "annex_xii", "mdf", "pst")
_NOT_OF_THE_EXEMPT = frozenset({"annex_xi", "annex_xii", "mdf"})  # Art. 53(2): (a) and (b) end, and the summary stays
_TRIED = Digest.of(b"an answer that is only tried")
# the least and the most that an answer can say, where it is not a choice: tables read on which side of a threshold it is
_TRIED_OF_TYPE: Mapping[FieldType, tuple[Any, ...]] = {
    "text": ("yes", "no"),
    "number": (1.0, 1e27),
    "date": ("2024-08-01", "2036-01-01"),
    "month": ("2024-08-01", "2036-01-01"),
    "months": ("01/2024-01/2025",),
    "time": ("2024-08-01T00:00:00Z",),
    "digest": (str(_TRIED),),
    "licence": ("CC0-1.0", "CC-BY-NC-4.0"),
    "url": ("https://example.org/",),
    "contact": ("https://example.org/",),
}


Decides = Literal["model", "system", "flags"]  # both statuses, and what is said beside them


class Purpose(Frozen):
    """What an answer decides: which statuses, which policy asks for it, and which documents need it.

    `after` is an answer to another question without which it decides nothing, `path: value`; empty where it decides now.
    """

    statuses: tuple[Decides, ...] = ()
    policy: str | None = None
    documents: tuple[FormName, ...] = ()
    after: str = ""

    @property
    def is_any(self) -> bool:
        return bool(self.statuses or self.policy or self.documents)


class _Outcome(Frozen):
    """What the tables and the forms say of a record."""

    model: Verdict
    system: Verdict
    flags: tuple[str, ...]
    asked: Mapping[FormName, frozenset[str]]  # the open fields of each document that is owed

    def differs(self, other: "_Outcome") -> Iterator[Decides]:
        """Which statuses are others or wait for other answers, and whether something else is said beside them."""
        if _says(self.model) != _says(other.model):
            yield "model"
        if _says(self.system) != _says(other.system):
            yield "system"
        if self.flags != other.flags:
            yield "flags"


def purposes(
    record: RecordSections,
    questions: Iterable[OpenQuestion],
    *,
    policy: str = "",
    asked_by_policy: Collection[str] = (),
    decided: Decided = NOBODY,
) -> dict[str, Purpose]:
    """What each of the open questions decides, by path; one that decides nothing is left out.

    Args:
        record: of either form.
        questions: that are open in it.
        policy: the name of the policy that a gate asks.
        asked_by_policy: the fields that it reads, without positions.
        decided: what persons decided beside the record.
    """
    known = with_assessment(without_proposals(in_third_form(record)))
    now = _outcome(known, decided)
    found = {}
    for question in questions:
        statuses: dict[Decides, None] = {}
        documents = {form: None for form, fields in now.asked.items() if question.path in fields}
        for value in _answers_to_try(question.rule):
            stated = _stated(as_recorded(question.rule, value))
            then = _outcome(with_assessment(with_values(known, {question.path: stated})), decided)
            statuses |= dict.fromkeys(now.differs(then))
            documents |= {form: None for form, fields in then.asked.items() if fields - now.asked.get(form, fields)}
        purpose = Purpose(
            statuses=tuple(name for name in get_args(Decides) if name in statuses),
            policy=policy if question.rule.path in asked_by_policy else None,
            documents=tuple(documents),
        )
        if purpose.is_any:
            found[question.path] = purpose
    return found


def as_proposed(record: RecordSections) -> ModificationRecord:
    """The record as it will be once whoever may has signed the choices that somebody typed; itself where there are none."""
    known = without_proposals(in_third_form(record))
    rules = field_rules().by_path()
    chosen = {}
    for leaf in leaves(known):
        rule, answer = rules.get(leaf.rule), proposed_answer(leaf)
        if rule is not None and rule.type == "choice" and answer in rule.values:
            chosen[leaf.path] = _stated(answer)
    return with_assessment(with_values(known, chosen)) if chosen else known


@dataclass(frozen=True, slots=True)
class Ahead:
    """What decides the status of a high-risk system once something else is answered: questions by path, and what persons decide."""

    questions: Mapping[str, tuple[OpenQuestion, Purpose]] = field(default_factory=dict)
    decisions: tuple[DecidedQuestion, ...] = ()


def ahead_of(
    record: ModificationRecord,
    questions_of: Callable[[ModificationRecord], Iterable[OpenQuestion]],
    decided: Decided = NOBODY,
) -> Ahead:
    """What the table of high-risk systems comes to ask of a record; nothing of any other system.

    It asks one thing after another, and whoever is asked the rest later signs, and is approved, later. The model's table asks
    hardly more than it does at first, and of another system there is nothing more to ask.

    Args:
        record: whose answers are known.
        questions_of: what is open in a record.
        decided: what persons decided beside it.
    """
    answers = high_risk_answers(record, decided)
    if not (answers.was_high or answers.is_high):
        return Ahead()
    found: dict[str, tuple[OpenQuestion, Purpose]] = {}
    decisions: dict[DecidedQuestion, None] = {}
    asked = set(high_risk_verdict(record, decided=decided).missing)
    waiting = deque([(record, "")])
    while waiting:
        state, after = waiting.popleft()
        now = high_risk_verdict(state, decided=decided)
        decisions |= dict.fromkeys(_decisions(decided, partial(_of_system, state)))
        for question in questions_of(state):
            for value in _answers_to_try(question.rule):
                answered_so = with_values(state, {question.path: _stated(as_recorded(question.rule, value))})
                then = high_risk_verdict(answered_so, decided=decided)
                if _says(then) == _says(now):
                    continue
                found.setdefault(question.path, (question, Purpose(statuses=("system",), after=after)))
                # an answer that makes the table ask what it did not ask before is followed, each such question once
                if not asked.issuperset(then.missing):
                    asked.update(then.missing)
                    waiting.append((answered_so, f"{question.path}: {value}"))
    return Ahead(found, tuple(decisions))


def decisions_that_decide(record: RecordSections, decided: Decided = NOBODY) -> tuple[DecidedQuestion, ...]:
    """What persons have not decided, and a status of the record waits for."""
    known = without_proposals(in_third_form(record))
    tables = (partial(_of_model, known), partial(_of_system, known))
    return tuple(dict.fromkeys(question for verdict in tables for question in _decisions(decided, verdict)))


def _of_model(record: ModificationRecord, decided: Decided) -> Verdict:
    return verdicts_of(record, decided=decided).gpai_modifier


def _of_system(record: ModificationRecord, decided: Decided) -> Verdict:
    return high_risk_verdict(record, decided=decided)


def _decisions(decided: Decided, verdict: Callable[[Decided], Verdict]) -> Iterator[DecidedQuestion]:
    now = _says(verdict(decided))
    for question in get_args(DecidedQuestion):
        name = question.replace("-", "_")
        if getattr(decided, name) is None:
            outcomes = (verdict(decided.revised(**{name: is_yes})) for is_yes in (True, False))
            if any(_says(then) != now for then in outcomes):
                yield question


def _stated(value: Any) -> Value:  # any JSON value
    return Value(value=value, source="declared", evidence=(_TRIED,))


def _outcome(record: ModificationRecord, decided: Decided) -> _Outcome:
    verdicts = verdicts_of(record, decided=decided)
    return _Outcome(
        model=verdicts.gpai_modifier,
        system=verdicts.high_risk,
        flags=tuple(flag.flag for flag in verdicts.flags),
        asked={form: _open_fields(record, form) for form in _documents_owed(record, verdicts.high_risk, decided)},
    )


def _says(verdict: Verdict) -> tuple[str | None, tuple[str, ...], str | None]:
    return verdict.row, verdict.missing, verdict.applies_since


def _documents_owed(record: ModificationRecord, system: Verdict, decided: Decided) -> Iterator[FormName]:
    """The documents of a provider, once the status says that the modifier is one: before that its questions come first."""
    is_provider = system.row in _ROWS_OF_A_PROVIDER
    if system.row in _ROWS_THAT_CHANGE_NO_PROVIDER:
        is_provider = high_risk_answers(record, decided).is_system_provider is True
    if is_provider:
        yield "annex_iv"
    if "pv" in conditions_of(record).met:
        left_out = _NOT_OF_THE_EXEMPT if is_exempt(record) else frozenset()
        yield from (form for form in _OF_A_MODELS_PROVIDER if form not in left_out)


def _open_fields(record: ModificationRecord, name: FormName) -> frozenset[str]:
    """What rows of a document still wait for. Of a member that is missing, the field that it is of."""
    rules = field_rules().by_path()
    gaps = (gap.field for row in answered(record, forms().named(name)) if row.state == "open" for gap in row.gaps)
    return frozenset(field if FieldPath.parse(field).rule in rules else field.rpartition(".")[0] for field in gaps)


def _answers_to_try(form: AnswerForm) -> tuple[Any, ...]:
    """Answers that a form takes, of which one decides whatever an answer can decide."""
    if form.type == "choice":
        return form.values
    if form.type == "country":
        members = field_rules().eu_members
        return (members[0], min(countries()[0].difference(members)))
    if form.type == "list":
        return tuple([item] for item in (("yes",) if form.items is None else _answers_to_try(form.items)))
    if form.type == "object":
        tried = {name: _answers_to_try(member) for name, member in form.members.items()}
        # every member at its first word, and at its last
        return tuple({name: values[end] for name, values in tried.items()} for end in (0, -1))
    return _TRIED_OF_TYPE[form.type]
