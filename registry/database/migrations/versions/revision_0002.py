"""The nodes of the newest snapshot's prefix tree.

Revision 0002. Nothing that was there changes; the tree is filled by the next checkpoint.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the one table."""
    binary_order = "C" if op.get_bind().dialect.name == "postgresql" else None
    op.create_table(
        "snapshot_nodes",
        sa.Column("depth", sa.Integer, autoincrement=False),
        sa.Column("prefix", sa.String(collation=binary_order), nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=True),
        sa.Column("value", sa.LargeBinary, nullable=True),
        sa.Column("hash", sa.LargeBinary, nullable=True),
        sa.PrimaryKeyConstraint("depth", "prefix", name="pk_snapshot_nodes"),
    )
    op.create_index("ix_snapshot_nodes_key", "snapshot_nodes", ["key"])


def downgrade() -> None:
    """Refused: what a newer program wrote would be read by none."""
    raise RuntimeError("a schema is not taken back; restore the backup that the upgrade made")
