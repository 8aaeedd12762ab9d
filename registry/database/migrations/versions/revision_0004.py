"""What versions are found by: words and numbers of each, and the indices for lists in the order of time and by alias.

Revision 0004. Of versions that are there it writes what their rows say. `meta` notes that the rest is missing: it is read from what
was signed, with the manifests of the store (`registry/use_cases/fill_facets.py`).
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two tables and two indices."""
    op.create_table(
        "facet_words",
        _text("facet"),
        _text("word"),
        _text("name"),
        sa.Column("number", sa.Integer, autoincrement=False),
        _text("registered_at"),
        sa.ForeignKeyConstraint(
            ["name", "number"], ["versions.name", "versions.number"], name="fk_facet_words_name_versions"
        ),
        sa.PrimaryKeyConstraint("facet", "word", "name", "number", name="pk_facet_words"),
    )
    op.create_index(
        "ix_facet_words_facet_word_registered_at_name_number",
        "facet_words",
        ["facet", "word", "registered_at", "name", "number"],
    )
    op.create_index("ix_facet_words_name_number", "facet_words", ["name", "number"])
    op.create_table(
        "facet_numbers",
        _text("facet"),
        _text("name"),
        sa.Column("number", sa.Integer, autoincrement=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "number"], ["versions.name", "versions.number"], name="fk_facet_numbers_name_versions"
        ),
        sa.PrimaryKeyConstraint("facet", "name", "number", name="pk_facet_numbers"),
    )
    op.create_index("ix_facet_numbers_facet_value_name_number", "facet_numbers", ["facet", "value", "name", "number"])
    op.create_index("ix_facet_numbers_name_number", "facet_numbers", ["name", "number"])
    op.create_index("ix_versions_registered_at_name_number", "versions", ["registered_at", "name", "number"])
    op.create_index("ix_aliases_alias_name_number", "aliases", ["alias", "name", "number"])
    for facet in ("kind", "method", "base_weights", "key_id"):
        name = {"base_weights": "base", "key_id": "signer"}.get(facet, facet)
        op.execute(
            f"INSERT INTO facet_words (facet, word, name, number, registered_at) "  # noqa: S608  four names of ours
            f"SELECT '{name}', {facet}, name, number, registered_at FROM versions WHERE {facet} IS NOT NULL"
        )
    op.execute(
        "INSERT INTO facet_words (facet, word, name, number, registered_at) "
        "SELECT 'data', sha256, versions.name, number, registered_at FROM versions "
        "JOIN artifact_data ON artifact_data.manifest_digest = versions.manifest_digest"
    )
    op.execute(
        "INSERT INTO facet_numbers (facet, name, number, value) "
        "SELECT 'size', name, number, size_bytes FROM versions "
        "JOIN artifacts ON artifacts.manifest_digest = versions.manifest_digest"
    )
    op.execute("INSERT INTO meta (key, value) SELECT 'facets_form', 'rows' WHERE EXISTS (SELECT 1 FROM versions)")


def downgrade() -> None:
    """Refused: what a newer program wrote would be read by none."""
    raise RuntimeError("a schema is not taken back; restore the backup that the upgrade made")


def _text(name: str) -> sa.Column[str]:
    binary_order = "C" if op.get_bind().dialect.name == "postgresql" else None
    return sa.Column(name, sa.String(collation=binary_order), nullable=False)
