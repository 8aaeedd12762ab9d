"""The two bases of every schema: configuration refuses unknown fields, signed documents keep them.

A document that is read and written back must have the same digest, so its unknown fields survive; a configuration with an
unknown field is a spelling mistake.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.identity import Digest


class Frozen(BaseModel):
    """Immutable; unknown fields are refused. For configuration and for values inside the program."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class Document(BaseModel):
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
        return Digest.of(self.to_canonical())

    @classmethod
    def from_json(cls, value: Any) -> Self:  # any JSON value; validation is the point
        return cls.model_validate(value)


def first_problem(error: ValidationError) -> str:
    """The first thing that validation objects to, as `field.inner: why`; the value itself is never quoted."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'as a whole'}: {first['msg']}"
