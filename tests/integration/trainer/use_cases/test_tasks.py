"""Several tasks on one base, as a user would type it: each as if trained alone, on one loaded base, none trained twice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.cli.main import run
from peft_registry.registry.evaluation.aggregate import StatisticsPlan
from peft_registry.registry.evaluation.lost_quality import lost_quality
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.methods import METHOD_NAMES
from peft_registry.schemas.progress import Advanced
from peft_registry.trainer.embedded import example_rows
from peft_registry.trainer.inputs.training_file import load_tasks
from peft_registry.trainer.methods import changes_loaded_base, implementation
from peft_registry.trainer.runs.shared_base import SharedBase, state_digest
from peft_registry.trainer.use_cases.train_tasks import train_tasks
from tests.builders.training import a_base_folder, a_training_file

CONFIG = """\
name: tutor
base: tiny
method: lora
tasks:
  - name: first
    data: {train: {path: first.jsonl, format: prompt_completion}, validation: {fraction: 0.5}}
  - name: second
    data: {train: {path: second.jsonl, format: prompt_completion}, validation: {fraction: 0.5}}
training: {learning_rate: 3e-3, per_device_train_batch_size: 4, max_length: 64, dtype: fp32, seed: 7, save_steps: 1}
lora: {dropout: 0.1}
evaluation: {bias: []}
"""


@dataclass
class Home:
    folder: Path
    config: Path
    home: Path
    registry: Registry
    told: dict[str, Any]  # what the first `registry train` of the file said

    def train(self, *words: str, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
        """What `registry train` says as JSON, and to people."""
        capsys.readouterr()
        assert (
            run(["train", str(self.config), *words, "--home", str(self.home), "--no-mirror", "--output", "json"]) == 0
        )
        shown = capsys.readouterr()
        return json.loads(shown.out), shown.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("tasks")
    home, config = folder / "home", folder / "tasks.yml"
    config.write_text(CONFIG)
    rows = example_rows().read_text().splitlines(keepends=True)
    (folder / "first.jsonl").write_text("".join(rows[:24]))
    (folder / "second.jsonl").write_text("".join(rows[24:48]))
    assert run(["init", "--unencrypted", "--no-example", "--home", str(home)]) == 0
    assert run(["base", "add", "embedded", "--name", "tiny", "--home", str(home)]) == 0
    registry = open_home(home)
    tasks = load_tasks(config)
    told = train_tasks(registry, config, tasks).to_json()
    yield Home(folder, config, home, registry, told)
    registry.close()


def test_each_task_is_a_verified_version_of_its_own_on_a_base_that_was_loaded_once(trained: Home) -> None:
    assert trained.told["base_loads"] == 1
    labels = [one["version"] for one in trained.told["tasks"]]
    assert labels == ["tutor-first:1", "tutor-second:1"]
    for label in labels:
        assert verify_version(trained.registry, version_named(trained.registry, label)).verdict == "verified"
    groups = {records_of(trained.registry, version_named(trained.registry, label)).run.comparison for label in labels}  # type: ignore[union-attr]
    assert len(groups) == 1
    assert None not in groups


def test_a_task_after_another_is_bit_for_bit_the_task_alone(
    trained: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that never heard of tasks, trained in a home of its own."""
    (tmp_path / "second.jsonl").write_bytes((trained.folder / "second.jsonl").read_bytes())
    alone = CONFIG[CONFIG.index("training:") :] + (
        "name: alone\nbase: tiny\nmethod: lora\n"
        "data: {train: {path: second.jsonl, format: prompt_completion}, validation: {fraction: 0.5}}\n"
    )
    (tmp_path / "alone.yml").write_text(alone)
    other = Home(tmp_path, tmp_path / "alone.yml", tmp_path / "home", trained.registry, {})
    assert run(["init", "--unencrypted", "--no-example", "--home", str(other.home)]) == 0
    assert run(["base", "add", "embedded", "--name", "tiny", "--home", str(other.home)]) == 0
    found, _ = other.train(capsys=capsys)
    assert found["manifest_digest"] == trained.told["tasks"][1]["manifest_digest"]
    assert found["loss_after"] == trained.told["tasks"][1]["loss_after"]


def test_tasks_that_are_registered_are_not_trained_again(trained: Home, capsys: pytest.CaptureFixture[str]) -> None:
    found, told = trained.train(capsys=capsys)
    assert [one["trained"] for one in found["tasks"]] == [False, False]
    assert [one["version"] for one in found["tasks"]] == [one["version"] for one in trained.told["tasks"]]
    assert found["base_loads"] == 0
    assert told.count("registered already") == 2


