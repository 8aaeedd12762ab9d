"""Little memory: a command does what it does, or ends with one error and exit 8, and leaves nothing incomplete."""

import subprocess
import sys
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import utc_now
from tests.builders.files import contents
from tests.builders.homes import a_home, register_adapter
from tests.e2e.commands import environment

_SCRIPT = """
import resource, sys
from peft_registry.cli.main import run
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20,) * 2)
sys.exit(run(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("small")
    with a_home(place / "home", now=utc_now()) as registry:
        register_adapter(registry, place)
    return place / "home"


def run_in(mebibytes: int, home: Path, cwd: Path, *line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(mebibytes), *line, "--home", str(home)],
        env=environment(cwd),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# at 90 and at 200 a module of Rust and one of BLAS ended the process by themselves; 8 of 120 says that Python did
@pytest.mark.parametrize(("mebibytes", "code"), [(90, 8), (120, 8), (200, 8), (400, 0)])
def test_a_command_ends_with_one_error_or_is_done(home: Path, tmp_path: Path, mebibytes: int, code: int) -> None:
    before = contents(home)
    done = run_in(mebibytes, home, tmp_path, "pull", "helper:1", str(tmp_path / "pulled"))
    assert done.returncode == code, done.stderr
    if code:
        what, why, fix = done.stderr.splitlines()
        assert what == "error: this command needs more memory than the system gives it"
        assert why == "  why: less than 256 MiB of address space are left" and "`ulimit -v`" in fix
    assert (tmp_path / "pulled").exists() is (code == 0)
    assert contents(home) == before


def test_a_library_that_finds_no_room_ends_a_merge_with_one_error_too(home: Path, tmp_path: Path) -> None:
    """What maps its own files, as torch does, fails in an ImportError and not in a MemoryError."""
    before = contents(home)
    done = run_in(400, home, tmp_path, "merge", "helper:1", "--name", "merged")
    assert done.returncode == 8, done.stderr
    what, _, fix = done.stderr.splitlines()[-3:]
    assert what == "error: this command needs more memory than the system gives it"
    assert "nothing incomplete was registered" in fix
    assert "Traceback" not in done.stderr
    assert contents(home) == before
