"""Training that goes on from an adapter, and tasks one after the other: where it begins, what is refused, what was forgotten."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_registry.cli.main import run
from peft_registry.registry.compliance.ancestors import trained_runs
from peft_registry.registry.homes.home import Registry, open_home
from peft_registry.registry.identity.weights import hash_tensors
from peft_registry.registry.records.ancestry import ancestry_of
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.lineage import lineage_of
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.records.trained_templates import trained_template
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.config import TrainingFile
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.methods.lora import LoraBlock
from peft_registry.schemas.progress import Advanced
from peft_registry.schemas.version import Version
from peft_registry.trainer.bases.loading import load_base
from peft_registry.trainer.bases.tensor_files import read_tensors
from peft_registry.trainer.embedded import embedded_base, example_rows
from peft_registry.trainer.inputs.layers import stored_layers
from peft_registry.trainer.inputs.start import StartSettingsDiffer, other_settings
from peft_registry.trainer.inputs.training_file import load_tasks, load_training_file
from peft_registry.trainer.methods import CombinationRefused, implementation
from peft_registry.trainer.methods.layer_names import WeightNames
from peft_registry.trainer.methods.peft_io import (
    StartDiffers,
    adapter_state,
    require_same_start,
    start_from,
    suppress_warnings,
)
from peft_registry.trainer.training.without_weights import prepared_without_weights
from peft_registry.trainer.use_cases import train
from peft_registry.trainer.use_cases.forgetting import StepNotMeasured, forgetting_of
from peft_registry.trainer.use_cases.train import train_and_register
from peft_registry.trainer.use_cases.train_plan import plan_training
from peft_registry.trainer.use_cases.train_start import registered_before
from peft_registry.trainer.use_cases.train_tasks import TasksOutcome, train_tasks
from tests.builders.training import a_base_folder, a_training_file

REST = """\
base: tiny
method: lora
training: {learning_rate: 3e-3, per_device_train_batch_size: 4, max_length: 36, dtype: fp32, seed: 7, save_steps: 1}
evaluation: {bias: []}
"""
SEQUENCE = (
    REST
    + """\
name: tutor
task_order: sequential
tasks:
  - name: first
    data: {train: {path: first.jsonl, format: prompt_completion}, validation: {fraction: 0.6}}
  - name: second
    data: {train: {path: second.jsonl, format: prompt_completion}, validation: {path: held-out.jsonl, format: prompt_completion}}
  - name: third
    data: {train: {path: third.jsonl, format: prompt_completion}, validation: {fraction: 0.25, seed: 3}}
