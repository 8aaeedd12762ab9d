"""A statement with the envelope that holds its signed bytes: as somebody reads it, and as a known key signed it."""

from dataclasses import dataclass

from peft_registry.registry.signing.dsse import Envelope
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import Statement


@dataclass(frozen=True, slots=True)
class OpenedStatement:
    """A statement that was read from an envelope; nobody has looked at the signature yet."""

    statement: Statement
    envelope: Envelope
    digest: Digest  # of the payload bytes


@dataclass(frozen=True, slots=True)
class SignedStatement:
    """A statement that a known key signed."""

    statement: Statement
    envelope: Envelope
    digest: Digest  # of the payload bytes
    key_id: str

    @property
    def line(self) -> bytes:
        """The envelope as it is kept and handed out: one line of JSON, without its end."""
        return self.envelope.render()
