"""Declared values on their way into what is signed: whoever states one, and by whichever door, it has the form of its field.

The facts files are read by `facts` and `base_facts`, which tell their author everything that is wrong. This is the last look,
at what a caller of the library brings too; and the first one at what an older version of the tool has let in.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from peft_registry.registry.compliance.answer_forms import AnswerForm, misfits
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import FieldRule, field_rules
from peft_registry.registry.compliance.stated import (
    RETIRED,
    FactMalformed,
    FactNeedsSignature,
    FactNotDeclarable,
    malformed,
    problem_of_not_applicable,
)
from peft_registry.schemas.base_model import DeclaredFacts
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.values import Value, unknown

_ALWAYS = AnswerForm(type="text")  # of what has no form of its own: no reason takes its answer away
_LONGEST_QUOTE = 120  # characters of a value in a reason


def problems_of_declared(
    kind: str, predicate: dict[str, Any], *, earlier: Sequence[dict[str, Any]] = ()
) -> Iterator[InputRefused]:
    """What keeps the declared values of a statement from being signed; nothing where it declares none.

    Args:
        kind: of the statement.
        predicate: of the statement, the JSON of its document.
        earlier: what is signed already about the same artifact, by statements of the same kind. A value that stands there
            as it does here is not declared anew: a record that supersedes another keeps what it does not correct.
    """
    if kind == "answers":
        yield from _in_answers(predicate)
        return
    if kind == "modification" and "record" in predicate:
        # the record, beside the edition and the inputs that its statement names
        predicate = predicate["record"]
        earlier = [document.get("record", document) for document in earlier]
    stands = [{path: value for path, _, value in _envelopes(document, "", "")} for document in earlier]
    for path, rule_path, value in _envelopes(predicate, "", ""):
        if any(signed.get(path) == value for signed in stands):
            continue
        rule = field_rules().by_path().get(rule_path) if kind == "modification" else None
        if rule is not None and rule.is_signed_by_people and value.get("source") != "unknown":
            # what it calls its source is only the word of whoever wrote it; whether it names the answers that it was taken
            # from, and they say so, is held against them where the record is
            if not (rule.takes_answers and value.get("source") == "declared" and value.get("evidence")):
                yield _needs_signature(path, rule)
        elif value.get("source") == "not_applicable":
            yield from _not_applicable(kind, path, rule, value)
        elif value.get("source") == "declared":
            yield from _problems_of(kind, path, rule, value)


def sound_facts(facts: DeclaredFacts) -> DeclaredFacts:
    """The facts about a base without those that nobody may declare: they are unknown, and the reason quotes them.

    A base may have been registered before facts had a form; what it was registered with stays as it is signed. And whoever may
    register one signs any envelope: a fact that is called measured would take the answer away from whoever owes it.
    """
    forms = field_rules().base_forms()
    return DeclaredFacts(**{key: _sound(getattr(facts, key), forms[key]) for key in DeclaredFacts.model_fields})


def problem_of_value(value: Value, form: AnswerForm) -> str | None:
    """Why a value that somebody states does not have its form; None where it has, or nobody states it."""
    if not value.applies:
        reason = value.reason.code if isinstance(value.reason, Code) else None
        problem = problem_of_not_applicable(form, reason)
        return None if problem is None else problem[0]
    if value.source != "declared":
        return None
    wrong = next(misfits(form, value.value), None)
    return None if wrong is None else f"{wrong.place.lstrip('.') or 'it'}: {wrong.reason}"


def _sound(value: Value, form: AnswerForm) -> Value:
    if problem_of_value(value, form) is None and not value.is_from_tool:
        return value
    text = str(value.value if value.applies else value.reason)
    quote = text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"
    return unknown(code("declared_of_base_misfits", answer=quote))


def _problems_of(kind: str, path: str, rule: FieldRule | None, value: dict[str, Any]) -> Iterator[InputRefused]:
    """Of one declared value. The JSON was walked and not the schema's class: it may be a record of any version."""
    if kind == "base":
        key = path.removeprefix("facts.")
        form = field_rules().base_forms().get(key)
        if form is not None:
            yield from malformed(key, form, value.get("value"))
    if rule is None:
        return
    if rule.owner == "tool" and rule.act is None:
        yield FactNotDeclarable(path, "this tool records it itself")
    elif rule.act is not None and not value.get("evidence"):
        # with evidence it was taken from the signed statement that the evidence names
        yield _needs_signature(path, rule)
    else:
        yield from malformed(path, rule, value.get("value"))


def _not_applicable(kind: str, path: str, rule: FieldRule | None, value: dict[str, Any]) -> Iterator[InputRefused]:
    """Of one value that is said to have no answer."""
    form = field_rules().base_forms().get(path.removeprefix("facts.")) if kind == "base" else rule
    reason = value.get("reason")
    if isinstance(reason, dict):
        reason = reason.get("code")
    problem = problem_of_not_applicable(form or _ALWAYS, reason)
    if problem is not None:
        yield FactMalformed(path, *problem)


def _needs_signature(path: str, rule: FieldRule) -> FactNeedsSignature:
    assert rule.act is not None, "the field takes facts"
    act = field_rules().acts[rule.act]
    return FactNeedsSignature(path, act.reason, act.instead)


def _in_answers(predicate: dict[str, Any]) -> Iterator[InputRefused]:
    by_path = field_rules().by_path()
    for answer in predicate.get("answers", ()):
        path = str(answer.get("path"))
        area = answer.get("area")
        rule = by_path.get(FieldPath.parse(path).rule)
        if rule is None:
            yield FactNotDeclarable(path, "the record has no such field")
        elif rule.act is not None and not rule.takes_answers:
            yield _needs_signature(path, rule)
        elif rule.until is not None:
            yield FactNotDeclarable(path, RETIRED)
        elif rule.owner != area:
            yield FactNotDeclarable(path, f"it is for {rule.owner} to answer, and not for {area}")
        elif answer.get("not_applicable") is not None:
            problem = problem_of_not_applicable(rule, answer["not_applicable"])
            if problem is not None:
                yield FactMalformed(path, *problem)
        elif answer.get("unknown") is None:
            yield from malformed(path, rule, answer.get("value"))


def _envelopes(node: Any, path: str, rule: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    if isinstance(node, dict) and "source" in node and "value" in node:
        yield path, rule, node
    elif isinstance(node, dict):
        for key, item in node.items():
            yield from _envelopes(item, f"{path}.{key}".lstrip("."), f"{rule}.{key}".lstrip("."))
    elif isinstance(node, list):
        for number, item in enumerate(node):
            yield from _envelopes(item, f"{path}[{number}]", f"{rule}[]")
