"""HOME/runs: a run's folder goes with the run; what killed runs left goes with the next; a living run keeps its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from peft_registry.trainer.runs.folder import run_folder
from tests.processes.interpreter import ROOT

HOLD = """
import sys
from pathlib import Path
from peft_registry.trainer.runs.folder import run_folder
with run_folder(Path(sys.argv[1]), "other") as folder:
    (folder / "file").write_text("x")
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with run_folder(tmp_path / "runs", "one") as folder:
        (folder / "part").mkdir()
        assert folder == tmp_path / "runs" / "one"
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_folder_is_gone_when_the_run_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path / "runs", "one"):
        raise ZeroDivisionError
    assert list((tmp_path / "runs").iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_a_link_is_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    runs = tmp_path / "runs"
    (runs / "old" / "artifact").mkdir(parents=True)
    (runs / "link").symlink_to(kept)
    with run_folder(runs, "new"):
        assert sorted(path.name for path in runs.iterdir()) == ["link", "new"]
    assert (kept / "file").exists()


def test_a_living_run_keeps_its_folder_until_it_is_killed(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(runs)],
        env={"PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with run_folder(runs, "mine"):
            assert (runs / "other" / "file").exists()
        other.kill()
    assert (runs / "other" / "file").exists(), "a kill runs no handler"
    with run_folder(runs, "mine"):
        assert [path.name for path in runs.iterdir()] == ["mine"]
