"""What a log says in the end, as pairs of a prefix tree: which keys there are, and the bytes that each maps to. Pure.

    key (SHA-256 of the canonical JSON)          value (canonical JSON)
    ["artifact", manifest digest]                count, and the RFC 9162 root over [statement digest, kind] in log order
    ["alias", name, alias]                       manifest digest (null once it was taken away), number of its entry
    ["name", name]                               how many versions it has
    ["version", name, number]                    manifest digest, number of its entry

An absent key is proven absent: an artifact of which nothing is said, an alias that never was, a version that is not there.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from peft_registry.registry.transparency import merkle
from peft_registry.registry.transparency.prefix_tree import PathRejected
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.document import Document, first_problem
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import Sha256Hex

StatementAndKind = tuple[Digest, str]
"""(statement digest, kind) of one statement about an artifact."""


class ArtifactValue(Document):
    """Everything that was said about an artifact."""

    count: int = Field(ge=1)
    root: Sha256Hex


class AliasValue(Document):
    """Where an alias points, and the entry that moved it there."""

    manifest: Digest | None
    entry: int = Field(ge=0)


class NameValue(Document):
    """How many versions a name has."""

    versions: int = Field(ge=1)


class VersionValue(Document):
    """The artifact under a name and number, and the entry that registered it."""

    manifest: Digest
    entry: int = Field(ge=0)


Value = TypeVar("Value", bound=Document)


def artifact_key(manifest: Digest) -> bytes:
    """The key of an `ArtifactValue`: SHA-256, 32 bytes, as every key here."""
    return _key("artifact", str(manifest))


def alias_key(name: str, alias: str) -> bytes:
    """The key of an `AliasValue`."""
    return _key("alias", name, alias)


def name_key(name: str) -> bytes:
    """The key of a `NameValue`."""
    return _key("name", name)


def version_key(name: str, number: int) -> bytes:
    """The key of a `VersionValue`."""
    return _key("version", name, number)


def statements_value(statements: Sequence[StatementAndKind]) -> ArtifactValue:
    """The value for these statements, which are all about one artifact, in the order of the log."""
    return value_of_hashes([statement_hash(digest, kind) for digest, kind in statements])


def statement_hash(statement: Digest, kind: str) -> bytes:
    """The leaf hash of one statement in the tree over those of its artifact."""
    return merkle.leaf_hash(canonical_bytes([str(statement), kind]))


def value_of_hashes(hashes: Sequence[bytes]) -> ArtifactValue:
    """The value for statements of which only the leaf hashes are known."""
    return ArtifactValue(count=len(hashes), root=merkle.root_of_hashes(hashes).hex())


def read_value(data: bytes, form: type[Value]) -> Value:
    """A value from its bytes.

    Raises:
        PathRejected: they are not such a value in canonical form.
    """
    try:
        value = form.model_validate_json(data)
    except ValidationError as error:
        raise PathRejected(f"a value is malformed: {first_problem(error)}") from error
    if value.to_canonical() != data:
        raise PathRejected("a value is not written in canonical form")
    return value


def _key(*parts: Any) -> bytes:  # texts and numbers
    return hashlib.sha256(canonical_bytes(list(parts))).digest()


def values_of(pairs: Iterable[tuple[bytes, Document]]) -> dict[bytes, bytes]:
    """The bytes of each value by its key; later pairs win."""
    return {key: value.to_canonical() for key, value in pairs}
