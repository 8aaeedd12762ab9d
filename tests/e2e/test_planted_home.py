"""A home that came in one archive with what is being verified: its own trust file must not vouch for it."""

import shutil
from pathlib import Path

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.homes import a_home, register_adapter
from tests.e2e.commands import registry


def planted(tmp_path: Path) -> Path:
    """A stranger's registry and a model that it signed, as unpacked from an archive."""
    archive = tmp_path / "archive"
    with a_home(tmp_path / "theirs", now=utc_now()) as stranger:
        version = register_adapter(stranger, tmp_path)
        pull_version(stranger, version, archive / "model")
    shutil.copytree(tmp_path / "theirs", archive / ".registry")
    return archive


def test_a_home_found_upwards_that_was_never_named_vouches_for_nothing(tmp_path: Path) -> None:
    archive = planted(tmp_path)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    for target in ("./model", "helper:1"):
        done = registry("verify", target, cwd=archive, **state)
        assert done.code == 5, done.out + done.err
        assert "never named it" in done.out + done.err
    page = registry("report", "helper:1", "--out", "-", cwd=archive, **state).ok().out
    assert "never named it" in page
    assert "✓ verified" not in page
    assert registry("pull", "helper:1", "copy", cwd=archive, **state).code == 5
    assert not (archive / "copy").exists()


def test_naming_a_home_once_makes_it_ones_own(tmp_path: Path) -> None:
    archive = planted(tmp_path)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    assert registry("verify", "./model", "--home", ".registry", cwd=archive, **state).code == 0
    assert registry("verify", "./model", cwd=archive, **state).code == 0
    assert (tmp_path / "state" / "peft-registry" / "roots").stat().st_mode & 0o077 == 0
