"""Versions that a signed recall forbids to hand out."""

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.snapshots import statements_about
from peft_registry.schemas.errors import Refused
from peft_registry.schemas.version import Version


class VersionRecalled(Refused):
    reference = "version-recalled"
    what = "{label} is recalled"
    why = "a signed recall forbids handing it out"
    fix = "`registry show` names the reason; use another version"

    label: str


def require_not_recalled(registry: Registry, version: Version) -> None:
    """Raise if somebody who may has recalled the artifact of a version.

    Raises:
        VersionRecalled: it must not be handed out.
    """
    with registry.database.read() as tx:
        statements = statements_about(registry, tx, version.manifest_digest)
    if any(statement.kind == "recall" for statement in statements):
        raise VersionRecalled(version.label)
