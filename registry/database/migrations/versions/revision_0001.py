"""The first schema: log, artifacts, statements, versions, aliases, outbox, leases, and the guards that keep the past.

Revision 0001. Written out, not derived from `tables.py`: a revision stays what it was when the tables move on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = ("log_events", "log_nodes", "statements", "versions", "alias_events")
# (table, what a new row must satisfy, what is said otherwise)
_NEXT = (
    (
        "log_events",
        "seq",
        "(SELECT coalesce(max(seq), -1) + 1 FROM log_events)",
        "log entries are numbered without gaps",
    ),
    (
        "versions",
        "number",
        "(SELECT coalesce(max(number), 0) + 1 FROM versions WHERE name = NEW.name)",
        "version numbers of a name have no gaps",
    ),
)


def upgrade() -> None:
    """Make every table, then the guards of the database at hand."""
    _log()
    _artifacts()
    _statements_and_versions()
    _aliases()
    _mirror_and_housekeeping()
    op.execute("INSERT INTO log_head (id) VALUES (1)")
    if op.get_bind().dialect.name == "postgresql":
        _guard_postgresql()
    else:
        _guard_sqlite()


def downgrade() -> None:
    """Refused: going back would delete the log."""
    raise RuntimeError("the first schema cannot be undone; restore a backup")


def _log() -> None:
    op.create_table("log_head", sa.Column("id", sa.Integer, autoincrement=False), _key("log_head", "id"))
    op.create_table(
        "log_events",
        sa.Column("seq", sa.Integer, autoincrement=False),
        sa.Column("leaf", sa.LargeBinary, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary, nullable=False),
        _key("log_events", "seq"),
    )
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer, autoincrement=False),
        sa.Column("index", sa.Integer, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        _key("log_nodes", "level", "index"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.Integer),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        _key("checkpoints", "id"),
    )
    _index("checkpoints", "size")


def _artifacts() -> None:
    op.create_table(
        "artifacts",
        _digest("manifest_digest"),
        sa.Column("manifest_size", sa.Integer, nullable=False),
        _text("kind"),
        _text("layout"),
        _text("method", nullable=True),
        _digest("weights_digest"),
        _digest("base_manifest", nullable=True),
        _digest("base_weights", nullable=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        _digest("signature_digest", nullable=True),
        _digest("card_digest", nullable=True),
        sa.Column("by_reference", sa.Boolean, nullable=False),
        _key("artifacts", "manifest_digest"),
    )
    _index("artifacts", "weights_digest")
    _index("artifacts", "base_weights")
    op.create_table(
        "artifact_files",
        _digest("manifest_digest"),
        _text("path"),
        _digest("sha256"),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("stored", sa.Boolean, nullable=False),
        _key("artifact_files", "manifest_digest", "path"),
        _reference("artifact_files", "manifest_digest", to="artifacts.manifest_digest"),
    )
    op.create_table(
        "artifact_parents",
        _digest("child"),
        _digest("parent"),
        _text("role"),
        _key("artifact_parents", "child", "parent", "role"),
        _reference("artifact_parents", "child", to="artifacts.manifest_digest"),
    )
    _index("artifact_parents", "parent")
    op.create_table(
        "artifact_data",
        _digest("manifest_digest"),
        _digest("sha256"),
        sa.Column("name", sa.String, nullable=False),
        _key("artifact_data", "manifest_digest", "sha256"),
        _reference("artifact_data", "manifest_digest", to="artifacts.manifest_digest"),
    )
    _index("artifact_data", "sha256")
    op.create_table(
        "kept_objects",
        _digest("digest"),
        _digest("subject"),
        _text("role"),
        _key("kept_objects", "digest", "subject", "role"),
    )
    _index("kept_objects", "subject")


def _statements_and_versions() -> None:
    op.create_table(
        "statements",
        _digest("digest"),
        _digest("subject"),
        _text("kind", nullable=True),
        sa.Column("predicate_type", sa.String, nullable=False),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("envelope", sa.LargeBinary, nullable=False),
        sa.Column("log_index", sa.Integer, nullable=False),
        sa.Column("appended_at", sa.String, nullable=False),
        _key("statements", "digest"),
        sa.UniqueConstraint("log_index", name="uq_statements_log_index"),
        _reference("statements", "log_index", to="log_events.seq"),
    )
    _index("statements", "subject", "log_index")
    op.create_table(
        "versions",
        _text("name"),
        sa.Column("number", sa.Integer, autoincrement=False),
        _digest("manifest_digest"),
        _text("kind"),
        _text("method", nullable=True),
        _digest("base_weights", nullable=True),
        sa.Column("key_id", sa.String, nullable=False),
        sa.Column("registered_at", sa.String, nullable=False),
        sa.Column("log_index", sa.Integer, nullable=False),
        _key("versions", "name", "number"),
        sa.UniqueConstraint("name", "manifest_digest", name="uq_versions_name_manifest_digest"),
        _reference("versions", "manifest_digest", to="artifacts.manifest_digest"),
        _reference("versions", "log_index", to="log_events.seq"),
    )
    _index("versions", "manifest_digest", "log_index")
    for column in ("kind", "method", "base_weights"):
        _index("versions", column, "name", "number")


def _aliases() -> None:
    op.create_table(
        "alias_events",
        sa.Column("id", sa.Integer),
        _text("name"),
        _text("alias"),
        sa.Column("number", sa.Integer),
        _digest("statement_digest"),
        sa.Column("at", sa.String, nullable=False),
        _key("alias_events", "id"),
        _reference("alias_events", "name", "number", to="versions.name versions.number"),
        _reference("alias_events", "statement_digest", to="statements.digest"),
    )
    _index("alias_events", "name", "alias", "id")
    op.create_table(
        "aliases",
        _text("name"),
        _text("alias"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Integer, nullable=False),
        _key("aliases", "name", "alias"),
        _reference("aliases", "name", "number", to="versions.name versions.number"),
        _reference("aliases", "event_id", to="alias_events.id"),
    )


def _mirror_and_housekeeping() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer),
        sa.Column("kind", sa.String, nullable=False),
        _digest("subject"),
        sa.Column("version_label", sa.String, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("done_at", sa.String),
        _key("outbox", "id"),
    )
    _index("outbox", "done_at", "id")
    op.create_table(
        "mirrored",
        _text("entity"),
        _text("key"),
        sa.Column("value", sa.JSON, nullable=False),
        _key("mirrored", "entity", "key"),
    )
    op.create_table("leases", _text("holder"), _digest("digest"), _text("until"), _key("leases", "holder", "digest"))
    _index("leases", "until")
    op.create_table("meta", _text("key"), sa.Column("value", sa.String, nullable=False), _key("meta", "key"))


def _guard_sqlite() -> None:
    for table in _APPEND_ONLY:
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_refuse_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, 'append-only: {table} refuses {change}'); END"
            )
    for table, column, wanted, said in _NEXT:
        op.execute(
            f"CREATE TRIGGER {table}_next BEFORE INSERT ON {table} WHEN NEW.{column} IS NOT {wanted} "
            f"BEGIN SELECT RAISE(ABORT, 'append-only: {said}'); END"
        )


def _guard_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION registry_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'append-only: % refuses %', TG_TABLE_NAME, TG_OP USING ERRCODE = '23000'; END $$"
    )
    for table in _APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_refuse_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION registry_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION registry_refuse_change()"
        )
    for table, column, wanted, said in _NEXT:
        op.execute(
            f"CREATE FUNCTION registry_next_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.{column} IS DISTINCT FROM {wanted} THEN "
            f"RAISE EXCEPTION 'append-only: {said}' USING ERRCODE = '23000'; END IF; RETURN NEW; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {table}_next BEFORE INSERT ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION registry_next_{table}()"
        )


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    """A text column that compares byte by byte."""
    kind = sa.String().with_variant(sa.String(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=nullable)


def _digest(name: str, *, nullable: bool = False) -> sa.Column[str]:
    kind = sa.String(71).with_variant(sa.String(71, collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=nullable)


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}")


def _reference(table: str, *columns: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(list(columns), to.split(), name=f"fk_{table}_{'_'.join(columns)}")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))
