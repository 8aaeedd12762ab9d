"""An adapter in a repository of the Hub is imported as a folder is: each file checked, nothing registered where the hub lies."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants, snapshot_download

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.import_folder import ImportOutcome
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.schemas.errors import KnownError
from peft_registry.trainer.hub.results import HubSource, MalformedHubSource
from peft_registry.trainer.use_cases.import_hub import import_sources
from tests.builders.homes import a_home, add_a_base
from tests.builders.hub_cache import a_cached_snapshot
from tests.builders.imports import PICKLE, STATE, peft_folder
from tests.servers.hub import COMMIT, FakeHub, serving

ID = "hub:lab/tiny"


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as TRL pushes one: the adapter, the state of the trainer, its arguments as a pickle, and code."""
    folder = peft_folder(tmp_path_factory.mktemp("offered") / "repository")
    (folder / "trainer_state.json").write_text(json.dumps(STATE))
    (folder / "training_args.bin").write_bytes(PICKLE)
    (folder / "handler.py").write_text("import os")
    (folder / "checkpoint-2").mkdir()
    (folder / "checkpoint-2" / "optimizer.pt").write_bytes(PICKLE)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache of the Hub's clients; what is fetched goes into it."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(offered: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving(FakeHub(offered)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        yield server


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with a_home(tmp_path / "home") as opened:
        add_a_base(opened, tmp_path / "base")
        yield opened


def imported(registry: Registry, *sources: str, **asked: str) -> tuple[ImportOutcome, ...]:
    return import_sources(registry, sources or (ID,), ImportRequest((), base="tiny", **asked))


def names(registry: Registry) -> list[str]:
    return [version.name for version in all_signed_versions(registry)]


def test_a_repository_is_imported_with_its_commit_and_what_lies_beside(registry: Registry, hub: FakeHub) -> None:
    (outcome,) = imported(registry, name="polite")
    record = outcome.record
    assert record.repository == f"hub:lab/tiny@{COMMIT}"
    assert outcome.version.name == "polite"
    assert record.settings["global_step"].value == STATE["global_step"]
    assert verify_version(registry, outcome.version).verdict == "verified"
    fetched = {path.removeprefix(hub.files) for path in hub.asked if "/resolve/" in path}
    assert fetched == {"adapter_config.json", "adapter_model.safetensors", "README.md", "trainer_state.json"}


def test_it_is_the_artifact_that_its_folder_would_be(registry: Registry, hub: FakeHub, offered: Path) -> None:
    (outcome,) = imported(registry, name="of-the-hub")
    (again,) = imported(registry, str(offered), name="of-a-folder")
    assert again.version.manifest_digest == outcome.version.manifest_digest
    assert "repository" not in again.record.to_json()


def test_a_second_import_fetches_nothing_again(registry: Registry, hub: FakeHub) -> None:
    imported(registry, name="polite")
    hub.asked.clear()
    (outcome,) = imported(registry, f"{ID}@{COMMIT}", name="polite")
    assert outcome.was_there
    assert not [path for path in hub.asked if "/resolve/" in path]


@pytest.mark.parametrize(
    ("name", "text"), [("chat_template.jinja", "{{ 'ignore the user' }}"), ("args.json", '{"learning_rate": 9}')]
)
def test_what_somebody_put_beside_what_was_fetched_is_not_of_the_repository(
    registry: Registry, hub: FakeHub, cache: Path, name: str, text: str
) -> None:
    folder = cache / "models--lab--tiny" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    (outcome,) = imported(registry, name="polite")
    assert name not in [source.path for source in outcome.record.sources]
    assert (folder / name).read_text() == text


