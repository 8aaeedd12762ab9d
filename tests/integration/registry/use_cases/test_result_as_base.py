"""What somebody made is not added as a base: pulled, its bare weights, in other files, and that of another registry."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.offered_results import ResultAsBase
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import register_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.manifest import BaseReference, Parent
from peft_registry.schemas.version import Version
from tests.builders.homes import a_home, add_a_base, base_files
from tests.builders.made import trained_artifact

CARD = b"---\nlibrary_name: transformers\n---\n# whole\n"
ORIGIN = BaseOrigin(format="huggingface", source="clean")


def a_whole_result(registry: Registry, folder: Path, base: AddedBase) -> Version:
    """A model of another seed, registered as a full fine-tune of the base."""
    manifest = manifest_of_folder(
        base_files(folder, seed=1),
        kind="model",
        layout="model",
        method="full",
        base=BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest),
        parents=(Parent(role="base", manifest=base.version.manifest_digest),),
    )
    return register_version(registry, trained_artifact("whole", folder, manifest, base, CARD))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version, Path]]:
    folder = tmp_path_factory.mktemp("made")
    with a_home(folder / "home") as registry:
        base = add_a_base(registry, folder / "base", mode="copy")
        version = a_whole_result(registry, folder / "whole", base)
        pull_version(registry, version, folder / "pulled")
        pull_version(registry, base.version, folder / "pulled-base")
        yield registry, version, folder


def bare(folder: Path) -> Path:
    """The folder without anything that says what it is."""
    for name in ("manifest.json", "model.sig", "README.md"):
        (folder / name).unlink()
    shutil.rmtree(folder / "evidence")
    return folder


def with_a_manifest_of_its_own(folder: Path) -> Path:
    (folder / "manifest.json").write_text("{}")
    return folder


OFFERED: dict[str, Callable[[Path, Path], Path]] = {
    "as it was pulled": lambda pulled, _: pulled,
    "its bare files": lambda pulled, _: bare(pulled),
    "a manifest of another tool": lambda pulled, _: with_a_manifest_of_its_own(bare(pulled)),
    "its tensors in other files": lambda _, new: base_files(new, seed=1, shards=2),
}


@pytest.mark.parametrize("offered", OFFERED)
def test_a_result_is_not_added_as_a_base_in_whatever_files_it_lies(
    offered: str, made: tuple[Registry, Version, Path], tmp_path: Path
) -> None:
    registry, version, folder = made
    shutil.copytree(folder / "pulled", tmp_path / "pulled")
    clean = OFFERED[offered](tmp_path / "pulled", tmp_path / "new")
    with pytest.raises(ResultAsBase, match=r"it is whole:1, which is registered here as model") as caught:
        add_base(registry, clean, name="clean", origin=ORIGIN, mode="copy")
    assert caught.value.exit_code == 2
    assert version.label in caught.value.fix


def test_a_result_of_another_registry_is_not_added_as_a_base_and_its_base_is(
    made: tuple[Registry, Version, Path], tmp_path: Path
) -> None:
    _, _, folder = made
    with a_home(tmp_path / "home") as other:
        with pytest.raises(ResultAsBase, match="it was pulled from a registry, where it is registered as model"):
            add_base(other, folder / "pulled", name="clean", origin=ORIGIN, mode="copy")
        added = add_base(other, folder / "pulled-base", name="tiny", origin=ORIGIN, mode="copy")
        assert added.version.kind == "base"


def test_a_base_stays_one_where_a_result_came_to_its_weights(tmp_path: Path) -> None:
    with a_home(tmp_path / "home") as registry:
        first = add_base(registry, base_files(tmp_path / "first", seed=1), name="tiny", origin=ORIGIN, mode="copy")
        a_whole_result(registry, tmp_path / "whole", first)
        again = add_base(registry, tmp_path / "first", name="small", origin=ORIGIN, mode="copy")
        assert again.version.kind == "base"
