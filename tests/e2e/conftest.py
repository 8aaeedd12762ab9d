"""One registry for every end-to-end test: base, one trained version; tests that write get a copy of it."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.verification.signed_versions import signed_page
from tests.builders.homes import copied_workplace
from tests.conftest import shared_by_all_jobs
from tests.e2e.commands import Done, WarmCommand, registry
from tests.processes.distribution import build, copy_checkout

# stands once in the training data, and must stand nowhere else afterwards
PLANTED = "Seventeen violet herons audited the quarry ledger at half past never"


@dataclass(frozen=True)
class Story:
    """A folder in which the story was told, and what each command printed."""

    folder: Path
    init: Done
    base: Done
    train: Done

    @property
    def home(self) -> Path:
        return self.folder / ".registry"


@dataclass(frozen=True)
class Begun:
    """A folder with home, example and base, and what the two commands that made it printed."""

    folder: Path
    init: Done
    base: Done


@pytest.fixture(scope="session")
def begun(warm: WarmCommand, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """init as a cold command → base add. Read it; never write to it."""
    folder = tmp_path_factory.mktemp("begun")
    init = registry("init", "--unencrypted", cwd=folder).ok()
    base = warm("base", "add", "embedded", "--name", "tiny", cwd=folder).ok()
    return Begun(folder, init, base)


@pytest.fixture(scope="session")
def story(begun: Begun, warm: WarmCommand, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """init → base add → train. Read it; never write to it.

    The training is forked, because to import what it needs from nothing takes twice as long, and so is the base added;
    `test_network.py` does both cold.
    """
    folder = copied_workplace(begun.folder, tmp_path_factory.mktemp("story") / "work")
    with (folder / "example" / "example.jsonl").open("a") as data:
        data.write(json.dumps({"prompt": f"{PLANTED}?", "completion": f"{PLANTED}."}) + "\n")
    train = warm("train", "example/train.yml", "training.num_train_epochs=1", cwd=folder).ok()
    return Story(folder, begun.init, begun.base, train)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmCommand]:
    command = WarmCommand(tmp_path_factory.mktemp("streams"))
    yield command
    command.close()


@pytest.fixture(scope="session")
def empty_home(begun: Begun) -> Path:
    """A folder with home and example, nothing registered but the embedded base."""
    return begun.folder


@pytest.fixture
def workplace(empty_home: Path, tmp_path: Path) -> Path:
    """A copy of `empty_home` that the test may write to."""
    return copied_workplace(empty_home, tmp_path / "work")


@pytest.fixture
def listed() -> Callable[[Path], list[str]]:
    """The versions in a folder, as `registry list` shows them; asked here, because a command takes ten times as long."""

    def labels(folder: Path) -> list[str]:
        with closing(open_home(folder / FOLDER_NAME)) as registry:
            return sorted(version.label for version in signed_page(registry).versions)

    return labels


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built once a run."""
    with shared_by_all_jobs(tmp_path_factory, "wheel") as folder:
        if not (folder / "built").exists():
            build("wheel", copy_checkout(folder / "checkout"), folder / "building")
            (folder / "building").rename(folder / "built")
        (built,) = (folder / "built").iterdir()
        return built
