"""Codes in place of prose: what is signed says why and how by a code with typed parameters, and whoever reads renders the sentence.

A code's meaning never changes: a better one gets a new name. Its sentence may be improved at any time, because no signature and no
comparison holds it. What was signed before there were codes, and what a person wrote, is plain text and stays so.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any, overload

from pydantic import AfterValidator, model_validator

from peft_registry.schemas.canonical import as_doubles
from peft_registry.schemas.codes.evaluations import EVALUATION_CODES, EVALUATION_TEXTS_BEFORE
from peft_registry.schemas.codes.meaning import Kind, Meaning, listed_labels
from peft_registry.schemas.codes.records import RECORD_CODES, TEXTS_BEFORE
from peft_registry.schemas.document import Document

__all__ = [
    "CODES",
    "RETIRED",
    "Code",
    "Kind",
    "KnownCode",
    "Meaning",
    "Said",
    "as_json",
    "because_in",
    "code",
    "code_in",
    "in_turn",
    "in_words",
    "listed_labels",
    "misfit",
    "nested",
    "says",
    "together",
    "unknown_word",
]

CODES: Mapping[str, Meaning] = {**RECORD_CODES, **EVALUATION_CODES}
"""Every code that this tool writes or once wrote; one that left the code stays here, because signed documents name it."""

RETIRED: frozenset[str] = frozenset(("runs_of_words",))
"""Those that nothing writes any more."""

_BEFORE: Mapping[str, str] = {**TEXTS_BEFORE, **EVALUATION_TEXTS_BEFORE}


class Code(Document):
    """A code and its parameters, which are the other fields of the document.

    `str()` gives the sentence. A code that this release does not know, or one with other parameters than its own, is still shown:
    by its name and what it holds.
    """

    code: str

    @model_validator(mode="before")
    @classmethod
    def _counts_that_pass_2_53_are_floats(cls, value: Any) -> Any:
        return as_doubles(value)

    @property
    def parameters(self) -> dict[str, Any]:  # JSON values
        return dict(self.model_extra or {})

    def __str__(self) -> str:
        meaning = CODES.get(self.code)
        if meaning is None or misfit(self) is not None:
            named = ", ".join(f"{name} {_shown(value)}" for name, value in self.parameters.items())
            words = self.code.replace("_", " ")
            return f"{words} ({named})" if named else words
        return meaning.rendered({name: _readable(value) for name, value in self.parameters.items()})


def _known(said: Code) -> Code:
    wrong = misfit(said)
    if wrong is not None:
        raise ValueError(f"{said.code}: {wrong}")
    return said


KnownCode = Annotated[Code, AfterValidator(_known)]
"""A code with its own parameters: what a signed input may say, so that no text of somebody's choice stands where a code does."""

Said = Code | str
"""Why or how, as a document says it: a code, or the text of a person or of a document from before there were codes."""


def code(name: str, /, **parameters: Any) -> Code:  # JSON values and codes; their kinds are checked
    """A code of this tool with its parameters.

    Raises:
        TypeError: there is no such code, or a parameter is missing, not one of the code's own, or of another kind.
    """
    return _made(name, parameters) if parameters else _alone(name)


@cache
def _alone(name: str) -> Code:
    # most have no parameters, and a record that is derived says a hundred of them
    return _made(name, {})


def _made(name: str, parameters: Mapping[str, Any]) -> Code:
    made = Code.from_json({"code": name} | {key: _plain(value) for key, value in parameters.items()})
    wrong = misfit(made)
    if wrong is not None:
        raise TypeError(f"{name}: {wrong}")
    return made


def misfit(said: Code) -> str | None:
    """Why a code with these parameters is not one that this release knows; None where it is."""
    meaning = CODES.get(said.code)
    if meaning is None:
        return "there is no such code"
    given = said.parameters
    for name in meaning.parameters.keys() - given.keys():
        return f"the parameter {name} is missing"
    for name in given.keys() - meaning.parameters.keys():
        return f"it has no parameter {name}"
    for name, kind in meaning.parameters.items():
        if not _is_of_kind(given[name], kind):
            return f"the parameter {name} is not a {kind}"
    return None


def says(said: Said | None, *names: str) -> bool:
    """Whether a document says one of these codes, alone or among others, or what stood for it before there were codes."""
    if isinstance(said, Code):
        return said.code in names or any(says(part, *names) for part in _parts(said))
    earlier = [_BEFORE[name] for name in names if name in _BEFORE]
    return said is not None and any(re.fullmatch(text, said, re.DOTALL) for text in earlier)


