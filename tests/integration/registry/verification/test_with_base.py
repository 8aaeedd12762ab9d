"""An adapter pulled with its base beside it: what is loaded is what was verified, and whatever was exchanged is named."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.import_folder import import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest, PulledFolder
from peft_registry.registry.use_cases.pull import NothingBeside, PullRefused, pull_with_base
from peft_registry.registry.use_cases.verify import Examiner, verify_folder, verify_folder_lineage
from peft_registry.registry.verification.presented import BytesElsewhere
from peft_registry.schemas.version import VerifyOutcome, Version
from tests.builders.homes import NOW, a_home, adapter_files, base_files, register_adapter


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version, Path]]:
    """A registry, an adapter of it, and that adapter pulled with its base."""
    folder = tmp_path_factory.mktemp("home")
    with a_home(folder / "home") as registry:
        version = register_adapter(registry, folder)
        pull_with_base(registry, version, folder / "pulled")
        yield registry, version, folder


@pytest.fixture
def pulled(home: tuple[Registry, Version, Path]) -> Iterator[Path]:
    """The pulled folder, to be changed; it is whole again afterwards, at the same path, which its configuration names."""
    folder = home[2] / "pulled"
    kept = home[2] / "kept"
    shutil.copytree(folder, kept)
    yield folder
    shutil.rmtree(folder)
    kept.rename(folder)


def verified(home: tuple[Registry, Version, Path], folder: Path) -> VerifyOutcome:
    """As somebody with the trust file alone."""
    return verify_folder(folder, trust=home[0].trust, now=NOW)


def problems(outcome: VerifyOutcome) -> dict[str, str]:
    return {check.step: " ".join(check.detail) or check.text for check in outcome.checks if check.status == "failed"}


def test_adapter_and_base_lie_in_one_folder_and_both_verify(home) -> None:
    outcome = verified(home, home[2] / "pulled")
    assert outcome.verdict == "verified", outcome
    statuses = {check.step: check.status for check in outcome.checks}
    assert statuses["base"] == statuses["base-folder"] == statuses["loaders"] == "ok"
    config = json.loads((home[2] / "pulled" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(home[2] / "pulled" / "base")
    signed = json.loads((home[2] / "pulled" / "adapter" / "adapter_config.json").read_text())
    assert config == signed | {"base_model_name_or_path": config["base_model_name_or_path"], "revision": None}


def test_its_lineage_is_that_of_the_adapter(home) -> None:
    outcome = verify_folder_lineage(home[2] / "pulled", Examiner(home[0].trust, NOW, registry=home[0]))
    assert outcome.verdict == "verified"
    assert len(outcome.nodes) == 2


def other_base(folder: Path) -> None:
    other = base_files(folder.parent / "other-base", seed=9)
    shutil.copy(other / "model.safetensors", folder / "base" / "model.safetensors")
    shutil.rmtree(other)


def other_weights(folder: Path) -> None:
    other = adapter_files(folder.parent / "other-adapter", value=0.75)
    weights = folder / "adapter_model.safetensors"
    weights.unlink()  # another file, not the signed one under its second name
    shutil.copy(other / "adapter_model.safetensors", weights)
    shutil.rmtree(other)


def renamed_base(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "lab/other"}))


def path_of_the_caller(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "base"}))


def other_scale(folder: Path) -> None:
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 64}))


def further_file(folder: Path) -> None:
    (folder / "config.json").write_text("{}")  # with it, loaders would take the folder itself for the base


def linked_weights(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.unlink()
    weights.symlink_to(folder / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (other_base, "base-folder", "files"),
        (other_weights, "loaders", "changed: adapter_model.safetensors"),
        (renamed_base, "loaders", "names 'lab/other' as the base"),
        (path_of_the_caller, "loaders", "names 'base' as the base"),
        (other_scale, "loaders", "says something else than the signed one"),
        (further_file, "loaders", "extra: config.json"),
        (linked_weights, "loaders", "link"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)
def test_what_somebody_exchanged_in_front_or_beside_is_named(
    home, pulled: Path, change: Callable[[Path], None], step: str, words: str
) -> None:
    change(pulled)
    outcome = verified(home, pulled)
    assert outcome.verdict == "broken"
    assert words in problems(outcome)[step]


def test_a_moved_folder_no_longer_loads_what_it_was_verified_with(home, tmp_path: Path) -> None:
    shutil.copytree(home[2] / "pulled", tmp_path / "moved")
    outcome = verified(home, tmp_path / "moved")
    assert "which is not" in problems(outcome)["loaders"]


def test_a_folder_with_its_base_is_not_imported_as_somebody_elses_adapter(home) -> None:
    with pytest.raises(PulledFolder):
        import_folders(home[0], ImportRequest((home[2] / "pulled",), base="tiny"))


def test_a_whole_model_has_no_base_beside_it(home, tmp_path: Path) -> None:
    from peft_registry.registry.records.references import version_named

    with pytest.raises(NothingBeside):
        pull_with_base(home[0], version_named(home[0], "tiny"), tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_base_whose_files_are_others_or_gone_leaves_nothing(tmp_path: Path, damage: str) -> None:
    with a_home(tmp_path / "home") as registry:
        version = register_adapter(registry, tmp_path)
        if damage == "changed":
            base_files(tmp_path / "base", seed=9)
        else:
            shutil.rmtree(tmp_path / "base")
        with pytest.raises(PullRefused if damage == "changed" else BytesElsewhere):
            pull_with_base(registry, version, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    assert not list(tmp_path.glob(".registry-pull-*"))
