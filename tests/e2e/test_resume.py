"""kill -9 in the middle of a training, then `registry train --resume`: the same version, bit for bit, as without the kill."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.schemas.run import Trial
from tests.builders.homes import copied_workplace, state_of_the_run
from tests.e2e.commands import WarmCommand, wait_until
from tests.e2e.terminal import ctrl_c_after_some_steps

TRAIN = ("train", "example/train.yml", "base=own", "evaluation.bias=[]", "training.save_steps=4", "--no-mirror")
KILLED = -9
# a run that waits for the kill here, however late it comes, never gets to its end
SAVING = "peft_registry.trainer.training.loop._TrainingRun.save"


@pytest.fixture(scope="module")
def killed_once(warm: WarmCommand, empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workplace whose training was killed, as by a power cut, once its first checkpoint was there."""
    from peft_registry.trainer.embedded import embedded_base

    folder = copied_workplace(empty_home, tmp_path_factory.mktemp("killed") / "work")
    shutil.copytree(embedded_base(), folder / "base")
    with (folder / "base" / "config.json").open("a") as stream:
        stream.write("\n")  # the same base in other bytes: a version of its own
    warm("base", "add", "base", "--name", "own", cwd=folder).ok()
    running = warm.start(*TRAIN, cwd=folder, pause=SAVING, calls_before_pause=7)  # it saves after step 4, 8 … 36
    wait_until(lambda: state_of_the_run(folder)["step"] >= 4)
    running.kill()
    assert running.wait().code == KILLED
    state = state_of_the_run(folder)
    assert 4 <= state["step"] < state["steps"]
    return folder


@pytest.fixture
def killed(killed_once: Path, tmp_path: Path) -> Path:
    """A copy that a test may write to; what is written down with its whole path is of the copy."""
    folder = copied_workplace(killed_once, tmp_path / "work")
    for path in (*folder.glob(".registry/runs/*/run.json"), folder / ".registry" / "bases.json"):
        path.write_text(path.read_text().replace(str(killed_once), str(folder)))
    return folder


@pytest.mark.processes
def test_a_killed_run_whose_state_is_gone_can_be_removed(warm: WarmCommand, killed: Path) -> None:
    (run,) = killed.glob(".registry/runs/*")
    shutil.rmtree(run / "training")
    for words in (("list",), ("show", run.name)):
        assert f"next: registry runs remove {run.name[:12]}\n" in warm("runs", *words, cwd=killed).ok().err


@pytest.mark.processes
def test_a_killed_run_resumes_to_the_manifest_of_one_that_was_not_killed(warm: WarmCommand, killed: Path) -> None:
    state = state_of_the_run(killed)
    (listed,) = warm("runs", "list", "-o", "json", cwd=killed).ok().value
    assert (listed["run_id"], listed["state"], listed["steps"]) == (state["run_id"], "KILLED", state["steps"])
    assert state["step"] <= listed["step"] < state["steps"]
    assert f"next: registry train --resume {listed['run_id'][:12]}" in warm("runs", "list", cwd=killed).ok().err
    shown = warm("runs", "show", listed["run_id"][:8], "--follow", cwd=killed).ok().out
    assert shown.splitlines()[-1] == "state    KILLED: its process ended without a word"
    resumed = warm("train", "--resume", "--no-mirror", "-o", "json", cwd=killed).ok()
    assert resumed.value["run_id"] == state["run_id"]
    assert f"from step {state['step']} of {state['steps']}" in resumed.err
    assert list((killed / ".registry" / "runs").iterdir()) == []
    version = warm("show", "polite-replies:1", "-o", "json", cwd=killed).ok()
    assert f"resumed after step {state['step']}" in version.out
    assert f'"points": {state["steps"]}' in version.out, "each step once, of both processes"
    whole = warm(*TRAIN, "name=uninterrupted", "-o", "json", cwd=killed).ok().value
    assert resumed.value["weights_digest"] == whole["weights_digest"]
    assert resumed.value["manifest_digest"] == whole["manifest_digest"]
    assert warm("verify", "polite-replies:1", cwd=killed).code == 0


