"""Fixtures: one empty database of each kind. Import them into a contract suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.database.session import Database
from tests.builders.homes import tables_made_as_before
from tests.servers.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database can be created; the folder's name has what an address might stumble over."""
    if request.param == "sqlite":
        folder = tmp_path / "100% a?b#c"
        folder.mkdir()
        return f"sqlite:///{folder / 'database.sqlite'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.new_database(f"test_{abs(hash(request.node.nodeid)):x}")


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    with tables_made_as_before():
        database = Database.create(address)
    yield database
    database.close()
