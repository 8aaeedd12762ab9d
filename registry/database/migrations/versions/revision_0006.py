"""Statements are stored compressed, because they are kept for ten years and most of their text repeats.

Revision 0006. Each envelope that is there is written again as `database/envelopes.py` writes one, which reads back bit for bit.
"""

import sqlalchemy as sa
from alembic import op

from peft_registry.registry.database.envelopes import packed
from peft_registry.registry.database.migrations.guards import unguarded

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_AT_ONCE = 200  # rows in memory; a large one has 100 KB
_NEXT = sa.text("SELECT log_index, envelope FROM statements WHERE log_index > :after ORDER BY log_index LIMIT :at_once")
_WRITE = sa.text("UPDATE statements SET envelope = :envelope WHERE log_index = :log_index")


def upgrade() -> None:
    """Write every envelope again."""
    connection = op.get_bind()
    after = -1
    with unguarded(connection, "statements"):
        while rows := connection.execute(_NEXT, {"after": after, "at_once": _AT_ONCE}).all():
            after = rows[-1].log_index
            # what is not bytes stays as it is: SQLite keeps any type that somebody wrote, and reading the row says so
            written = [
                {"log_index": row.log_index, "envelope": packed(row.envelope)}
                for row in rows
                if isinstance(row.envelope, bytes)
            ]
            if written:
                connection.execute(_WRITE, written)


def downgrade() -> None:
    """Refused: what a newer program wrote would be read by none."""
    raise RuntimeError("a schema is not taken back; restore the backup that the upgrade made")
