"""Imports of several folders, two imports of one, and a folder that somebody writes to meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from peft_registry.registry.disk.files import FileChanged
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.base_choice import choose_base
from peft_registry.registry.imports.fit import AdapterOfAnotherBase
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.import_folder import NameForSeveral, import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.identity import Digest
from tests.builders.importing import imported, require_refused, versions
from tests.builders.imports import lora_tensors, peft_folder, trl_folder


def test_weights_that_are_swapped_after_they_were_looked_at_are_not_registered(
    registry: Registry, base: AddedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = peft_folder(tmp_path / "helper")
    looked_at = (folder / "adapter_model.safetensors").read_bytes()

    def swapped(*arguments: Any, **named: Any) -> Any:
        """Somebody writes to the folder after its files were taken."""
        save_file(lora_tensors(inner=32), folder / "adapter_model.safetensors")  # fits no module of the base
        return choose_base(*arguments, **named)

    monkeypatch.setattr("peft_registry.registry.use_cases.import_plan.choose_base", swapped)
    version = imported(registry, folder).version
    (entry,) = [
        entry
        for entry in stored_manifest(registry, version.manifest_digest).files
        if entry.path == "adapter_model.safetensors"
    ]
    assert entry.sha256 == Digest.of(looked_at)


def test_settings_of_a_file_that_changed_after_it_was_read_are_not_recorded(
    registry: Registry, base: AddedBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trl_folder(tmp_path / "helper")

    def swapped(*arguments: Any, **named: Any) -> Any:
        (folder / "README.md").write_text("other")
        return choose_base(*arguments, **named)

    monkeypatch.setattr("peft_registry.registry.use_cases.import_plan.choose_base", swapped)
    require_refused(registry, FileChanged, 6, folder, match="settings were read before")


def test_several_folders_are_imported_at_once_or_none_of_them(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    good = peft_folder(tmp_path / "first")
    bad = peft_folder(tmp_path / "second", lora_tensors(inner=12))
    with pytest.raises(AdapterOfAnotherBase):
        imported(registry, good, bad)
    assert versions(registry) == ["tiny:1"]
    both = import_folders(registry, ImportRequest(folders=(good, trl_folder(tmp_path / "third"))))
    assert [outcome.version.label for outcome in both] == ["first:1", "third:1"]


def test_two_imports_of_one_folder_at_once_are_one_version(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "helper")
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: imported(registry, folder), range(2)))
    assert {outcome.version.label for outcome in outcomes} == {"helper:1"}
    assert versions(registry) == ["helper:1", "tiny:1"]
    assert verify_version(registry, outcomes[0].version).verdict == "verified"


def test_one_name_is_not_for_several_folders(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    folders = (peft_folder(tmp_path / "a"), peft_folder(tmp_path / "b"))
    with pytest.raises(NameForSeveral):
        imported(registry, *folders, name="one")
