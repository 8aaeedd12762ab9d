"""What is recorded about a base under a name that it was added under."""

from collections.abc import Iterator

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import covered_size
from peft_registry.registry.records.signed_records import signed_statements, signer_of_fact
from peft_registry.registry.records.stated_bases import StatedBase, first_name, stated_base
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.errors import NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.version import Version


class BaseRecordMissing(NotChecked):
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


def bases_of_record(
    registry: Registry, version: Version, record: RecordSections
) -> Iterator[tuple[int, Digest, StatedBase]]:
    """What is recorded of each base of a record under the name that the record has for it: its position, manifest and statement.

    The signed manifest of the version says which base that is. A row of the catalogue, or equal weights that somebody added under
    another name, do not.
    """
    manifest = stored_manifest(registry, version.manifest_digest)
    named = [parent.manifest for parent in manifest.parents if parent.role == "base"]
    weights = {
        digest: str(stored_manifest(registry, digest).weights_digest) for digest in named if registry.store.has(digest)
    }
    for position, used in enumerate(record.base):
        for digest, of_base in weights.items():
            stated = base_named(registry, digest, str(used.name.value)) if of_base == used.tensor_digest.value else None
            if stated is not None:
                yield position, digest, stated
                break