@pytest.mark.processes
def test_after_ctrl_c_with_the_default_settings_a_run_resumes_to_the_same_weights(
    warm: WarmCommand, workplace: Path
) -> None:
    command = ("train", "example/train.yml", "evaluation.bias=[]", "--no-mirror")
    code, shown = ctrl_c_after_some_steps(workplace, *command)
    assert code == 130, shown
    state = state_of_the_run(workplace)
    assert 0 < state["step"] < state["steps"]
    assert f"`registry train --resume {state['run_id'][:12]}`" in " ".join(shown.split())
    resumed = warm("train", "--resume", "--no-mirror", "-o", "json", cwd=workplace).ok()
    record = warm("show", "polite-replies:1", "-o", "json", cwd=workplace).ok().out
    assert f"resumed after step {state['step']}" in record
    whole = warm(*command, "name=uninterrupted", "-o", "json", cwd=workplace).ok().value
    assert resumed.value["weights_digest"] == whole["weights_digest"]


@pytest.mark.full
@pytest.mark.processes
def test_a_killed_run_in_fp16_resumes_to_the_manifest_of_one_that_was_not_killed(
    warm: WarmCommand, workplace: Path
) -> None:
    narrow = (*TRAIN, "base=tiny", "training.dtype=fp16", "training.num_train_epochs=2")
    narrow += ("training.per_device_train_batch_size=1",)  # few tokens in a step have large gradients
    running = warm.start(*narrow, cwd=workplace)
    wait_until(lambda: state_of_the_run(workplace)["step"] >= 4)
    running.kill()
    assert running.wait().code == KILLED
    resumed = warm("train", "--resume", "--no-mirror", "-o", "json", cwd=workplace).ok()
    whole = warm(*narrow, "name=uninterrupted", "-o", "json", cwd=workplace).ok().value
    assert resumed.value["weights_digest"] == whole["weights_digest"]
    assert resumed.value["manifest_digest"] == whole["manifest_digest"]
    assert warm("verify", "polite-replies:1", cwd=workplace).code == 0


def test_without_resume_a_new_run_says_that_one_waits_and_supersedes_it_when_it_is_registered(
    warm: WarmCommand, killed: Path
) -> None:
    waiting = state_of_the_run(killed)["run_id"]
    done = warm(*TRAIN, cwd=killed).ok()
    assert f"`registry train --resume {waiting[:12]}` continues it" in done.err
    assert list((killed / ".registry" / "runs").iterdir()) == []
    assert warm("train", "--resume", cwd=killed).code == 7
    refused = warm("train", "example/train.yml", "--resume", cwd=killed)
    assert refused.code == 7
    assert "nothing to resume: no run of example/train.yml was stopped half-way" in refused.err
    assert "`registry train example/train.yml` starts from the beginning" in refused.err


def change_the_data(folder: Path) -> tuple[str, ...]:
    with (folder / "example" / "example.jsonl").open("a") as stream:
        stream.write('{"prompt": "more", "completion": "rows"}\n')
    return ()


def change_the_file(folder: Path) -> tuple[str, ...]:
    path = folder / "example" / "train.yml"
    path.write_text(path.read_text().replace("r: 8", "r: 4"))
    return ()


def change_an_override(_: Path) -> tuple[str, ...]:
    return ("training.learning_rate=1e-3",)


def name_another_base(_: Path) -> tuple[str, ...]:
    return ("base=tiny",)


def flip_a_bit_of_the_base(folder: Path) -> tuple[str, ...]:
    path = folder / "base" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return ()


CHANGES: list[tuple[Callable[[Path], tuple[str, ...]], str]] = [
    (change_the_data, "data-changed"),
    (change_the_file, "config-changed"),
    (change_an_override, "config-changed"),
    (name_another_base, "resumed-other-base"),
    (flip_a_bit_of_the_base, "wrong-base"),
]


def test_a_run_is_not_resumed_on_several_machines(warm: WarmCommand, killed: Path) -> None:
    refused = warm("train", "--resume", "--nnodes", "2", "--rdzv-endpoint", "127.0.0.1:1", cwd=killed)
    assert refused.code == 2
    assert "resumed on one machine" in refused.err


