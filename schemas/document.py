"""The two bases of every schema: configuration refuses unknown fields, signed documents keep them.

A document that is read and written back must have the same digest, so its unknown fields survive; a configuration with an
unknown field is a spelling mistake.
"""

from collections.abc import Iterable
from functools import cache, cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.identity import Digest


class Schema(BaseModel):
    """What both have: a value is made by construction, so that every field is checked. `model_copy(update=…)` checks nothing."""

    def revised(self, **changes: Any) -> Self:  # the type of each field checks its value
        """A new value with these fields instead, checked as any other.

        Raises:
            TypeError: the class has no field of that name.
            ValidationError: a value is not of its field's type, or the fields contradict each other.
        """
        _require_fields(type(self), changes)
        # a field that was left to its default stays so; what a document keeps besides its fields is set, too
        set_here = self.model_fields_set
        kept = self.__dict__ | (self.__pydantic_extra__ or {})
        values = {name: value for name, value in kept.items() if name in set_here} | changes
        aliases = _aliases_of(type(self))
        if aliases:
            values = {aliases.get(name, name): value for name, value in values.items()}
        return type(self).model_validate(values)


@cache
def _aliases_of(schema: type[Schema]) -> dict[str, str]:
    """What fields are called in JSON, of those that have another name there."""
    return {name: field.alias for name, field in schema.model_fields.items() if field.alias is not None}


class Frozen(Schema):
    """Immutable; unknown fields are refused. For configuration and for values inside the program."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Document(Schema):
    """Immutable; unknown fields are kept. For what is signed, stored or exchanged."""

    model_config = ConfigDict(frozen=True, extra="allow", validate_default=True, allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, nulls kept: absence and null are different statements."""
        return self.model_dump(mode="json")

    def to_canonical(self) -> bytes:
        """The RFC 8785 bytes that are hashed and signed."""
        return canonical_bytes(self.to_json())

    def canonical_digest(self) -> Digest:
        """SHA-256 of the canonical bytes."""
        return self._digest

    @cached_property
    def _digest(self) -> Digest:
        # a record has a thousand values, and each that supersedes, approves or answers it names it by its digest
        return Digest.of(self.to_canonical())

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied.__dict__.pop("_digest", None)  # `model_copy` changes what it copied
        return copied

    @classmethod
    def of_known(cls, **fields: Any) -> Self:  # the type of each field checks its value
        """A document of these fields; one that is None is left to its default.

        The constructor keeps fields that it does not know, because what is read must be written back; what this program
        says itself must not be misspelt.

        Raises:
            TypeError: the class has no field of that name.
            ValidationError: a value is not of its field's type.
        """
        _require_fields(cls, fields)
        return cls.model_validate({name: value for name, value in fields.items() if value is not None})

    @classmethod
    def from_json(cls, value: Any) -> Self:  # any JSON value; validation is the point
        return cls.model_validate(value)


def _require_fields(schema: type[BaseModel], names: Iterable[str]) -> None:
    unknown = sorted(set(names) - schema.model_fields.keys())
    if unknown:
        raise TypeError(f"{schema.__name__} has no field {', '.join(unknown)}")


def first_problem(error: ValidationError) -> str:
    """The first thing that validation objects to, as `field.inner: why`; the value itself is never quoted."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'as a whole'}: {objection(first)}"


def problem_of(error: Exception) -> str:
    """What an error says in one line: the first thing that validation objects to, or the text of any other."""
    return first_problem(error) if isinstance(error, ValidationError) else str(error)


def objection(problem: ErrorDetails) -> str:
    """What validation objects to, in the words of the check; pydantic puts its own before those of a validator."""
    own = problem.get("ctx", {}).get("error")
    return str(own) if isinstance(own, ValueError) else problem["msg"]
