"""`registry train --nproc 2`: two gloo processes give the curve of one, one version is registered, and nothing stays behind
when a process dies or the user interrupts. `--nnodes 2`: the same of two commands that meet."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from tests.builders.homes import copied_workplace, state_of_the_run
from tests.e2e.commands import (
    Done,
    WarmCommand,
    command_line,
    environment,
    signals_of_a_terminal,
    wait_until,
)
from tests.e2e.terminal import ctrl_c_after_some_steps
from tests.processes.secrets import SECRETS, secrets_seen_by

SHARE = (
    "train",
    "example/train.yml",
    "evaluation.bias=[]",
    "--no-mirror",
    "training.per_device_train_batch_size=4",
    "training.dtype=fp32",
)
SHORT = ("training.num_train_epochs=3",)
ENDLESS = ("training.num_train_epochs=4000", "training.save_steps=5")


def processes_of(workplace: Path) -> dict[int, str]:
    """The processes whose command line names a file of this workplace, by id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended meanwhile
            continue
        if str(workplace) in line and "peft_registry.trainer.runs.worker" in line:
            found[int(path.parent.name)] = line
    return found


def workers_of(workplace: Path) -> list[int]:
    return [pid for pid, line in processes_of(workplace).items() if "peft_registry.trainer.runs.torchrun" not in line]


def curve_of(workplace: Path, label: str) -> tuple[float, ...]:
    with closing(open_home(workplace / ".registry")) as registry:
        run = records_of(registry, version_named(registry, label)).run
    assert run is not None
    return run.curve.loss


@dataclass(frozen=True)
class Shared:
    """A folder in which two processes trained a version, and what the command answered."""

    folder: Path
    answer: dict[str, Any]


