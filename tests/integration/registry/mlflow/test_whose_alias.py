"""`models:/NAME@alias` on an MLflow server of others, which somebody edited: our signed log decides, or nothing is loaded."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow import whose_alias
from peft_registry.registry.mlflow.home_address import address_of
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.mlflow.whose_alias import STRICT
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register import register_version
from peft_registry.schemas.version import Version
from tests.builders.homes import a_home, add_a_base, an_artifact
from tests.builders.mirror import stores_of_mlflow

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow's engines close when they are collected


@dataclass(frozen=True)
class Mirrored:
    """helper:1 is champion, helper:2 is the newest; both are in MLflow as we wrote them."""

    registry: Registry
    client: Any
    versions: tuple[Version, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(f"{SOURCE_PREFIX}{version.manifest_digest.hex}" for version in self.versions)


def copy_to(client: Any, versions: tuple[Version, ...]) -> None:
    """Let an MLflow have the versions of helper, the first of them as champion, as `registry mirror push` does."""
    client.create_registered_model("helper")
    for version in versions:
        client.create_model_version("helper", f"{SOURCE_PREFIX}{version.manifest_digest.hex}")
    client.set_registered_model_alias("helper", "champion", "1")


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    import mlflow

    folder = tmp_path_factory.mktemp("aliases")
    with pytest.MonkeyPatch.context() as patch, a_home(folder / "home") as registry:
        patch.chdir(folder)  # MLflow's defaults write into the current folder
        base = add_a_base(registry, folder / "base")
        versions = tuple(
            register_version(registry, an_artifact(folder / f"adapter-{value}", base, value=value))
            for value in (0.5, 1.5)
        )
        set_alias(registry, versions[0], "champion")
        uri = f"sqlite:///{folder}/mlflow.db"
        copy_to(mlflow.MlflowClient(uri, uri), versions)
        with stores_of_mlflow(uri):
            yield Mirrored(registry, mlflow.MlflowClient(uri, uri), versions)


@pytest.fixture(autouse=True)
def strict(mirrored: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_HOME", str(mirrored.registry.folder))
    monkeypatch.setenv(STRICT, "1")


def refused(uri: str, folder: Path, *words: str) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as error:
        loaded(uri, folder)
    assert [word for word in words if word not in str(error.value)] == []
    assert list(folder.iterdir()) == []


def loaded(uri: str, folder: Path) -> bytes:
    import mlflow

    copy = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))
    return (copy / "peft/adapter_model.safetensors").read_bytes()


def edit(mirrored: Mirrored, statement: str, *values: object) -> None:
    """By SQL, past MLflow."""
    with closing(sqlite3.connect(mirrored.registry.folder.parent / "mlflow.db")) as database, database:
        assert database.execute(statement, values).rowcount == 1


@pytest.fixture
def moved(mirrored: Mirrored) -> Iterator[Mirrored]:
    mirrored.client.set_registered_model_alias("helper", "champion", "2")
    yield mirrored
    mirrored.client.set_registered_model_alias("helper", "champion", "1")


@pytest.mark.parametrize("name", ["helper@champion", "helper/1", "helper/2", "helper/latest"])
def test_what_mlflow_has_as_we_signed_it_is_loaded(mirrored: Mirrored, tmp_path: Path, name: str) -> None:
    assert loaded(f"models:/{name}", tmp_path)


def test_an_alias_moved_in_mlflow_is_not_followed(moved: Mirrored, tmp_path: Path) -> None:
    refused("models:/helper@champion", tmp_path, "helper:1", "helper:2")


def test_the_second_question_for_the_model_file_is_checked_as_the_first(moved: Mirrored) -> None:
    """MLflow asks anew where `MLmodel` is, and that file names the base that is loaded."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils.model_utils import _get_flavor_configuration_from_uri

    assert _get_flavor_configuration_from_uri("models:/helper/1", "transformers", logging.getLogger())
    with pytest.raises(MlflowException):
        _get_flavor_configuration_from_uri("models:/helper@champion", "transformers", logging.getLogger())


def test_without_strict_mode_an_alias_moved_in_mlflow_is_followed_with_a_warning(
    moved: Mirrored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.delenv(STRICT)
    assert loaded("models:/helper@champion", tmp_path)
    assert any("helper:1" in message and STRICT in message for message in logged)


def test_an_alias_that_only_mlflow_has_is_not_followed(mirrored: Mirrored, tmp_path: Path) -> None:
    mirrored.client.set_registered_model_alias("helper", "approved", "2")
    refused("models:/helper@approved", tmp_path, "approved")
    mirrored.client.delete_registered_model_alias("helper", "approved")


def test_a_version_whose_source_was_exchanged_is_refused_naming_both(mirrored: Mirrored, tmp_path: Path) -> None:
    ours, other = mirrored.sources
    # MLflow loads from here, and shows what is in `source`
    statement = "update model_versions set storage_location = ? where name = 'helper' and version = 1"
    edit(mirrored, statement, other)
    try:
        refused("models:/helper/1", tmp_path, ours, other)
        refused("models:/helper@champion", tmp_path, ours, other)
    finally:
        edit(mirrored, statement, ours)


def test_a_version_that_somebody_added_to_our_name_is_refused(mirrored: Mirrored, tmp_path: Path) -> None:
    mirrored.client.create_model_version("helper", mirrored.sources[0])
    try:
        refused("models:/helper/3", tmp_path, "helper:3", "helper:2")
        refused("models:/helper/latest", tmp_path, "helper:2")
    finally:
        mirrored.client.delete_model_version("helper", "3")


def test_names_that_are_not_ours_are_the_users_own(mirrored: Mirrored, tmp_path: Path) -> None:
    import mlflow

    (tmp_path / "own").mkdir()
    (tmp_path / "own/note.txt").write_text("mine")
    mirrored.client.create_registered_model("own model")
    mirrored.client.create_model_version("own model", (tmp_path / "own").as_uri())
    mirrored.client.set_registered_model_alias("own model", "best", "1")
    copy = mlflow.artifacts.download_artifacts("models:/own model@best", dst_path=str(tmp_path))
    assert (Path(copy) / "note.txt").read_text() == "mine"


def test_a_model_of_a_user_without_a_registry_loads_as_ever(
    mirrored: Mirrored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.delenv("REGISTRY_HOME")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own/note.txt").write_text("mine")
    mirrored.client.create_registered_model("without")
    mirrored.client.create_model_version("without", (tmp_path / "own").as_uri())
    copy = mlflow.artifacts.download_artifacts("models:/without/1", dst_path=str(tmp_path))
    assert (Path(copy) / "note.txt").read_text() == "mine"


def test_a_home_answers_by_the_signed_log_itself_and_nothing_is_compared(
    moved: Mirrored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.delenv("REGISTRY_HOME")
    monkeypatch.setattr(whose_alias, "refusal_of", lambda answer: pytest.fail(f"{answer} was compared"))
    before = mlflow.get_registry_uri()
    mlflow.set_registry_uri(address_of(moved.registry.folder))
    try:
        copy = mlflow.artifacts.download_artifacts("models:/helper@champion", dst_path=str(tmp_path))
    finally:
        mlflow.set_registry_uri(before)
    assert "model_version: 1" in (Path(copy) / "registered_model_meta").read_text()


def test_a_home_that_is_named_beside_another_server_vouches_for_no_alias_of_that(moved: Mirrored) -> None:
    """MLflow asks the server that it was set to what a name is, whatever registry is named to a repository."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with pytest.raises(MlflowException, match="by the signed log"):
        get_artifact_repository("models:/helper@champion", registry_uri=address_of(moved.registry.folder))