"""
)
ALONE = REST + "name: alone\ndata: {train: {path: second.jsonl, format: prompt_completion}}\n"


@dataclass
class Home:
    folder: Path
    home: Path
    registry: Registry
    outcome: TasksOutcome

    @property
    def sequence(self) -> Path:
        return self.folder / "sequence.yml"

    @property
    def alone(self) -> Path:
        return self.folder / "alone.yml"

    @property
    def versions(self) -> list[Version]:
        return [one.version for one in self.outcome.results]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    folder = tmp_path_factory.mktemp("continued")
    (folder / "sequence.yml").write_text(SEQUENCE)
    (folder / "alone.yml").write_text(ALONE)
    rows = example_rows().read_text().splitlines(keepends=True)
    parts = {"first": rows[:24], "second": rows[24:36], "third": rows[36:48], "held-out": rows[48:]}
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(part))
    assert run(["init", "--unencrypted", "--no-example", "--home", str(folder / "home")]) == 0
    assert run(["base", "add", "embedded", "--name", "tiny", "--home", str(folder / "home")]) == 0
    registry = open_home(folder / "home")
    outcome = train_tasks(registry, folder / "sequence.yml", load_tasks(folder / "sequence.yml"))
    yield Home(folder, folder / "home", registry, outcome)
    registry.close()


def test_each_task_goes_on_from_the_one_before_and_says_so(trained: Home) -> None:
    before = None
    last = trained.versions[-1]
    assert (
        trained_template(trained.registry, last).line == f'"{{prompt}}{{completion}}", of the training of {last.label}'
    )
    for version in trained.versions:
        starts = [
            one.manifest
            for one in stored_manifest(trained.registry, version.manifest_digest).parents
            if one.role == "start"
        ]
        assert starts == ([] if before is None else [before.manifest_digest])
        assert verify_version(trained.registry, version).verdict == "verified"
        before = version
    with trained.registry.database.read() as tx:
        below = lineage_of(tx, focus=trained.versions[0].manifest_digest)
    assert {(edge.source, edge.target) for edge in below.edges if edge.role == "start"} == {
        (trained.versions[at].manifest_digest, trained.versions[at + 1].manifest_digest) for at in (0, 1)
    }
    assert trained.outcome.base_loads == 1


def test_the_losses_and_what_was_forgotten_are_those_of_the_reloaded_adapters(trained: Home, tmp_path: Path) -> None:
    """Oracle: peft's own loading and transformers' own loss, row by row, on the rows that the first task held out."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from peft_registry.trainer.data.dataset import load_data

    base = embedded_base()
    tokenizer = AutoTokenizer.from_pretrained(base)
    config = load_training_file(trained.sequence, ("task=first",)).config
    data = load_data(config.data, folder=trained.folder, tokenizer=tokenizer, max_length=36, seed=7)
    losses = []
    for version in (trained.versions[0], trained.versions[-1]):
        pull_version(trained.registry, version, tmp_path / version.name)
        with suppress_warnings():
            model = PeftModel.from_pretrained(
                AutoModelForCausalLM.from_pretrained(base), tmp_path / version.name
            ).eval()
        total, count = 0.0, 0
        for row in data.validation:
            ids, labels = torch.tensor([row.ids.tolist()]), torch.tensor([row.labels.tolist()])
            with torch.no_grad():
                total += float(model(input_ids=ids, labels=labels).loss) * row.supervised
            count += row.supervised
        losses.append(total / count)
    found = trained.outcome.forgetting
    assert found is not None
    forgotten = {one.dataset: one for one in found.forgotten}
    assert list(forgotten) == ["first", "second"]  # the last was forgotten by nobody
    assert (forgotten["first"].before, forgotten["first"].after) == pytest.approx(losses, abs=1e-5)
    assert forgotten["first"].change == pytest.approx(losses[1] - losses[0], abs=1e-5)
    assert forgotten["first"].change_ci is not None
    assert [one.losses["first"] for one in found.steps][0::2] == pytest.approx(losses, abs=1e-5)


def test_every_step_is_measured_on_the_held_out_rows_of_all_tasks(trained: Home) -> None:
    found = trained.outcome.forgetting
    assert found is not None
    for step, version in zip(found.steps, trained.versions, strict=True):
        evaluation = records_of(trained.registry, version).evaluation
        assert evaluation is not None
        recorded = {one.dataset: one for one in evaluation.losses}
        assert step.losses == {task: recorded[f"retention-{task}"].after for task in ("first", "second", "third")}
        # its own rows are those that it held out itself
        assert recorded[f"retention-{step.task}"].after == pytest.approx(recorded["held-out"].after, abs=1e-6)
        assert recorded[f"retention-{step.task}"].n == recorded["held-out"].n


