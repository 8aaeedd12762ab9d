"""Codes in place of prose: what is signed says why and how by a code with typed parameters, and whoever reads renders the sentence.

A code's meaning never changes: a better one gets a new name. Its sentence may be improved at any time, because no signature and no
comparison holds it. What was signed before there were codes, and what a person wrote, is plain text and stays so.
"""

from collections.abc import Mapping
from typing import Any

from peft_registry.schemas.codes.evaluations import EVALUATION_CODES
from peft_registry.schemas.codes.meaning import Kind, Meaning
from peft_registry.schemas.codes.records import RECORD_CODES
from peft_registry.schemas.document import Document

__all__ = ["CODES", "Code", "Kind", "Meaning", "Said", "code", "misfit"]

CODES: Mapping[str, Meaning] = {**RECORD_CODES, **EVALUATION_CODES}
"""Every code that this tool writes or once wrote; one that left the code stays here, because signed documents name it."""


class Code(Document):
    """A code and its parameters, which are the other fields of the document.

    `str()` gives the sentence. A code that this release does not know, or one with other parameters than its own, is still shown:
    by its name and what it holds.
    """

    code: str

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


Said = Code | str
"""Why or how, as a document says it: a code, or the text of a person or of a document from before there were codes."""


def code(name: str, /, **parameters: Any) -> Code:  # JSON values and codes; their kinds are checked
    """A code of this tool with its parameters.

    Raises:
        TypeError: there is no such code, or a parameter is missing, not one of the code's own, or of another kind.
    """
    made = Code.from_json({"code": name} | {key: _as_json(value) for key, value in parameters.items()})
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


def _is_of_kind(value: Any, kind: Kind) -> bool:  # any JSON value
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "names":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == "reason":
        return isinstance(value, str) or _holds_code(value)
    return isinstance(value, str)


def _holds_code(value: Any) -> bool:  # any JSON value
    return isinstance(value, dict) and isinstance(value.get("code"), str)


def _as_json(value: Any) -> Any:  # a JSON value, a code, or a tuple of them
    if isinstance(value, Code):
        return value.to_json()
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


def _readable(value: Any) -> Any:  # any JSON value; numbers stay numbers, because sentences format them
    if _holds_code(value):
        return str(Code.from_json(value))
    if isinstance(value, list):
        return ", ".join(str(_readable(item)) for item in value)
    return value


def _shown(value: Any) -> str:  # any JSON value
    return str(_readable(value))