@pytest.fixture(scope="module")
def shared(warm: WarmCommand, empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Shared:
    folder = copied_workplace(empty_home, tmp_path_factory.mktemp("shared") / "work")
    return Shared(folder, warm(*SHARE, *SHORT, "--nproc", "2", "-o", "json", cwd=folder).ok().value)


@pytest.mark.processes
@pytest.mark.cores
def test_two_processes_give_the_curve_of_one_and_register_once(
    shared: Shared, warm: WarmCommand, listed: Callable[[Path], list[str]]
) -> None:
    workplace = shared.folder
    assert listed(workplace) == ["polite-replies:1", "tiny:1"]
    alone = (*SHARE, *SHORT, "training.gradient_accumulation_steps=2", "name=alone")
    one = warm(*alone, "-o", "json", cwd=workplace).ok().value
    assert curve_of(workplace, "polite-replies:1") == pytest.approx(curve_of(workplace, "alone:1"), rel=1e-4)
    assert shared.answer["loss_after"] == pytest.approx(one["loss_after"], rel=1e-4)
    assert warm("verify", "polite-replies:1", cwd=workplace).code == 0
    assert list((workplace / ".registry" / "runs").iterdir()) == []
    assert processes_of(workplace) == {}


@pytest.mark.full  # two processes that resume, below, begin with weights that they are given too
@pytest.mark.processes
@pytest.mark.cores
def test_two_processes_go_on_where_a_registered_adapter_ended(shared: Shared, warm: WarmCommand) -> None:
    workplace = shared.folder
    warm(*SHARE, *SHORT, "name=more", "continue_from=polite-replies", "--nproc", "2", cwd=workplace).ok()
    assert curve_of(workplace, "more:1")[0] < curve_of(workplace, "polite-replies:1")[0] - 0.1
    assert list((workplace / ".registry" / "runs").iterdir()) == []
    assert processes_of(workplace) == {}


@pytest.mark.processes
@pytest.mark.cores
def test_ctrl_c_leaves_no_process_and_registers_nothing_and_both_resume_to_the_weights_of_a_whole_run(
    shared: Shared, warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    code, shown = ctrl_c_after_some_steps(workplace, *SHARE, *SHORT, "--nproc", "2")
    assert code == 130, shown
    wait_until(lambda: processes_of(workplace) == {}, seconds=30)
    assert listed(workplace) == ["tiny:1"]
    state = state_of_the_run(workplace)
    assert 0 < state["step"] < state["steps"]
    assert f"`registry train --resume {state['run_id'][:12]}`" in " ".join(shown.split())
    resumed = warm("train", "--resume", "--no-mirror", "-o", "json", cwd=workplace).ok()
    record = warm("show", "polite-replies:1", "-o", "json", cwd=workplace).ok().out
    assert f"resumed after step {state['step']}" in record
    assert resumed.value["weights_digest"] == shared.answer["weights_digest"]


def started(workplace: Path) -> "subprocess.Popen[str]":
    """A cold command with two workers, once they have trained some steps."""
    process = subprocess.Popen(
        command_line(*SHARE, *ENDLESS, "--nproc", "2"),
        cwd=workplace,
        env=environment(workplace, **SECRETS),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=signals_of_a_terminal,
    )
    try:
        wait_until(lambda: state_of_the_run(workplace)["step"] >= 5 or process.poll() is not None)
        assert process.poll() is None
        assert len(workers_of(workplace)) == 2
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.processes
@pytest.mark.cores
def test_no_process_gets_passphrase_or_token_and_one_that_dies_takes_the_others_with_it_and_nothing_is_registered(
    workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    process = started(workplace)
    assert secrets_seen_by([process.pid])[process.pid] == SECRETS.keys(), "this command has them"
    assert list(secrets_seen_by(processes_of(workplace)).values()) == [set()] * 3  # torchrun and two workers
    os.kill(max(workers_of(workplace)), signal.SIGKILL)
    code, err = ended(process)
    assert code == 4, err
    assert "error: a training process ended early" in err
    wait_until(lambda: processes_of(workplace) == {}, seconds=10)
    assert listed(workplace) == ["tiny:1"]
    assert state_of_the_run(workplace)["status"] == "failed"


@pytest.mark.full
@pytest.mark.processes
@pytest.mark.cores
def test_a_command_that_is_killed_leaves_no_process_and_registers_nothing(
    workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    """As one does that Ctrl-C ends."""
    process = started(workplace)
    process.kill()
    code, err = ended(process)
    assert code == -signal.SIGKILL, err
    wait_until(lambda: processes_of(workplace) == {}, seconds=30)
    assert listed(workplace) == ["tiny:1"]


# --- two machines: here two commands with a home each, which meet on a port of this one ---


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def of_two_machines(
    warm: WarmCommand, one: Path, other: Path, *arguments: str
) -> tuple[tuple[Path, Done], tuple[Path, Done]]:
    """How the same command ended on both; that of process 0 comes first, where one registered."""
    meeting = ("--nnodes", "2", "--rdzv-endpoint", f"127.0.0.1:{a_free_port()}")
    beside = warm.start(*SHARE, *arguments, *meeting, cwd=other)
    here = warm(*SHARE, *arguments, *meeting, cwd=one)
    found = ((one, here), (other, beside.wait()))
    return found if "registered" in here.out else found[::-1]


@pytest.mark.processes
@pytest.mark.cores
def test_two_machines_give_the_curve_of_one_process_and_one_of_them_registers(
    warm: WarmCommand, workplace: Path, empty_home: Path, tmp_path: Path, listed: Callable[[Path], list[str]]
) -> None:
    other = copied_workplace(empty_home, tmp_path / "other")
    (leading, leads), (following, follows) = of_two_machines(warm, workplace, other, "training.num_train_epochs=2")
    assert (leads.code, follows.code) == (0, 0), (leads, follows)
    assert listed(leading) == ["polite-replies:1", "tiny:1"]
    assert listed(following) == ["tiny:1"]
    assert "this machine is done" in follows.err
    assert "registered" not in follows.out
    alone = ("training.num_train_epochs=2", "training.gradient_accumulation_steps=2", "name=alone")
    warm(*SHARE, *alone, cwd=leading).ok()
    assert curve_of(leading, "polite-replies:1") == pytest.approx(curve_of(leading, "alone:1"), rel=1e-4)
    for place in (leading, following):
        assert list((place / ".registry" / "runs").iterdir()) == []
        assert processes_of(place) == {}


@pytest.mark.full  # test_sharding.py shows that processes find it out; here two commands say so
@pytest.mark.processes
@pytest.mark.cores
def test_a_machine_with_other_data_is_found_out_before_anything_is_trained(
    warm: WarmCommand, workplace: Path, empty_home: Path, tmp_path: Path, listed: Callable[[Path], list[str]]
) -> None:
    other = copied_workplace(empty_home, tmp_path / "other")
    with (other / "example" / "example.jsonl").open("a") as rows:
        rows.write(json.dumps({"prompt": "one row", "completion": "more"}) + "\n")
    for place, done in of_two_machines(warm, workplace, other):
        assert done.code in (2, 4), done  # 4 where the other machine's process had already been ended
        assert listed(place) == ["tiny:1"]
        assert processes_of(place) == {}
        assert "has another data than process" in done.err or "ended early" in done.err


# --- weights that are spread over the processes ---


@pytest.mark.full
@pytest.mark.processes
@pytest.mark.cores
def test_two_processes_that_have_a_part_of_the_base_each_register_one_version_and_a_killed_one_is_resumed(
    warm: WarmCommand, workplace: Path, listed: Callable[[Path], list[str]]
) -> None:
    spread = ("training.sharding=full", "--nproc", "2")
    whole = warm(*SHARE, *SHORT, *spread, "-o", "json", cwd=workplace).ok().value
    assert listed(workplace) == ["polite-replies:1", "tiny:1"]
    alone = (*SHARE, *SHORT, "training.gradient_accumulation_steps=2", "name=alone")
    one = warm(*alone, "-o", "json", cwd=workplace).ok().value
    assert curve_of(workplace, "polite-replies:1") == pytest.approx(curve_of(workplace, "alone:1"), abs=1e-5)
    assert whole["loss_after"] == pytest.approx(one["loss_after"], rel=1e-4)
    assert warm("verify", "polite-replies:1", cwd=workplace).code == 0
    assert list((workplace / ".registry" / "runs").iterdir()) == []

    begun = warm.start(*SHARE, *SHORT, *spread, "name=again", "training.save_steps=2", cwd=workplace)
    wait_until(lambda: state_of_the_run(workplace)["step"] >= 2)
    os.kill(max(workers_of(workplace)), signal.SIGKILL)
    stopped = begun.wait()
    assert stopped.code == 4, stopped
    assert "Traceback" not in stopped.err
    # of two that end within one look of torchrun either may be the first
    assert re.search(r"process [01] was the first to fail: (?:killed by SIGKILL|ended with 4)\n", stopped.err)
    wait_until(lambda: processes_of(workplace) == {}, seconds=30)
    other = warm("train", "--resume", "--nproc", "3", cwd=workplace)
    assert other.code == 2
    assert "begun in 2 processes" in other.err
    resumed = warm("train", "--resume", "--no-mirror", "-o", "json", cwd=workplace).ok().value
    assert resumed["weights_digest"] == whole["weights_digest"]
    assert processes_of(workplace) == {}
