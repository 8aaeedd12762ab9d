"""A home with two versions of `helper`, on each database, made once for all these files and copied for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.backends import BACKENDS, MadeHome, make_on
from tests.builders.bound_aliases import Place, fill
from tests.builders.homes import NOW


@pytest.fixture(scope="session")
def made_homes() -> dict[str, MadeHome]:
    """Those that this process has made, by database."""
    return {}


@pytest.fixture(scope="module", params=BACKENDS)
def made(
    request: pytest.FixtureRequest, made_homes: dict[str, MadeHome], tmp_path_factory: pytest.TempPathFactory
) -> MadeHome:
    if request.param not in made_homes:
        made_homes[request.param] = make_on(request, tmp_path_factory.mktemp("made"), fill)
    return made_homes[request.param]


@pytest.fixture
def place(made: MadeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))  # the copy of another test has another log
    home = made.copy(tmp_path / "home")
    registry = home.opened(now=NOW)
    yield Place(tmp_path, home, registry)
    registry.close()
