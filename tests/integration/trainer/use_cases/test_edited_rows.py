"""What `compare` and `estimate` take from earlier runs is what was signed: an edited row changes nothing that they state."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.records.views import VersionsDiffer
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.first_records import MadeResult
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.config import config_identity
from peft_registry.schemas.manifest import BaseReference, Parent
from peft_registry.schemas.version import Version
from peft_registry.trainer.inputs.training_file import LoadedConfig, load_training_file
from peft_registry.trainer.use_cases.estimate import recorded_speed
from peft_registry.trainer.use_cases.train_start import registered_before
from tests.builders.homes import a_home, adapter_files, base_files
from tests.builders.made import an_input
from tests.builders.merge import CARD
from tests.builders.products import product_of_result
from tests.builders.records import a_data_identity, a_profile, a_run_record

FILE = "name: arm\nbase: first\nmethod: lora\ndata: {train: {path: rows.jsonl, format: prompt_completion}}\n"
ROWS = '{"prompt": "1 + 1", "completion": "2"}\n'


@dataclass(frozen=True)
class Place:
    registry: Registry
    folder: Path
    first: AddedBase
    second: AddedBase
    loaded: LoadedConfig
    version: Version  # of the file, trained on the second base

    def edit(self, statement: str) -> None:
        """What whoever can write the database file can do."""
        with closing(sqlite3.connect(self.folder / "home" / "database.sqlite")) as database, database:
            database.execute(statement)


def a_base(registry: Registry, folder: Path, name: str, *, seed: int) -> AddedBase:
    origin = BaseOrigin(format="huggingface", source=name)
    return add_base(registry, base_files(folder, seed=seed), name=name, origin=origin)


def register_run(registry: Registry, folder: Path, base: AddedBase, loaded: LoadedConfig) -> Version:
    """As if the file had been trained on this base."""
    asked = loaded.config.evaluation.revised(half="screen")  # a run records which part of each suite was asked
    config: Any = loaded.config.revised(evaluation=asked)
    adapter_files(folder, value=0.5)
    rows = loaded.folder / "rows.jsonl"
    data = (a_data_identity(name="rows.jsonl", sha256=hash_file(rows).sha256),)
    reference = BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest)
    manifest = manifest_of_folder(
        folder,
        kind="adapter",
        layout="peft",
        method="lora",
        base=reference,
        data=data,
        parents=(Parent(role="base", manifest=base.version.manifest_digest),),
    )
    run = a_run_record(
        base=reference,
        data=data,
        weights_digest=manifest.weights_digest,
        config_sha256=canonical_digest(config_identity(config)),
    )
    result = MadeResult(
        name=config.name,
        record_id=run.run_id,
        manifest=manifest,
        production=run,
        base=an_input(base),
        profile=a_profile(),
    )
    return register_product(registry, product_of_result(registry, folder, result, card=CARD)).version


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "arm.yml").write_text(FILE)
    loaded = load_training_file(tmp_path / "arm.yml", ())
    with a_home(tmp_path / "home") as registry:
        first, second = (
            a_base(registry, tmp_path / name, name, seed=seed) for seed, name in enumerate(("first", "second"))
        )
        version = register_run(registry, tmp_path / "adapter", second, loaded)
        yield Place(registry, tmp_path, first, second, loaded, version)


def test_a_run_is_found_on_its_own_base_and_by_its_own_method_alone(place: Place) -> None:
    assert registered_before(place.registry, place.loaded, place.second.version) == place.version
    assert registered_before(place.registry, place.loaded, place.first.version) is None
    speed = recorded_speed(place.registry, place.second.version, place.loaded.config)
    assert speed is not None
    assert (speed.value, speed.method) == (pytest.approx(21_400 / 281, abs=0.1), "the training of arm:1")
    assert recorded_speed(place.registry, place.first.version, place.loaded.config) is None
    other = place.loaded.config.revised(method="ia3")
    assert recorded_speed(place.registry, place.second.version, other) is None


def test_a_row_that_was_moved_to_another_base_is_not_taken_for_an_arm_on_it(place: Place) -> None:
    place.edit(f"UPDATE versions SET base_weights = '{place.first.version.weights_digest}' WHERE name = 'arm'")
    with pytest.raises(VersionsDiffer):
        registered_before(place.registry, place.loaded, place.first.version)
    assert recorded_speed(place.registry, place.first.version, place.loaded.config) is None


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param("UPDATE versions SET method = 'ia3' WHERE name = 'arm'", id="method"),
        pytest.param("UPDATE versions SET kind = 'base' WHERE name = 'arm'", id="kind"),
        pytest.param("UPDATE versions SET base_weights = NULL WHERE name = 'arm'", id="base"),
        pytest.param("UPDATE versions SET log_index = log_index + 1 WHERE name = 'arm'", id="entry"),
    ],
)
def test_an_edited_row_hides_no_run_and_gives_another_method_no_speed(place: Place, edit: str) -> None:
    place.edit(edit)
    with pytest.raises(VersionsDiffer):
        registered_before(place.registry, place.loaded, place.second.version)
    with pytest.raises(VersionsDiffer):
        recorded_speed(place.registry, place.second.version, place.loaded.config)
    assert recorded_speed(place.registry, place.second.version, place.loaded.config.revised(method="ia3")) is None


def test_a_run_that_was_taken_out_of_the_catalogue_is_not_trained_again(place: Place) -> None:
    place.edit("DELETE FROM versions WHERE name = 'arm'")
    with pytest.raises(VersionsDiffer):
        registered_before(place.registry, place.loaded, place.second.version)
