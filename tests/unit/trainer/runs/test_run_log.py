"""The log of a run under way: what is written of it, and what is read of one that anybody may have changed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.disk.process_identity import this_process
from peft_registry.registry.homes import run_logs
from peft_registry.registry.homes.run_logs import (
    RUN_LOG_NAME,
    RunNotFound,
    RunUnderWay,
    followed,
    line_interval,
    run_named,
    runs_under_way,
)
from peft_registry.schemas.errors import RunFailed
from peft_registry.schemas.progress import Finished, Measured, Started, Warned
from peft_registry.schemas.run_log import ProcessIdentity, RunEnded, RunMeasured
from peft_registry.trainer.runs.folder import StillRunning, remove_run, run_folder
from peft_registry.trainer.runs.run_log import RunLog, run_log
from tests.builders.run_logs import RUN, START, begun, point, write_log


class Broken(RunFailed):
    reference = "broken"
    what = "it broke"
    why = "a test said so"
    fix = "none"


def gone() -> ProcessIdentity:
    """A process that has ended."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    return this_process().revised(pid=int(ended.stdout))


def the_run(runs: Path) -> RunUnderWay:
    (run,) = runs_under_way(runs)
    return run


def losses(run: RunUnderWay) -> dict[int, float]:
    return {point.step: point.values["loss"] for point in run.points if "loss" in point.values}


# --- what is written ---


def test_each_step_of_a_living_run_is_there_at_once_with_its_figures(tmp_path: Path) -> None:
    with run_folder(tmp_path, RUN) as folder, run_log(folder, begun(), lambda _: None) as log:
        heard: list[object] = []
        observe = log.observing(heard.append)
        observe(Started("train", total=40, unit="step"))
        observe(Measured(0, {"held_out_loss": 3.0}))
        observe(Measured(1, {"loss": 2.5, "learning_rate": 1e-3, "gradient_norm": 0.25}))
        run = the_run(tmp_path)
        assert (run.state, run.stage, run.step, run.steps, run.sentence) == ("RUNNING", "train", 1, 40, None)
        assert [point.values for point in run.points] == [
            {"held_out_loss": 3.0},
            {"loss": 2.5, "learning_rate": 1e-3, "gradient_norm": 0.25},
        ]
        assert (run.latest("held_out_loss"), run.latest("validation_loss")) == (3.0, None)
        assert len(heard) == 3
        log.end("FINISHED", "registered as boxes:1", version="boxes:1")
        assert the_run(tmp_path).version == "boxes:1"
    assert runs_under_way(tmp_path) == ()


@pytest.mark.parametrize(
    ("error", "state", "says"),
    [
        (Broken(), "FAILED", "it broke: a test said so"),
        (KeyboardInterrupt(), "KILLED", "interrupted"),
        (ZeroDivisionError(), "FAILED", "ZeroDivisionError"),
    ],
)
def test_a_run_that_ends_by_an_error_keeps_its_log_and_nothing_else(
    error: BaseException, state: str, says: str, tmp_path: Path
) -> None:
    def fails() -> None:
        with run_folder(tmp_path, RUN) as folder, run_log(folder, begun(), lambda _: None) as log:
            (folder / "artifact").mkdir()
            (folder / "file").touch()
            log.note(Started("train", total=4))
            raise error

    with pytest.raises(type(error)):
        fails()
    run = the_run(tmp_path)
    assert run.state == state
    assert says in str(run.sentence)
    assert [path.name for path in (tmp_path / RUN).iterdir()] == [RUN_LOG_NAME]
    with run_folder(tmp_path, "other"):
        assert the_run(tmp_path).state == state, "the next run leaves it"


def test_a_run_that_is_refused_before_it_trains_leaves_no_log(tmp_path: Path) -> None:
    with pytest.raises(Broken), run_folder(tmp_path, RUN) as folder, run_log(folder, begun(), lambda _: None):
        raise Broken
    assert list(tmp_path.iterdir()) == []


def test_a_long_run_writes_fewer_points_and_never_loses_the_last_or_a_held_out_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_logs, "_POINTS_UNTHINNED", 10)
    (tmp_path / RUN).mkdir()
    log = RunLog(tmp_path / RUN, lambda _: None)
    log.begin(begun())
    for step in range(1, 1000):
        log.note(Measured(step, {"loss": 1.0}))
        if step % 333 == 0:
            log.note(Measured(step, {"held_out_loss": 2.0}))
    log.note(Finished("train"))
    lines = [json.loads(line) for line in (tmp_path / RUN / RUN_LOG_NAME).read_bytes().splitlines()[2:]]
    assert [line["step"] for line in lines if "held_out_loss" in line["values"]] == [333, 666, 999]
    assert len(lines) < 100
    assert lines[-1]["step"] == 999
    monkeypatch.undo()
    assert [line_interval(step) for step in (1, 19_999, 20_000, 1_000_000)] == [1, 1, 2, 64]