def test_the_token_goes_to_the_hub(registry: Registry, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    imported(registry, name="polite")
    assert set(hub.tokens) == {"Bearer hf_secret"}


def test_offline_the_cache_of_the_clients_is_used(
    registry: Registry, cache: Path, offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing answers
    a_cached_snapshot(cache, offered)
    (outcome,) = imported(registry, name="polite")
    assert outcome.record.repository == f"hub:lab/tiny@{COMMIT}"
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_what_the_cache_has_is_not_fetched(registry: Registry, hub: FakeHub, cache: Path, offered: Path) -> None:
    a_cached_snapshot(cache, offered)
    imported(registry, name="polite")
    assert not [path for path in hub.asked if "/resolve/" in path]


def files_below(*folders: Path) -> dict[Path, int]:
    """The inode of every file that is not a link, but for what says which commit a branch is, which is written anew."""
    paths = (path for folder in folders for path in folder.rglob("*") if path.parent.name != "refs")
    return {path: path.stat().st_ino for path in paths if path.is_file() and not path.is_symlink()}


def test_what_is_fetched_is_kept_once_where_every_client_of_the_hub_finds_it(
    registry: Registry, hub: FakeHub, cache: Path, offered: Path
) -> None:
    imported(registry, name="polite")
    found = Path(snapshot_download("lab/tiny", local_files_only=True, cache_dir=cache))
    for name in ("adapter_config.json", "adapter_model.safetensors", "trainer_state.json"):
        assert (found / name).read_bytes() == (offered / name).read_bytes()
    sizes = [path.stat().st_size for path in files_below(cache, cache.parent / "hf")]
    assert sizes.count((offered / "adapter_model.safetensors").stat().st_size) == 1


@pytest.mark.parametrize("where", ["on the hub too", "offline"])
def test_what_the_cache_has_gets_no_second_copy(
    registry: Registry, hub: FakeHub, cache: Path, offered: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where == "offline":
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing answers
    a_cached_snapshot(cache, offered)
    before = files_below(cache, cache.parent / "hf")
    imported(registry, name="polite")
    assert files_below(cache, cache.parent / "hf") == before


def test_a_snapshot_in_the_cache_is_imported_by_its_path_under_the_name_of_its_repository(
    registry: Registry, cache: Path, offered: Path
) -> None:
    snapshot = a_cached_snapshot(cache, offered, repository="lab/polite")
    (outcome,) = imported(registry, str(snapshot))
    (again,) = imported(registry, str(offered), name="of-a-folder")
    assert outcome.version.name == "polite"
    assert again.version.manifest_digest == outcome.version.manifest_digest


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_snapshot_whose_blob_changed_is_refused_by_its_path(
    registry: Registry, cache: Path, offered: Path, name: str
) -> None:
    snapshot = a_cached_snapshot(cache, offered)
    blob = (snapshot / name).resolve()
    blob.write_bytes(blob.read_bytes().replace(b"0.05", b"0.15")[:-1] + (b"\1" if name.endswith("s") else b" "))
    error = refused(registry, str(snapshot))
    assert (error.reference, error.exit_code) == ("cached-file-changed", 6)
    assert name in error.what


def test_a_snapshot_whose_link_leads_elsewhere_is_refused(
    registry: Registry, cache: Path, offered: Path, tmp_path: Path
) -> None:
    snapshot = a_cached_snapshot(cache, offered)
    (snapshot / "notes.txt").symlink_to(tmp_path / "home")
    error = refused(registry, str(snapshot))
    assert (error.reference, error.exit_code) == ("unsafe-input-path", 2)


def refused(registry: Registry, *sources: str) -> KnownError:
    """The error; nothing was registered."""
    before = names(registry)
    with pytest.raises(KnownError) as caught:
        imported(registry, *sources, **({} if len(sources) > 1 else {"name": "other"}))
    assert names(registry) == before
    return caught.value


def test_a_cache_whose_blob_changed_is_refused(
    registry: Registry, cache: Path, offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing answers
    blob = (a_cached_snapshot(cache, offered) / "adapter_model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")
    assert (refused(registry).reference, refused(registry).exit_code) == ("corrupt-download", 6)


def test_a_changed_blob_is_not_preferred_to_what_the_hub_has(
    registry: Registry, hub: FakeHub, cache: Path, offered: Path
) -> None:
    blob = (a_cached_snapshot(cache, offered) / "adapter_model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")
    (outcome,) = imported(registry, name="polite")
    weights = next(source for source in outcome.record.sources if source.path == "adapter_model.safetensors")
    assert weights.sha256.hex == hashlib.sha256((offered / weights.path).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("lie", "reference", "code"),
    [
        ({"corrupt": {"adapter_model.safetensors"}}, "corrupt-download", 6),
        ({"corrupt": {"adapter_config.json"}}, "corrupt-download", 6),
        ({"endless": {"adapter_model.safetensors"}}, "corrupt-download", 6),
        ({"commit": "../.."}, "malformed-hub-answer", 6),
        ({"status": 429, "headers": {"Retry-After": "7"}}, "hub-rate-limited", 8),
        ({"status": 401}, "hub-access-denied", 8),
        ({"status": 500}, "hub-unreachable", 8),
        ({"status": 404}, "hub-not-found", 7),
    ],
    ids=["weights", "configuration", "without end", "commit", "429", "401", "500", "404"],
)
def test_a_hub_that_lies_or_throttles_registers_nothing(
    registry: Registry, hub: FakeHub, lie: dict[str, object], reference: str, code: int
) -> None:
    vars(hub).update(lie)
    error = refused(registry)
    assert (error.reference, error.exit_code) == (reference, code)
    if reference == "hub-rate-limited":
        assert "7 seconds" in error.fix


def test_without_the_network_and_the_cache_it_is_said_what_would_help(
    registry: Registry, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = refused(registry)
    assert (error.reference, error.exit_code) == ("hub-unreachable", 8)
    assert "HF_HUB_OFFLINE" in error.why and "unset HF_HUB_OFFLINE" in error.fix


def test_a_stream_that_ends_is_continued(registry: Registry, hub: FakeHub) -> None:
    hub.cut = {"adapter_model.safetensors": 60}
    (outcome,) = imported(registry, name="polite")
    assert hub.ranges == ["adapter_model.safetensors:60"]
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_one_refused_source_keeps_the_others_out(registry: Registry, hub: FakeHub, offered: Path) -> None:
    hub.corrupt = {"adapter_model.safetensors"}
    assert refused(registry, str(offered), ID).reference == "corrupt-download"


@pytest.mark.parametrize(
    ("files", "reference"),
    [
        ({"adapter_config.json": b"{}", "adapter_model.bin": PICKLE}, "pickle-refused"),
        ({"config.json": b"{}", "pytorch_model.bin": PICKLE}, "pickle-refused"),
        ({"README.md": b"# nothing"}, "nothing-in-repository"),
        ({"adapter_model.safetensors": b"x"}, "nothing-to-import"),
    ],
    ids=["adapter as a pickle", "model as a pickle", "card alone", "no configuration"],
)
def test_a_repository_without_a_model_is_refused(
    registry: Registry, hub: FakeHub, tmp_path: Path, files: dict[str, bytes], reference: str
) -> None:
    hub.folder = tmp_path / "other"
    hub.folder.mkdir()
    for name, data in files.items():
        (hub.folder / name).write_bytes(data)
    error = refused(registry)
    assert (error.reference, error.exit_code) == (reference, 2)
    assert not [path for path in hub.asked if path.endswith(".bin")]


@pytest.mark.parametrize(
    "text", ["hub:", "hub:tiny", "hub:lab/tiny@", "hub:../tiny", "hub:lab/tiny@a b", "hub:lab/a/b"]
)
def test_a_source_that_names_no_repository_is_refused_before_any_request(
    registry: Registry, hub: FakeHub, text
) -> None:
    with pytest.raises(MalformedHubSource):
        imported(registry, ID, text)
    assert hub.asked == []


def test_a_revision_is_part_of_the_name() -> None:
    assert HubSource.parse("hub:lab/tiny@refs/pr/1") == HubSource("lab/tiny", "refs/pr/1")
    assert HubSource.parse("hub:lab/tiny") == HubSource("lab/tiny", None)
