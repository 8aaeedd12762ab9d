"""A version in a repository of the Hub: private, verified, without records and without its base; nothing where the Hub says no."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from peft_registry.cli.main import run
from peft_registry.registry.homes.home import Registry, utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.publish import (
    BaseNotPublished,
    HubRefused,
    Publication,
    RecordsInPublic,
    RepositoryIsPublic,
    publish_version,
)
from peft_registry.registry.use_cases.pull import PullRefused
from peft_registry.registry.use_cases.verify import verify_folder
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version
from tests.builders.homes import a_home, register_adapter
from tests.servers.hub import COMMIT, FakeHub, serving

REPOSITORY = "lab/tiny"
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Version]]:
    folder = tmp_path_factory.mktemp("home")
    with a_home(folder / ".registry", now=utc_now()) as registry:
        yield registry, register_adapter(registry, folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub without the repository; what it is said to hold lies in a folder."""
    (tmp_path / "there").mkdir()
    with serving(FakeHub(tmp_path / "there")) as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_writes")
        yield server


def published(home: tuple[Registry, Version], **asked: bool) -> Publication:
    return publish_version(*home, REPOSITORY, **asked)


def test_a_version_is_sent_to_a_private_repository_in_one_commit(home, hub: FakeHub, tmp_path: Path) -> None:
    done = published(home)
    assert hub.created is not None
    assert (hub.created["name"], hub.created["organization"]) == ("tiny", "lab")
    assert hub.created.get("private") is True or hub.created.get("visibility") == "private"
    assert (done.commit, done.is_private) == (COMMIT, True)
    assert hub.asked.count("/api/models/lab/tiny/commit/main") == 1
    assert {path: len(data) for path, data in hub.committed.items()} == dict(done.files)
    writing = ("/api/repos/create", "/api/models/lab/tiny/preupload/main", "/api/models/lab/tiny/commit/main")
    tokens = {token for path, token in zip(hub.asked, hub.tokens, strict=True) if path in writing}
    assert tokens == {"Bearer hf_writes"}


def downloaded(hub: FakeHub, folder: Path) -> Path:
    for path, data in hub.committed.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_whoever_downloads_it_checks_everything_but_what_is_named_as_withheld(
    home, hub: FakeHub, tmp_path: Path
) -> None:
    done = published(home)
    outcome = verify_folder(downloaded(hub, tmp_path / "download"), trust=home[0].trust, now=utc_now())
    open_checks = [check for check in outcome.checks if check.status not in ("ok", "recorded")]
    assert [(check.step, check.error) for check in open_checks] == [("statements", "statements-withheld")]
    assert outcome.verdict == "unverified"
    kinds, digests = zip(*(statement.split(" ") for statement in done.withheld), strict=True)
    assert kinds == ("modification",)
    assert open_checks[0].detail == digests


def test_with_its_records_it_verifies_whole_and_only_in_private(home, hub: FakeHub, tmp_path: Path) -> None:
    assert published(home, with_records=True).withheld == ()
    outcome = verify_folder(downloaded(hub, tmp_path / "download"), trust=home[0].trust, now=utc_now())
    assert outcome.verdict == "verified", outcome
    hub.committed.clear()
    with pytest.raises(RecordsInPublic):
        published(home, with_records=True, public=True)
    assert hub.committed == {}


def test_neither_records_nor_the_base_are_sent(home, hub: FakeHub) -> None:
    published(home)
    sent = b"".join(hub.committed.values())
    assert b"urn:peft-registry:modification" not in sent
    assert not [path for path in hub.committed if path.endswith(".safetensors") and path != WEIGHTS]
    with pytest.raises(BaseNotPublished):
        publish_version(home[0], version_named(home[0], "tiny"), REPOSITORY)


def test_a_dry_run_asks_nobody_and_says_the_same(home, hub: FakeHub) -> None:
    planned = published(home, dry_run=True)
    assert hub.asked == []
    assert planned.commit is None
    done = published(home)
    assert (planned.files, planned.withheld) == (done.files, done.withheld)


def test_a_repository_that_everybody_reads_gets_nothing_unless_that_is_said(home, hub: FakeHub) -> None:
    hub.public = True
    with pytest.raises(RepositoryIsPublic) as caught:
        published(home)
    assert caught.value.exit_code == 3
    assert hub.committed == {}
    assert published(home, public=True).is_private is False
    assert WEIGHTS in hub.committed


def test_what_an_earlier_version_left_is_removed_by_the_same_commit(home, hub: FakeHub) -> None:
    hub.public = False
    for name in ("old.safetensors", ".gitattributes", WEIGHTS):
        (hub.folder / name).write_bytes(b"old")
    published(home)
    assert hub.deleted == ["old.safetensors"]


@pytest.mark.parametrize(
    "refuses",
    [("/create", 401), ("/create", 429), ("/preupload/main", 500), ("/commit/main", 403), ("/commit/main", 404)],
    ids=str,
)
def test_a_hub_that_refuses_is_one_sentence(
    home, hub: FakeHub, refuses: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http.time, "sleep", lambda _: None)  # its client waits between attempts
    hub.refuses = refuses
    with pytest.raises(HubRefused) as caught:
        published(home)
    assert caught.value.exit_code == 8
    assert str(refuses[1]) in caught.value.why
    assert hub.committed == {}


def test_a_hub_that_is_not_there_is_one_sentence(home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubRefused):
        published(home)


def test_a_version_that_does_not_verify_is_not_sent(tmp_path: Path, hub: FakeHub) -> None:
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        version = register_adapter(registry, tmp_path)
        weights = Digest.of((tmp_path / "adapter-helper-0.5" / WEIGHTS).read_bytes())
        stored = registry.store.local_path(weights)
        assert stored is not None
        stored.chmod(0o644)
        stored.write_bytes(b"other")
        with pytest.raises(PullRefused):
            publish_version(registry, version, REPOSITORY)
    assert hub.asked == []


def test_the_command_lists_what_is_sent_and_withheld(
    home, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home[0].folder.parent)
    where = ["--home", str(home[0].folder)]
    assert run(["export", "helper:1", REPOSITORY, "--as", "hub", "--dry-run", *where]) == 0
    printed = capsys.readouterr().out
    assert "withheld modification sha256:" in printed
    assert f"to send  {WEIGHTS}" in printed
    assert hub.asked == []
    for words in (["--as", "hub"], [REPOSITORY], [REPOSITORY, "--as", "hub", "--check", "vllm"], []):
        assert run(["export", "helper:1", *words, *where]) == 2
    for words, option, purpose in (
        ([REPOSITORY, "--as", "hub", "--base", "tiny"], "--base", "--as hub"),
        ([REPOSITORY, "--as", "hub", "--max-lora-rank", "16"], "--max-lora-rank", "--as hub"),
        (["--check", "vllm", "--public"], "--public", "--check vllm"),
        (["--check", "vllm", "--dry-run"], "--dry-run", "--check vllm"),
        (["--check", "vllm", "--with-records"], "--with-records", "--check vllm"),
    ):
        capsys.readouterr()
        assert run(["export", "helper:1", *words, *where]) == 2
        assert f"error: {option} means nothing beside {purpose}" in capsys.readouterr().err
    assert hub.asked == []


def test_a_check_for_a_server_counts_what_it_found(
    home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home[0].folder.parent)
    assert run(["export", "helper:1", "--check", "vllm", "--home", str(home[0].folder)]) == 3
    assert capsys.readouterr().out.endswith("vllm would refuse helper:1: 1 problem\n")
