"""A document as values: codes and values of a record, cut for one recipient. Pure.

What is written of it holds no sentence of ours: rows by their ids, states, codes with their parameters, and what people wrote. It
stays the same when a template or a sentence is reworded, and whoever has the record gives it again, byte for byte.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.form_cuts import CutRow, CutValue
from peft_registry.registry.compliance.form_rows import LegalForm
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.registry.documents.recipients import attachments_for, form_of, recipients, rows_for
from peft_registry.registry.records.attachments import Attachment
from peft_registry.schemas.canonical import as_doubles
from peft_registry.schemas.document import Document
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Source, Timestamp
from peft_registry.schemas.version import Version

ATTACHMENTS_FOLDER = "attachments"


class DocumentValue(Document):
    """A value that answers a row, as it is signed: where it comes from, and on authorities' copies who stated it."""

    path: str
    value: Any  # any JSON value
    unit: str | None
    source: Source | None  # null for what identifies the record, such as its id
    asserted_by: str | None
    asserted_at: Timestamp | None
    # nobody who may answer it has signed it: whoever signed the record stands behind it; documents of before do not tell
    typed: bool = Field(default=False, exclude_if=lambda typed: not typed)


class HandedAttachment(Document):
    """A file that people attached to the version and that lies beside the documents."""

    attached_as: str
    name: str
    file: str  # where it lies, seen from the documents
    sha256: Digest
    size: int  # bytes
    attached_at: Timestamp


class DocumentRow(Document):
    """A row of a document.

    Attributes:
        owners: who owes what is open.
        reason: why it is not applicable: a code, or what somebody wrote.
        words: how many the form asks for at most.
        words_written: how many the texts that answer it have, where the form asks for a number; none are cut.
        figures: how many significant figures it asks for at least.
        figures_written: the fewest of a number that people stated.
        attachments: where the files lie that one of its fields speaks of.
    """

    row: str
    state: str
    owners: tuple[str, ...]
    reason: Any  # any JSON value
    values: tuple[DocumentValue, ...]
    words: int | None
    words_written: int | None
    figures: int | None = Field(default=None, exclude_if=lambda figures: figures is None)
    figures_written: int | None = Field(default=None, exclude_if=lambda figures: figures is None)
    attachments: tuple[str, ...] = Field(default=(), exclude_if=lambda files: not files)


class DocumentStatus(Document):
    """An indicative verdict: which row of which table it comes from."""

    table: str
    status: str
    row: str | None


class RecipientDocument(Document):
    """One document for one recipient; the cover has the `statuses` of those who are told them, and what is attached for them."""

    document: str  # a `FormName` and a `RecipientName`; a later release may have others, and other states of rows
    recipient: str
    version: str
    manifest: Digest
    record: Digest
    rows: tuple[DocumentRow, ...]
    statuses: tuple[DocumentStatus, ...]
    attachments: tuple[HandedAttachment, ...] = Field(default=(), exclude_if=lambda files: not files)


@dataclass(frozen=True, slots=True)
class DocumentSource:
    """What documents are made from.

    Attributes:
        version: with its manifest.
        record: that holds, as it was signed.
        digest: of its canonical bytes.
        statement: that holds it.
        edition: that derived it; None for a record from before editions.
        as_of: when the newest statement about the version was made.
        decided: what persons decided of it, as it counts.
        stops: why it must not be used or given out, in words; none where nothing stops that.
        attachments: the files that people attached to it, as they count.
    """

    version: Version
    record: RecordSections
    digest: Digest
    statement: Digest
    edition: Edition | None
    as_of: Timestamp
    decided: Decided = NOBODY
    stops: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def answered(self) -> ModificationRecord:
        """The record in the newest form, in which what is only proposed is open."""
        return without_proposals(in_third_form(self.record))


def documents_for(source: DocumentSource, recipient: str) -> tuple[RecipientDocument, ...]:
    """The documents that a recipient gets, in their order."""
    rule = recipients().recipients[recipient]
    record = source.answered
    attached = tuple(map(_handed, attachments_for(source.attachments, recipient)))
    return tuple(
        RecipientDocument(
            document=name,
            recipient=recipient,
            version=source.version.label,
            manifest=source.version.manifest_digest,
            record=source.digest,
            rows=_rows(rows_for(record, form_of(name), recipient), attached, form_of(name), persons=rule.persons),
            statuses=_statuses(record, source.decided) if name == "cover" and rule.persons else (),
            attachments=attached if name == "cover" else (),
        )
        for name in rule.documents
    )


def attachment_file(attached_as: str, name: str) -> str:
    """Where an attached file lies in a dossier."""
    return f"{ATTACHMENTS_FOLDER}/{attached_as}/{name}"


def _handed(attachment: Attachment) -> HandedAttachment:
    return HandedAttachment(
        attached_as=attachment.attached_as,
        name=attachment.name,
        file=attachment_file(attachment.attached_as, attachment.name),
        sha256=attachment.sha256,
        size=attachment.size,
        attached_at=attachment.attached_at,
    )


def _statuses(record: ModificationRecord, decided: Decided) -> tuple[DocumentStatus, ...]:
    return tuple(
        DocumentStatus(table=verdict.table, status=verdict.status, row=verdict.row)
        for verdict in verdicts_of(record, decided=decided).both
    )


def _rows(
    rows: Iterable[CutRow], attached: tuple[HandedAttachment, ...], form: LegalForm, *, persons: bool
) -> tuple[DocumentRow, ...]:
    """The rows; of a document's own rows that are another recipient's only the id is said."""
    fields = {row.row: row.fields for row in form.rows}
    return tuple(
        DocumentRow(
            row=row.row,
            state=row.state,
            owners=row.owners,
            reason=None if row.reason is None else _as_signed(row.reason),
            values=tuple(_value(value, persons=persons) for value in row.values),
            words=row.words,
            words_written=row.words_written,
            figures=row.figures,
            figures_written=row.figures_written,
            attachments=() if row.state == "not for this recipient" else tuple(_files_of(fields[row.row], attached)),
        )
        for row in rows
    )


def _files_of(fields: Iterable[str], attached: Iterable[HandedAttachment]) -> Iterator[str]:
    """The attached files that one of these fields speaks of."""
    kinds = {kind for kind, rule in recipients().attachments.items() if rule.field in fields}
    return (attachment.file for attachment in attached if attachment.attached_as in kinds)


def _as_signed(reason: object) -> Any:  # any JSON value
    return reason.to_json() if isinstance(reason, Document) else reason


def _value(value: CutValue, *, persons: bool) -> DocumentValue:
    return DocumentValue(
        path=value.path,
        value=as_doubles(value.coded),
        unit=value.unit,
        source=value.source,
        asserted_by=value.asserted_by if persons else None,
        asserted_at=value.asserted_at,
        typed=value.typed,
    )
