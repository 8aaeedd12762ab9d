"""One value that a person states, wherever it is written: its form, its envelope, and what keeps it out of a record."""

from collections.abc import Iterator, Mapping
from typing import Any

from peft_registry.registry.compliance.answer_forms import AnswerForm, as_recorded, misfits
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.values import Timestamp, Value, declared, not_applicable, unknown

ASSERTED_BY = "asserted_by"
WHY_NOT_APPLICABLE: Mapping[str, Code] = {
    reason.code: reason
    for reason in (
        code("no_public_address"),
        code("never_released"),
        code("never_placed_in_union"),
        code("in_no_repository"),
        code("own_data"),
        code("nothing_labelled"),
        code("withheld_by_provider_of_compute"),
        code("part_of_no_system_before"),
        code("no_notified_body"),
        code("base_marks_nothing"),
        code("licence_forbids_to_say"),
        code("not_for_downstream_providers"),
        code("part_of_no_product"),
        code("no_user_interface"),
    )
}
"""What a person may give as the reason why there is no answer; which of them a field takes is data."""
RETIRED = "newer records do not have it"
MAX_AUTHOR = 200  # characters of a name and a role
_TEXT = AnswerForm(type="text")  # of a reason
# words under which nobody can be found
_AUTHOR = AnswerForm(
    type="text", no_answers=("i", "me", "myself", "we", "us", "team", "the team", "somebody", "someone")
)


class FactNotDeclarable(InputRefused):
    what = "{path!q} cannot be declared"
    why = "{reason}"
    fix = "take it out of the facts file"

    path: str
    reason: str


class FactNeedsSignature(InputRefused):
    what = "{path!q} is not a fact"
    why = "{reason}"
    fix = "{instead}"

    path: str
    reason: str
    instead: str


class FactMalformed(InputRefused):
    what = "the fact {path!q} has the wrong form"
    why = "{reason}"
    fix = "{remedy}"

    path: str
    reason: str
    remedy: str


def misfits_of_fact(path: str, form: AnswerForm, value: Any) -> Iterator[FactMalformed]:
    """What is wrong with the form of a fact; nothing where a record may declare it.

    Args:
        path: the path as its author wrote it.
        form: of the field.
        value: any JSON value; `{unknown: reason}` says that nobody knows, `{not_applicable: code}` that there is no answer to give.
    """
    if value is None:
        yield FactMalformed(path, "it is empty", "state a value, or {unknown: the reason}")
        return
    if isinstance(value, dict) and "unknown" in value:
        yield from _misfits_of_unknown(path, value)
    elif isinstance(value, dict) and "not_applicable" in value:
        problem = problem_of_not_applicable(form, value["not_applicable"])
        if not says_not_applicable(value):
            yield FactMalformed(path, "it is not applicable and answered at once", "leave one of them out")
        elif problem is not None:
            yield FactMalformed(path, *problem)
    else:
        yield from malformed(path, form, value)


def malformed(path: str, form: AnswerForm, value: Any) -> Iterator[FactMalformed]:
    """What keeps a value, any JSON, from having a form; each refusal stands at the part that is wrong."""
    for misfit in misfits(form, value):
        yield FactMalformed(f"{path}{misfit.place}", misfit.reason, misfit.remedy)


def says_unknown(value: Any) -> bool:
    """Whether an answer, any JSON value, is that nobody knows: `{unknown: the reason}`, and nothing beside it."""
    return isinstance(value, dict) and set(value) == {"unknown"}


def says_not_applicable(value: Any) -> bool:
    """Whether an answer, any JSON value, is that there is none to give: `{not_applicable: the code}`, and nothing beside it."""
    return isinstance(value, dict) and set(value) == {"not_applicable"}


def problem_of_not_applicable(form: AnswerForm, reason: Any) -> tuple[str, str] | None:
    """Why a field cannot be not applicable for that reason, any JSON value, and what can be said; None where it can."""
    if reason in form.not_applicable:
        return None
    if not form.not_applicable:
        return "it always has an answer", "state a value, or {unknown: the reason}"
    near = closest(reason, form.not_applicable) if isinstance(reason, str) else None
    why = f"{str(reason)[:60]!r} is not a reason for which it has no answer"
    return why, did_you_mean(near, f"write {{not_applicable: {' or '.join(form.not_applicable)}}}")


def _misfits_of_unknown(path: str, answer: Mapping[str, Any]) -> Iterator[FactMalformed]:
    if not says_unknown(answer):
        yield FactMalformed(path, "it is unknown and known at once", "state a value, or {unknown: the reason}")
    elif answer["unknown"] is None:
        yield FactMalformed(path, "it is unknown without a reason", "write {unknown: the reason}")
    else:
        yield from malformed(path, _TEXT, answer["unknown"])


def stated_value(form: AnswerForm, value: Any, *, by: str, at: Timestamp) -> Value:
    """The envelope of a fact, any JSON value, that has its form; `by` is whoever states it, `at` when."""
    if says_unknown(value):
        return unknown(code("stated_unknown", said=str(value["unknown"]), by=by))
    if says_not_applicable(value):
        return not_applicable(WHY_NOT_APPLICABLE[value["not_applicable"]], by=by, at=at)
    return declared(as_recorded(form, value), by=by, at=at)


def author_problem(facts: Mapping[str, Any]) -> InputRefused | None:
    """What is wrong with who asserts the facts; None where a person or a role is named."""
    by = facts.get(ASSERTED_BY)
    if not isinstance(by, str) or not by.strip():
        return FactMalformed(ASSERTED_BY, "nobody is named who asserts the facts", "add asserted_by: name and role")
    if len(by) > MAX_AUTHOR or "\n" in by:
        return FactMalformed(
            ASSERTED_BY, f"it is longer than a line of {MAX_AUTHOR} characters", "write a name and a role"
        )
    misfit = next(misfits(_AUTHOR, by), None)
    if misfit is None:
        return None
    return FactMalformed(ASSERTED_BY, misfit.reason, 'write a name and a role, such as "J. Doe, data owner"')
