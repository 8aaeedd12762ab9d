"""A file that did not change since its user verified it is not hashed again; one that did, in any way, is."""

import os
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.disk.hashing import _SETTLED_NS
from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.homes import a_home, register_adapter

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """Every folder of these tests: what is remembered of files is their subject."""
    return on_disk


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pulled folder; its files count as settled, and their user has a state folder of their own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("peft_registry.registry.disk.hashing._SETTLED_NS", 0)
    assert _SETTLED_NS > 0
    with a_home(tmp_path / "home", now=utc_now()) as registry:
        pull_version(registry, register_adapter(registry, tmp_path), tmp_path / "pulled")
    return tmp_path / "pulled"


def verify(folder: Path, *more: str) -> int:
    return run(["verify", str(folder), "--trust", str(folder.parent / "home" / "trust.json"), *more])


def test_a_second_verification_says_what_it_did_not_hash_and_no_cache_hashes_it(pulled: Path, capsys: Printed) -> None:
    assert verify(pulled) == 0
    assert "unchanged" not in capsys.readouterr().err
    assert verify(pulled) == 0
    assert "2 files are unchanged since you verified them last" in capsys.readouterr().err
    assert verify(pulled, "--no-cache") == 0
    assert "unchanged" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_file_that_was_changed_and_dated_back_is_hashed_again(pulled: Path, capsys: Printed, name: str) -> None:
    path = pulled / name
    assert verify(pulled) == 0
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verify(pulled) == 6
    assert name in capsys.readouterr().out


def test_the_digests_lie_with_the_user_and_not_with_what_is_verified(pulled: Path) -> None:
    assert verify(pulled) == 0
    state = pulled.parent / "state"
    assert [path.name for path in state.rglob("digests.sqlite")] == ["digests.sqlite"]
    assert not list(pulled.rglob("*.sqlite"))
