"""A base in the cache that clients of the Hub share is added where it lies, with the network off, and its blobs are checked."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, scan_cache_dir, snapshot_download

from peft_registry.registry.disk.files import NotARegularFile
from peft_registry.registry.homes.base_locations import base_location
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.intake.paths import UnsafeInputPath
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.pull_base import WrongBase
from peft_registry.registry.use_cases.verify import Requirements, verify_version
from peft_registry.trainer.embedded import embedded_base
from peft_registry.trainer.hub.answers import HubUnreachable
from peft_registry.trainer.hub.fetching import CorruptDownload
from peft_registry.trainer.hub.places import CacheContradictsHub
from peft_registry.trainer.inputs.base import checked_base
from peft_registry.trainer.use_cases.add_base import intake_base
from tests.builders.homes import a_home
from tests.builders.hub_cache import a_cached_snapshot
from tests.processes.interpreter import ROOT
from tests.servers.hub import COMMIT, FakeHub, serving

ID = "lab/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache; nothing answers for the Hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "hub"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with a_home(tmp_path / "home") as registry:
        yield registry


def stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def test_a_cached_base_is_added_with_the_network_off_and_nothing_of_it_is_copied(hub: Path, registry: Registry) -> None:
    snapshot = a_cached_snapshot(
        hub, embedded_base(), further={"pytorch_model.bin": b"pickled", "modeling.py": b"import os"}
    )
    weights = (snapshot / "model.safetensors").read_bytes()
    before = stored_bytes(registry.folder)
    added = intake_base(registry, ID, name="tiny")
    assert stored_bytes(registry.folder) - before < len(weights)
    copies = [path for path in registry.folder.rglob("*") if path.is_file() and weights[-4096:] in path.read_bytes()]
    assert copies == [], "0 bytes of weights"
    assert base_location(registry.folder, added.version.manifest_digest) == snapshot.resolve()
    record = records_of(registry, added.version).base
    assert record is not None
    assert (record.origin.source, record.identity.revision) == (ID, COMMIT)
    paths = [entry.path for entry in records_of(registry, added.version).manifest.files]
    assert "pytorch_model.bin" not in paths
    assert "modeling.py" not in paths
    assert verify_version(registry, added.version, require=Requirements(base_bytes=True)).verdict == "verified"


def test_the_folder_of_a_snapshot_is_the_base_of_its_repository_and_commit(hub: Path, registry: Registry) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    by_folder = intake_base(registry, str(snapshot), name="tiny")
    by_id = intake_base(registry, ID, name="tiny")
    assert by_folder.version == by_id.version


def test_a_snapshot_outside_the_users_cache_is_of_no_repository(hub: Path, registry: Registry, tmp_path: Path) -> None:
    """Whoever makes a folder may name it after a repository and a commit."""
    snapshot = a_cached_snapshot(tmp_path / "from-somebody", embedded_base())
    record = intake_base(registry, str(snapshot), name="tiny").record
    assert record.identity.revision is None
    assert "lab/tiny" not in record.origin.source


def test_plain_files_in_a_folder_that_is_called_a_snapshot_are_of_no_repository(hub: Path, registry: Registry) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    for path in list(snapshot.iterdir()):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    assert intake_base(registry, str(snapshot), name="tiny").record.identity.revision is None
    with pytest.raises(HubUnreachable):
        intake_base(registry, ID, name="by-id")


def test_it_is_the_base_that_a_fetch_would_give(hub: Path, registry: Registry, tmp_path: Path) -> None:
    a_cached_snapshot(hub, embedded_base())
    plain = intake_base(registry, str(shutil.copytree(embedded_base(), tmp_path / "plain")), name="plain")
    added = intake_base(registry, ID, name="tiny")
    assert added.record.identity.revised(revision=None) == plain.record.identity
    assert records_of(registry, added.version).manifest.files == records_of(registry, plain.version).manifest.files


def test_a_blob_that_changed_is_refused_before_and_after_it_was_added(
    hub: Path, registry: Registry, tmp_path: Path
) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    added = intake_base(registry, ID, name="tiny")
    blob = (snapshot / "model.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(WrongBase):
        checked_base(registry, added.version, tmp_path / "scratch", lambda _: None)
    assert verify_version(registry, added.version, require=Requirements(base_bytes=True)).exit_code == 6
    with pytest.raises(CorruptDownload, match=r"under a digest that is not its own"):
        intake_base(registry, ID, name="again")


@pytest.mark.parametrize("target", ["../../../../secret", "../../blobs/../../../../secret", "../../refs/main"])
def test_a_link_that_leads_out_of_its_blobs_is_refused(
    hub: Path, registry: Registry, tmp_path: Path, target: str
) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    (tmp_path / "secret").write_text("{}")
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to(target)
    with pytest.raises(UnsafeInputPath, match="symbolic link"):
        intake_base(registry, str(snapshot), name="tiny")


def test_blobs_that_are_a_link_to_elsewhere_are_refused(hub: Path, registry: Registry, tmp_path: Path) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotARegularFile):
        intake_base(registry, str(snapshot), name="tiny")


def test_half_a_snapshot_is_not_taken_for_the_base(hub: Path, registry: Registry) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(HubUnreachable):
        intake_base(registry, ID, name="tiny")


def test_where_the_hub_answers_the_cache_is_used_if_it_holds_what_the_hub_states(
    hub: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    with serving(FakeHub(embedded_base())) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        added = intake_base(registry, ID, name="tiny")
        assert base_location(registry.folder, added.version.manifest_digest) == snapshot.resolve()
        assert not [path for path in server.asked if path.startswith(server.files)]


def test_where_the_hub_states_another_file_of_the_commit_neither_is_used(
    hub: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    before = (snapshot / "config.json").resolve()
    stated = shutil.copytree(embedded_base(), tmp_path / "stated")
    config = stated / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"use_cache": False}))
    with serving(FakeHub(stated)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        with pytest.raises(CacheContradictsHub):
            intake_base(registry, ID, name="tiny")
    assert (snapshot / "config.json").resolve() == before


def test_a_base_is_fetched_into_the_cache_and_nowhere_else(
    hub: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another client of the Hub finds it there, with the network off, by branch and by commit."""
    weights = (embedded_base() / "model.safetensors").stat().st_size
    before = stored_bytes(tmp_path)
    with serving(FakeHub(embedded_base())) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        added = intake_base(registry, ID, name="tiny")
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert stored_bytes(tmp_path) - before < 2 * weights, "one copy"
    for revision in (None, "main", COMMIT):
        folder = Path(snapshot_download(ID, revision=revision, local_files_only=True))
        assert (folder / "model.safetensors").read_bytes() == (embedded_base() / "model.safetensors").read_bytes()
        assert base_location(registry.folder, added.version.manifest_digest) == folder.resolve()
    [repository] = scan_cache_dir(hub).repos
    assert (repository.repo_id, repository.size_on_disk) == (ID, stored_bytes(hub / "models--lab--tiny" / "blobs"))


