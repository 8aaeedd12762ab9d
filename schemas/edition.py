"""The edition of a record: by which fields, codes, rules and thresholds it was derived, and the statement that announces one.

An edition is named by its month. Until a release freezes it, it is a draft, and drafts of one name are told apart by their digests:
two builds of a day may derive differently, and neither is a forgery of the other.
"""

from typing import Annotated

from pydantic import Field

from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest

EditionName = Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])(\.[1-9][0-9]?)?$", max_length=10)]
"""`2026-12`, `2026-12.2`: names sort as the editions follow each other."""


class Edition(Document):
    """An edition as a record names it.

    `digest` is SHA-256 of what it derives by (`registry/compliance/editions.py`). `draft` is true until a release froze it.
    """

    name: EditionName
    digest: Digest
    draft: bool = False


class EditionPredicate(Document):
    """Announces an edition: from here on the records of this log may be derived by it.

    `release` is of the tool that has it. `figures` is the edition of the figures of evaluations that belongs to it;
    None in what was announced before that was said.
    """

    edition: Edition
    figures: int | None = Field(default=None, ge=1)
    release: str = Field(min_length=1, max_length=50)
    nonce: str = Field(min_length=1)


def edition_subject(name: str) -> Digest:
    """What a statement that announces an edition is about: there is no artifact, so that the name itself is."""
    return canonical_digest({"edition": name})
