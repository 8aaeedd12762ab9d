"""What was copied, and what is to be copied, of each MLflow by itself, and whose turn it is to write to it.

Revision 0003. What a home remembers of its one MLflow stays, unless several homes share the database and each has an MLflow of its
own: it is not known then whose it was, and all of it is looked up again by its tags.
"""

import json
import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Give both tables of the mirror their route, and add the table of routes."""
    op.create_table(
        "mirror_routes",
        _text("route"),
        _text("place"),
        _text("holder", nullable=True),
        sa.Column("until", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("route", name="pk_mirror_routes"),
        sa.UniqueConstraint("place", name="uq_mirror_routes_place"),
    )
    connection = op.get_bind()
    place = _place(connection)
    route = "" if place is None else secrets.token_hex(16)
    if place is not None:
        connection.execute(
            sa.text("INSERT INTO mirror_routes (route, place) VALUES (:route, :place)"),
            {"route": route, "place": place},
        )
    _renew_mirrored(route)
    _renew_outbox(route)


def downgrade() -> None:
    """Refused: what a newer program wrote would be read by none."""
    raise RuntimeError("a schema is not taken back; restore the backup that the upgrade made")


def _place(connection: sa.Connection) -> str | None:
    """Where the one MLflow of this database is; None where nothing was copied, or where that may be any of several."""
    query = sa.text("SELECT value FROM mirrored WHERE entity = 'route' AND key = 'mirror'")
    value = connection.execute(query).scalar_one_or_none()
    if value is None:
        return None
    recorded = json.loads(value) if isinstance(value, str) else value
    if recorded["kind"] == "server":
        return str(recorded["where"])
    return "store" if connection.dialect.name == "sqlite" else None


def _renew_mirrored(route: str) -> None:
    """The same rows under their route; none where there is no route."""
    op.execute("CREATE TABLE mirrored_before AS SELECT * FROM mirrored WHERE entity <> 'route'")
    op.drop_table("mirrored")
    op.create_table(
        "mirrored",
        _text("route"),
        _text("entity"),
        _text("key"),
        sa.Column("value", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("route", "entity", "key", name="pk_mirrored"),
    )
    if route:
        op.execute(
            sa.text(
                "INSERT INTO mirrored (route, entity, key, value) SELECT :route, entity, key, value FROM mirrored_before"
            ).bindparams(route=route)
        )
    op.drop_table("mirrored_before")


def _renew_outbox(route: str) -> None:
    """What waits, under its route; a route that comes first begins with every version."""
    op.execute("CREATE TABLE outbox_before AS SELECT * FROM outbox WHERE done_at IS NULL")
    op.drop_table("outbox")
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer),
        _text("route"),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String(71, collation=_binary_order()), nullable=False),
        sa.Column("version_label", sa.String, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
    )
    op.create_index("ix_outbox_route_id", "outbox", ["route", "id"])
    if route:
        op.execute(
            sa.text(
                "INSERT INTO outbox (route, kind, subject, version_label, payload) "
                "SELECT :route, kind, subject, version_label, payload FROM outbox_before ORDER BY id"
            ).bindparams(route=route)
        )
    op.drop_table("outbox_before")


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(collation=_binary_order()), nullable=nullable)


def _binary_order() -> str | None:
    return "C" if op.get_bind().dialect.name == "postgresql" else None
