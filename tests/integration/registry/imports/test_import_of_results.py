"""What was made in this registry, imported before, or pulled from one does not come in as if nobody knew where it came from."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.stated_settings import SettingsOfOtherTensors
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.import_folder import ImportOutcome
from peft_registry.registry.use_cases.import_near_results import ChangedResultAsImport
from peft_registry.registry.use_cases.import_plan import PulledFolder
from peft_registry.registry.use_cases.offered_results import ResultAsImport
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.register import ModificationRecordWrong, NewArtifact, register_version
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.schemas.manifest import FILE_NAME
from tests.builders.homes import an_artifact, artifact_of
from tests.builders.importing import imported, versions
from tests.builders.imports import peft_folder


def test_a_trained_adapter_of_equal_files_is_another_artifact_and_says_nothing_of_an_import(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    artifact = an_artifact(tmp_path / "trained", base, name="trained")
    took_in = imported(registry, tmp_path / "trained", base="tiny", name="taken").version
    trained = register_version(registry, artifact)
    assert trained.weights_digest == took_in.weights_digest
    assert trained.manifest_digest != took_in.manifest_digest
    assert "origin" not in records_of(registry, trained).manifest.to_json()
    assert "origin" not in describe_version(registry, "trained").to_json()


def test_what_was_trained_here_is_not_imported_without_its_records(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    trained = register_version(registry, an_artifact(tmp_path / "trained", base, name="trained"))
    with pytest.raises(ResultAsImport) as refused:
        imported(registry, tmp_path / "trained", base="tiny", name="clean")
    assert trained.label in refused.value.what
    assert refused.value.exit_code == 7


def changed(folder: Path, destination: Path, change: Callable[[str, Any], Any]) -> Path:
    """An adapter's folder without its manifest, its tensors changed."""
    shutil.copytree(folder, destination, ignore=shutil.ignore_patterns(FILE_NAME))
    weights = destination / "adapter_model.safetensors"
    tensors = {name: np.ascontiguousarray(change(name, value)) for name, value in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return destination


def one_bit(_name: str, value: Any) -> Any:
    value.view(np.uint32).flat[0] ^= 1
    return value


def one_huge_number(name: str, value: Any) -> Any:
    if "lora_A" in name:
        value.flat[0] = 1e30
    return value


def little_noise(_name: str, value: Any) -> Any:
    signs = np.where(np.arange(value.size) % 3 == 0, -1, 1).reshape(value.shape)
    return (value * (1 + 1e-3 * signs)).astype(np.float32)


HIDDEN: dict[str, Callable[[str, Any], Any]] = {
    "one bit": one_bit,
    "one huge number": one_huge_number,
    "scaled, and scaled back": lambda name, value: value * np.float32(4 if "lora_A" in name else 0.25),
    "rounded": lambda _name, value: value.astype(np.float16),
    "a little noise": little_noise,
}


@pytest.fixture
def trained(registry: Registry, base: AddedBase, tmp_path: Path) -> Path:
    """The folder of an adapter that was trained here, with factors that no other adapter has."""
    folder = tmp_path / "trained"
    an_artifact(folder, base, name="trained")
    weights = folder / "adapter_model.safetensors"
    random = np.random.default_rng(8)
    shapes = {name: value.shape for name, value in load_file(weights).items()}
    values = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    save_file(values, weights, metadata={"format": "pt"})
    register_version(registry, artifact_of(folder, base, name="trained"))
    return folder


@pytest.mark.parametrize("how", HIDDEN)
def test_what_was_trained_here_is_not_imported_with_a_few_numbers_changed(
    registry: Registry, base: AddedBase, trained: Path, tmp_path: Path, how: str
) -> None:
    with pytest.raises(ChangedResultAsImport) as refused:
        imported(registry, changed(trained, tmp_path / "clean", HIDDEN[how]), base="tiny")
    assert "trained:1" in refused.value.what and "which data" in refused.value.why
    assert refused.value.exit_code == 7
    assert versions(registry) == ["tiny:1", "trained:1"]


def test_what_was_trained_on_from_a_result_is_asked_about_and_what_only_began_with_it_is_not(
    registry: Registry, base: AddedBase, trained: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(10)

    def moved(_name: str, value: Any) -> Any:
        noise = random.standard_normal(value.shape)
        return (value + 0.2 * np.linalg.norm(value) / np.linalg.norm(noise) * noise).astype(np.float32)

    def same_start(name: str, value: Any) -> Any:
        return value if "lora_A" in name else random.standard_normal(value.shape).astype(np.float32)

    near = imported(registry, changed(trained, tmp_path / "near", moved), base="tiny")
    (finding,) = [finding for finding in near.record.findings if finding.kind == "near-result"]
    assert "derived from trained:1" in finding.text and "parent" in finding.text
    apart = imported(registry, changed(trained, tmp_path / "apart", same_start), base="tiny")
    assert not [finding for finding in apart.record.findings if finding.kind == "near-result"]


def test_weights_that_were_imported_before_are_told_with_the_manifest_that_has_them(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    """A copy as for the Hub has no manifest, and comes in as if nobody knew it."""

    def equal(outcome: ImportOutcome, kind: str = "equal-import") -> list[str]:
        return [finding.text for finding in outcome.record.findings if finding.kind == kind]

    first = imported(registry, peft_folder(tmp_path / "helper"))
    again = imported(registry, tmp_path / "helper")
    assert again.was_there and equal(first) == equal(again) == [], "the command says by itself that it was there"
    (told,) = equal(imported(registry, tmp_path / "helper", name="elsewhere"))
    assert f"imported before, as helper:1 ({first.version.manifest_digest})" in told
    sent = tmp_path / "sent"
    pull_version(registry, first.version, sent)
    for path in (sent / FILE_NAME, sent / "model.sig"):
        path.chmod(0o600)
        path.unlink()
    shutil.rmtree(sent / "evidence")
    back = imported(registry, sent, base="tiny")
    (told,) = equal(back, "registered-elsewhere")
    assert f"its card says that a registry has it as the manifest {first.version.manifest_digest}:" in told
    assert equal(first, "registered-elsewhere") == []


def test_a_folder_that_was_pulled_from_a_registry_is_not_imported(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    """Also where one number of it was changed, and by whoever has another registry: its records would be gone."""
    version = imported(registry, peft_folder(tmp_path / "helper")).version
    pull_version(registry, version, tmp_path / "pulled")
    with pytest.raises(PulledFolder) as refused:
        imported(registry, tmp_path / "pulled", base="tiny", name="clean")
    assert refused.value.exit_code == 2


def test_an_import_offered_as_a_training_is_refused(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    artifact = an_artifact(tmp_path / "trained", base)
    forged = artifact.manifest.revised(origin="imported")
    with pytest.raises(ModificationRecordWrong, match="manifest says imported"):
        register_version(registry, _with_manifest(artifact, forged))


def test_a_training_whose_configuration_contradicts_its_tensors_is_refused(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = tmp_path / "trained"
    an_artifact(folder, base)
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 2', '"r": 64'))
    with pytest.raises(SettingsOfOtherTensors, match="helper is not what"):
        register_version(registry, artifact_of(folder, base))
    assert versions(registry) == ["tiny:1"]


def _with_manifest(artifact: NewArtifact, manifest: Any) -> NewArtifact:
    from dataclasses import replace

    return replace(artifact, manifest=manifest)
