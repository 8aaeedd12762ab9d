"""A home with a base, for trainings by somebody else's trainer; each test takes a name of its own in it."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry import RegistryCallback
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.schemas.profile import OrganisationProfile
from tests.builders.homes import NOW, name_once
from tests.builders.trainers import a_lora, a_trainer, followed
from tests.builders.training import a_base_folder
from tests.conftest import STATE


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the base `tiny` and a home that this user named once."""
    folder = tmp_path_factory.mktemp("followed")
    a_base_folder(folder / "tiny")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    name_once(folder / "home", STATE)
    return folder


@pytest.fixture
def registry(place: Path) -> Iterator[Registry]:
    with closing(open_home(place / "home")) as opened:
        yield opened


@pytest.fixture
def lora(place: Path, tmp_path: Path) -> tuple[Any, RegistryCallback]:
    """A LoRA that `transformers.Trainer` trained."""
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    callback = followed(place, trainer, "lora", project="colours")
    trainer.train()
    return trainer, callback
