"""The run of the tests itself fails where a layer was imported under its bare name (tests/conftest.py)."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.interpreter import ROOT


def run_tests(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the tests of a folder under our conftest, away from our settings."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"),
            *("-c", str(folder / "pytest.ini"), "--rootdir", str(folder), *options, str(folder)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "options", "code"),
    [("trainer", (), 1), ("registry", ("-n", "1"), 1), ("trainer_of_mine", (), 0)],
    ids=["one process", "xdist", "another name"],
)
def test_the_run_fails_after_a_bare_import(tmp_path: Path, module: str, options: tuple[str, ...], code: int) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / f"{module}.py").write_text("")
    (tmp_path / "test_it.py").write_text(f"def test_first():\n    import {module}\n\n\ndef test_second():\n    pass\n")
    done = run_tests(tmp_path, *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert ("imported under a bare name" in done.stdout) == bool(code)
