"""`registry record NAME --attach FILE`: a person attaches a file to a version, signed by its digest and kept in the store."""

from pathlib import Path

from peft_registry.registry.disk.files import read_offered
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.attachments import MAX_BYTES, require_attachable
from peft_registry.registry.records.attachments import attachments_among
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.signed_records import required_record, version_statements
from peft_registry.registry.records.trusted_reading import TrustedReading
from peft_registry.registry.signing.keys import Signer
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.attachment import AttachedAs, AttachmentPredicate
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.errors import Taken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


class AttachedAlready(Taken):
    what = "{name} is attached to {label} already"
    why = "these are the bytes that were attached as {attached_as}"
    fix = "nothing was signed; `registry record {label}` lists what is attached"

    name: str
    label: str
    attached_as: str


class Attached(Frozen):
    """A file that was attached; `takes_place_of` are the bytes that had its name before."""

    version: str
    manifest_digest: Digest
    attached_as: str
    name: str
    sha256: Digest
    size: int
    person: str | None
    takes_place_of: Digest | None
    statement: Digest


def attach(registry: Registry, version: Version, file: Path, attached_as: AttachedAs, signer: Signer) -> Attached:
    """Attach a file to a version.

    Args:
        registry: open, and writable.
        version: which.
        file: is read once: what lies there later changes nothing.
        attached_as: what it is.
        signer: whose key says so.

    Raises:
        NoRecord: a base has no documents that a file could belong to.
        OfferedFileRefused, FileMissing, FileUnreadable: it cannot be read, or is too large.
        AttachmentNameRefused, AttachmentRefused, SecretRefused: it is not one that is taken.
        AttachedAlready: it is attached.
        KnownError: as `append_statement`.
    """
    registry.require_writable()
    said = version_statements(registry, version)
    required_record(said, version)
    data = read_offered(file, max_bytes=MAX_BYTES)
    require_attachable(str(file), file.name, data)
    reading = TrustedReading(registry.trust, covered_size(registry), registry.clock())
    before = {(one.attached_as, one.name): one.sha256 for one in attachments_among(said.statements, reading)}
    earlier = before.get((attached_as, file.name))
    digest = Digest.of(data)
    if earlier == digest:
        raise AttachedAlready(file.name, version.label, attached_as)
    predicate = AttachmentPredicate(
        attached_as=attached_as, name=file.name, sha256=digest, size=len(data), nonce=registry.nonce()
    )
    signed = append_statement(
        registry,
        subject=version.manifest_digest,
        kind="attachment",
        predicate=predicate.to_json(),
        signer=signer,
        evidence=(data,),
    )
    return Attached(
        version=version.label,
        manifest_digest=version.manifest_digest,
        attached_as=attached_as,
        name=file.name,
        sha256=digest,
        size=len(data),
        person=registry.trust.person_of(signer.public.key_id),
        takes_place_of=earlier,
        statement=signed.digest,
    )
