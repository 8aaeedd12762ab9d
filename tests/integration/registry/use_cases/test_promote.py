"""An alias points only at what verifies: a move that was signed for anything else would stay in the log for ever."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.disk.files import DiskFull
from peft_registry.registry.homes import home as home_module
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import read_manifest
from peft_registry.registry.records import checkpoints
from peft_registry.registry.records.checkpoints import CheckpointNotKept, LogNotSigned, publish_checkpoint
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.promote import PromotionRefused, PromotionUnverified, set_alias
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.errors import KnownError, NotFound
from peft_registry.schemas.identity import Digest, MalformedName
from peft_registry.schemas.version import Version
from tests.builders.backends import BACKENDS, MadeHome, contents, make_on
from tests.builders.homes import register_adapter
from tests.integration.registry.use_cases.test_sayable import LATER, leave_the_key_out, let_the_file_expire, revoke


def fill(registry: Registry, folder: Path) -> None:
    register_adapter(registry, folder)
    (folder / "base").rename(folder / "moved")  # the base's bytes are elsewhere: its recorded identity counts


@pytest.fixture(scope="module", params=BACKENDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def home(made: MadeHome, tmp_path: Path) -> MadeHome:
    return made.copy(tmp_path / "home")


@pytest.fixture
def registry(home: MadeHome) -> Iterator[Registry]:
    registry = home.opened(now=LATER)
    yield registry
    registry.close()


@pytest.fixture
def version(registry: Registry) -> Version:
    return version_named(registry, "helper:1")


def object_of(registry: Registry, digest: Digest) -> Path:
    path = registry.store.local_path(digest)
    assert path is not None
    path.chmod(0o600)
    return path


def weights(registry: Registry, version: Version) -> Path:
    files = read_manifest(registry.store.read_bytes(version.manifest_digest)).files
    return object_of(registry, next(entry.sha256 for entry in files if entry.path.endswith(".safetensors")))


def flip_a_bit_of_the_weights(registry: Registry, version: Version, home: MadeHome) -> None:
    path = weights(registry, version)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def lose_the_weights(registry: Registry, version: Version, home: MadeHome) -> None:
    weights(registry, version).unlink()


def edit_the_manifest(registry: Registry, version: Version, home: MadeHome) -> None:
    path = object_of(registry, version.manifest_digest)
    path.write_bytes(path.read_bytes().replace(b'"lora"', b'"loha"'))


def strip_a_statement(registry: Registry, version: Version, home: MadeHome) -> None:
    with home.rows() as rows:
        rows.run("DELETE FROM statements WHERE kind = 'modification'")


STATES: dict[Callable[[Registry, Version, MadeHome], None], tuple[type[KnownError], str]] = {
    flip_a_bit_of_the_weights: (
        PromotionRefused,
        "files: 1 of 2 files are not what was signed (changed: adapter_model",
    ),
    edit_the_manifest: (PromotionRefused, "read: "),
    strip_a_statement: (PromotionRefused, "read: the rows of the database about"),
    lose_the_weights: (PromotionUnverified, "files: 1 files are recorded, their bytes are not here"),
    lambda registry, version, home: revoke(registry): (PromotionRefused, "trust: the key"),
    lambda registry, version, home: leave_the_key_out(registry): (PromotionUnverified, "trust: "),
    lambda registry, version, home: let_the_file_expire(registry): (
        PromotionUnverified,
        "trust: version 2 of the trust",
    ),
}


@pytest.mark.parametrize(
    "state", STATES, ids=["weights", "manifest", "statement", "lost", "revoked", "unlisted", "expired"]
)
def test_nothing_points_at_a_version_that_does_not_verify(
    home: MadeHome, registry: Registry, version: Version, state: Callable[[Registry, Version, MadeHome], None]
) -> None:
    state(registry, version, home)
    registry.close()
    registry = home.opened(now=LATER)  # as the next command does
    before = contents(registry)
    error, named = STATES[state]
    with pytest.raises(error) as refused:
        set_alias(registry, version, "champion")
    assert named in refused.value.why
    assert refused.value.exit_code == (6 if error is PromotionRefused else 5)
    assert contents(registry) == before
    registry.close()


def test_the_name_of_the_alias_is_checked_first(registry: Registry, version: Version, home: MadeHome) -> None:
    flip_a_bit_of_the_weights(registry, version, home)
    with pytest.raises(MalformedName):
        set_alias(registry, version, "3")


def test_a_version_whose_base_is_elsewhere_is_promoted_by_its_recorded_identity(
    registry: Registry, version: Version
) -> None:
    set_alias(registry, version, "champion")
    assert version_named(registry, "helper@champion") == version.revised(aliases=("champion",))


def test_a_pending_registration_is_promoted_by_its_verdict(home: MadeHome, tmp_path: Path) -> None:
    """Somebody else holds the log key; the move is as pending as the registration."""
    key = home.folder / "keys" / "log.key"
    hidden = key.rename(tmp_path / "log.key")
    registry = home.opened()
    pending = register_adapter(registry, tmp_path, value=0.25)
    assert verify_version(registry, pending).verdict == "verified"
    set_alias(registry, pending, "champion")
    registry.close()
    hidden.rename(key)
    registry = home.opened()
    with pytest.raises(KnownError, match="counts once the log is signed"):
        version_named(registry, "helper@champion")
    publish_checkpoint(registry)
    assert version_named(registry, "helper@champion").label == pending.label
    registry.close()


def refuse_to_write(*_: object, **__: object) -> None:
    raise DiskFull("the disk")


def test_a_disk_that_fills_once_the_move_is_recorded_denies_no_move(
    registry: Registry, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told that nothing was done does it again, or relies on where the alias pointed."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_sign", refuse_to_write)
        with pytest.raises(LogNotSigned, match="is in the log, and pending"):
            set_alias(registry, version, "first")
    with pytest.raises(NotFound):
        version_named(registry, "helper@first")
    with monkeypatch.context() as patch:
        patch.setattr(home_module, "write_atomically", refuse_to_write)
        with pytest.raises(CheckpointNotKept, match="is in the log, and counts"):
            set_alias(registry, version, "second")
    assert [version_named(registry, f"helper@{alias}").number for alias in ("first", "second")] == [1, 1]
    publish_checkpoint(registry)
    assert registry.remembered_checkpoint() == checkpoints.newest_checkpoint(registry)


def test_a_move_without_the_log_key_says_that_it_waits_and_so_does_whoever_reads_the_alias(
    home: MadeHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home.folder / "keys" / "log.key").rename(tmp_path / "log.key")
    at_home = ["--home", str(home.folder)]
    assert run(["promote", "helper:1", "champion", "--policy", "none", *at_home]) == 0
    said = capsys.readouterr()
    assert "pending  it points there once the log is signed" in said.out
    assert "registry log sign" in said.err and "registry pull" not in said.err
    assert run(["show", "helper@champion", *at_home]) == 7
    refused = capsys.readouterr().err
    assert "it was moved to helper:1, which counts once the log is signed" in refused
    (tmp_path / "log.key").rename(home.folder / "keys" / "log.key")
    assert run(["log", "sign", *at_home]) == 0
    assert run(["show", "helper@champion", *at_home]) == 0
