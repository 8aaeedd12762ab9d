"""A small registry, opened: a home with an adapter in it, and what was pulled from it.

Each test has copies that it may write to, of what is made once: to sign and to log takes ten times as long.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.schemas.version import Version
from tests.builders.homes import PULLED, MadeFolder, a_home, register_adapter


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> MadeFolder:
    """A folder with an empty home. Never write to it."""
    folder = tmp_path_factory.mktemp("new")
    with a_home(folder / "home") as opened:
        return MadeFolder.of(opened, folder)


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory: pytest.TempPathFactory) -> MadeFolder:
    """A folder with a home, the base and the adapter that were registered there, and what was pulled. Never write to it."""
    folder = tmp_path_factory.mktemp("filled")
    with a_home(folder / "home") as opened:
        pull_version(opened, register_adapter(opened, folder), folder / PULLED)
        return MadeFolder.of(opened, folder)


@pytest.fixture
def registry(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A home; an adapter and its base are registered there, and lie beside it, if the test asks for `version`.

    Its user saw no other copy: the logs of two that were written to are a fork.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    is_filled = "version" in request.fixturenames
    made: MadeFolder = request.getfixturevalue("filled_home" if is_filled else "new_home")
    opened = made.copied(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def version(registry: Registry) -> Version:
    return version_named(registry, "helper")


@pytest.fixture
def pulled(filled_home: MadeFolder, version: Version, tmp_path: Path) -> Path:
    return shutil.copytree(filled_home.folder / PULLED, tmp_path / PULLED)
