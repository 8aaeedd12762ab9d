"""The statement that holds a modification record, also one of a later edition than this release derives by. Pure."""

from typing import Any

from pydantic import ValidationError

from peft_registry.registry.compliance.derivation import readable_sections
from peft_registry.registry.compliance.editions import editions
from peft_registry.schemas.document import Document
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.modification import ModificationPredicate
from peft_registry.schemas.statement import Statement


def statement_of(predicate: dict[str, Any]) -> ModificationPredicate:
    """The statement of a record in the third form.

    One of a later edition may have what this release cannot read: what it can read of it is shown, and nothing is derived.

    Raises:
        ValidationError: it is not one, or not of an edition that may have other sections.
    """
    try:
        return ModificationPredicate.from_json(predicate)
    except ValidationError:
        if editions().standing(edition_of(predicate)) not in ("newer", "draft"):
            raise
        return ModificationPredicate.from_json(predicate | {"record": readable_sections(predicate.get("record"))})


def stated_in(statement: Statement) -> ModificationPredicate:
    """The same, of the statement itself: its predicate is read once."""
    try:
        return statement.read_by(ModificationPredicate.from_json)
    except ValidationError:
        return statement_of(statement.predicate)


def edition_of(predicate: dict[str, Any]) -> Edition:
    """The edition that the statement of a record names, whatever else that says.

    Raises:
        ValidationError: it names none.
    """
    return _OfEdition.from_json({"edition": predicate.get("edition")}).edition


class _OfEdition(Document):
    edition: Edition
