"""`registry verify FOLDER --audit --rerun K`: stretches of a training run again, and what is said where they come out otherwise."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.cli.main import run
from peft_registry.registry.disk.hashing import hash_file
from peft_registry.registry.documents.reperformed import Reperformed
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.use_cases.hand_over import hand_over
from peft_registry.registry.use_cases.read_folder import read_folder
from peft_registry.registry.use_cases.verify import Examiner
from peft_registry.schemas.progress import Event, Said
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.run_states import RunStates
from peft_registry.trainer.embedded import example_rows
from peft_registry.trainer.machine.arithmetic import arithmetic_here
from peft_registry.trainer.use_cases import rerun as rerun_module
from peft_registry.trainer.use_cases.rerun import Rerun, rerun
from peft_registry.trainer.use_cases.train import train_and_register

pytestmark = (
    pytest.mark.full
)  # a training and some twenty stretches; `tests/integration/trainer/training/test_rerun.py` is small

FILE = """\
name: tutor
base: tiny
method: lora
lora: {dropout: 0.1}
training: {learning_rate: 3e-3, per_device_train_batch_size: 4, num_train_epochs: 2, max_length: 36, dtype: fp32, seed: 7,
  audit_checkpoints: 4}
evaluation: {bias: []}
data: {train: {path: rows.jsonl, format: prompt_completion}}
"""
STEPS = 12


@dataclass
class Place:
    folder: Path
    registry: Registry
    run: RunRecord

    @property
    def states(self) -> Path:
        return self.registry.files.states / self.run.run_id

    @property
    def office(self) -> Path:
        return self.folder / "office"

    def lines(self, *, count: int = 9, states: Path | None = None, **more: Any) -> dict[str, Reperformed]:
        """What is said of each figure when a reader runs stretches again."""
        asked = self.asked(count=count, states=states)
        return {line.figure: line for line in rerun(asked, more.get("observe", lambda _: None))}

    def asked(self, *, count: int = 9, states: Path | None = None) -> Rerun:
        read = read_folder(self.office, Examiner(self.registry.trust, self.registry.clock()))
        return Rerun(read, count, states or self.states, self.folder, None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("rerun")
    (folder / "rows.jsonl").write_text("".join(example_rows().read_text().splitlines(keepends=True)[:24]))
    (folder / "train.yml").write_text(FILE)
    home = ["--home", str(folder / "home")]
    assert run(["init", "--unencrypted", "--no-example", *home]) == 0
    assert run(["base", "add", "embedded", "--name", "tiny", *home]) == 0
    registry = open_home(folder / "home")
    outcome = train_and_register(registry, folder / "train.yml")
    hand_over(registry, outcome.version, "ai-office", folder / "office", signer=registry.trainer_key, with_base=True)
    yield Place(folder, registry, outcome.run)
    registry.close()


def test_every_stretch_of_a_run_comes_out_to_the_last_bit(place: Place) -> None:
    heard: list[Event] = []
    lines = place.lines(observe=heard.append)
    stretches = [figure for figure in lines if figure.startswith("steps ")]
    assert stretches == ["steps 1-3", "steps 4-6", "steps 7-9", "steps 10-12"]
    assert {line.outcome for line in lines.values()} == {"reproduced"}, lines
    assert set(lines) - set(stretches) == {
        *("states of the run", "weights before the first step", "weights after the last step", "curve of the run")
    }
    first = next(event for event in heard if isinstance(event, Said))
    assert first.label == "rerun" and f"{STEPS} of {STEPS} steps" in first.text and "MB of states" in first.text


def test_a_run_record_binds_its_states_and_nothing_of_its_settings_decides_by_them(place: Place) -> None:
    assert place.run.states is not None
    assert place.run.states.stretches == 4
    assert place.run.states.arithmetic == arithmetic_here("cpu")
    listed = RunStates.from_json(json.loads((place.states / "states.json").read_bytes()))
    assert [state.step for state in listed.states] == [0, 3, 6, 9, STEPS]
    assert not list((place.registry.files.runs).glob("*")), "the scratch of the run is gone"


def test_only_what_the_log_draws_is_run(place: Place) -> None:
    lines = place.lines(count=1)
    assert len([figure for figure in lines if figure.startswith("steps ")]) == 1
    assert "drawn by the log" in lines["states of the run"].text


def tampered(place: Place, folder: Path, step: int, change: Any) -> Path:
    """The states, of which one holds something else, with a list that says so: as whoever makes them up would have them."""
    shutil.copytree(place.states, folder)
    file = folder / f"step-{step:08}.pt"
    value = torch.load(file, weights_only=True)
    change(value)
    torch.save(value, file)
    listed = json.loads((folder / "states.json").read_bytes())
    for state in listed["states"]:
        if state["step"] == step:
            state |= {"sha256": str(hash_file(file).sha256), "bytes": file.stat().st_size}
    (folder / "states.json").write_bytes(json.dumps(listed).encode())
    return folder


def nudge(value: dict[str, Any]) -> None:
    next(iter(value["trained"].values())).view(-1)[0] += 1e-3


def test_a_state_that_was_changed_is_not_the_one_that_the_record_binds(place: Place, tmp_path: Path) -> None:
    states = tmp_path / "states"
    shutil.copytree(place.states, states)
    file = states / "step-00000006.pt"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    lines = place.lines(states=states)
    assert {figure: line.outcome for figure, line in lines.items()} == {"state of step 6": "differs"}
    assert lines["state of step 6"].file == "step-00000006.pt"
    with_list = place.lines(states=tampered(place, tmp_path / "made up", 6, nudge))
    assert with_list["states of the run"].outcome == "differs"
    file.unlink()
    assert place.lines(states=states)["state of step 6"].outcome == "not possible"


def test_a_run_that_skipped_or_made_up_a_stretch_is_found_where_that_is_drawn(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever holds the trainer's key binds what they made up: then only running it again shows it."""
    monkeypatch.setattr(rerun_module, "_listed", lambda folder, *_: listed_in(folder).states)
    for name, change in {
        "nudged": nudge,
        "never moved": lambda value: value["trained"].update(kept(place, 3)["trained"]),
    }.items():
        lines = place.lines(states=tampered(place, tmp_path / name, 6, change))
        assert lines["steps 4-6"].outcome == "differs", name
        assert lines["steps 1-3"].outcome == "reproduced", name
        assert lines["steps 7-9"].outcome == "differs", "it begins elsewhere"


