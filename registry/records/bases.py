"""What is recorded about a base: the newest statement of kind `base` about its manifest."""

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import signed_statements
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.errors import NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import StoredStatement
from peft_registry.schemas.version import Version


class BaseRecordMissing(NotChecked):
    reference = "base-record-missing"
    what = "nothing is recorded about the base {label}"
    why = "its version has no statement of kind base, which every base is registered with"
    fix = "restore the home from a backup"

    label: str


def base_record(registry: Registry, version: Version) -> BaseRecord:
    """What is recorded about a base.

    Raises:
        BaseRecordMissing: the version has no base statement.
    """
    record = newest_base_record(registry, version.manifest_digest)
    if record is None:
        raise BaseRecordMissing(version.label)
    return record


def base_statement(registry: Registry, version: Version) -> Digest | None:
    """The statement that holds what is recorded about a base; None where nobody has recorded any."""
    newest = _newest(registry, version.manifest_digest)
    return None if newest is None else newest.digest


def newest_base_record(registry: Registry, manifest: Digest) -> BaseRecord | None:
    """The newest record about a manifest as a base; None where nobody has recorded any."""
    newest = _newest(registry, manifest)
    return None if newest is None else BaseRecord.from_json(newest.statement.predicate)


def _newest(registry: Registry, manifest: Digest) -> StoredStatement | None:
    base_statements = (stored for stored in reversed(signed_statements(registry, manifest)) if stored.kind == "base")
    return next(base_statements, None)