def test_a_blob_with_wrong_bytes_in_the_cache_is_fetched_again_where_the_hub_answers(
    hub: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(bytes(reversed(blob.read_bytes())))
    with serving(FakeHub(embedded_base())) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        intake_base(registry, ID, name="tiny")
    assert blob.read_bytes() == (embedded_base() / "model.safetensors").read_bytes()


def test_a_base_whose_blobs_lie_in_the_store_of_the_cache_is_added_with_the_network_off(
    hub: Path, registry: Registry
) -> None:
    """As clients leave it that fetch in the chunks of Xet: the blob is a link itself."""
    snapshot = a_cached_snapshot(hub, embedded_base())
    stored_once(snapshot / "model.safetensors", hub)
    added = intake_base(registry, ID, name="tiny")
    assert base_location(registry.folder, added.version.manifest_digest) == snapshot.resolve()
    assert verify_version(registry, added.version, require=Requirements(base_bytes=True)).verdict == "verified"


def test_wrong_bytes_in_the_store_of_the_cache_are_refused(hub: Path, registry: Registry) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    stored = stored_once(snapshot / "model.safetensors", hub)
    stored.write_bytes(bytes(reversed(stored.read_bytes())))
    with pytest.raises(CorruptDownload, match="under a digest that is not its own"):
        intake_base(registry, ID, name="tiny")


@pytest.mark.parametrize("target", ["../../../secret", "../../blobs/../../secret", "../../blobs/zz/" + "a" * 64])
def test_a_blob_that_leads_out_of_the_store_of_its_cache_is_refused(
    hub: Path, registry: Registry, tmp_path: Path, target: str
) -> None:
    snapshot = a_cached_snapshot(hub, embedded_base())
    stored_once(snapshot / "model.safetensors", hub)
    (tmp_path / "secret").write_text("{}")
    (hub / "blobs" / "zz").mkdir()
    (hub / "blobs" / "zz" / ("a" * 64)).write_text("{}")
    blob = snapshot / (snapshot / "tokenizer.json").readlink()
    blob.unlink()
    blob.symlink_to(target)
    with pytest.raises((NotARegularFile, UnsafeInputPath)):
        intake_base(registry, str(snapshot), name="tiny")


def stored_once(name: Path, hub: Path) -> Path:
    """The bytes of a name of a snapshot, moved to where huggingface_hub keeps what it fetches in chunks (version 2)."""
    blob = name.parent / name.readlink()
    xet_hash = "ab" + "0" * 62
    stored = hub / "blobs" / "ab" / xet_hash
    stored.parent.mkdir(parents=True)
    blob.rename(stored)
    blob.symlink_to(f"../../blobs/ab/{xet_hash}")
    return stored


def test_the_command_adds_a_cached_base_offline(hub: Path, tmp_path: Path) -> None:
    a_cached_snapshot(hub, embedded_base())
    with a_home(tmp_path / "home"):
        pass
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(tmp_path),
        "HF_HUB_CACHE": str(hub),
        "HF_HUB_OFFLINE": "1",
    }
    words = ["base", "add", ID, "--name", "tiny", "--home", "home", "--output", "json"]
    command = [sys.executable, "-m", "peft_registry.cli.main", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == "tiny:1"
