"""What is recorded about a base under a name that it was added under."""

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.signed_records import signed_statements, signer_of_fact
from peft_registry.registry.records.stated_bases import StatedBase, first_name, stated_base
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.errors import NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


class BaseRecordMissing(NotChecked):
    reference = "base-record-missing"
    what = "nothing is recorded about the base {label}"
    why = "its version has no statement of kind base, which every base is registered with"
    fix = "restore the home from a backup"

    label: str


def base_record(registry: Registry, version: Version) -> BaseRecord:
    """What is recorded about a base under the name of its version.

    Raises:
        BaseRecordMissing: the version has no base statement.
    """
    return required_base(registry, version).record


def required_base(registry: Registry, version: Version) -> StatedBase:
    """What is recorded about a base under the name of its version, and which statement holds it.

    Raises:
        BaseRecordMissing: the version has no base statement.
    """
    stated = base_named(registry, version.manifest_digest, version.name)
    if stated is None:
        raise BaseRecordMissing(version.label)
    return stated


def base_named(registry: Registry, manifest: Digest, name: str, *, with_pending: bool = False) -> StatedBase | None:
    """What is recorded about a manifest as a base under a name; None where it is not registered so.

    Args:
        registry: where it is.
        manifest: of the base.
        name: that it was added under.
        with_pending: what no checkpoint covers yet counts too, for whoever makes the next statement.
    """
    covered = None if with_pending else covered_size(registry)
    return stated_base(signed_statements(registry, manifest), name, signer_of_fact(registry), covered=covered)


def base_named_first(registry: Registry, manifest: Digest) -> StatedBase | None:
    """What is recorded about a manifest as a base under the name that it was registered under first; None where under none."""
    statements = signed_statements(registry, manifest)
    name = first_name(statements)
    return None if name is None else stated_base(statements, name, signer_of_fact(registry))
