"""The base of a followed training: found by its bytes, or added from the shared cache."""

from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.references import version_named
from tests.builders.hub_cache import a_cached_snapshot
from tests.builders.trainers import a_lora, a_trainer, followed
from tests.builders.training import a_base_folder
from tests.servers.hub import COMMIT

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def test_a_base_in_the_shared_cache_is_added_with_its_repository_and_commit(
    place: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    a_base_folder(tmp_path / "other", seed=5)
    snapshot = a_cached_snapshot(tmp_path / "hub", tmp_path / "other")
    model = a_lora(snapshot)
    # as transformers leaves it where the script names the repository
    model.get_base_model().config._name_or_path = "lab/tiny"
    model.get_base_model().config._commit_hash = COMMIT
    trainer = a_trainer(tmp_path / "out", model, max_steps=1)
    callback = followed(place, trainer, "of-the-hub")
    trainer.train()
    base = callback.outcome.run.base
    assert base.manifest is not None
    record = base_record(registry, version_named(registry, str(base.manifest)))
    assert (record.origin.source, record.identity.revision) == ("lab/tiny", COMMIT)
    assert not list((place / "home" / "bases").rglob("*.safetensors"))


def test_the_base_is_found_by_its_bytes_whatever_it_is_called(
    place: Path, lora: Any, registry: Registry, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(place / "tiny", tmp_path / "elsewhere")
    trainer = a_trainer(tmp_path / "out", a_lora(tmp_path / "elsewhere"), max_steps=1)
    callback = followed(place, trainer, "elsewhere-based")
    trainer.train()
    assert callback.outcome.version.base_manifest == lora[1].outcome.version.base_manifest
