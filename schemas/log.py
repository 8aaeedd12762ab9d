"""The leaves of the log: events, snapshots of what the log says in the end, and the first leaf of an epoch.

An event holds kind, digests, key id and time; names and free text live in the statement that it points to. The first form of it
has 14 kinds; in the second the kind is the statement's predicate type, so that a new type needs no third. A snapshot is the
last leaf under every checkpoint: its root is that of a prefix tree (`registry/transparency/snapshot.py`) over all events before
it, so that what an alias points to, and what was said about an artifact in all, can be proven with one short path.

An epoch begins where a restored backup was accepted: its leaf names the checkpoint that was lost, and the version of the trust
file that accepts the loss.
"""

from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import (
    KINDS,
    LOG_EPOCH,
    LOG_EVENT,
    LOG_EVENT_V2,
    LOG_SNAPSHOT,
    FirstKind,
    Sha256Hex,
    StatementKind,
    logged_kind,
)
from peft_registry.schemas.values import Timestamp

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clocks of the machines that write one log may differ."""


class _Event(Document):
    subject: Digest  # manifest digest
    statement: Digest  # SHA-256 of the statement's payload bytes
    key: str  # key id of the signer
    at: Timestamp

    model_config = Document.model_config | {"populate_by_name": True, "serialize_by_alias": True}


class LogEvent(_Event):
    """One appended event; its canonical bytes are the leaf (RFC 9162 leaf hash: SHA-256(0x00 || bytes))."""

    schema_: Literal["urn:peft-registry:log-event:v1"] = Field(default=LOG_EVENT, alias="schema")
    kind: FirstKind

    @property
    def says(self) -> StatementKind | None:
        """Which of our statements was made; None for a type that this version does not know."""
        return self.kind


class LogEventV2(_Event):
    """An event of a type that the first form has no kind for: `kind` is the predicate type of its statement."""

    schema_: Literal["urn:peft-registry:log-event:v2"] = Field(default=LOG_EVENT_V2, alias="schema")
    kind: str = Field(pattern=r"^urn:peft-registry:[a-z-]+:v[1-9][0-9]*$")

    @model_validator(mode="after")
    def _has_one_form(self) -> Self:
        if logged_kind(self.kind) != self.kind:
            raise ValueError("an event of this kind has the first form")
        return self

    @property
    def says(self) -> StatementKind | None:
        """Which of our statements was made; None for a type that this version does not know."""
        return KINDS.get(self.kind)


Event = LogEvent | LogEventV2


def event_about(subject: Digest, statement: Digest, *, predicate_type: str, key: str, at: Timestamp) -> Event:
    """The event that says: this key made a statement of this type about a manifest digest."""
    fields = {"subject": subject, "statement": statement, "key": key, "at": at, "kind": logged_kind(predicate_type)}
    form = LogEventV2 if fields["kind"] == predicate_type else LogEvent
    return form.from_json(fields)


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


Leaf = Event | LogSnapshot | LogEpoch


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
    return event_of(value)


def event_of(value: Any) -> Event:  # any JSON value; validation is the point
    """The event that a JSON value is.

    Raises:
        ValidationError: it is not an event.
    """
    if isinstance(value, dict) and value.get("schema") == LOG_EVENT_V2:
        return LogEventV2.from_json(value)
    return LogEvent.from_json(value)