def test_the_command_repeated_trains_nothing_and_says_the_same(
    trained: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["train", str(trained.sequence), "--home", str(trained.home), "--no-mirror", "-o", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["trained"] for one in found["tasks"]] == [False, False, False]
    assert trained.outcome.forgetting is not None
    assert found["forgetting"] == trained.outcome.forgetting.to_json()
    assert run(["train", str(trained.sequence), "--home", str(trained.home), "--no-mirror"]) == 0
    shown = capsys.readouterr().out
    assert "after second" in shown
    assert "first, when it was learned → in the end:" in shown


class Stopped(Exception):
    """Stands for whatever ends the process."""


def test_a_sequence_that_was_stopped_goes_on_to_the_same_bits(trained: Home, tmp_path: Path) -> None:
    words, steps = ("name=again",), 0

    def stop(event: object) -> None:
        nonlocal steps
        if isinstance(event, Advanced) and event.step == "train":
            steps += 1
            if steps == 5:  # three steps a task: the second one of the second
                raise Stopped

    tasks = load_tasks(trained.sequence)
    with pytest.raises(Stopped):
        train_tasks(trained.registry, trained.sequence, tasks, words, observe=stop)
    outcome = train_tasks(trained.registry, trained.sequence, tasks, words)
    assert [one.trained for one in outcome.results] == [False, True, True]
    assert [one.version.weights_digest for one in outcome.results] == [one.weights_digest for one in trained.versions]
    assert [one.version.manifest_digest for one in outcome.results] == [one.manifest_digest for one in trained.versions]


def test_the_compute_of_what_was_gone_on_from_counts(trained: Home) -> None:
    """GL J119-121: the training of the weights that something is initialised from belongs to it."""
    runs = [records_of(trained.registry, version).run for version in trained.versions]
    own = [one.compute.conservative_flop.value for one in runs if one is not None]
    for at, version in enumerate(trained.versions):
        record = records_of(trained.registry, version).modification
        assert record is not None
        assert record.compute.conservative_flop.value == pytest.approx(sum(own[: at + 1]))
        assert len(record.compute.inputs.value.get("went_on_from", [])) == at
    last = records_of(trained.registry, trained.versions[-1]).modification
    assert last is not None
    assert last.compute.inputs.value["step_flop"] == own[-1]
    assert last.base[0].parent_records.value == [str(trained.versions[1].manifest_digest)]
    assert {run.label for run in trained_runs(ancestry_of(trained.registry, [trained.versions[-1]]))} == {
        version.label for version in trained.versions
    }


def test_the_record_of_a_continued_run_lists_the_data_of_all_that_it_continued_from_once_each(trained: Home) -> None:
    def sha256(name: str) -> str:
        return f"sha256:{hashlib.sha256((trained.folder / name).read_bytes()).hexdigest()}"

    expected = (["first.jsonl"], ["second.jsonl", "held-out.jsonl", "first.jsonl"])
    for version, names in zip(trained.versions, expected, strict=False):
        record = records_of(trained.registry, version).modification
        assert record is not None
        assert [section.name.value for section in record.data] == names
    record = records_of(trained.registry, trained.versions[-1]).modification
    assert record is not None
    assert [(section.name.value, section.digest.value) for section in record.data] == [
        (name, sha256(name)) for name in ("third.jsonl", "first.jsonl", "held-out.jsonl", "second.jsonl")
    ]
    base = record.base[0]
    assert base.licence_id.evidence == (
        required_base(trained.registry, version_named(trained.registry, "tiny")).statement,
    )
    assert base.licence_id.asserted_by is not None
    first = record.data[1]
    assert (first.n_points.value, str(first.n_points.method)) == (
        24,
        "rows that were used, as recorded of tutor-first:1",
    )
    statement = records_of(trained.registry, trained.versions[0]).history[-1].statement.digest
    assert first.n_points.evidence == (statement,)


# --- one training from an adapter ---


def test_an_adapter_is_gone_on_from_by_name_and_bound_by_digest(trained: Home) -> None:
    first = trained.versions[0]
    words = ("name=by-name", f"continue_from={first.label}")
    version = train_and_register(trained.registry, trained.alone, words).version
    by_digest = train_and_register(
        trained.registry, trained.alone, ("name=by-digest", f"continue_from={first.manifest_digest}")
    )
    assert version.manifest_digest == by_digest.version.manifest_digest
    from_base = train_and_register(trained.registry, trained.alone, ("name=from-base",)).version
    assert from_base.weights_digest != version.weights_digest
    base = version_named(trained.registry, "tiny")
    found = registered_before(trained.registry, load_training_file(trained.alone, words), base)
    assert found is not None
    assert found.label == version.label
    assert registered_before(trained.registry, load_training_file(trained.alone, ("name=by-name",)), base) is None


METHODS: dict[str, dict[str, Any]] = {
    "full": {"method": "full"},
    "lora": {},
    "rslora": {"lora__use_rslora": True},
    "dora": {"lora__use_dora": True},
    "some layers": {"lora__target_modules": ["self_attn.q_proj", "model.layers.1.mlp.up_proj"]},
    "a layer less": {"lora__target_modules": ["q_proj", "v_proj"], "lora__exclude_modules": ["v_proj"]},
    "patterns": {"lora__rank_pattern": {"q_proj": 2}, "lora__alpha_pattern": {"v_proj": 4.0}},
    **{one: {"method": one} for one in ("lora_pro", "qlora", "bottleneck", "ia3", "prompt_tuning", "prefix_tuning")},
    "vera": {"method": "vera", "vera__r": 8},
    "oft": {"method": "oft", "oft__block_size": 8},
    "loha": {"method": "loha", "loha__module_dropout": 0.5},
}


def require_accepted_without_weights(adapter: Path, base: Path, config: TrainingFile) -> None:
    """What is compared before a weight is read knows an adapter of this very file; a whole model has nothing to compare."""
    without = prepared_without_weights(base, config)
    assert without is not None
    if config.method != "full":
        saved = json.loads((adapter / "adapter_config.json").read_text())
        names = read_tensors(adapter / "adapter_model.safetensors").keys()
        layers = stored_layers("LlamaForCausalLM", hash_tensors(base / "model.safetensors").tensors)
        assert isinstance(layers, WeightNames)
        assert other_settings(saved, names, config) == other_settings(saved, names, config, layers) == ((), ())
        require_same_start(without, saved, names)


@pytest.mark.parametrize("case", METHODS)
def test_training_begins_at_the_function_of_the_adapter(case: str, tmp_path: Path) -> None:
    config = a_training_file(**METHODS[case])
    method, folder = implementation(config.method), a_base_folder(tmp_path / "base")
    ids = torch.randint(0, 250, (2, 9), generator=torch.Generator().manual_seed(1))

    def prepared(seed: int) -> Any:
        model, _ = load_base(folder, dtype="fp32", device="cpu", quantization=config.quantization)
        return method.prepare(model, config, seed=seed).eval()

    one = prepared(1)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(2)
        for parameter in one.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    (tmp_path / "adapter").mkdir()
    method.save(one, tmp_path / "adapter", base=None)
    require_accepted_without_weights(tmp_path / "adapter", folder, config)
    other = prepared(9)
    with torch.no_grad():
        assert not torch.equal(other(input_ids=ids).logits, one(input_ids=ids).logits)
        getattr(method, "start_from", start_from)(other, tmp_path / "adapter")
        assert torch.equal(other(input_ids=ids).logits, one(input_ids=ids).logits)
    state = (lambda model: model.state_dict()) if case == "full" else adapter_state
    assert {name: tensor.tolist() for name, tensor in state(other).items()} == {
        name: tensor.tolist() for name, tensor in state(one).items()
    }
    assert any(parameter.requires_grad for parameter in other.parameters())


Refusal = Callable[[Home], tuple[str, ...]]
REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
    "another scale": (("lora.alpha=32",), 2, "lora.alpha 32 in place of 16"),
    "another rank": (("lora.r=4", "lora.alpha=16"), 2, "lora.r 4 in place of 8"),
    "rsLoRA": (("lora.use_rslora=true",), 2, "lora.use_rslora true in place of false"),
    "a pattern": (("lora.rank_pattern={q_proj: 2}",), 2, "write `lora: {r: 8, alpha: 16, rank_pattern: {}}`"),
    "other modules": (
        ("lora.target_modules=[q_proj]",),
        2,
        "lora.target_modules [q_proj] in place of [down_proj, gate",
    ),
    "no layer": (("lora.target_modules=[query]",), 2, "lora.target_modules [query] in place of [down_proj, gate"),
    "fewer modules by another key": (("lora.exclude_modules=[q_proj]",), 2, "another configuration"),
    "all modules": (("continue_from=FEW",), 2, "write `lora: {r: 8, alpha: 16, target_modules: [q_proj, v_proj]}`"),
    "one module more": (
        ("continue_from=FEW", "lora.target_modules=[q_proj, v_proj, o_proj]"),
        2,
        "write `lora: {r: 8, alpha: 16, target_modules: [q_proj, v_proj]}`",
    ),
    "another method": (("method=ia3",), 2, "of the method lora"),
    "full fine-tuning": (("method=full",), 2, "of the method lora"),
    "a hybrid": (("method=hybrid",), 2, "continue_from"),
    "PiSSA": (("lora.init=pissa",), 2, "continue_from"),
    "biases": (("lora.bias=all",), 2, "continue_from"),
    "a base": (("continue_from=tiny",), 2, "registered as base"),
    "what is no adapter": (("continue_from=tiny",), 2, "`registry merge --algorithm svd` makes one of several"),
    "nothing": (("continue_from=nowhere:4",), 7, "nowhere"),
    "no reference": (("continue_from=a b",), 2, "'a b'"),
    "a number": (("continue_from=3",), 2, "continue_from"),
}


