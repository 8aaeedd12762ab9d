"""What documents are made from, of a version of a registry and of one that a folder shows. Pure."""

from peft_registry.registry.compliance.verdicts.decision import Decided
from peft_registry.registry.documents.view import DocumentSource
from peft_registry.registry.records.attachments import attachments_among
from peft_registry.registry.records.record_statements import statement_of
from peft_registry.registry.records.signed_records import NoRecord, Records
from peft_registry.registry.records.trusted_reading import TrustedReading
from peft_registry.schemas.version import Version


def document_source(
    version: Version, records: Records, decided: Decided, reading: TrustedReading, *, stops: tuple[str, ...] = ()
) -> DocumentSource:
    """What the documents about a version follow from.

    Args:
        version: which.
        records: what was signed about it.
        decided: what persons decided of it, as it counts.
        reading: by whose word what is attached counts.
        stops: why it must not be used, in words.

    Raises:
        NoRecord: it has no modification record.
    """
    if not records.history:
        raise NoRecord(version.label)
    link = records.history[-1]
    predicate = link.statement.statement.predicate
    return DocumentSource(
        version=version,
        record=link.record,
        digest=link.digest,
        statement=link.statement.digest,
        edition=statement_of(predicate).edition if "edition" in predicate else None,
        as_of=max(str(stored.appended_at) for stored in records.statements),
        decided=decided,
        stops=stops,
        attachments=attachments_among(records.statements, reading),
    )
