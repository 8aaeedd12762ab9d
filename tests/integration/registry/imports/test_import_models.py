"""Whole models: which registered base their weights show, and what of them is measured."""

import shutil
from pathlib import Path

from safetensors.numpy import load_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.base_choice import BaseToNameMissing
from peft_registry.registry.imports.offered import NothingToImport
from peft_registry.registry.imports.relation import ModelOfAnotherBase
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.import_folder import import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.progress import Event
from tests.builders.homes import base_files
from tests.builders.importing import imported, require_refused
from tests.builders.imports import a_model, peft_folder, save_in_eight_bits


def test_a_full_fine_tune_is_imported_on_the_base_that_its_weights_show(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    add_base(
        registry,
        base_files(tmp_path / "other", seed=1),
        name="other",
        origin=BaseOrigin(format="huggingface", source="org/other"),
    )
    outcome = imported(registry, a_model(tmp_path / "tuned", tmp_path / "base"))
    assert outcome.version.kind == "model"
    assert outcome.record.fit.chosen_by == "weights"
    assert outcome.record.base.manifest == base.version.manifest_digest
    answers = {relation.base: relation.answer for relation in outcome.record.relations}
    assert answers == {"tiny:1": "made from", "other:1": "not made from"}
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_of_a_whole_model_only_what_was_counted_and_compared_is_called_measured(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    change = imported(registry, a_model(tmp_path / "tuned", tmp_path / "base")).modification.change
    untouched = change.base_weights_untouched
    assert (untouched.value, str(untouched.method)) == ("no", "the result is a whole model")
    assert not change.params_added.known
    assert str(change.rel_norm_global.reason) == (
        "not measured over the whole model: the import record compares a sample of each matrix"
    )
    adapter = imported(registry, peft_folder(tmp_path / "helper")).modification.change
    untouched = adapter.base_weights_untouched
    assert (untouched.value, str(untouched.method)) == ("yes", "the result holds no tensor of the base")
    assert adapter.params_added.value == 2 * (16 + 8)
    assert str(adapter.rel_norm_global.reason).endswith("no weight of the base was read")


def test_a_model_in_eight_bits_is_not_refused_as_one_of_another_base(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = shutil.copytree(tmp_path / "base", tmp_path / "small")
    shapes = {name: value.shape for name, value in load_file(folder / "model.safetensors").items()}
    save_in_eight_bits(shapes, folder / "model.safetensors")
    events: list[Event] = []
    (outcome,) = import_folders(registry, ImportRequest((folder,), base="tiny"), observe=events.append)
    assert [relation.answer for relation in outcome.record.relations] == ["cannot tell"]
    assert "cannot tell whether it was made from it" in " ".join(map(str, events))
    assert "number format" in " ".join(finding.text for finding in outcome.record.findings)
    assert "no weight of the base was read" in str(outcome.modification.change.rel_norm_global.reason)


def test_a_model_of_other_weights_is_refused_naming_the_tensor(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    unrelated = base_files(tmp_path / "unrelated", seed=9)
    require_refused(registry, ModelOfAnotherBase, 6, unrelated, match="weight' is", base="tiny")
    require_refused(registry, BaseToNameMissing, 2, unrelated, match="names none")


def test_a_base_is_not_imported_as_what_was_made_from_it(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    require_refused(registry, NothingToImport, 2, tmp_path / "base", match="those of the base tiny:1")
