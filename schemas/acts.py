"""What people decide about an artifact or a data set, as they sign it."""

from typing import Annotated

from pydantic import Field

from peft_registry.schemas.document import Document

Reason = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]


class RecallPredicate(Document):
    """The subject, an artifact by its manifest digest or a data set by that of its bytes, and whatever was made from it must not be
    handed out; `undone` takes that back. Of several about one subject the last in the log decides.

    `nonce` is random hex: a leaf holds only the statement's digest, and a short predicate could be guessed from it.
    """

    reason: Reason
    undone: bool = False
    nonce: str
