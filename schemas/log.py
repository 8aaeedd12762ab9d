"""A leaf of the log: kind, digests, key id and time. Names and free text live in the statement that it points to."""

from typing import Literal

from pydantic import Field

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import LOG_EVENT, StatementKind
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
