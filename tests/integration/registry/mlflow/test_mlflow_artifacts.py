"""`registry://` through MLflow itself: a verified private copy from a real home, or a refusal and nothing on disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.layout import FOLDER_NAME
from peft_registry.registry.mlflow.projection import SOURCE_PREFIX
from peft_registry.registry.records.stops import VersionStopped
from peft_registry.registry.signing.keys import PrivateKey
from peft_registry.schemas.version import Version
from tests.builders.homes import a_home, exchange_trust, name_once, register_adapter

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # MLflow closes nothing it opens for a download


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    with a_home(tmp_path / "home") as registry:
        monkeypatch.setenv("REGISTRY_HOME", str(registry.folder))
        yield registry


@pytest.fixture
def version(home: Registry, tmp_path: Path) -> Version:
    return register_adapter(home, tmp_path)


def download(version: Version, destination: Path, inner: str = "") -> Path:
    import mlflow

    destination.mkdir(exist_ok=True)
    uri = f"{SOURCE_PREFIX}{version.manifest_digest.hex}{inner}"
    return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(destination)))


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_download_is_a_private_copy_of_the_signed_files(version: Version, tmp_path: Path) -> None:
    folder = download(version, tmp_path / "out")
    signed = files_below(tmp_path / "adapter-helper-0.5")
    assert files_below(folder / "peft") == signed
    assert files_below(folder / "model") == files_below(tmp_path / "base")
    (folder / "peft/adapter_config.json").write_text("changed")
    assert files_below(download(version, tmp_path / "again") / "peft") == signed


def test_a_single_file_can_be_downloaded(version: Version, tmp_path: Path) -> None:
    signed = tmp_path / "adapter-helper-0.5"
    found = download(version, tmp_path / "out", "/peft/adapter_config.json")
    assert found.read_bytes() == (signed / "adapter_config.json").read_bytes()
    assert files_below(download(version, tmp_path / "folder", "/peft")) == files_below(signed)


def test_a_folder_may_be_named_from_the_working_folder(
    version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = download(version, Path("out"))
    assert folder.is_relative_to(tmp_path) and (folder / "peft").is_dir()


def test_one_flipped_bit_in_the_store_is_refused_and_nothing_is_left(
    home: Registry, version: Version, tmp_path: Path
) -> None:
    from mlflow.exceptions import MlflowException

    flip_a_bit(home, home.store.read_bytes(version.manifest_digest))
    with pytest.raises(MlflowException, match="does not verify"):
        download(version, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def flip_a_bit(home: Registry, manifest: bytes) -> None:
    """In the stored adapter weights."""
    from peft_registry.schemas.manifest import Manifest

    (weights,) = [file for file in Manifest.model_validate_json(manifest).files if file.path.endswith(".safetensors")]
    path = home.folder / "objects" / weights.sha256.hex[:2] / weights.sha256.hex
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_registry_planted_above_the_working_folder_is_not_loaded_from(
    home: Registry, version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    archive = tmp_path / "archive"
    (archive / "notebooks").mkdir(parents=True)
    shutil.copytree(home.folder, archive / FOLDER_NAME)
    monkeypatch.delenv("REGISTRY_HOME")
    monkeypatch.chdir(archive / "notebooks")
    with pytest.raises(MlflowException, match="never named it"):
        download(version, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}
    name_once(archive / FOLDER_NAME)
    assert "adapter_model.safetensors" in files_below(download(version, tmp_path / "out"))


@pytest.mark.parametrize("method", ["log_artifact", "log_artifacts", "delete_artifacts"])
def test_nothing_is_written_or_deleted_through_mlflow(version: Version, tmp_path: Path, method: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(f"{SOURCE_PREFIX}{version.manifest_digest.hex}")
    with pytest.raises(MlflowException, match=r"cannot be (written|deleted) through MLflow") as refused:
        getattr(repository, method)(str(tmp_path))
    assert refused.value.error_code == "PERMISSION_DENIED"


def test_a_recall_while_a_version_is_copied_hands_nothing_out(
    version: Version, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    from peft_registry.registry.mlflow import home_reader

    opened: list[str] = []
    open_file = home_reader.HomeReader.open_file

    def note(reader: Any, manifest: Any, entry: Any) -> Any:
        opened.append(entry.path)
        return open_file(reader, manifest, entry)

    def recalled_meanwhile(_: Registry, verb: str, named: Version) -> None:
        if opened and verb == "load":
            facts = (named.label, named.label, named.manifest_digest, "alex recalled it meanwhile")
            raise VersionStopped(*facts, "recall", "used", "recalled")

    monkeypatch.setattr(home_reader.HomeReader, "open_file", note)
    monkeypatch.setattr(home_reader, "require_not_stopped", recalled_meanwhile)
    for inner in ("", "/peft/adapter_config.json"):
        opened.clear()
        with pytest.raises(MlflowException, match="alex recalled it meanwhile"):
            download(version, tmp_path / "out", inner)
        assert opened and files_below(tmp_path / "out") == {}


def test_a_digest_that_nobody_registered_is_refused(version: Version, tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    unknown = version.model_copy(update={"manifest_digest": type(version.manifest_digest)("0" * 64)})
    with pytest.raises(MlflowException):
        download(unknown, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def test_a_trust_file_exchanged_for_one_signed_by_its_own_root_hands_nothing_out(
    home: Registry, version: Version, tmp_path: Path
) -> None:
    from mlflow.exceptions import MlflowException

    download(version, tmp_path / "before")
    exchange_trust(
        home,
        forger=PrivateKey.generate("p256"),
        log=PrivateKey.generate("ed25519"),
        root=PrivateKey.generate("p256"),
    )
    with pytest.raises(MlflowException, match="not the trust file that you accepted before"):
        download(version, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}


def test_another_registry_in_the_place_of_the_one_that_was_loaded_from_hands_nothing_out(
    home: Registry, version: Version, tmp_path: Path
) -> None:
    from mlflow.exceptions import MlflowException

    download(version, tmp_path / "before")
    shutil.rmtree(home.folder)
    with a_home(home.folder) as theirs:
        assert register_adapter(theirs, tmp_path / "theirs").manifest_digest == version.manifest_digest
    with pytest.raises(MlflowException, match="not the trust file that you accepted before"):
        download(version, tmp_path / "out")
    assert files_below(tmp_path / "out") == {}
