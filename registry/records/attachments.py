"""Files that people attached to a version, read from what was signed. Pure."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from peft_registry.registry.records.trusted_reading import TrustedReading
from peft_registry.schemas.attachment import AttachmentPredicate
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.values import Timestamp


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that is attached: what it is, and who attached it when, by a key that may."""

    attached_as: str
    name: str
    sha256: Digest
    size: int
    statement: Digest
    key_id: str
    attached_at: Timestamp


def attachments_among(statements: Iterable[StoredStatement], reading: TrustedReading) -> tuple[Attachment, ...]:
    """What is attached by these statements, in the order of the log: of each kind and name the newest that counts."""
    newest: dict[tuple[str, str], Attachment] = {}
    for stored in statements:
        if stored.kind != "attachment" or not reading.covers(stored) or not reading.may_say(stored):
            continue
        with suppress(ValidationError):  # nothing is attached by what is malformed
            predicate = AttachmentPredicate.from_json(stored.statement.predicate)
            newest.pop((predicate.attached_as, predicate.name), None)  # it takes the last place, as its entry does
            newest[predicate.attached_as, predicate.name] = Attachment(
                attached_as=predicate.attached_as,
                name=predicate.name,
                sha256=predicate.sha256,
                size=predicate.size,
                statement=stored.digest,
                key_id=stored.key_id,
                attached_at=str(stored.appended_at),
            )
    return tuple(newest.values())
