"""A recalled result does not come in again in other numbers, as an import or as a base, and what is derived from one is told."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.records.stops import VersionStopped
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases import like_results
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.like_results import RecalledInOtherNumbers
from peft_registry.registry.use_cases.offered_results import ResultAsBase
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.register import register_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference, Parent
from peft_registry.schemas.progress import Event, Warned
from tests.builders.homes import a_home, artifact_of, base_files, reopened
from tests.builders.importing import imported, versions
from tests.builders.imports import MODULE, lora_tensors, peft_folder
from tests.builders.made import trained_artifact
from tests.builders.signing import a_p256_key, a_trusted_key, one_more
from tests.builders.sketched import added_up, folded, transformed, with_units_in_another_order

APPROVER = a_p256_key(7)
ORIGIN = BaseOrigin(format="huggingface", source="tiny")
CARD = b"---\nlibrary_name: transformers\n---\n# whole\n"


@dataclass
class Place:
    registry: Registry
    folder: Path
    base: AddedBase

    def recall(self, name: str, *, undo: bool = False) -> None:
        recall(self.registry, name, APPROVER, reason="it gives away names", undo=undo)


def an_adapter(folder: Path, seed: int, **config: Any) -> Path:
    random = np.random.default_rng(seed)
    tensors = {name: random.standard_normal(value.shape).astype(np.float32) for name, value in lora_tensors().items()}
    return peft_folder(folder, tensors, lora_alpha=0.1, **config)


def a_whole_result(place: Place, adapter: Path, name: str) -> Path:
    """The base with an adapter folded in, registered as a whole model that was made here."""
    folder = base_files(place.folder / name)
    weights = folder / "model.safetensors"
    save_file(folded(load_file(weights), adapter), weights, metadata={"format": "pt"})
    base = place.base
    manifest = manifest_of_folder(
        folder,
        kind="model",
        layout="model",
        method="full",
        base=BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest),
        parents=(Parent(role="base", manifest=base.version.manifest_digest),),
    )
    register_version(place.registry, trained_artifact(name, folder, manifest, base, CARD))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """`polite` was trained here and `foreign` imported; both are recalled, and so is `whole`. `kept` and `free` are not."""
    folder = tmp_path_factory.mktemp("place")
    with a_home(folder / "home") as first:
        key = a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None)
        chain = one_more(first.trust_chain, first.private_key("root"), keys=(*first.trust.keys, key))
        (first.folder / "trust.json").write_bytes(render_chain(chain))
    registry = reopened(folder / "home", state=folder / "state")
    base = add_base(registry, base_files(folder / "base"), name="tiny", origin=ORIGIN, mode="copy")
    place = Place(registry, folder, base)
    for name, seed in (("polite", 11), ("kept", 12)):
        artifact = artifact_of(an_adapter(folder / name, seed), base, name=name)
        register_version(registry, artifact)
    imported(registry, an_adapter(folder / "foreign", 13), base="tiny")
    a_whole_result(place, an_adapter(folder / "of-whole", 14), "whole")
    a_whole_result(place, an_adapter(folder / "of-free", 15), "free")
    for name in ("polite", "foreign", "whole"):
        place.recall(name)
    yield place
    registry.close()


@pytest.mark.parametrize("name", ["polite", "foreign"])
@pytest.mark.parametrize(
    "how", ["factors turned", "ranks in another order", "twice the rank", "rounded to half precision"]
)
def test_a_recalled_adapter_is_not_imported_in_other_numbers(place: Place, tmp_path: Path, name: str, how: str) -> None:
    before = versions(place.registry)
    with pytest.raises(RecalledInOtherNumbers) as refused:
        imported(place.registry, transformed(place.folder / name, tmp_path / "clean", how), base="tiny")
    assert refused.value.exit_code == VersionStopped.exit_code == 3
    assert f"it is {name}:1 in other numbers" in refused.value.what
    assert "it gives away names" in refused.value.why
    assert versions(place.registry) == before


def test_a_recalled_adapter_is_not_imported_as_a_part_of_a_sum(place: Place, tmp_path: Path) -> None:
    summed = added_up({place.folder / "polite": 0.5, place.folder / "kept": 0.5}, tmp_path / "sum")
    with pytest.raises(RecalledInOtherNumbers, match=r"made of .*polite:1"):
        imported(place.registry, summed, base="tiny")


BASES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "rounded": lambda weights: {name: value.astype(np.float16) for name, value in weights.items()},
    "with noise": lambda weights: {
        name: (value * (1 + 1e-3 * np.random.default_rng(3).standard_normal(value.shape))).astype(np.float32)
        for name, value in weights.items()
    },
    "with its units in another order": with_units_in_another_order,
}


def a_base_of(weights: dict[str, Any], folder: Path) -> Path:
    base_files(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("how", BASES)
@pytest.mark.parametrize(("name", "error"), [("whole", RecalledInOtherNumbers), ("free", ResultAsBase)])
def test_a_whole_result_is_not_added_as_a_base_in_other_numbers(
    place: Place, tmp_path: Path, how: str, name: str, error: type[Exception]
) -> None:
    weights = BASES[how](load_file(place.folder / name / "model.safetensors"))
    with pytest.raises(error, match=f"{name}:1") as refused:
        add_base(place.registry, a_base_of(weights, tmp_path / "clean"), name="clean", origin=ORIGIN, mode="copy")
    assert "in other numbers" in str(refused.value)


def test_a_base_with_a_recalled_adapter_folded_in_is_not_added(place: Place, tmp_path: Path) -> None:
    weights = folded(load_file(place.folder / "base" / "model.safetensors"), place.folder / "polite")
    with pytest.raises(RecalledInOtherNumbers, match="polite:1"):
        add_base(place.registry, a_base_of(weights, tmp_path / "clean"), name="clean", origin=ORIGIN, mode="copy")


def test_what_is_derived_from_a_recalled_result_is_told_and_another_adapter_is_not(
    place: Place, tmp_path: Path
) -> None:
    """A training from it moves it: that is another result, and whoever reads its record is told of what it may come from."""
    of = load_file(place.folder / "polite" / "adapter_model.safetensors")
    random = np.random.default_rng(5)
    moved = {name: (value + 0.2 * random.standard_normal(value.shape)).astype(np.float32) for name, value in of.items()}
    on = imported(place.registry, peft_folder(tmp_path / "on", moved, lora_alpha=0.1), base="tiny")
    (told,) = [finding for finding in on.record.findings if finding.kind == "near-result"]
    assert "derived from polite:1" in told.text and "must not be used" in told.text
    other = imported(place.registry, an_adapter(tmp_path / "other", 21), base="tiny")
    assert not [finding for finding in other.record.findings if finding.kind == "near-result"]
    said: list[Event] = []
    noisy = load_file(place.folder / "free" / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    change = noisy[name] - load_file(place.folder / "base" / "model.safetensors")[name]
    noisy[name] = (noisy[name] + 0.5 * change.std() * random.standard_normal(change.shape)).astype(np.float32)
    add_base(
        place.registry,
        a_base_of(noisy, tmp_path / "near"),
        name="near",
        origin=ORIGIN,
        mode="copy",
        observe=said.append,
    )
    (warned,) = [event.text for event in said if isinstance(event, Warned) and event.reference == "near-result"]
    assert "derived from free:1" in warned


def test_an_approver_who_takes_the_recall_back_lets_it_in(place: Place, tmp_path: Path) -> None:
    clean = transformed(place.folder / "foreign", tmp_path / "clean", "factors turned")
    place.recall("foreign", undo=True)
    outcome = imported(place.registry, clean, base="tiny")
    (told,) = [finding for finding in outcome.record.findings if finding.kind == "near-result"]
    assert "it is foreign:1 in other numbers" in told.text
    place.recall("foreign")
    with pytest.raises(RecalledInOtherNumbers):
        imported(place.registry, clean, base="tiny", name="again")


def test_a_recalled_result_is_compared_however_many_are_newer(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(like_results, "RESULTS_LOOKED_AT", 1)
    monkeypatch.setattr(like_results, "_SKETCHED_AT_ONCE", 0)
    shutil.rmtree(place.folder / "state" / "sketches", ignore_errors=True)
    with pytest.raises(RecalledInOtherNumbers, match="polite:1"):
        imported(
            place.registry, transformed(place.folder / "polite", tmp_path / "clean", "factors turned"), base="tiny"
        )


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE versions SET manifest_digest = (SELECT manifest_digest FROM versions WHERE name = 'kept') WHERE name = 'polite'",
        "UPDATE artifacts SET kind = 'bundle' WHERE manifest_digest = (SELECT manifest_digest FROM versions WHERE name = 'polite')",
    ],
    ids=["another artifact", "another kind"],
)
def test_a_recalled_result_is_not_hidden_by_an_edited_row(place: Place, tmp_path: Path, edit: str) -> None:
    shutil.copytree(place.registry.folder, tmp_path / "home")
    with closing(sqlite3.connect(tmp_path / "home" / "database.sqlite")) as rows, rows:
        assert rows.execute(edit).rowcount == 1
    registry = reopened(tmp_path / "home", state=tmp_path / "state")
    clean = transformed(place.folder / "polite", tmp_path / "clean", "factors turned")
    with closing(registry), pytest.raises((IntegrityBroken, RecalledInOtherNumbers)):
        imported(registry, clean, base="tiny")


def test_sketches_that_are_gone_or_broken_are_made_anew(place: Place, tmp_path: Path) -> None:
    kept = place.folder / "state" / "sketches"
    for number, path in enumerate(sorted(kept.iterdir())):
        if number % 2:
            path.unlink()
        else:
            path.write_bytes(b"nothing")
    with pytest.raises(RecalledInOtherNumbers):
        imported(
            place.registry, transformed(place.folder / "polite", tmp_path / "clean", "factors turned"), base="tiny"
        )


def a_copy_without(place: Place, tmp_path: Path, weights_file: str) -> Path:
    """The home without the weights of a version, as a disk loses them."""
    shutil.copytree(place.registry.folder, tmp_path / "home")
    weights = Digest.of((place.folder / weights_file).read_bytes())
    (lost,) = [
        path
        for path in (tmp_path / "home" / "objects").rglob("*")
        if path.is_file() and weights.hex.endswith(path.name)
    ]
    lost.unlink()
    return tmp_path / "home"


def test_a_recalled_result_is_known_again_though_its_bytes_were_lost_since(place: Place, tmp_path: Path) -> None:
    shutil.rmtree(place.folder / "state" / "sketches", ignore_errors=True)
    place.recall("foreign", undo=True)
    place.recall("foreign")
    clean = transformed(place.folder / "foreign", tmp_path / "clean", "factors turned")
    home = a_copy_without(place, tmp_path, "foreign/adapter_model.safetensors")
    with closing(reopened(home, state=place.folder / "state")) as registry, pytest.raises(RecalledInOtherNumbers):
        imported(registry, clean, base="tiny")
    # another user's state has nothing of it: what could not be compared is named
    with closing(reopened(home, state=tmp_path / "of-another-user")) as registry:
        outcome = imported(registry, clean, base="tiny")
    (told,) = [finding.text for finding in outcome.record.findings if finding.kind == "results-not-compared"]
    assert told.startswith("foreign:1 must not be used, and could not be compared")


def test_modules_that_are_held_whole_are_not_compared_without_the_bytes_of_their_base_and_that_is_told(
    place: Place, tmp_path: Path
) -> None:
    base = load_file(place.folder / "base" / "model.safetensors")
    whole = folded(base, place.folder / "polite")["model.layers.0.mlp.down_proj.weight"]
    tensors = {f"{MODULE}.weight": whole, "base_model.model.lm_head.lora_A.weight": np.ones((2, 8), np.float32)}
    tensors["base_model.model.lm_head.lora_B.weight"] = np.zeros((2, 2), np.float32)
    stated = {"target_modules": ["lm_head"], "modules_to_save": ["down_proj"]}
    clean = peft_folder(tmp_path / "clean", tensors, **stated)
    with pytest.raises(RecalledInOtherNumbers, match="polite:1"):
        imported(place.registry, clean, base="tiny")
    home = a_copy_without(place, tmp_path, "base/model.safetensors")
    with closing(reopened(home, state=tmp_path / "of-another-user")) as registry:
        outcome = imported(registry, clean, base="tiny")
    told = [finding.text for finding in outcome.record.findings if finding.kind == "results-not-compared"]
    assert any("polite:1" in text and "holds modules of its base whole" in text for text in told), told


def test_a_recalled_adapter_of_another_type_is_not_imported_with_noise(place: Place, tmp_path: Path) -> None:
    """What IA3 does to a weight depends on the base: its tensors are compared, and recalled ones first, however many are newer."""
    stated = {"peft_type": "IA3", "target_modules": ["down_proj"], "feedforward_modules": ["down_proj"]}
    values = np.random.default_rng(31).standard_normal((1, 16)).astype(np.float32)
    for folder, tensor in (("scaling", values), ("clean", values * np.float32(1 + 1e-5))):
        peft_folder(tmp_path / folder, {f"{MODULE}.ia3_l": tensor}, **stated)
    imported(place.registry, tmp_path / "scaling", base="tiny")
    place.recall("scaling")
    with pytest.raises(RecalledInOtherNumbers, match="scaling:1"):
        imported(place.registry, tmp_path / "clean", base="tiny")
    random = np.random.default_rng(32).standard_normal((1, 16)).astype(np.float32)
    other = imported(
        place.registry, peft_folder(tmp_path / "other", {f"{MODULE}.ia3_l": random}, **stated), base="tiny"
    )
    (told,) = [finding.text for finding in other.record.findings if finding.kind == "results-not-compared"]
    assert "polite:1" in told and "of the type IA3" in told
    place.recall("scaling", undo=True)


def test_a_home_holds_no_sketch_that_whoever_writes_it_could_exchange(place: Place, tmp_path: Path) -> None:
    imported(place.registry, an_adapter(tmp_path / "another", 22), base="tiny")
    assert [*place.folder.glob("state/sketches/*.npz")]
    assert not [path for path in place.folder.glob("home/**/*") if path.suffix == ".npz"]


def test_nothing_is_imported_beside_a_result_whose_row_is_gone(place: Place, tmp_path: Path) -> None:
    shutil.copytree(place.folder / "home", tmp_path / "home")
    with closing(sqlite3.connect(tmp_path / "home" / "database.sqlite")) as rows:
        rows.execute("DELETE FROM versions WHERE name = 'polite'")
        rows.commit()
    with closing(reopened(tmp_path / "home")) as registry, pytest.raises(VersionsDiffer):
        imported(registry, transformed(place.folder / "polite", tmp_path / "clean", "factors turned"), base="tiny")
