"""Commands that read whole weights show how far they are: on a terminal alone, and never where nobody wants to see it."""

import sys
from pathlib import Path

import pytest

from peft_registry.cli import progress
from peft_registry.cli.main import run
from tests.builders.homes import adapter_files, base_files

STEPS = {"base add": "hash", "import": "import", "verify": "verify"}


@pytest.mark.parametrize("watched", ["terminal", "quiet terminal", "pipe"])
def test_a_command_that_reads_weights_shows_its_progress_on_a_terminal_and_nowhere_else(
    tmp_path: Path, watched: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: watched != "pipe")
    monkeypatch.setattr(progress, "_REDRAW_SECONDS", 0.0)  # what is small is drawn too
    home = ["--home", str(tmp_path / ".registry")]
    quiet = ["-q"] if watched == "quiet terminal" else []
    assert run(["init", "--unencrypted", "--no-example", *home]) == 0
    commands = {
        "base add": ["base", "add", str(base_files(tmp_path / "base")), "--name", "tiny"],
        "import": ["import", str(adapter_files(tmp_path / "adapter")), "--base", "tiny", "--name", "helper"],
        "verify": ["verify", "tiny"],
    }
    capsys.readouterr()
    for name, words in commands.items():
        assert run([*quiet, *words, *home]) == 0, name
        shown = capsys.readouterr()
        drawn = [line for line in shown.err.split("\x1b[2K") if line.startswith(f"{STEPS[name]:<8} ")]
        assert bool(drawn) == (watched == "terminal"), name
        assert all(" B" in line for line in drawn)
        assert "\x1b" not in shown.out
        if watched != "terminal":
            assert " B of " not in shown.err
