"""Nothing is trained on, merged from or loaded of what is recalled: refused before a byte of the base is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.checkpoints import publish_checkpoint
from peft_registry.registry.records.entries import record_statement
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.stops import VersionStopped
from peft_registry.registry.signing.trust_chain import render_chain
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.recall import recall
from peft_registry.registry.use_cases.statements import sign_statement
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.config import TrainSource
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.progress import ignore
from peft_registry.trainer.hub.data_sets import fetch_data
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases import load, train
from peft_registry.trainer.use_cases.estimate import estimate_run
from peft_registry.trainer.use_cases.follow_base import base_of_model
from peft_registry.trainer.use_cases.load import LoadedVersion, load_tokenizer_of, load_version
from peft_registry.trainer.use_cases.merge import merge_and_register
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import NOW, a_home, reopened
from tests.builders.lineage import register_made_from
from tests.builders.signing import a_p256_key, a_trusted_key, one_more
from tests.builders.training import a_base_folder, colour_rows, write_rows
from tests.servers.hub import FakeHub, serving

APPROVER = a_p256_key(7)
FILE = """\
name: boxes
base: tiny
method: lora
lora: {r: 4, alpha: 8, target_modules: all-linear}
data:
  train: {path: rows.jsonl, format: prompt_completion}
  validation: {path: held-out.jsonl, format: prompt_completion}
training: {learning_rate: 1e-2, num_train_epochs: 1, per_device_train_batch_size: 8, max_length: 64, seed: 7, dtype: fp32}
evaluation: {bias: []}
"""


@dataclass(frozen=True)
class Place:
    folder: Path
    registry: Registry

    def train(self, *overrides: str) -> None:
        train_and_register(self.registry, self.folder / "train.yml", overrides)

    def dry_run(self, *overrides: str) -> None:
        estimate_run(self.registry, self.folder / "train.yml", overrides)

    def require_refused(self, match: str, *overrides: str) -> None:
        """Training is refused, and a dry run by the very same words."""
        with pytest.raises(VersionStopped, match=match) as of_run:
            self.train(*overrides)
        with pytest.raises(VersionStopped) as of_dry_run:
            self.dry_run(*overrides)
        assert f"{of_dry_run.value}" == f"{of_run.value}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A home with a base and an adapter; reading the base is a failure of the test."""
    (tmp_path / "train.yml").write_text(FILE)
    write_rows(tmp_path / "rows.jsonl", colour_rows(24))
    write_rows(tmp_path / "held-out.jsonl", colour_rows(30)[24:])
    with a_home(tmp_path / "home") as made:
        folder = a_base_folder(tmp_path / "base")
        base = add_base(made, folder, name="tiny", origin=BaseOrigin(format="huggingface", source="b"))
        register_made_from(made, tmp_path / "helper", base, [], name="helper", value=0.5)
        key = a_trusted_key(APPROVER, person="alex", role="approver", predicate_types=None)
        chain = one_more(made.trust_chain, made.private_key("root"), keys=(*made.trust.keys, key))
        (made.folder / "trust.json").write_bytes(render_chain(chain))
    for module in (train, load):
        monkeypatch.setattr(module, "checked_base", lambda *_, **__: pytest.fail("the base was read first"))
    registry = reopened(tmp_path / "home", now=NOW)
    yield Place(tmp_path, registry)
    registry.close()


def recall_data(registry: Registry, digest: Digest) -> None:
    """A data set that nothing was trained on yet: another registry's approver named it."""
    predicate = {"reason": "it was withdrawn", "undone": False, "nonce": "0f"}
    with registry.database.write() as tx:
        record_statement(tx, digest, sign_statement(digest, "recall", predicate, APPROVER), at=NOW)
    publish_checkpoint(registry)


def test_a_recalled_base_is_not_trained_on_nor_loaded(place: Place) -> None:
    recall(place.registry, "tiny", APPROVER, reason="its licence was withdrawn")
    place.require_refused("its licence was withdrawn")
    for refused in (
        lambda: load_version(place.registry, version_named(place.registry, "tiny"), place.folder),
        lambda: load_tokenizer_of(place.registry, version_named(place.registry, "tiny"), place.folder),
        lambda: load_tokenizer_of(place.registry, version_named(place.registry, "helper"), place.folder),
    ):
        with pytest.raises(VersionStopped, match="its licence was withdrawn"):
            refused()


@pytest.mark.parametrize("name", ["rows.jsonl", "held-out.jsonl"])
def test_recalled_data_is_not_trained_on(place: Place, name: str) -> None:
    recall_data(place.registry, hash_file(place.folder / name).sha256)
    place.require_refused(name)


def test_recalled_data_of_the_hub_is_refused_by_a_dry_run_that_finds_it_in_the_cache(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = place.folder / "rows.jsonl"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place.folder / "hub"))
    repository = place.folder / "repository"
    repository.mkdir()
    (repository / "train.jsonl").write_bytes(rows.read_bytes())
    with serving(FakeHub(repository, kind="datasets")) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        fetch_data(TrainSource(path="lab/tiny"), "train")
        recall_data(place.registry, hash_file(rows).sha256)
        place.require_refused("the data lab/tiny", "data.train.path=lab/tiny")


def test_a_recalled_adapter_is_neither_continued_nor_merged_nor_loaded(place: Place) -> None:
    recall(place.registry, "helper", APPROVER, reason="it insults people")
    helper = version_named(place.registry, "helper")
    place.require_refused("it insults people", "continue_from=helper:1")
    for refused in (
        lambda: merge_and_register(place.registry, MergeRequest(("helper:1",))),
        lambda: load_version(place.registry, helper, place.folder),
    ):
        with pytest.raises(VersionStopped, match="it insults people"):
            refused()


def test_an_adapter_is_not_merged_into_a_recalled_base_that_has_the_weights_of_its_own(place: Place) -> None:
    """Another tokenizer's files make it another base."""
    twin = a_base_folder(place.folder / "twin", chat_template="{{ messages }}")
    add_base(place.registry, twin, name="twin", origin=BaseOrigin(format="huggingface", source="twin"))
    recall(place.registry, "twin", APPROVER, reason="its tokenizer was poisoned")
    with pytest.raises(VersionStopped, match="its tokenizer was poisoned"):
        merge_and_register(place.registry, MergeRequest(("helper:1",), base="twin"))


def test_a_recall_while_a_version_is_loaded_hands_no_model_out(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def recalled_meanwhile(*_: object, **__: object) -> LoadedVersion:
        recall(place.registry, "tiny", APPROVER, reason="it was stolen")
        return LoadedVersion(None, None, None)

    monkeypatch.setattr(load, "_loaded", recalled_meanwhile)
    with pytest.raises(VersionStopped, match="it was stolen"):
        load_version(place.registry, version_named(place.registry, "helper"), place.folder)


def test_a_script_does_not_train_on_recalled_weights_beside_other_files(place: Place) -> None:
    """A copy of the base with another chat template is another base, which nobody registered."""
    recall(place.registry, f"{version_named(place.registry, 'tiny').weights_digest}", APPROVER, reason="it was stolen")
    twin = a_base_folder(place.folder / "twin", chat_template="{{ messages }}")
    model = SimpleNamespace(config=SimpleNamespace(_name_or_path=f"{twin}", _commit_hash=None))
    with pytest.raises(VersionStopped, match="it was stolen"):
        base_of_model(place.registry, model, None, ignore)
