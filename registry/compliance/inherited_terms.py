"""What the records of the parents answer of the base that a merge or a continued run shares with them. Pure: the records come in.

A base is the same where its tensors are. "Yes" of one of them holds for an exclusion of the Union and for systemic risk, and the
flags of all of them hold together. Anything else that they state differently is a question, and its reason says who says what.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.fields import FromParents, field_rules
from peft_registry.schemas.codes import code
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import BaseUsed, ModificationRecord, UpstreamTerms
from peft_registry.schemas.values import Value, derived, unknown

_FLAGS = "licence_flags"
_NO_FLAG = "none"
_BASE, _TERMS = "base[].", "upstream[]."


def with_answered_terms(
    used: BaseUsed, terms: UpstreamTerms, ancestors: Iterable[Ancestor]
) -> tuple[BaseUsed, UpstreamTerms]:
    """A base and its terms with what people answered of it in the records of the parents.

    Args:
        used: the base as it is recorded itself.
        terms: likewise its terms.
        ancestors: all that goes in besides the base; only the records of parents are looked at, which took over from theirs.
    """
    parents = sorted(
        (ancestor for ancestor in ancestors if ancestor.is_parent),
        key=lambda parent: (parent.label, parent.manifest),
    )
    of_base, of_terms = (
        {
            name: _combined(how, getattr(section, name), _answered(used, parents, name))
            for name, how in field_rules().inherited(prefix).items()
        }
        for prefix, section in ((_BASE, used), (_TERMS, terms))
    )
    return used.revised(**of_base), terms.revised(**of_terms)


def of_the_base(stated: Value, of_base: Value) -> Value:
    """What holds of an adapter because it holds of its base: as it is stated of that, or as its adapters' records answer it."""
    if of_base == stated or not of_base.known:
        return of_base
    return derived(of_base.value, of_base.unit, method=code("of_adapted_base_by_records"))


@dataclass(frozen=True, slots=True)
class _Answered:
    """What the record of a parent says of the base, and the statement that holds it."""

    label: str
    value: Value
    statement: Digest | None


def _answered(used: BaseUsed, parents: Sequence[Ancestor], name: str) -> list[_Answered]:
    """What people signed of the base in the records of the parents; flags may follow from what they signed."""
    answers = []
    for parent in parents:
        section = _section(used, parent, name)
        value = None if section is None else getattr(section, name)
        if value is not None and value.settled and (value.rests_on_statement or name == _FLAGS):
            answers.append(_Answered(parent.label, value, parent.statement))
    return answers


def _section(used: BaseUsed, parent: Ancestor, name: str) -> Document | None:
    """The part of a parent's record that speaks of the base: it stands first in every record that this tool makes."""
    record = parent.record
    if record is None or not record.base or not used.tensor_digest.known:
        return None
    base = record.base[0]
    if base.tensor_digest.value != used.tensor_digest.value:
        return None
    if name != "eu_exclusion":
        return base
    terms = record.upstream[0] if isinstance(record, ModificationRecord) and record.upstream else None
    return terms if terms is not None and terms.name.value == base.name.value else None


def _combined(how: FromParents, own: Value, answers: Sequence[_Answered]) -> Value:
    if not answers:
        return own
    stated = [*([own] if own.settled else []), *(answer.value for answer in answers)]
    if len({_compared(value) for value in stated}) == 1:
        return own if own.settled else _carried(answers)
    if how == "union":
        return _united(stated)
    if how == "yes_if_any" and any(value.value == "yes" for value in stated):
        if own.value == "yes":
            return own
        return _carried([answer for answer in answers if answer.value.value == "yes"])
    told = [code("says", of=answer.label, answer=_answer(answer.value)) for answer in answers]
    told += [code("base_says", answer=_answer(own))] if own.settled else []
    return unknown(code("records_differ", answers=told))


def _carried(answers: Sequence[_Answered]) -> Value:
    """The first answer, with its author, and where it is recorded."""
    first = answers[0].value
    statements = [] if answers[0].statement is None else [answers[0].statement]
    how = code("as_recorded_of", of=[answer.label for answer in answers])
    return first.revised(method=how, evidence=tuple(dict.fromkeys((*first.evidence, *statements))))


def _united(stated: Sequence[Value]) -> Value:
    flags = {str(flag) for value in stated for flag in _listed(value.value)}
    return derived(sorted(flags - {_NO_FLAG}), method=code("union_of_flags"))


def _listed(value: Any) -> list[Any]:  # any JSON value
    return value if isinstance(value, list) else [value]


def _compared(stated: Value) -> str:
    """Equal for values that say the same, there being no answer among them."""
    if not stated.applies:
        return _answer(stated)
    return repr(sorted(stated.value, key=repr)) if isinstance(stated.value, list) else repr(stated.value)


def _answer(stated: Value) -> str:
    return str(stated.value) if stated.applies else f"not applicable: {stated.reason}"
