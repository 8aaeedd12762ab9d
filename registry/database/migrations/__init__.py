"""The schema's history: Alembic revisions, each atomic on both databases, none edited after release."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def alembic_config(connection: Connection) -> Config:
    """Alembic, told where the revisions are and which connection (with its open transaction) to use."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run the missing revisions in the connection's open transaction; the caller commits."""
    command.upgrade(alembic_config(connection), "head")
