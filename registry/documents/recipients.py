"""Who gets which documents, as data: an allow-list over the table of rows. Pure."""

import json
from collections.abc import Iterable
from functools import cache
from importlib import resources
from typing import Any, Literal

from peft_registry.registry.compliance.form_cuts import CutRow, cut_rows
from peft_registry.registry.compliance.form_rows import FormName, FormRow, LegalForm, Part, Recipient, forms
from peft_registry.registry.records.attachments import Attachment
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord


class RecipientRule(Frozen):
    """A recipient.

    Attributes:
        title: in words.
        form: as the table of rows calls them.
        documents: what they get, in its order.
        persons: whether they are told who stated a value.
        evidence: whether the record goes with the documents, and all that was said of the version, or what everybody gets.
    """

    title: str
    form: Recipient
    documents: tuple[FormName, ...]
    persons: bool
    evidence: Literal["whole", "public"]


class AttachmentRule(Frozen):
    """A kind of file that people attach: in words, the field of the record that speaks of it, and who gets it."""

    title: str
    field: str
    recipients: tuple[Recipient, ...]


class RecipientTable(Frozen):
    """The whole data file; `data_of_row` and `withheld` are by form and row, `attachments` by kind."""

    recipients: dict[str, RecipientRule]
    attachments: dict[str, AttachmentRule]
    data_of_row: dict[str, dict[str, tuple[str, ...]]]
    withheld: dict[str, dict[str, tuple[str, ...]]]
    cover: LegalForm
    bom: LegalForm


@cache
def recipients() -> RecipientTable:
    """The recipients that this release knows."""
    return RecipientTable.model_validate(_without_comments(json.loads(_text())))


@cache
def table_digest() -> Digest:
    """Of all that decides what a document holds: equal digests give equal documents of the same record."""
    return canonical_digest({"recipients": json.loads(_text()), "rows": forms().model_dump(mode="json")})


def form_of(name: str) -> LegalForm:
    """The rows of a document of this release."""
    return next(form for form in (recipients().cover, recipients().bom, *forms().forms) if form.name == name)


def rows_for(record: ModificationRecord, form: LegalForm, name: str) -> tuple[CutRow, ...]:
    """Each row of a document with the values that a recipient gets."""
    table = recipients()
    of = table.recipients[name].form
    kinds, withheld = table.data_of_row.get(form.name, {}), table.withheld.get(form.name, {})

    def keeps(row: FormRow, part: Part) -> bool:
        if part.leaf.rule in withheld.get(row.row, ()):
            return False
        place = part.place
        if row.row not in kinds or place.section != "data" or place.position is None:
            return True
        return record.data[place.position].provenance_class.value in kinds[row.row]

    # a form without recipients of its own is wholly theirs to whom the table gives it
    return cut_rows(record, form, lambda row: not row.recipients or of in row.recipients, keeps)


def attachments_for(attachments: Iterable[Attachment], name: str) -> tuple[Attachment, ...]:
    """Those of the attached files that a recipient gets; nothing of a kind that this release does not know."""
    table = recipients()
    of = table.recipients[name].form
    kinds = {kind for kind, rule in table.attachments.items() if of in rule.recipients}
    return tuple(attachment for attachment in attachments if attachment.attached_as in kinds)


def allowed_fields(name: str) -> frozenset[str]:
    """The fields that may reach a recipient at all, as the rows name them."""
    rule = recipients().recipients[name]
    rows = (row for document in rule.documents for row in form_of(document).rows)
    theirs = [row for row in rows if not row.recipients or rule.form in row.recipients]
    return frozenset(field for row in theirs for field in (*row.fields, *row.beside))


def _text() -> str:
    file = resources.files("peft_registry.registry.documents") / "recipients.json"
    return file.read_text(encoding="utf-8")


def _without_comments(value: Any) -> Any:  # any JSON value
    if isinstance(value, dict):
        return {key: _without_comments(member) for key, member in value.items() if key != "comment"}
    return value
