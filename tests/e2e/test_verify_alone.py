"""`registry verify`, also with `--deep` and `--key`, needs nobody: no socket, no home directory, files of others, no write."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.pull import pull_version
from tests.builders.homes import a_home, add_a_base
from tests.builders.lineage import register_made_from, register_merge
from tests.conftest import not_run
from tests.e2e.commands import Done, registry

pytestmark = pytest.mark.timeout(300)
ANOTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
WITHOUT_HOME = ("env", "-u", "HOME", "-u", "XDG_STATE_HOME")
TARGETS = {
    "version": ("verify", "merged:1", "--home", "home"),
    "deep": ("verify", "merged:1", "--deep", "--home", "home"),
    "folder": ("verify", "pulled", "--trust", "home/trust.json"),
    "deep folder": ("verify", "pulled", "--deep", "--trust", "home/trust.json"),
    "key": ("verify", "pulled", "--key", "home/keys/trainer.pub"),
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A registry with a merge, and the merge pulled; readable by everybody, writable by nobody."""
    folder = Path(tempfile.mkdtemp(prefix="registry-alone-"))  # pytest's own folders are closed to other users
    with a_home(folder / "home", now=utc_now()) as opened:
        base = add_a_base(opened, folder / "base")
        parts = [
            register_made_from(opened, folder / name, base, (), name=name, value=value)
            for name, value in (("first", 0.25), ("second", 0.5))
        ]
        register_merge(opened, folder / "made", base, parts, name="merged", value=1.0)
        pull_version(opened, version_named(opened, "merged"), folder / "pulled")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def verified(done: Done) -> None:
    assert done.code == 0, done
    assert json.loads(done.out)["verdict"] == "verified"


@pytest.mark.strace
@pytest.mark.parametrize("target", TARGETS)
def test_verify_opens_no_socket(target: str, place: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    before = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=%network", "-o", str(trace))
    verified(registry(*TARGETS[target], "-o", "json", cwd=place, before=before))
    assert "socket" not in trace.read_text("utf-8", "replace")


@pytest.mark.parametrize("target", TARGETS)
def test_verify_works_as_another_user_without_a_home_directory_and_writes_nothing(target: str, place: Path) -> None:
    if shutil.which(ANOTHER_USER[0]) is None:
        not_run("setpriv is not installed")
    try:
        probe = registry("--version", cwd=place, before=(*WITHOUT_HOME, *ANOTHER_USER))
    except PermissionError:
        probe = Done(126, "", "")
    if probe.code:
        not_run("this user cannot become another who may read the code")
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    verified(registry(*TARGETS[target], "-o", "json", cwd=place, before=(*WITHOUT_HOME, *ANOTHER_USER)))
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
