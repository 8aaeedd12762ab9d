"""A command that is told to end, by `kill` or by a terminal that closes, ends like one that was interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.homes import a_home
from tests.e2e.commands import environment, signals_of_a_terminal

# the first thing that a verification does once it has a folder for what it fetches
PAUSED = """
import sys, time
from peft_registry.registry.use_cases import verify

def wait(_):
    print("inside", flush=True)
    time.sleep(60)

verify._known = wait
from peft_registry.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("sent", "ignored"),
    [
        pytest.param(signal.SIGTERM, None, id="kill"),
        pytest.param(signal.SIGHUP, None, id="terminal closed"),
        pytest.param(signal.SIGTERM, signal.SIGINT, id="kill in the background of a shell"),
    ],
)
def test_a_verification_that_is_told_to_end_leaves_no_copy_of_what_it_verifies(
    sent: signal.Signals, ignored: signal.Signals | None, tmp_path: Path
) -> None:
    with a_home(tmp_path / "home"):
        pass
    model = tmp_path / "model"
    model.mkdir()
    (model / "manifest.json").write_text("{}")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSED, "verify", str(model), "--trust", str(tmp_path / "home" / "trust.json")],
        env=environment(tmp_path, TMPDIR=str(scratch)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signals_of_a_terminal(ignored),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    assert [path.name.rpartition("-")[0] for path in scratch.iterdir()] == ["registry-verify"]
    os.kill(process.pid, sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    assert list(scratch.iterdir()) == []