def test_a_log_that_cannot_be_written_is_given_up_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[object] = []
    (tmp_path / RUN).mkdir()
    log = RunLog(tmp_path / RUN, heard.append)
    log.begin(begun())

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    log.note(Measured(1, {"loss": 1.0}))
    log.note(Measured(2, {"loss": 1.0}))
    (warning,) = heard
    assert isinstance(warning, Warned)
    assert "No space left" in warning.text


def test_a_link_in_place_of_the_log_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / RUN).mkdir()
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / RUN / RUN_LOG_NAME).symlink_to(target)
    heard: list[object] = []
    RunLog(tmp_path / RUN, heard.append).begin(begun())
    assert len(heard) == 1
    assert target.read_text() == "mine"
    assert runs_under_way(tmp_path) == ()


# --- who is alive ---


HOLD = """
import sys, time
from pathlib import Path
from peft_registry.registry.disk.process_identity import this_process
from peft_registry.schemas.progress import Measured, Started
from peft_registry.schemas.run_log import RunBegun
from peft_registry.trainer.runs.folder import run_folder
from peft_registry.trainer.runs.run_log import run_log
begun = RunBegun.model_validate_json(sys.argv[2]).revised(process=this_process())
with run_folder(Path(sys.argv[1]), begun.run_id) as folder, run_log(folder, begun, print) as log:
    log.note(Started("train", total=9))
    log.note(Measured(int(sys.argv[3]), {"loss": float(sys.argv[3])}))
    print("trains", flush=True)
    sys.stdin.read()
"""


def test_a_killed_run_is_shown_as_killed_and_resumed_it_is_one_run(tmp_path: Path) -> None:
    for step in ("3", "4"):
        command = [sys.executable, "-c", HOLD, str(tmp_path), begun().model_dump_json(), step]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "trains\n"
            assert the_run(tmp_path).state == "RUNNING"
            with pytest.raises(StillRunning):
                remove_run(tmp_path, RUN)
            process.send_signal(signal.SIGKILL)
        assert the_run(tmp_path).state == "KILLED"
    assert losses(the_run(tmp_path)) == {3: 3.0, 4: 4.0}
    remove_run(tmp_path, RUN)
    assert list(tmp_path.iterdir()) == []


