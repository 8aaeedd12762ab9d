"""The rights of a writer on PostgreSQL: it may add to the past, and neither change nor delete it."""

import re

from peft_registry.registry.database.tables import GROWING, METADATA
from peft_registry.schemas.errors import InputRefused

_ROLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}\Z")

_COMING_AND_GOING = ("aliases", "facet_words", "facet_numbers", "leases")
"""Their rows say what holds now, and go when it holds no longer. All but the leases repeat what is logged."""
_OF_EARLIER_RELEASES = ("mirror_routes", "outbox", "mirrored")
"""Nothing writes them any more."""


class RoleNameInvalid(InputRefused):
    what = "{role!q} cannot be the name of a database role here"
    why = "a role is 1-63 letters, digits, '_' or '-', and starts with a letter or '_'"
    fix = "create a role with such a name for those who register"

    role: str


def writer_role_sql(role: str) -> list[str]:
    """The statements, run by the owner, after which `role` can register, promote and verify but not rewrite.

    Run again after an upgrade they give it what the new schema has, and take what an earlier release gave.

    Raises:
        RoleNameInvalid: the name would need more than plain quoting.
    """
    if not _ROLE.match(role):
        raise RoleNameInvalid(role)
    replaced = sorted(set(METADATA.tables) - {*GROWING, *_COMING_AND_GOING, *_OF_EARLIER_RELEASES})
    counted = sorted(
        table.name
        for table in METADATA.tables.values()
        if table.autoincrement_column is not None and table.name not in _OF_EARLIER_RELEASES
    )
    sequences = ", ".join(f"{name}_id_seq" for name in counted)
    return [
        f'REVOKE ALL ON {", ".join(sorted(METADATA.tables))}, alembic_version FROM "{role}"',
        f'GRANT SELECT ON {", ".join((*_OF_EARLIER_RELEASES, "alembic_version"))} TO "{role}"',
        f'GRANT SELECT, INSERT ON {", ".join(GROWING)} TO "{role}"',
        f'GRANT SELECT, INSERT, UPDATE ON {", ".join(replaced)} TO "{role}"',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON {", ".join(_COMING_AND_GOING)} TO "{role}"',
        f'GRANT USAGE, SELECT ON SEQUENCE {sequences} TO "{role}"',
    ]
