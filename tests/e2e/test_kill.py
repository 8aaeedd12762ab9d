"""kill -9 at any moment: nothing is registered that is not whole, the home opens, and the same command succeeds afterwards."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from peft_registry.registry.homes.run_logs import RUN_LOG_NAME
from tests.e2e.commands import WarmCommand, wait_until

TRAIN = ("train", "example/train.yml", "training.num_train_epochs=1", "evaluation.bias=[]", "--no-mirror")
KILLED = -9
MOMENTS = (
    "peft_registry.trainer.training.train_adapter.load_base",
    "peft_registry.trainer.runs.before_after.evaluate_before_after",
    "peft_registry.registry.use_cases.register._store_files",
    "peft_registry.registry.use_cases.register._write_rows",  # test_register.py stops at each step between these two
)


def kill_when_it_says(warm: WarmCommand, folder: Path, text: str, *command: str, pause: str = "") -> None:
    running = warm.start(*command, cwd=folder, pause=pause)
    try:
        wait_until(lambda: text in running.out)
    finally:
        running.kill()
        done = running.wait()
    assert done.code == KILLED, done


def scratch(runs: Path) -> int:
    """The folders of runs that hold more than a log and a state to resume from."""
    kept = {"run.json", "training", RUN_LOG_NAME}
    return sum(not {path.name for path in folder.iterdir()} <= kept for folder in runs.iterdir())


@pytest.mark.processes
def test_a_training_killed_at_any_moment_leaves_the_home_as_it_was(
    warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    """Killed as its first lines appear, then wherever it is about to do the next thing."""
    runs = workplace / ".registry" / "runs"
    for line in ("base  ", "method  "):
        kill_when_it_says(warm, workplace, line, *TRAIN)
        assert listed(workplace) == ["tiny:1"]
    for point in MOMENTS:
        kill_when_it_says(warm, workplace, "paused", *TRAIN, pause=point)
        assert listed(workplace) == ["tiny:1"]
        assert scratch(runs) <= 1, "each run removes what the killed one before it left, but for states to resume from"
    assert warm("verify", "tiny", cwd=workplace).code == 0
    assert "registered polite-replies:1 " in warm(*TRAIN, cwd=workplace).ok().out
    assert list(runs.iterdir()) == []
    assert listed(workplace) == ["polite-replies:1", "tiny:1"]
    assert warm("verify", "polite-replies:1", cwd=workplace).code == 0


@pytest.mark.processes
def test_killed_after_its_transaction_the_version_is_whole_and_the_same_command_completes_it(
    warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    kill_when_it_says(
        warm, workplace, "paused", *TRAIN, pause="peft_registry.registry.use_cases.register.publish_checkpoint"
    )
    assert listed(workplace) == ["polite-replies:1", "tiny:1"]
    found = warm("verify", "polite-replies", "-o", "json", cwd=workplace).ok().value
    assert [one["error"] for one in found["checks"] if one["status"] != "ok"] == ["log-pending"]
    assert "already registered polite-replies:1 " in warm(*TRAIN, cwd=workplace).ok().out
    found = warm("verify", "polite-replies", "--require", "log-proof", "-o", "json", cwd=workplace).ok().value
    assert {one["status"] for one in found["checks"]} == {"ok"}


def test_a_base_add_that_is_killed_adds_nothing_and_can_be_repeated(
    warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    add = ("base", "add", "embedded", "--name", "copied", "--store", "copy")
    for point in (
        "peft_registry.registry.use_cases.register._store_files",
        "peft_registry.registry.use_cases.register._record",
    ):
        kill_when_it_says(warm, workplace, "paused", *add, pause=point)
        assert listed(workplace) == ["tiny:1"]
    assert "copied:1" in warm(*add, cwd=workplace).ok().out
    assert warm("verify", "copied:1", cwd=workplace).code == 0


def test_ctrl_c_during_signing_signs_nothing_and_the_command_can_be_repeated(
    warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    add = ("base", "add", "embedded", "--name", "signed", "--store", "copy")
    signing = "peft_registry.registry.signing.keys.PrivateKey.sign"
    before = sorted((workplace / ".registry").rglob("*.sig"))
    command = warm.start(*add, cwd=workplace, pause=signing)
    wait_until(lambda: "paused" in command.out)
    os.kill(command.pid, signal.SIGINT)
    interrupted = command.wait()
    assert interrupted.code == 130, interrupted
    assert "Traceback" not in interrupted.err
    assert sorted((workplace / ".registry").rglob("*.sig")) == before
    assert listed(workplace) == ["tiny:1"]
    assert "signed:1" in warm(*add, cwd=workplace).ok().out
    assert warm("verify", "signed:1", cwd=workplace).code == 0


@pytest.mark.parametrize("point", ["first_policy", "sign_trust", "write_settings"])
def test_an_init_that_is_killed_leaves_no_home_and_can_be_repeated(
    point: str, warm: WarmCommand, tmp_path: Path
) -> None:
    kill_when_it_says(
        warm, tmp_path, "paused", "init", "--unencrypted", pause=f"peft_registry.registry.use_cases.make_home.{point}"
    )
    assert not (tmp_path / ".registry").exists()
    assert warm("list", cwd=tmp_path).code == 7
    warm("init", "--unencrypted", cwd=tmp_path).ok()
    assert warm("list", "-o", "json", cwd=tmp_path).ok().value == []


def test_a_pull_that_is_killed_leaves_no_folder_and_can_be_repeated(warm: WarmCommand, workplace: Path) -> None:
    pull = ("pull", "tiny", "pulled")
    kill_when_it_says(warm, workplace, "paused", *pull, pause="peft_registry.registry.use_cases.pull.verify_folder")
    assert not (workplace / "pulled").exists()
    warm(*pull, cwd=workplace).ok()
    assert warm("verify", "pulled", cwd=workplace).code == 0
