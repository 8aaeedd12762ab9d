"""The rights of a writer on PostgreSQL: it may add to the past and never change it."""

import re

from peft_registry.registry.database.tables import APPEND_ONLY, METADATA
from peft_registry.schemas.errors import InputRefused

_ROLE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}\Z")


class RoleNameInvalid(InputRefused):
    what = "{role!q} cannot be the name of a database role here"
    why = "a role is 1-63 letters, digits, '_' or '-', and starts with a letter or '_'"
    fix = "create a role with such a name for those who register"

    role: str


def writer_role_sql(role: str) -> list[str]:
    """The statements, run by the owner, after which `role` can register, promote and verify but not rewrite.

    Raises:
        RoleNameInvalid: the name would need more than plain quoting.
    """
    if not _ROLE.match(role):
        raise RoleNameInvalid(role)
    changeable = sorted(set(METADATA.tables) - set(APPEND_ONLY))
    counted = sorted(table.name for table in METADATA.tables.values() if table.autoincrement_column is not None)
    sequences = ", ".join(f"{name}_id_seq" for name in counted)
    return [
        f'REVOKE ALL ON {", ".join((*APPEND_ONLY, *changeable))}, alembic_version FROM "{role}"',
        f'GRANT SELECT, INSERT ON {", ".join(APPEND_ONLY)} TO "{role}"',
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON {", ".join(changeable)} TO "{role}"',
        f'GRANT SELECT ON alembic_version TO "{role}"',
        f'GRANT USAGE, SELECT ON SEQUENCE {sequences} TO "{role}"',
    ]
