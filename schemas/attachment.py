"""A file that somebody attaches to a version: what it is, and its digest.

Its bytes lie in the store, and in the dossiers of those who may have it.
"""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest

AttachedAs = Literal["instructions", "risk-file", "declaration", "monitoring-plan"]
"""Instructions for use (Art. 13), the file of the risk management system (Art. 9), the EU declaration of conformity (Art. 47), the
plan for monitoring after placing on the market (Art. 72)."""


class AttachmentPredicate(Document):
    """A file about the subject, by its digest. The newest of a kind and name takes the place of those before it.

    Attributes:
        attached_as: what it is.
        name: of the file, without a folder.
        sha256: of its bytes.
        size: in bytes.
        nonce: random hex, as in a registration.
    """

    attached_as: str = Field(min_length=1)  # an `AttachedAs`; a later release may have others
    name: str = Field(min_length=1)
    sha256: Digest
    size: int = Field(ge=0)
    nonce: str = Field(min_length=1)
