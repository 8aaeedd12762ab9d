"""Answers to the open questions of a modification record, as the person who gives them signs them.

A person asserts what only people know: what a model is for, where data came from, whether a change is significant. The tool does
not: a record that takes answers up is another document, signed by the home's key, and names this one as its evidence. Each field
has an owner (`registry/compliance/rules/modification_fields.json`), and a key may answer for the areas of its role.
"""

from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from peft_registry.schemas.canonical import as_doubles
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest

Area = Literal["modifier", "data owner", "legal", "engineer"]
AnsweringRole = Literal["trainer", "evaluator", "approver", "officer"]

AREA_ROLES: dict[Area, tuple[AnsweringRole, ...]] = {
    "engineer": ("trainer", "evaluator", "officer"),
    "data owner": ("officer", "approver"),
    "legal": ("officer", "approver"),
    "modifier": ("officer", "approver"),
}
"""Which roles may answer for the owner of a field."""


class Answer(Document):
    """One field of the record: its value, why it cannot be answered, or the code of why there is no answer to give."""

    path: str = Field(min_length=1)  # with positions: `data[0].licence`
    area: Area  # of the field's owner
    value: Any = None  # any JSON value; the field's rule says which
    unknown: str | None = Field(default=None, min_length=1)
    not_applicable: str | None = Field(default=None, min_length=1)

    @field_validator("value")
    @classmethod
    def _counts_that_pass_2_53_are_floats(cls, value: Any) -> Any:
        return as_doubles(value)

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if [self.value, self.unknown, self.not_applicable].count(None) != 2:
            raise ValueError("an answer is a value, or the reason why there is none")
        return self

    @model_serializer(mode="wrap")
    def _without_what_older_answers_do_not_have(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Answers that were signed before something could be not applicable read back to their own bytes."""
        value: dict[str, Any] = handler(self)
        if self.not_applicable is None:
            del value["not_applicable"]
        return value


class AnswersPredicate(Document):
    """What a person answers to the open questions of one record. `nonce` is random hex, as in a registration."""

    record_id: str = Field(min_length=1)
    record: Digest  # SHA-256 of the canonical bytes of the record that is answered
    form: Digest  # SHA-256 of the form as it was filled in
    answers: tuple[Answer, ...] = Field(min_length=1)
    person: str = Field(min_length=1)
    role: AnsweringRole
    nonce: str = Field(min_length=1)

    @model_validator(mode="after")
    def _answers_what_its_role_may(self) -> Self:
        paths = [answer.path for answer in self.answers]
        if len(set(paths)) != len(paths):
            raise ValueError("a field is answered once")
        for answer in self.answers:
            if self.role not in AREA_ROLES[answer.area]:
                raise ValueError(f"the role {self.role} does not answer for {answer.area} ({answer.path})")
        return self