@pytest.fixture(scope="module")
def few(trained: Home) -> Version:
    """An adapter on some of the layers."""
    words = ("name=few", "lora.target_modules=[v_proj, q_proj]")
    return train_and_register(trained.registry, trained.alone, words).version


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_gone_on_from_is_refused_by_name_before_the_base_is_read(
    case: str, trained: Home, few: Version, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "checked_base", lambda *_, **__: pytest.fail("the base was read first"))
    words, code, named = REFUSED[case]
    words = tuple(word.replace("FEW", few.label) for word in words)
    start = () if any(word.startswith("continue_from=") for word in words) else ("continue_from=tutor-first:1",)
    where = ["--home", str(trained.home)]
    for more in (["--no-mirror"], ["--dry-run"]):
        assert run(["train", str(trained.alone), "name=refused", *start, *words, *where, *more]) == code
        assert named in " ".join(capsys.readouterr().err.split())
    with pytest.raises(KnownError):
        version_named(trained.registry, "refused")


def test_what_full_fine_tuning_forgets_is_measured_like_what_an_adapter_forgets(trained: Home) -> None:
    """Each step begins at the weights of the one before, and every loss stands beside those of the adapters' sequence."""
    words = ("method=full", "name=whole", "training.learning_rate=1e-3")
    outcome = train_tasks(trained.registry, trained.sequence, load_tasks(trained.sequence), words)
    versions = [one.version for one in outcome.results]
    for before, version in pairwise(versions):
        parents = stored_manifest(trained.registry, version.manifest_digest).parents
        assert [one.manifest for one in parents if one.role == "start"] == [before.manifest_digest]
        assert verify_version(trained.registry, version).verdict == "verified"
    assert outcome.forgetting is not None
    assert trained.outcome.forgetting is not None
    assert outcome.forgetting.base == pytest.approx(trained.outcome.forgetting.base, abs=1e-6)
    assert [one.dataset for one in outcome.forgetting.forgotten] == ["first", "second"]
    first, second, _ = outcome.forgetting.steps
    assert second.losses["first"] < outcome.forgetting.base["first"], "it went on from what had learnt the first task"
    assert first.losses["first"] < outcome.forgetting.base["first"]


