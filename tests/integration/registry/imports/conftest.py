"""The base that what is imported here was made from."""

from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.schemas.base_model import BaseOrigin
from tests.builders.homes import base_files
from tests.builders.imports import COMMIT


@pytest.fixture
def base(registry: Registry, tmp_path: Path) -> AddedBase:
    origin = BaseOrigin(format="huggingface", source="org/tiny")
    return add_base(registry, base_files(tmp_path / "base"), name="tiny", origin=origin, revision=COMMIT)