@pytest.mark.parametrize(("change", "error"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_a_run_is_not_resumed_with_something_else(
    change: Callable[[Path], tuple[str, ...]], error: str, warm: WarmCommand, killed: Path
) -> None:
    state = state_of_the_run(killed)
    more = change(killed)
    refused = warm("train", "--resume", state["run_id"][:8], *more, "-o", "json", cwd=killed)
    assert refused.code == 6, refused
    assert json.loads(refused.err.splitlines()[-1])["error"] == error
    assert state_of_the_run(killed)["step"] == state["step"], "what it had is still there"


def test_a_run_that_diverges_is_kept_marked_failed_and_says_how_to_go_on(warm: WarmCommand, workplace: Path) -> None:
    wild = (
        "training.learning_rate=1e30",  # not a number from the second step on, on every processor
        "training.warmup_ratio=0.0",
        "training.save_steps=1",
        "training.max_grad_norm=0.0",
    )
    failed = warm("train", "example/train.yml", *wild, cwd=workplace)
    assert failed.code == 4, failed
    state = state_of_the_run(workplace)
    assert state["status"] == "failed"
    assert "the loss diverged at step" in state["why"]
    assert str(workplace / ".registry" / "runs" / state["run_id"]) in failed.err
    assert "lower training.learning_rate" in failed.err
    done = warm("train", "example/train.yml", "training.num_train_epochs=1", "--no-mirror", cwd=workplace).ok()
    assert "a run of polite-replies failed (the loss diverged at step" in done.err
    assert list((workplace / ".registry" / "runs").iterdir()) == [], "superseded by one that was registered"


# --- several starts, of which the best is kept ---

STARTS = ("train", "example/train.yml", "method=prompt_tuning", "prompt_tuning.seeds=3", *TRAIN[3:])
STARTS += ("training.num_train_epochs=3",)


@pytest.mark.processes
def test_a_run_killed_in_its_second_start_resumes_to_the_manifest_of_one_that_was_not(
    warm: WarmCommand, workplace: Path
) -> None:
    # each start saves after step 4, 8, 12, 16 and 18
    running = warm.start(*STARTS, "base=tiny", cwd=workplace, pause=SAVING, calls_before_pause=9)
    seeds = [f"seed-{seed}" for seed in (7, 8, 9)]

    def reached(seed: str) -> bool:
        return any((workplace / ".registry" / "runs").glob(f"*/training/{seed}/checkpoint.pt"))

    wait_until(lambda: reached(seeds[1]))
    running.kill()
    assert running.wait().code == KILLED
    assert [reached(seed) for seed in seeds] == [True, True, False]
    (kept,) = (workplace / ".registry" / "runs").glob(f"*/training/{seeds[1]}/checkpoint.pt")
    state = torch.load(kept, weights_only=True)
    taken, steps = len(state["progress"]["losses"]), state["total"]
    resumed = warm("train", "--resume", "--no-mirror", "-o", "json", cwd=workplace).ok()
    finished = f"all {steps} steps were trained before"
    said = [line.removeprefix("resume").strip() for line in resumed.err.splitlines() if line.startswith("resume")]
    assert said == [finished, finished if taken == steps else f"from step {taken} of {steps}"]
    assert list((workplace / ".registry" / "runs").iterdir()) == []
    whole = warm(*STARTS, "base=tiny", "name=uninterrupted", "-o", "json", cwd=workplace).ok().value
    assert resumed.value["weights_digest"] == whole["weights_digest"]
    assert resumed.value["manifest_digest"] == whole["manifest_digest"]
    trials = [trials_of(workplace, f"{name}:1") for name in ("polite-replies", "uninterrupted")]
    assert trials[0] == trials[1]
    assert [one.seed for one in trials[0]] == [7, 8, 9]


def trials_of(workplace: Path, label: str) -> tuple[Trial, ...]:
    with closing(open_home(workplace / ".registry")) as registry:
        run = records_of(registry, version_named(registry, label)).run
    assert run is not None
    return run.trials