def test_an_adapter_of_another_base_is_refused(
    trained: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = a_base_folder(tmp_path / "other", seed=5)
    where = ["--home", str(trained.home)]
    assert run(["base", "add", str(folder), "--name", "other", *where]) == 0
    words = ["name=refused", "base=other", "continue_from=tutor-first"]
    assert run(["train", str(trained.alone), *words, *where, "--no-mirror"]) == 6
    assert "was not trained on other:1" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("method=hybrid",), ("lora.init=pissa",)])
def test_a_sequence_that_could_not_go_on_is_refused_before_its_first_task(
    words: tuple[str, ...], trained: Home
) -> None:
    with pytest.raises(CombinationRefused):
        train_tasks(trained.registry, trained.sequence, load_tasks(trained.sequence), (*words, "name=refused"))
    with pytest.raises(KnownError):
        version_named(trained.registry, "refused-first")


def test_a_resumed_run_must_go_on_from_what_it_began_with(trained: Home, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("name=moved", f"continue_from={trained.versions[0].manifest_digest}")

    def stop(event: object) -> None:
        if isinstance(event, Advanced) and event.step == "train" and event.done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        train_and_register(trained.registry, trained.alone, words, observe=stop)
    where = ["--home", str(trained.home), "--no-mirror"]
    other = f"continue_from={trained.versions[1].manifest_digest}"
    capsys.readouterr()
    assert run(["train", str(trained.alone), "--resume", other, *where]) == 6
    assert f"continue training from {trained.versions[1].manifest_digest.short[:19]}" in capsys.readouterr().err
    assert run(["train", str(trained.alone), "--resume", *where]) == 0


def test_versions_that_were_measured_on_other_rows_are_not_compared(trained: Home) -> None:
    alone = train_and_register(trained.registry, trained.alone, ("name=lonely",)).version
    with pytest.raises(StepNotMeasured) as refused:
        forgetting_of(trained.registry, [("first", alone), ("second", trained.versions[1])])
    assert refused.value.exit_code == 5


def test_another_configuration_is_named(tmp_path: Path) -> None:
    folder = a_base_folder(tmp_path / "base")
    model = implementation("lora").prepare(load_base(folder, dtype="fp32", device="cpu")[0], a_training_file(), seed=1)
    (tmp_path / "adapter").mkdir()
    implementation("lora").save(model, tmp_path / "adapter", base=None)
    other = a_training_file(lora__alpha=4.0)
    model = implementation("lora").prepare(load_base(folder, dtype="fp32", device="cpu")[0], other, seed=1)
    with pytest.raises(StartDiffers) as refused:
        start_from(model, tmp_path / "adapter")
    assert "lora_alpha is 16" in refused.value.why


def test_another_rank_or_alpha_is_refused_from_the_configurations_alone_with_the_block_to_write(trained: Home) -> None:
    rank = load_training_file(trained.alone).config.block(LoraBlock).r
    words = ("name=continued", f"continue_from={trained.versions[0].label}", "lora.alpha=3")
    with pytest.raises(StartSettingsDiffer, match="alpha 3 in place of") as refused:
        plan_training(trained.registry, trained.alone, words)
    assert f"`lora: {{r: {rank}, alpha: " in refused.value.fix
    plan_training(trained.registry, trained.alone, words[:2])


def test_an_adapter_of_some_layers_is_not_continued_with_all_and_that_takes_no_model(
    trained: Home, few: Version
) -> None:
    words = ("name=continued", f"continue_from={few.label}")
    with pytest.raises(StartSettingsDiffer, match=r"target_modules all-linear in place of \[q_proj, v_proj\]"):
        plan_training(trained.registry, trained.alone, words)
    plan_training(trained.registry, trained.alone, (*words, "lora.target_modules=[q_proj, v_proj]"))


# --- what a user may get wrong, and what may come in between ---


def test_a_run_goes_on_though_its_copy_of_the_adapter_lies_there(
    trained: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(event: object) -> None:
        if isinstance(event, Advanced) and event.step == "train" and event.done == 2:
            raise Stopped

    words = ("name=cut-off", f"continue_from={trained.versions[0].label}")
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        # who is killed removes nothing
        patch.setattr("peft_registry.trainer.runs.folder._remove_what_no_run_needs", lambda _: None)
        train_and_register(trained.registry, trained.alone, words, observe=stop)
    assert list((trained.home / "runs").glob("*/start"))
    capsys.readouterr()
    assert run(["train", "--resume", "--no-mirror", "--home", str(trained.home)]) == 0
    assert "registered cut-off:1" in capsys.readouterr().out


@pytest.mark.full  # the kill itself, in a process that takes as long to start as ten of these tests
def test_a_run_that_was_killed_goes_on_though_its_copy_of_the_adapter_lies_there(
    trained: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["name=killed", "continue_from=tutor-first:1", "--home", str(trained.home)]
    script = (
        "import os, signal, sys; from pathlib import Path; from peft_registry.registry.homes.home import open_home; "
        "from peft_registry.schemas.progress import Advanced; "
        "from peft_registry.trainer.use_cases.train import train_and_register; "
        "stop = lambda event: isinstance(event, Advanced) and event.step == 'train' and event.done == 2 "
        "and os.kill(os.getpid(), signal.SIGKILL); "
        "train_and_register(open_home(Path(sys.argv[1])), Path(sys.argv[2]), tuple(sys.argv[3:]), observe=stop)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(trained.home), str(trained.alone), *words[:2]], check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert list((trained.home / "runs").glob("*/start"))
    assert run(["train", "--resume", "--no-mirror", *words[2:]]) == 0
    assert "registered killed:1" in capsys.readouterr().out


def test_one_task_of_a_sequence_says_that_it_begins_at_the_base(trained: Home) -> None:
    notes = load_training_file(trained.sequence, ("task=second",)).notes
    assert any("second begins at the base" in note and "first" in note for note in notes)
    assert not load_training_file(trained.sequence, ("task=first",)).notes
    assert not load_training_file(trained.sequence, ("task=second", "continue_from=tutor-first:1")).notes


def test_an_estimate_refuses_what_could_not_be_gone_on_from(trained: Home) -> None:
    where = ["--home", str(trained.home)]
    assert run(["estimate", str(trained.alone), "continue_from=nowhere", *where]) == 7
    assert run(["train", str(trained.alone), "continue_from=tiny", "--dry-run", *where]) == 2


def test_the_compute_of_all_that_was_merged_counts_where_training_goes_on_from_it(trained: Home) -> None:
    where = ["--home", str(trained.home), "--no-mirror"]
    merged = ["tutor-first:1", "tutor-second:1", "--algorithm", "concatenate", "--name", "both"]
    assert run(["merge", *merged, *where]) == 0
    version = train_and_register(
        trained.registry, trained.alone, ("name=on-both", "continue_from=both", "lora.r=16", "lora.alpha=16")
    ).version
    records = records_of(trained.registry, version)
    assert records.run is not None
    assert records.modification is not None
    runs = [records.run, *(records_of(trained.registry, one).run for one in trained.versions[:2])]
    own = [one.compute.conservative_flop.value for one in runs if one is not None]
    assert records.modification.compute.conservative_flop.value == pytest.approx(sum(own))
    assert len(own) == 3


def test_a_comparison_of_methods_that_cannot_go_on_trains_none_of_them(trained: Home) -> None:
    words = ["name=arms", "continue_from=tutor-first:1", "--methods", "lora,ia3", "--home", str(trained.home)]
    assert run(["compare", str(trained.alone), *words, "--no-mirror"]) == 2
    with pytest.raises(KnownError):
        version_named(trained.registry, "arms-lora")


def test_held_out_rows_that_changed_in_between_are_in_no_table_and_under_another_name_all_are_trained_anew(
    trained: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first task's version was measured on the second's rows as they were: no column may hold both."""
    for source in trained.folder.iterdir():
        if source.is_file():
            (tmp_path / source.name).write_bytes(source.read_bytes())
    rows = (tmp_path / "held-out.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "held-out.jsonl").write_text("".join(reversed(rows)))
    file, where = str(tmp_path / "sequence.yml"), ["--home", str(trained.home), "--no-mirror"]
    assert run(["train", file, *where]) == 5
    assert "tutor-first:1" in capsys.readouterr().err
    assert run(["train", file, "name=anew", *where, "-o", "json"]) == 0  # as the refusal says
    anew = json.loads(capsys.readouterr().out)
    # a name on the command line is that of the file: each task's comes after it
    assert [one["version"] for one in anew["tasks"]] == ["anew-first:1", "anew-second:1", "anew-third:1"]
    assert [step["task"] for step in anew["forgetting"]["steps"]] == ["first", "second", "third"]


def test_an_adapter_that_was_changed_in_the_store_is_not_gone_on_from(
    trained: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(trained.home, home)
    manifest = stored_manifest(trained.registry, trained.versions[0].manifest_digest)
    weights = next(one for one in manifest.files if one.path == "adapter_model.safetensors")
    (stored,) = (path for path in home.rglob(weights.sha256.hex) if path.is_file())
    stored.chmod(0o644)
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)
    words = ["name=refused", "continue_from=tutor-first:1", "--home", str(home), "--no-mirror"]
    assert run(["train", str(trained.alone), *words]) == 6
    assert "adapter_model.safetensors" in capsys.readouterr().err
