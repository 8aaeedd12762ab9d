"""What is signed when a list of versions was verified: how many, with which verdicts, under one root.

The statement is about the list, by its digest, and names no version. Whoever has the lines of the results computes the root again,
and shows with a path of the tree what was found of one version without the others.
"""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest


class VerificationsPredicate(Document):
    """The verdicts on the items of a list, or of a part of it.

    Attributes:
        shard: which part, `I/N`.
        size: how many items it has; each has a leaf, in their order.
        root: of the tree over the leaves, RFC 9162 §2.1.1.
        verdicts: how many items have each.
        plan: the digest of the options that they were verified with.
        release: of the tool that did.
        nonce: random hex: the log has this statement's digest alone, and few lists are hard to guess.
    """

    shard: Annotated[str, Field(pattern=r"^[0-9]{1,9}/[0-9]{1,9}$")]
    size: int = Field(ge=1)
    root: Digest
    verdicts: dict[str, int]
    plan: Digest
    release: str = Field(min_length=1, max_length=50)
    nonce: str = Field(min_length=1)


def leaf_of(item: Digest, verdict: str) -> bytes:
    """The leaf of an item: its manifest digest and its verdict, in canonical JSON."""
    return canonical_bytes({"item": str(item), "verdict": verdict})


def leaves_of(verdicts: Iterable[tuple[Digest, str]]) -> list[bytes]:
    """The leaves of items with their verdicts, in this order."""
    return [leaf_of(item, verdict) for item, verdict in verdicts]
