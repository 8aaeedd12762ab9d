"""How many rows each list of versions has; and no trigger is left.

Revision 0007. Whoever owns the file could drop the triggers that kept the past, and on a server the writer's role has no right to
change it. Now that none is ours, any trigger in a database is one that somebody planted. The counts are those of the rows that are
there.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_GUARDED = ("log_events", "log_nodes", "statements", "versions", "alias_events")
_NUMBERED = ("log_events", "versions")
_COUNTS = (
    "SELECT 'facet', facet, count(*) FROM facet_words GROUP BY facet",
    "SELECT 'facet', facet, count(*) FROM facet_numbers GROUP BY facet",
    "SELECT 'source', source, count(*) FROM version_sources GROUP BY source",
    "SELECT 'alias', alias, count(*) FROM aliases GROUP BY alias",
    "SELECT 'edge', '', (SELECT count(*) FROM artifact_parents) + (SELECT count(*) FROM artifact_data)",
    "SELECT 'version', '', count(*) FROM versions",
)


def upgrade() -> None:
    """Drop the triggers, whichever are there still, and add a table and what it counts."""
    if op.get_bind().dialect.name == "postgresql":
        _drop_guards_of_postgresql()
    else:
        _drop_guards_of_sqlite()
    op.create_table(
        "row_counts",
        _text("kind"),
        _text("word"),
        sa.Column("counted", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("kind", "word", name="pk_row_counts"),
    )
    for counts in _COUNTS:
        op.execute(f"INSERT INTO row_counts (kind, word, counted) {counts}")


def downgrade() -> None:
    """Refused: what a newer program wrote would be read by none."""
    raise RuntimeError("a schema is not taken back; restore the backup that the upgrade made")


def _drop_guards_of_sqlite() -> None:
    for table in _GUARDED:
        for change in ("update", "delete"):
            op.execute(f"DROP TRIGGER IF EXISTS {table}_refuse_{change}")
    for table in _NUMBERED:
        op.execute(f"DROP TRIGGER IF EXISTS {table}_next")


def _drop_guards_of_postgresql() -> None:
    for table in _GUARDED:
        for change in ("change", "truncate"):
            op.execute(f"DROP TRIGGER IF EXISTS {table}_refuse_{change} ON {table}")
    op.execute("DROP FUNCTION IF EXISTS registry_refuse_change()")
    for table in _NUMBERED:
        op.execute(f"DROP TRIGGER IF EXISTS {table}_next ON {table}")
        op.execute(f"DROP FUNCTION IF EXISTS registry_next_{table}()")


def _text(name: str) -> sa.Column[str]:
    binary_order = "C" if op.get_bind().dialect.name == "postgresql" else None
    return sa.Column(name, sa.String(collation=binary_order), nullable=False)
