"""What is signed when a recipient is handed documents about a version: which they are, and what each was made from.

A `document` statement is signed by whoever answers for the documents and lies beside them. It is not logged: who asked for
documents, an authority say, is not for everybody who pulls the version to know. What the documents say is in files that it names by
digest, and whoever has the record derives them again without any signature.
"""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.document import Document
from peft_registry.schemas.edition import Edition
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.values import Timestamp

RecipientName = Literal["ai-office", "national-authority", "downstream", "public"]


class HandedDocument(Document):
    """One document: its codes and values as canonical JSON, and the page as it was delivered."""

    name: str
    data: Digest
    page: Digest


class HandedFile(Document):
    """Another file of the folder, by its path there."""

    path: str
    sha256: Digest


class DocumentPredicate(Document):
    """The documents about the subject that one recipient is handed.

    Attributes:
        recipient: who.
        record: the modification record that they are cut from, by the digest of its canonical bytes.
        statement: the statement that holds that record.
        edition: that derived it; null for a record from before editions.
        as_of: when the newest statement about the version was made, RFC 3339.
        table: of the rows, and of who gets them: with the same table the same record gives the same data.
        renderer: the release that wrote the pages: another one may word them otherwise.
        documents: in their order.
        files: what lies beside them, but for weights, which the manifests list.
    """

    recipient: str  # a `RecipientName`; a later release may have others
    record: Digest
    statement: Digest
    edition: Edition | None
    as_of: Timestamp
    table: Digest
    renderer: str
    documents: tuple[HandedDocument, ...] = Field(min_length=1)
    files: tuple[HandedFile, ...] = ()
