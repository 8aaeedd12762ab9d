"""The run of the tests itself leaves nothing in the folder for temporary files but what pytest keeps (tests/conftest.py)."""

from pathlib import Path

import pytest

from tests.unit.test_bare_names import run_tests

LEAVES = """
import os
import subprocess
import sys
import tempfile


def test_it(tmp_path):
    tempfile.mkdtemp(prefix="left-here-")
    subprocess.run([sys.executable, "-c", "import os, tempfile; tempfile.mkdtemp(); os._exit(1)"])
    assert not os.environ["TMPDIR"].startswith(str(tmp_path.parent))
"""


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["one process", "xdist"])
def test_a_run_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    system = tmp_path / "system"
    system.mkdir()
    monkeypatch.setenv("TMPDIR", str(system))
    monkeypatch.delenv("PYTEST_DEBUG_TEMPROOT")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "pytest.ini").write_text("[pytest]\n")
    (inner / "test_it.py").write_text(LEAVES)
    done = run_tests(inner, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name.partition("-")[0] for path in system.iterdir()] == ["pytest"]