OTHERS: dict[str, tuple[Callable[[], ProcessIdentity], str | None]] = {
    "its process has ended": (gone, "KILLED"),
    "another process has its number": (lambda: this_process().revised(started=1), "KILLED"),
    "the machine was started anew": (lambda: this_process().revised(boot="another"), "KILLED"),
    "the system tells nothing of processes, and nobody holds the folder": (
        lambda: this_process().revised(started=None),
        "KILLED",
    ),
    "a container counts its processes by itself": (lambda: this_process().revised(namespace="pid:[1]"), "KILLED"),
    "another machine shares the folder": (lambda: this_process().revised(boot="another", host="elsewhere"), None),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_process_that_is_not_the_one_that_began_is_seen(case: str, tmp_path: Path) -> None:
    process, state = OTHERS[case]
    write_log(tmp_path, begun(process()))
    assert [run.state for run in runs_under_way(tmp_path)] == ([] if state is None else [state])


def test_a_run_of_a_container_holds_its_folder_while_it_lives(tmp_path: Path) -> None:
    with run_folder(tmp_path, RUN) as folder:
        (folder / RUN_LOG_NAME).write_text(begun(this_process().revised(namespace="pid:[1]")).model_dump_json() + "\n")
        assert the_run(tmp_path).state == "RUNNING"


# --- what is read of a log that anybody may have changed ---


RUBBISH: dict[str, bytes] = {
    "a time that no calendar has": b'{"kind":"point","step":2,"at":1e300,"values":{"loss":1.0}}',
    "a step that no run takes": b'{"kind":"point","step":100000000000000000000,"at":1.0,"values":{"loss":1.0}}',
    "a line that is cut": b'{"kind":"point","step":2,"at":18000',
    "binary": bytes(range(256)) * 40,
    "a deep nest": b"[" * 100_000,
    "a number that is none": b'{"kind":"point","step":2,"at":1.0,"values":{"loss":NaN}}',
    "a metric that is none of ours": b'{"kind":"point","step":2,"at":1.0,"values":{"loss/train":5.0}}',
    "a kind that is none": b'{"kind":"registered","version":"boxes:1"}',
    "a long line": b'{"kind":"point","step":2,"at":1.0,"values":{},"pad":"' + b"x" * 600_000 + b'"}',
}


@pytest.mark.parametrize("case", RUBBISH)
def test_lines_that_are_not_understood_are_passed_over(case: str, tmp_path: Path) -> None:
    write_log(tmp_path, begun(), point(1, 2.0), RUBBISH[case], point(3, 1.0))
    run = the_run(tmp_path)
    assert run.state == "RUNNING"
    assert losses(run) == {1: 2.0, 3: 1.0}


def test_figures_of_a_script_are_never_taken_for_ours(tmp_path: Path) -> None:
    write_log(tmp_path, begun(), point(1, 2.0, logged={"loss": 99.0, "loss/train": 98.0}))
    (only,) = the_run(tmp_path).points
    assert (only.values, only.logged) == ({"loss": 2.0}, {"loss": 99.0, "loss/train": 98.0})


def test_a_log_of_a_gigabyte_is_read_at_its_beginning_and_its_end(tmp_path: Path) -> None:
    folder = write_log(tmp_path, begun(), *(point(step, 2.0) for step in range(1, 3001)))
    with (folder / RUN_LOG_NAME).open("r+b") as file:
        file.truncate(1 << 30)  # zeros, which take no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + json.dumps(point(9000, 1.0)).encode() + b"\n")
        file.write(RunEnded(state="FAILED", sentence="it broke", at=START).model_dump_json().encode() + b"\n")
    began = time.process_time()
    run = the_run(tmp_path)
    assert time.process_time() - began < 2
    assert (run.state, run.step, run.is_cut) == ("FAILED", 9000, True)
    assert len(run.points) == 1024
    assert (run.points[0].step, run.points[-1].step) == (1, 9000)


def test_a_clock_that_was_set_back_lets_no_curve_run_backwards(tmp_path: Path) -> None:
    write_log(tmp_path, begun(), point(1, 3.0), point(2, 2.0) | {"at": START - 86_400}, point(3, 1.0))
    assert [point.at - START for point in the_run(tmp_path).points] == [1, 1, 3]


def test_of_several_trials_the_newest_is_shown(tmp_path: Path) -> None:
    write_log(tmp_path, begun(), *(point(step, 3.0, seed=1) for step in (1, 2, 3)), point(1, 2.0, seed=2))
    assert losses(the_run(tmp_path)) == {1: 2.0}


def planted_link(runs: Path) -> None:
    folder = write_log(runs, begun(), run="elsewhere")
    (runs / RUN).mkdir()
    (runs / RUN / RUN_LOG_NAME).symlink_to(folder / RUN_LOG_NAME)


def planted_folder(runs: Path) -> None:
    outside = write_log(runs.parent / "outside", begun())
    (runs / RUN).symlink_to(outside)


def planted_pipe(runs: Path) -> None:
    (runs / RUN).mkdir()
    os.mkfifo(runs / RUN / RUN_LOG_NAME)


def planted_copy(runs: Path) -> None:
    write_log(runs, begun(), run="another-id")


@pytest.mark.parametrize("plant", [planted_link, planted_folder, planted_pipe, planted_copy])
def test_what_is_no_log_of_its_own_folder_is_no_run(plant: Callable[[Path], None], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    plant(runs)
    assert runs_under_way(runs) == ()


# --- asking for one ---


def test_a_run_is_named_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    other = "3f2b" + RUN[4:]
    write_log(tmp_path, begun())
    write_log(tmp_path, begun(run_id=other), run=other)
    assert run_named(tmp_path, "3f2a").run_id == RUN
    for asked in ("3f2", "", "zz"):
        with pytest.raises(RunNotFound):
            run_named(tmp_path, asked)


def test_whoever_follows_a_run_hears_its_end_although_its_folder_is_gone(tmp_path: Path) -> None:
    heard = []
    with run_folder(tmp_path, RUN) as folder, run_log(folder, begun(), lambda _: None) as log:
        log.note(Started("train", total=2))
        log.note(Measured(1, {"loss": 2.0}))

        def wait() -> None:
            log.note(Measured(2, {"loss": 1.0}))
            log.end("FINISHED", "registered as boxes:1")
            for path in folder.iterdir():
                path.unlink()

        heard = list(followed(tmp_path, the_run(tmp_path), wait=wait))
    assert [line.step for line in heard if isinstance(line, RunMeasured)] == [1, 2]
    assert isinstance(heard[-1], RunEnded)
