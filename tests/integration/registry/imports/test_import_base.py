"""Whether an adapter is of the base that it names, or that a person names: by id, revision, digest, shape and tokens."""

import json
from pathlib import Path

import numpy as np
import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.imports.base_choice import BaseToNameMissing, ImportBaseNotRegistered, ImportedOntoNoBase
from peft_registry.registry.imports.fit import AdapterOfAnotherBase
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.import_folder import ImportOutcome, import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.progress import Event, Said
from tests.builders.homes import TOKENIZER, base_files
from tests.builders.importing import imported, require_refused
from tests.builders.imports import COMMIT, lora_tensors, peft_folder, unsloth_folder

OTHER_COMMIT = "2" * 40


def test_a_base_of_another_owner_than_the_folder_names_is_a_finding(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    def said(outcome: ImportOutcome) -> list[str]:
        return [finding.text for finding in outcome.record.findings if finding.kind == "other-owner"]

    assert said(imported(registry, peft_folder(tmp_path / "own"))) == []
    copy = imported(registry, unsloth_folder(tmp_path / "copy"))
    (text,) = said(copy)
    assert text.startswith("it names 'unsloth/tiny-bnb-4bit' as its base, and tiny:1 is 'org/tiny', of another owner")
    origin = BaseOrigin(format="huggingface", source="of-nobody")
    add_base(registry, base_files(tmp_path / "of-nobody", seed=4), name="small", origin=origin)
    named = imported(registry, peft_folder(tmp_path / "named", base_model_name_or_path="acme/small"))
    assert named.record.base.manifest != base.version.manifest_digest
    assert len(said(named)) == 1 and "small:1 was not added under that id" in said(named)[0]
    chosen = imported(registry, peft_folder(tmp_path / "chosen", base_model_name_or_path="acme/large"), base="small")
    assert len(said(chosen)) == 1


def test_an_adapter_of_another_shape_is_refused_naming_the_tensor(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    require_refused(
        registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "a", lora_tensors(inner=12)), match="down_proj.lora_A"
    )


def test_an_adapter_of_a_deeper_model_is_refused_naming_the_tensor(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    tensors = lora_tensors() | lora_tensors(layer=7)
    require_refused(registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "a", tensors), match="layers.7")


def test_an_adapter_with_two_tensors_for_one_place_is_refused_naming_both(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    """A loader reads one of them; nobody who looks at the file knows which."""
    tensors = lora_tensors()
    doubled = tensors | {name.replace("model.model.", "model.tower.model."): value for name, value in tensors.items()}
    folder = peft_folder(tmp_path / "doubled", doubled)
    require_refused(registry, AdapterOfAnotherBase, 6, folder, match="both have the place .*layers.0", base="tiny")


def test_an_adapter_of_another_base_of_equal_shape_is_refused(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    origin = BaseOrigin(format="huggingface", source="org/other")
    add_base(registry, base_files(tmp_path / "other", seed=1), name="other", origin=origin)
    folder = peft_folder(tmp_path / "a", base_model_name_or_path="org/other")
    require_refused(registry, AdapterOfAnotherBase, 6, folder, match="org/other", base="tiny")
    assert imported(registry, folder).record.base.manifest != base.version.manifest_digest


def test_an_adapter_of_a_base_that_is_not_registered_is_not_put_on_another(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "a", base_model_name_or_path="org/absent")
    require_refused(registry, ImportBaseNotRegistered, 7, folder, match="org/absent")
    require_refused(registry, AdapterOfAnotherBase, 6, folder, match="org/absent", base="tiny")


def test_an_adapter_of_another_revision_is_refused(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    require_refused(
        registry, AdapterOfAnotherBase, 6, peft_folder(tmp_path / "a", revision=OTHER_COMMIT), match=OTHER_COMMIT
    )
    assert imported(registry, peft_folder(tmp_path / "b", revision=COMMIT)).record.fit.named_revision == COMMIT


def test_an_adapter_with_more_tokens_than_the_base_is_refused(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "a")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER | {"added_tokens": [{"id": 2, "content": "<new>"}]}))
    require_refused(registry, AdapterOfAnotherBase, 6, folder, match="token of number 2")


def test_a_digest_names_the_base(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    named = str(base.record.identity.weights)
    assert (
        imported(registry, peft_folder(tmp_path / "a", base_model_name_or_path=named)).record.fit.chosen_by == "digest"
    )
    wrong = peft_folder(tmp_path / "b", base_model_name_or_path="sha256:" + "0" * 64)
    require_refused(registry, AdapterOfAnotherBase, 6, wrong, match="sha256:0000", base="tiny")


def test_a_name_of_several_bases_is_asked_about(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    origin = BaseOrigin(format="huggingface", source="org/tiny")
    add_base(registry, base_files(tmp_path / "other", seed=1), name="tiny-2", origin=origin)
    folder = peft_folder(tmp_path / "a")
    require_refused(registry, BaseToNameMissing, 2, folder, match=r"tiny:1.*tiny-2:1|tiny-2:1.*tiny:1")
    assert imported(registry, folder, base="tiny-2").record.fit.chosen_by == "user"


def test_a_folder_that_names_no_base_needs_one(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a", base_model_name_or_path=None)
    (folder / "README.md").unlink()
    require_refused(registry, BaseToNameMissing, 2, folder, match="names none")
    assert imported(registry, folder, base="tiny").version.label == "a:1"


def test_an_adapter_is_not_put_on_an_adapter(registry: Registry, base: AddedBase, tmp_path: Path) -> None:
    imported(registry, peft_folder(tmp_path / "first"))
    with pytest.raises(ImportedOntoNoBase) as caught:
        imported(registry, peft_folder(tmp_path / "second"), base="first")
    assert caught.value.exit_code == 2


def test_an_adapter_of_which_nothing_could_be_compared_is_not_said_to_fit(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    expert = "base_model.model.model.layers.0.mlp.experts.5.w.lora_A.weight"
    other = expert.replace("lora_A", "lora_B")
    tensors = {expert: np.ones((2, 7), np.float32), other: np.ones((7, 2), np.float32)}
    events: list[Event] = []
    folder = peft_folder(tmp_path / "helper", tensors, target_modules=["w"])
    outcome = import_folders(registry, ImportRequest(folders=(folder,)), observe=events.append)[0]
    assert "nothing-compared" in {finding.kind for finding in outcome.record.findings}
    story = [event.text for event in events if isinstance(event, Said) and event.label == "base"]
    assert story == ["0 tensors match the shapes of tiny:1 (nothing shows that it was made from it)"]
