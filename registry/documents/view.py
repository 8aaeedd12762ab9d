"""A document as values: codes and values of a record, cut for one recipient. Pure.

What is written of it holds no sentence of ours: rows by their ids, states, codes with their parameters, and what people wrote. It
stays the same when a template or a sentence is reworded, and whoever has the record gives it again, byte for byte.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.compliance.answered_only import without_proposals
from peft_registry.registry.compliance.form_cuts import CutRow, CutValue
from peft_registry.registry.compliance.record_verdicts import verdicts_of
from peft_registry.registry.compliance.superseding import in_third_form
from peft_registry.registry.compliance.verdicts.decision import NOBODY, Decided
from peft_registry.registry.documents.recipients import form_of, recipients, rows_for
from peft_registry.schemas.canonical import as_doubles
from peft_registry.schemas.document import Document
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord, RecordSections
from peft_registry.schemas.values import Source, Timestamp
from peft_registry.schemas.version import Version


class DocumentValue(Document):
    """A value that answers a row, as it is signed: where it comes from, and on authorities' copies who stated it."""

    path: str
    value: Any  # any JSON value
    unit: str | None
    source: Source | None  # null for what identifies the record, such as its id
    asserted_by: str | None
    asserted_at: Timestamp | None


class DocumentRow(Document):
    """A row of a document.

    Attributes:
        owners: who owes what is open.
        reason: why it is not applicable: a code, or what somebody wrote.
        words: how many the form asks for at most.
        words_written: how many the texts that answer it have, where the form asks for a number; none are cut.
    """

    row: str
    state: str
    owners: tuple[str, ...]
    reason: Any  # any JSON value
    values: tuple[DocumentValue, ...]
    words: int | None
    words_written: int | None


class DocumentStatus(Document):
    """An indicative verdict: which row of which table it comes from."""

    table: str
    status: str
    row: str | None


class RecipientDocument(Document):
    """One document for one recipient; `statuses` stand on the cover for those who are told them."""

    document: str  # a `FormName` and a `RecipientName`; a later release may have others, and other states of rows
    recipient: str
    version: str
    manifest: Digest
    record: Digest
    rows: tuple[DocumentRow, ...]
    statuses: tuple[DocumentStatus, ...]


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
    """

    version: Version
    record: RecordSections
    digest: Digest
    statement: Digest
    edition: Edition | None
    as_of: Timestamp
    decided: Decided = NOBODY
    stops: tuple[str, ...] = ()

    @property
    def answered(self) -> ModificationRecord:
        """The record in the newest form, in which what is only proposed is open."""
        return without_proposals(in_third_form(self.record))


def documents_for(source: DocumentSource, recipient: str) -> tuple[RecipientDocument, ...]:
    """The documents that a recipient gets, in their order."""
    rule = recipients().recipients[recipient]
    record = source.answered
    return tuple(
        RecipientDocument(
            document=name,
            recipient=recipient,
            version=source.version.label,
            manifest=source.version.manifest_digest,
            record=source.digest,
            rows=_rows(rows_for(record, form_of(name), recipient), persons=rule.persons),
            statuses=_statuses(record, source.decided) if name == "cover" and rule.persons else (),
        )
        for name in rule.documents
    )


def _statuses(record: ModificationRecord, decided: Decided) -> tuple[DocumentStatus, ...]:
    return tuple(
        DocumentStatus(table=verdict.table, status=verdict.status, row=verdict.row)
        for verdict in verdicts_of(record, decided=decided).both
    )


def _rows(rows: Iterable[CutRow], *, persons: bool) -> tuple[DocumentRow, ...]:
    """The rows; of a document's own rows that are another recipient's only the id is said."""
    return tuple(
        DocumentRow(
            row=row.row,
            state=row.state,
            owners=row.owners,
            reason=None if row.reason is None else _as_signed(row.reason),
            values=tuple(_value(value, persons=persons) for value in row.values),
            words=row.words,
            words_written=row.words_written,
        )
        for row in rows
    )


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
    )
