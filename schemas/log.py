"""The leaves of the log: events, snapshots of what the log says in the end, and the first leaf of an epoch.

An event holds kind, digests, key id and time; names and free text live in the statement that it points to. A snapshot is the
last leaf under every checkpoint: its root is that of a prefix tree (`registry/transparency/snapshot.py`) over all events before
it, so that what an alias points to, and what was said about an artifact in all, can be proven with one short path.

An epoch begins where a restored backup was accepted: its leaf names the checkpoint that was lost, and the version of the trust
file that accepts the loss.
"""

from typing import Any, Literal

from pydantic import Field

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import LOG_EPOCH, LOG_EVENT, LOG_SNAPSHOT, Sha256Hex, StatementKind
from peft_registry.schemas.values import Timestamp


class LogEvent(Document):
    """One appended event; its canonical bytes are the leaf (RFC 9162 leaf hash: SHA-256(0x00 || bytes))."""

    schema_: Literal["urn:peft-registry:log-event:v1"] = Field(default=LOG_EVENT, alias="schema")
    kind: StatementKind
    subject: Digest  # manifest digest
    statement: Digest  # SHA-256 of the statement's payload bytes
    key: str  # key id of the signer
    at: Timestamp

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}


class LogSnapshot(Document):
    """What the entries before it say in the end; its canonical bytes are the leaf.

    `size` is the number of entries before it, which is its own number too. `root` is the prefix tree's, in hex.
    """

    schema_: Literal["urn:peft-registry:log-snapshot:v1"] = Field(default=LOG_SNAPSHOT, alias="schema")
    size: int = Field(ge=0)
    root: Sha256Hex
    at: Timestamp

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}


class LogEpoch(Document):
    """The first leaf of an epoch; its canonical bytes are the leaf.

    `size` is the number of entries that were kept, which is its own number too. The lost checkpoint is named by origin, size and
    root, and by the SHA-256 of its text; who accepted the loss and why stands in the trust version of which `statement` is the
    SHA-256 of the payload.
    """

    schema_: Literal["urn:peft-registry:log-epoch:v1"] = Field(default=LOG_EPOCH, alias="schema")
    number: int = Field(ge=1)
    size: int = Field(ge=0)
    lost_origin: str
    lost_size: int = Field(ge=1)
    lost_root: Sha256Hex
    lost_checkpoint: Digest
    statement: Digest
    at: Timestamp

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}


Leaf = LogEvent | LogSnapshot | LogEpoch


def leaf_of(value: Any) -> Leaf:  # any JSON value; validation is the point
    """The leaf that a JSON value is.

    Raises:
        ValidationError: it is none.
    """
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema == LOG_SNAPSHOT:
        return LogSnapshot.from_json(value)
    if schema == LOG_EPOCH:
        return LogEpoch.from_json(value)
    return LogEvent.from_json(value)
