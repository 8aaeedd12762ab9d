"""`registry train` in process: what is recorded of the command and the facts, and what a repeated training says."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.progress import Event, Warned
from peft_registry.trainer.use_cases.train import TrainOutcome, train_and_register
from tests.builders.homes import a_home
from tests.builders.training import a_base_folder, colour_rows, write_rows

TRAINING = """\
name: boxes
base: tiny
method: lora
lora: {r: 4, alpha: 8, target_modules: all-linear}
data:
  train: {path: rows.jsonl, format: prompt_completion}
  validation: {fraction: 0.25}
training: {learning_rate: 1e-2, num_train_epochs: 1, per_device_train_batch_size: 8, max_length: 64, seed: 7, dtype: fp32}
evaluation: {bias: []}
"""


@dataclass(frozen=True)
class Place:
    """A home with a tiny base, and a training file beside it."""

    registry: Registry
    folder: Path

    def facts(self, name: str, **sections: object) -> str:
        """The override that names a facts file with these sections."""
        (self.folder / name).write_text(yaml.safe_dump({"asserted_by": "J. Doe, data steward", **sections}))
        return f"facts={name}"

    def train(self, *overrides: str, **choices: object) -> tuple[TrainOutcome, dict[str, str]]:
        """The outcome, and the warnings by reference."""
        warnings: dict[str, str] = {}

        def observe(event: Event) -> None:
            if isinstance(event, Warned):
                warnings[event.reference] = event.text

        file = self.folder / "train.yml"
        return train_and_register(self.registry, file, overrides, observe=observe, **choices), warnings  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("train")
    (folder / "train.yml").write_text(TRAINING)
    write_rows(folder / "rows.jsonl", colour_rows(24))
    with a_home(folder / "home") as registry:
        add_base(
            registry, a_base_folder(folder / "base"), name="tiny", origin=BaseOrigin(format="huggingface", source="b")
        )
        yield Place(registry, folder)


@pytest.fixture(scope="module")
def first(place: Place) -> TrainOutcome:
    stated = place.facts("first.yml", use={"intended": "colours of boxes"})
    return place.train(stated, command=("train", "/home/ada/boxes.yml", "training.seed=7"))[0]


def test_the_command_that_was_typed_enters_the_run_record_without_its_folders(
    place: Place, first: TrainOutcome
) -> None:
    run = records_of(place.registry, first.version).run
    assert run is not None
    assert run.environment.argv == ("train", "boxes.yml", "training.seed=7")


def test_facts_of_a_repeated_training_are_not_dropped_in_silence(place: Place, first: TrainOutcome) -> None:
    stated = place.facts("later.yml", use={"intended": "teaching", "out_of_scope": "anything else"})
    again, warnings = place.train(stated)
    assert again.was_there
    assert again.version == first.version
    assert "use.intended, use.out_of_scope" in warnings["facts-not-recorded"]
    assert "another name" in warnings["facts-not-recorded"]
    recorded = records_of(place.registry, first.version).modification
    assert recorded is not None
    assert recorded.use.intended.value == "colours of boxes"


def test_a_repeated_training_that_states_nothing_new_warns_of_nothing(place: Place, first: TrainOutcome) -> None:
    for overrides in ((), ("facts=first.yml",)):
        again, warnings = place.train(*overrides)
        assert again.version == first.version
        assert "facts-not-recorded" not in warnings


def test_another_name_records_the_facts_as_the_warning_says(place: Place, first: TrainOutcome) -> None:
    stated = place.facts("renamed.yml", use={"intended": "teaching"})
    renamed, warnings = place.train(stated, "name=boxes-for-teaching")
    assert not renamed.was_there
    assert "facts-not-recorded" not in warnings
    assert renamed.version.manifest_digest == first.version.manifest_digest
    recorded = records_of(place.registry, renamed.version).modification
    assert recorded is not None
    assert recorded.use.intended.value == "teaching"
    assert verify_version(place.registry, renamed.version).verdict == "verified"