@overload
def together(parts: Iterable[Code]) -> Code: ...
@overload
def together(parts: Iterable[Said]) -> Said: ...
def together(parts: Iterable[Said]) -> Said:
    """Several as one: `counted before the run; an estimate`. The only one is said as it is."""
    flat = _flat("together", parts)
    return flat[0] if len(flat) == 1 else code("together", parts=flat)


def in_turn(first: Said | None, then: Said) -> Said:
    """What happened to a value after how it first came about: `counted before the run, as recorded of a:1`."""
    flat = _flat("in_turn", (then,) if first is None else (first, then))
    return flat[0] if len(flat) == 1 else code("in_turn", parts=flat)


def because_in(said: Said) -> Said:
    """The reason inside one which says that a value was not derived; any other as it is."""
    if isinstance(said, str):
        return said.removeprefix("not derived: ").removeprefix("undetermined: ")  # as they were written before
    if said.code not in ("not_derived", "undetermined") or misfit(said) is not None:
        return said
    return _said(said.parameters["because"])


def nested(reason: Said) -> Said:
    """A reason as it may stand inside another.

    Each generation of records may wrap the reason of the one before, and no reader of JSON follows for ever: one that is too deep
    says only where the rest is.
    """
    return code("in_its_own_record") if _depth(as_json(reason)) > _MOST_NESTED else reason


def as_json(said: Said) -> Any:  # a JSON value
    """A code or a text as a value or a parameter holds it."""
    return said.to_json() if isinstance(said, Code) else said


def code_in(value: Any) -> Code | None:  # any JSON value
    """The code that a value holds; None where it holds something else."""
    return Code.from_json(value) if _holds_code(value) and value["code"] in CODES else None


_MOST_NESTED = 24  # containers; a record has some ten around it, and `read_json` takes 128


def _parts(said: Code) -> list[Said]:
    """What a list of codes and texts consists of; nothing where it is none."""
    if said.code not in ("together", "in_turn") or misfit(said) is not None:
        return []
    return [_said(part) for part in said.parameters["parts"]]


def _flat(name: str, parts: Iterable[Said]) -> list[Said]:
    """Each part once; of a list of the same kind its parts."""
    flat: list[Said] = []
    for part in parts:
        own = _parts(part) if isinstance(part, Code) and part.code == name else [part]
        flat += [item for item in own if item not in flat]
    return flat


def _said(parameter: Any) -> Said:  # a JSON value
    return Code.from_json(parameter) if _holds_code(parameter) else str(parameter)


def _depth(value: Any) -> int:  # any JSON value
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def in_words(value: Any) -> Any:  # any JSON value
    """The value with the sentence of each code in its place."""
    if _holds_code(value):
        return str(Code.from_json(value))
    if isinstance(value, dict):
        return {key: in_words(member) for key, member in value.items()}
    return [in_words(item) for item in value] if isinstance(value, list) else value


def unknown_word(said: Said) -> str | None:
    """Why something is not said in codes of this release alone, those inside a code among them; None where it is."""
    if isinstance(said, str):
        return "it is text, and a code is needed"
    wrong = misfit(said)
    if wrong is not None:
        return wrong
    for name, kind in CODES[said.code].parameters.items():
        reasons = {"reason": [said.parameters[name]], "reasons": said.parameters[name]}.get(kind, [])
        wrong = next((wrong for wrong in map(unknown_word, map(_said, reasons)) if wrong is not None), None)
        if wrong is not None:
            return wrong
    return None


def _is_of_kind(value: Any, kind: Kind) -> bool:  # any JSON value
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "names":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == "reasons":
        return isinstance(value, list) and all(_is_of_kind(item, "reason") for item in value)
    if kind == "reason":
        return isinstance(value, str) or _holds_code(value)
    return isinstance(value, str)


def _holds_code(value: Any) -> bool:  # any JSON value
    return isinstance(value, dict) and isinstance(value.get("code"), str)


def _plain(value: Any) -> Any:  # a JSON value, a code, or a tuple of them
    if isinstance(value, Code):
        return value.to_json()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _readable(value: Any) -> Any:  # any JSON value; numbers stay numbers, because sentences format them
    if _holds_code(value):
        return str(Code.from_json(value))
    if isinstance(value, list):
        return [_shown(item) for item in value]
    # canonical JSON writes 3.0 as 3: a sentence is the same before and after
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _shown(value: Any) -> str:  # any JSON value
    readable = _readable(value)
    return ", ".join(readable) if isinstance(readable, list) else str(readable)
