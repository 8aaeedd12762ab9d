"""A small registry, opened: a home with an adapter in it, and what was pulled from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.schemas.version import Version
from tests.builders.homes import a_home, register_adapter


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with a_home(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def version(registry: Registry, tmp_path: Path) -> Version:
    return register_adapter(registry, tmp_path)


@pytest.fixture
def pulled(registry: Registry, version: Version, tmp_path: Path) -> Path:
    pull_version(registry, version, tmp_path / "pulled")
    return tmp_path / "pulled"