def test_what_each_task_lost_is_among_the_last_lines(
    trained: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = StatisticsPlan(thresholds={}, neutral_loss_ratio=0.1)
    monkeypatch.setattr("peft_registry.registry.evaluation.lost_quality._LIMITS", strict)  # these tasks lose little
    assert run(["train", str(trained.config), "--home", str(trained.home), "--no-mirror"]) == 0
    lost = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lost")]
    assert lost == [
        f"lost     {task['version']}: {entry.line}"
        for task in trained.told["tasks"]
        for evaluation in records_of(trained.registry, version_named(trained.registry, task["version"])).evaluations
        for entry in lost_quality(evaluation)
    ]
    assert {line.split(":")[0] for line in lost} == {
        f"lost     {task['version'].split(':')[0]}" for task in trained.told["tasks"]
    }


class Stopped(Exception):
    """Stands for whatever ends the process."""


def test_a_task_that_was_stopped_goes_on_and_those_before_it_are_not_trained_again(trained: Home) -> None:
    words = ("training.seed=8",)
    tasks = load_tasks(trained.config, words)
    steps = 0

    def stop(event: object) -> None:
        nonlocal steps
        if isinstance(event, Advanced) and event.step == "train":
            steps += 1
            if steps == 5:  # three steps a task: the second one of the second
                raise Stopped

    with pytest.raises(Stopped):
        train_tasks(trained.registry, trained.config, tasks, words, observe=stop)
    said: list[str] = []
    outcome = train_tasks(trained.registry, trained.config, tasks, words, observe=lambda event: said.append(str(event)))
    assert [one.trained for one in outcome.results] == [False, True]
    assert any("going on after step" in text for text in said)
    whole = train_tasks(trained.registry, trained.config, tasks, ("training.seed=8", "training.save_steps=2"))
    assert [one.version.label for one in whole.results] == [one.version.label for one in outcome.results]


def test_a_dry_run_says_what_each_task_takes(trained: Home, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = trained.train("--dry-run", capsys=capsys)
    assert [one["task"] for one in found["tasks"]] == ["first", "second"]


@pytest.mark.parametrize("command", [["compare", "--methods", "ia3"], ["compare", "--sweep", "learning_rate"]])
def test_commands_that_compare_runs_want_one_task(
    command: list[str], trained: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    name, *options = command
    assert run([name, str(trained.config), *options, "--home", str(trained.home), "--no-mirror"]) == 2
    assert "pick one: task=first" in capsys.readouterr().err


@pytest.mark.parametrize("method", [*METHOD_NAMES, "pissa", "dora", "bias"])
def test_an_adapter_is_taken_off_without_a_trace_or_the_base_is_loaded_anew(method: str, tmp_path: Path) -> None:
    variants: dict[str, dict[str, Any]] = {
        "pissa": {"lora__init": "pissa"},
        "dora": {"lora__use_dora": True},
        "bias": {"lora__bias": "all"},
    }
    config = a_training_file(**variants.get(method, {"method": method}))
    folder = a_base_folder(tmp_path / "base")
    shared = SharedBase()
    digests, outputs = [], []
    for seed in (1, 2):
        model, tokenizer = shared.load(folder, dtype="fp32", device="cpu", quantization=config.quantization)
        digests.append(state_digest(model))
        ids = tokenizer("box 1 is", return_tensors="pt").input_ids
        with torch.no_grad():
            outputs.append(model(input_ids=ids).logits)
        adapted = implementation(config.method).prepare(model, config, seed=seed)
        with torch.no_grad():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.5)
        shared.take_off(adapted, config)
    assert shared.loads == (2 if changes_loaded_base(config) else 1)
    assert digests[0] == digests[1]
    assert torch.equal(outputs[0], outputs[1])


def test_a_base_that_something_was_left_in_is_loaded_anew(tmp_path: Path) -> None:
    config, folder, shared = a_training_file(), a_base_folder(tmp_path / "base"), SharedBase()
    model, _ = shared.load(folder, dtype="fp32", device="cpu")
    adapted = implementation("lora").prepare(model, config, seed=1)
    with torch.no_grad():
        next(iter(model.parameters()))[0, 0] += 1e-6
    shared.take_off(adapted, config)
    shared.load(folder, dtype="fp32", device="cpu")
    assert shared.loads == 2