def test_on_another_machine_a_stretch_is_within_a_tolerance_which_one_that_was_made_up_is_not(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerun_module, "_listed", lambda folder, *_: listed_in(folder).states)
    monkeypatch.setattr(rerun_module, "_otherwise", lambda *_: ("cpu_flags",))

    def last_bits(value: dict[str, Any]) -> None:
        for tensor in value["trained"].values():
            tensor.mul_(1 + 1e-7)

    lines = place.lines(states=tampered(place, tmp_path / "bits", 12, last_bits))
    assert lines["steps 10-12"].outcome == "within tolerance"
    assert "to 0.01 of it; this machine has other cpu flags" in lines["steps 10-12"].text
    still = tampered(place, tmp_path / "still", 12, lambda value: value["trained"].update(kept(place, 9)["trained"]))
    assert place.lines(states=still)["steps 10-12"].outcome == "differs"

    def a_tenth_short(value: dict[str, Any]) -> None:
        for name, tensor in value["trained"].items():
            tensor.sub_((tensor - kept(place, 9)["trained"][name]) / 10)

    short = place.lines(states=tampered(place, tmp_path / "short", 12, a_tenth_short))["steps 10-12"]
    assert (short.outcome, "an equal one decides it" in short.text) == ("not possible", True)


def listed_in(folder: Path) -> RunStates:
    return RunStates.from_json(json.loads((folder / "states.json").read_bytes()))


def kept(place: Place, step: int) -> dict[str, Any]:
    value: dict[str, Any] = torch.load(place.states / f"step-{step:08}.pt", weights_only=True)
    return value


def another_run(value: dict[str, Any]) -> None:
    value["trained"] = {f"{name}.x": tensor for name, tensor in value["trained"].items()}


def test_what_is_no_state_of_the_run_differs_and_does_not_end_the_audit(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerun_module, "_listed", lambda folder, *_: listed_in(folder).states)
    lines = place.lines(states=tampered(place, tmp_path / "other", 9, another_run))
    assert lines["steps 10-12"].outcome == "differs" and "cannot be resumed" in lines["steps 10-12"].text
    assert lines["steps 1-3"].outcome == "reproduced"


def test_other_rows_are_told_and_nothing_is_run_on_them(place: Place, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text((place.folder / "rows.jsonl").read_text().replace("a", "e", 1))
    asked = place.asked()
    moved = Rerun(asked.folder, 1, asked.states, tmp_path, None)
    (line,) = [line for line in rerun(moved, lambda _: None) if line.figure == "stretches run again"]
    assert line.outcome == "not possible" and "rows.jsonl" in line.text


def test_the_command_tells_the_sizes_first_and_ends_by_what_came_out(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(place.folder / "home")]
    words = ["verify", str(place.office), "--audit", "--rerun", "1", "--data", str(place.folder), *home]
    assert run([*words, "--states", str(place.states)]) == 0
    answer = capsys.readouterr()
    assert "1 of 4 stretches" in answer.out + answer.err
    assert "= weights after the last step" in answer.out
    states = tmp_path / "states"
    shutil.copytree(place.states, states)
    for file in states.glob("*.pt"):
        file.write_bytes(file.read_bytes() + b"x")
    assert run([*words, "--states", str(states)]) == 6
    assert run(words) == 2, "the states are named"
    assert run(["verify", str(place.office), "--rerun", "1", *home]) == 2, "an audit is asked for"
