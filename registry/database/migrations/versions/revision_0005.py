"""What each version was made from, at any distance, so that what something went into is read from an index.

Revision 0005. Of versions that are there it is read from the edges of the lineage graph.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_FILL = """
INSERT INTO version_sources (source, name, number)
WITH RECURSIVE above (name, number, digest) AS (
    SELECT name, number, manifest_digest FROM versions
    UNION
    SELECT above.name, above.number, artifact_parents.parent
    FROM above JOIN artifact_parents ON artifact_parents.child = above.digest
)
SELECT digest, name, number FROM above
UNION
SELECT artifact_data.sha256, above.name, above.number
FROM above JOIN artifact_data ON artifact_data.manifest_digest = above.digest
"""


def upgrade() -> None:
    """Add a table, and fill it."""
    op.create_table(
        "version_sources",
        sa.Column("source", sa.String(71, collation=_binary_order()), nullable=False),
        sa.Column("name", sa.String(collation=_binary_order()), nullable=False),
        sa.Column("number", sa.Integer, autoincrement=False),
        sa.ForeignKeyConstraint(
            ["name", "number"], ["versions.name", "versions.number"], name="fk_version_sources_name_versions"
        ),
        sa.PrimaryKeyConstraint("source", "name", "number", name="pk_version_sources"),
    )
    op.create_index("ix_version_sources_name_number", "version_sources", ["name", "number"])
    op.execute(_FILL)


def downgrade() -> None:
    """Refused: what a newer program wrote would be read by none."""
    raise RuntimeError("a schema is not taken back; restore the backup that the upgrade made")


def _binary_order() -> str | None:
    return "C" if op.get_bind().dialect.name == "postgresql" else None
