"""`registry train` in process: what is recorded of the command and the facts, and what a repeated training says."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml

from peft_registry.registry.compliance.contradictions import FactIncomplete, FactsOutOfOrder
from peft_registry.registry.compliance.facts import FactUnknown
from peft_registry.registry.compliance.stated import FactMalformed, FactNeedsSignature, FactNotDeclarable
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.homes.organisation import ProfileValueRefused
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.tries import tries_of_run
from peft_registry.registry.use_cases.add_base import add_base
from peft_registry.registry.use_cases.announce_edition import EditionNotAnnounced
from peft_registry.registry.use_cases.pull_base import WrongBase
from peft_registry.registry.use_cases.show import describe_version
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.base_model import BaseOrigin, DeclaredFacts
from peft_registry.schemas.errors import InputRefused, KnownError, NotFound, SeveralProblems
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.progress import Event, Said, Warned
from peft_registry.schemas.run import KeptRun, kept_sentence
from peft_registry.schemas.run_points import KeptRunPoints, RunPoints
from peft_registry.schemas.system_metrics import KeptSystemMetrics, SystemMetrics
from peft_registry.schemas.values import declared
from peft_registry.trainer.data.containers import DataFileMissing
from peft_registry.trainer.data.dataset import LengthOverContext, NothingToLearn
from peft_registry.trainer.data.formats import AbsentColumn
from peft_registry.trainer.data.tokenize import TokenWithoutEmbedding
from peft_registry.trainer.machine.environment import NoGpu
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.methods.layer_names import TargetsNotFound
from peft_registry.trainer.runs.folder import TRAINING, read_state, write_state
from peft_registry.trainer.runs.resume import report_resumable_runs
from peft_registry.trainer.training import loop
from peft_registry.trainer.training.mixed_precision import NothingTrained
from peft_registry.trainer.use_cases import merge, train
from peft_registry.trainer.use_cases.ask import ask
from peft_registry.trainer.use_cases.estimate import estimate_run
from peft_registry.trainer.use_cases.train import TrainOutcome, train_and_register
from peft_registry.trainer.use_cases.train_plan import OverrideWithoutEffect, require_effect
from tests.builders.homes import NOW, a_home, a_home_before_editions
from tests.builders.mirror import projection_of
from tests.builders.training import a_base_folder, colour_rows, write_rows

FILE = """\
name: boxes
project: colours
base: tiny
method: lora
lora: {r: 4, alpha: 8, target_modules: all-linear}
data:
  train: {path: rows.jsonl, format: prompt_completion}
  validation: {fraction: 0.25}
training:
  {learning_rate: 1e-2, num_train_epochs: 1, per_device_train_batch_size: 8, max_length: 64, seed: 7, dtype: fp32, eval_steps: 2}
evaluation: {bias: []}
"""


@dataclass(frozen=True)
class Place:
    """A home with a tiny base, and a training file beside it."""

    registry: Registry
    folder: Path
    said: list[tuple[str, str]]

    def facts(self, name: str, **sections: object) -> str:
        """The override that names a facts file with these sections."""
        (self.folder / name).write_text(yaml.safe_dump({"asserted_by": "J. Doe, data steward", **sections}))
        return f"facts={name}"

    def train(self, *overrides: str, **choices: object) -> tuple[TrainOutcome, dict[str, str]]:
        """The outcome, and the warnings by reference."""
        warnings: dict[str, str] = {}

        def observe(event: Event) -> None:
            if isinstance(event, Warned):
                warnings[event.reference] = event.text
            if isinstance(event, Said):
                self.said.append((event.label, event.text))

        file = self.folder / "train.yml"
        return train_and_register(self.registry, file, overrides, observe=observe, **choices), warnings  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("train")
    (folder / "train.yml").write_text(FILE)
    write_rows(folder / "rows.jsonl", colour_rows(24))
    with a_home(folder / "home") as registry:
        add_base(
            registry,
            a_base_folder(folder / "base"),
            name="tiny",
            origin=BaseOrigin(format="huggingface", source="b"),
            facts=DeclaredFacts(release_date=declared("2026-05-01", by="its provider", at=NOW)),
        )
        yield Place(registry, folder, [])


@pytest.fixture(scope="module")
def first(place: Place) -> TrainOutcome:
    stated = place.facts("first.yml", use={"intended": "colours of boxes"})
    return place.train(stated, command=("train", "/home/ada/boxes.yml", "training.seed=7"))[0]


def test_the_command_that_was_typed_enters_the_run_record_without_its_folders(
    place: Place, first: TrainOutcome
) -> None:
    run = records_of(place.registry, first.version).run
    assert run is not None
    assert run.environment.argv == ("train", "boxes.yml", "training.seed=7")


def test_the_project_of_the_file_is_that_of_the_run(place: Place, first: TrainOutcome) -> None:
    records = records_of(place.registry, first.version)
    assert records.run is not None
    assert records.project == records.run.config["project"] == "colours"


def test_how_busy_the_machine_was_is_kept_beside_the_run_and_not_in_what_is_signed_of_the_model(
    place: Place, first: TrainOutcome
) -> None:
    registry = place.registry
    records = records_of(registry, first.version)
    assert records.run is not None
    kept = records.run.system
    assert kept is not None
    metrics = SystemMetrics.from_json(json.loads(registry.store.read_bytes(kept.sha256)))
    assert KeptSystemMetrics.of(metrics) == kept
    assert (metrics.samples[0].step, metrics.samples[-1].step) == (0, max(records.run.curve.steps))
    assert str(kept.sha256) not in records.manifest.to_canonical().decode()
    points = {point.key: point for point in projection_of(registry, first.version).run.metrics if not point.final}
    last = metrics.samples[-1]
    shown = points["system/process_memory_megabytes"]
    assert (shown.value, shown.step, shown.at_ms) == (
        last.values["process_memory_megabytes"],
        last.step,
        round(last.at * 1000),
    )


def test_what_was_measured_step_by_step_is_kept_beside_the_run_and_its_folder_is_gone(
    place: Place, first: TrainOutcome
) -> None:
    registry = place.registry
    run = records_of(registry, first.version).run
    assert run is not None
    assert run.points is not None
    kept = RunPoints.from_json(json.loads(registry.store.read_bytes(run.points.sha256)))
    assert KeptRunPoints.of(kept) == run.points
    assert [point.step for point in kept.points] == [0, *run.curve.steps]
    assert [point.values["loss"] for point in kept.points[1:]] == pytest.approx(run.curve.loss, rel=1e-5)
    looked = {point.step: point.values["held_out_loss"] for point in kept.points if "held_out_loss" in point.values}
    assert looked == {
        0: pytest.approx(run.loss_before.value, rel=1e-4),
        2: pytest.approx(looked[2]),
        run.curve.steps[-1]: pytest.approx(run.loss_after.value, rel=1e-4),
    }
    assert all(point.values["gradient_norm"] > 0 and point.values["learning_rate"] > 0 for point in kept.points[1:])
    shown = projection_of(registry, first.version).run.metrics
    assert [point.step for point in shown if point.key == "loss/held_out"] == sorted(looked)
    assert {"training/learning_rate", "training/gradient_norm"} <= {point.key for point in shown}
    assert not list(registry.files.runs.iterdir())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("training.eval_steps=null", "without training.eval_steps"),
        ("training.early_stopping.metric=accuracy", "training.early_stopping.metric asks for accuracy"),
        ("training.early_stopping.patience=0", "`training.early_stopping.patience` is 0"),
    ],
)
def test_early_stopping_that_cannot_choose_is_refused_before_training(place: Place, override: str, said: str) -> None:
    begun = len(place.said)
    with pytest.raises(InputRefused, match=re.escape(said)):
        place.train("name=refused", "training.early_stopping={patience: 1}", override)
    assert not [text for label, text in place.said[begun:] if label == "method"]


def test_a_repeated_training_that_states_nothing_new_records_and_warns_of_nothing(
    place: Place, first: TrainOutcome
) -> None:
    for overrides in ((), ("facts=first.yml",)):
        again, warnings = place.train(*overrides)
        assert again.version == first.version
        assert "facts-not-recorded" not in warnings
    assert len(records_of(place.registry, first.version).history) == 1


def test_an_equal_training_is_known_before_anything_is_trained(place: Place, first: TrainOutcome) -> None:
    begun = place.registry.files.begun.read_bytes()
    place.said.clear()
    started = time.process_time()
    again, _ = place.train()
    assert time.process_time() - started < 5.0
    assert (again.version, again.run, again.was_there) == (first.version, first.run, True)
    assert place.registry.files.begun.read_bytes() == begun, "no run was begun"
    assert ("run", f"this file, base and data gave {first.version.label} before; --again trains it anew") in place.said


def test_a_training_that_is_repeated_on_purpose_gives_the_same_version_and_counts_as_no_other_settings(
    place: Place, first: TrainOutcome
) -> None:
    place.said.clear()
    again, _ = place.train(again=True)
    assert (again.version, again.was_there) == (first.version, True)
    assert again.run.run_id != first.run.run_id
    tries = tries_of_run(place.registry, again.run)
    assert (tries.seeds, tries.others) == (1, 0)
    told = [label for label, _ in place.said]
    assert told.index("cost") < told.index("loss")
    assert f"(measured: the training of {first.version.label})" in dict(place.said)["cost"]


def test_the_rows_that_chose_a_step_are_not_those_that_are_reported_on(place: Place, first: TrainOutcome) -> None:
    place.said.clear()
    # at such a rate no later look is better than the first
    stopping = ("training.early_stopping.patience=1", "training.learning_rate=0.9", "training.num_train_epochs=6")
    outcome, _ = place.train("name=early", "training.stop_on_spike=false", *stopping)
    records = records_of(place.registry, outcome.version)
    run, modification = records.run, records.modification
    assert run is not None
    assert isinstance(modification, ModificationRecord)
    kept = run.kept_step
    assert kept is not None
    assert kept.step < kept.trained == max(run.curve.steps) < kept.asked
    (data,) = run.data
    parts = {part.split: part.rows for part in data.selections}
    assert parts == {"train": 18, "validation": 3, "test": 3}
    assert kept.rows == parts["validation"]
    assert modification.data[0].epochs == kept.epochs
    assert kept.epochs.value == pytest.approx(kept.step / 3, abs=1e-6)
    assert ("kept", kept_sentence(kept)) in place.said
    assert dict(describe_version(place.registry, "early").lines())["kept"] == kept_sentence(kept)
    assert run.points is not None
    points = RunPoints.from_json(json.loads(place.registry.store.read_bytes(run.points.sha256))).points
    looked = {point.step: point.values["validation_loss"] for point in points if "validation_loss" in point.values}
    assert (
        looked[kept.step] == min(loss for step, loss in looked.items() if step) == pytest.approx(kept.value, rel=1e-5)
    )
    assert outcome.run.config_sha256 != first.run.config_sha256
    assert verify_version(place.registry, outcome.version).verdict == "verified"
    # what a notebook prints of it names the version, and is no page of records
    assert "name='early'" in repr(outcome) and len(repr(outcome)) < 2000


def test_facts_of_a_repeated_training_are_recorded_by_a_record_that_supersedes(
    place: Place, first: TrainOutcome
) -> None:
    stated = place.facts("later.yml", use={"intended": "teaching", "out_of_scope": "anything else"})
    again, warnings = place.train(stated)
    assert again.was_there
    assert again.version == first.version
    assert "facts-not-recorded" not in warnings
    records = records_of(place.registry, first.version)
    assert [link.record.use.intended.value for link in records.history] == ["colours of boxes", "teaching"]
    assert isinstance(records.modification, ModificationRecord)
    assert records.modification.use.out_of_scope.value == "anything else"
    assert records.modification.supersedes == first.run.run_id
    assert verify_version(place.registry, first.version).verdict == "verified"


def test_another_name_records_its_own_facts(place: Place, first: TrainOutcome) -> None:
    stated = place.facts("renamed.yml", use={"intended": "teaching"})
    renamed, warnings = place.train(stated, "name=boxes-for-teaching")
    assert not renamed.was_there
    assert ("bytes", f"the same bytes as {first.version.label}") in place.said
    assert "facts-not-recorded" not in warnings
    assert renamed.version.manifest_digest == first.version.manifest_digest
    records = records_of(place.registry, renamed.version)
    recorded = records.modification
    assert recorded is not None
    assert recorded.use.intended.value == "teaching"
    # neither the base nor an equal result is scored anew; `--again` would
    assert {"base", "adapted"} <= records.evaluations[-1].extra["reused_scores"].keys()
    assert verify_version(place.registry, renamed.version).verdict == "verified"


# --- everything that can refuse, before the base is read ---


@pytest.fixture
def unread(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The place, where reading the base is a failure of the test."""

    def read(*_: object, **__: object) -> None:
        raise AssertionError("the base was read before everything that can refuse had been asked")

    monkeypatch.setattr(train, "checked_base", read)
    return place


@pytest.mark.parametrize(
    ("sections", "error", "says"),
    [
        ({"use": {"intendde": "colours"}}, FactUnknown, "use.intendde"),
        ({"use": {"intended": 7}}, FactMalformed, "use.intended"),
        ({"data": {"rows.jsonl": {"personal_data": "perhaps"}}}, FactMalformed, "personal_data"),
        ({"data": {"others.jsonl": {"personal_data": "no"}}}, FactUnknown, "others.jsonl"),
        ({"base": {"large": {"licence_id": "mit"}}}, FactUnknown, "large"),
        ({"identity": {"kind": "merge"}}, FactNotDeclarable, "identity.kind"),
        ({"approvals": [{"person": "A. Smith", "decision": "approved"}]}, FactNeedsSignature, "approvals"),
        ({"gpai": {"placing_date": "tomorrow"}}, FactMalformed, "gpai.placing_date"),
        ({"gpai": {"placing_date": "2026-04-30"}}, FactsOutOfOrder, "base.tiny.release_date"),
        ({"modifier": {"country": "ZZ"}}, FactMalformed, "modifier.country"),
        ({"modifier": {"controls_weights": "no"}}, FactNotDeclarable, "controls_weights"),
        ({"base": {"tiny": {"retrieved_at": "2026-05-02T00:00:00Z"}}}, FactNotDeclarable, "retrieved_at"),
        ({"energy": {"training_kwh": -3}}, FactMalformed, "energy.training_kwh"),
        ({"energy": {"training_kwh": 3}}, FactIncomplete, "energy.training_kwh"),
    ],
)
def test_a_fact_of_no_field_or_of_another_type_is_refused_before_the_base_is_read(
    unread: Place, sections: dict[str, object], error: type[KnownError], says: str
) -> None:
    stated = unread.facts("wrong.yml", **sections)
    with pytest.raises(error) as caught:
        unread.train(stated)
    assert says in caught.value.what
    assert caught.value.exit_code == 2


def test_everything_that_is_wrong_is_told_at_once_with_its_own_remedy(unread: Place) -> None:
    stated = unread.facts("wrong.yml", use={"intended": 7}, limitations={"known": 3})
    with pytest.raises(SeveralProblems) as caught:
        unread.train(stated, "base=absent", "data.train.path=absent.jsonl", "evaluation.bias=[nothing]")
    found = {problem.reference for problem in caught.value.problems}
    assert {"fact-malformed", "data-file-missing", "unknown-suite"} <= found
    assert caught.value.exit_code == 2
    for problem in caught.value.problems:
        assert problem.what in caught.value.why
        assert problem.fix in caught.value.fix


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("lora.target_modules=[query]",), "no layer of this base is named by lora.target_modules"),
        (("lora.rank_pattern={query: 2}",), "no adapted layer matches"),
        (("method=full", "full.freeze=[model]"), "leaves nothing to train"),
    ],
)
def test_layers_that_the_base_does_not_have_are_refused_before_a_weight_is_read(
    unread: Place, words: tuple[str, ...], says: str
) -> None:
    for asked in (unread.train, lambda *words: estimate_run(unread.registry, unread.folder / "train.yml", words)):
        with pytest.raises(KnownError, match=says):
            asked(*words, "name=other")


def test_no_byte_of_a_base_of_100_gigabytes_is_read_to_refuse_a_file_or_to_know_an_equal_training(
    place: Place, first: TrainOutcome
) -> None:
    """Its weights are stretched meanwhile: whoever looks finds another base than the one that was registered."""
    weights = place.folder / "base" / "model.safetensors"
    size = weights.stat().st_size
    os.truncate(weights, 100 * 10**9)
    try:
        for words, says in {
            "data.train.format=messages": "no column `messages`",
            "evaluation.quality=[macro_f1]": "evaluation.quality asks for macro_f1",
            "training.max_length=100000": "the base reads 128 tokens",
            "lora.target_modules=[query]": "no layer of this base is named",
            "evaluation.bias=[nothing]": "no suite 'nothing'",
        }.items():
            with pytest.raises(KnownError, match=re.escape(says)):
                place.train("name=other", words)
        assert place.train()[0].version == first.version
        with pytest.raises(WrongBase):
            place.train("name=other")
    finally:
        os.truncate(weights, size)


@pytest.mark.parametrize("words", [("base=absent",), ("data.train.path=absent.jsonl",), ("method=ia3", "lora.r=8")])
def test_an_estimate_refuses_what_the_run_refuses(unread: Place, words: tuple[str, ...]) -> None:
    with pytest.raises(KnownError) as of_run:
        unread.train(*words)
    with pytest.raises(KnownError) as of_estimate:
        estimate_run(unread.registry, unread.folder / "train.yml", words)
    assert (of_run.value.reference, of_run.value.what) == (of_estimate.value.reference, of_estimate.value.what)


def test_a_profile_that_an_older_version_took_is_refused_before_the_base_is_read(unread: Place) -> None:
    profile = unread.registry.folder / "profile.json"
    sound = profile.read_bytes()
    answer = OrganisationProfile(country=declared("ZZ", by="registry init", at=NOW))
    profile.write_text(answer.model_dump_json())
    try:
        with pytest.raises(ProfileValueRefused, match="country") as caught:
            unread.train()
    finally:
        profile.write_bytes(sound)
    assert "ISO 3166" in caught.value.why
    assert "profile.json" in caught.value.fix


def test_an_estimate_refuses_facts_that_the_run_would_refuse(place: Place) -> None:
    stated = place.facts("wrong.yml", use={"intended": 7})
    with pytest.raises(FactMalformed, match=r"use\.intended"):
        estimate_run(place.registry, place.folder / "train.yml", (stated,))


def test_a_merge_refuses_wrong_facts_before_its_adapters_are_read(
    place: Place, first: TrainOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "plan_merge", lambda *_, **__: pytest.fail("the adapters were read first"))
    place.facts("wrong.yml", use={"intended": 7}, nothing="like it")
    request = MergeRequest((first.version.label,), facts=place.folder / "wrong.yml")
    with pytest.raises(SeveralProblems) as caught:
        merge.merge_and_register(place.registry, request)
    assert sorted(problem.reference for problem in caught.value.problems) == ["fact-malformed", "fact-unknown"]


def test_a_merge_refuses_a_placing_before_the_release_of_its_base_before_anything_is_read(
    place: Place, first: TrainOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "plan_merge", lambda *_, **__: pytest.fail("the adapters were read first"))
    place.facts("early.yml", gpai={"placing_date": "2026-04-30"}, base={first.version.label: {"is_gpai": "perhaps"}})
    request = MergeRequest((first.version.label,), facts=place.folder / "early.yml")
    with pytest.raises(SeveralProblems) as both:
        merge.merge_and_register(place.registry, request)
    assert f"base.{first.version.label}.is_gpai" in both.value.why
    assert "base.tiny.release_date" in both.value.why
    place.facts("early.yml", gpai={"placing_date": "2026-04-30"})
    with pytest.raises(FactsOutOfOrder) as caught:
        merge.merge_and_register(place.registry, request)
    assert (caught.value.earlier, caught.value.later) == ("base.tiny.release_date", "gpai.placing_date")


def test_a_merge_of_what_is_no_adapter_and_wrong_facts_are_told_together(place: Place, first: TrainOutcome) -> None:
    place.facts("wrong.yml", use={"intended": 7})
    with pytest.raises(SeveralProblems) as caught:
        merge.merge_and_register(place.registry, MergeRequest(("tiny:1",), facts=place.folder / "wrong.yml"))
    assert [problem.reference for problem in caught.value.problems] == ["not-an-adapter", "fact-malformed"]


# --- overrides, and runs that stopped ---


@pytest.mark.parametrize("words", [("method=prompt_tuning", "lora.r=8"), ("lora.r=8", "method=prompt_tuning")])
def test_an_override_of_another_methods_block_is_refused_and_names_both(unread: Place, words: tuple[str, ...]) -> None:
    with pytest.raises(OverrideWithoutEffect) as caught:
        unread.train(*words)
    assert caught.value.exit_code == 2
    assert "lora.r=8" in caught.value.what
    assert "prompt_tuning" in caught.value.why


@pytest.mark.parametrize("word", ["lora_r=8", "lora_rank=8", "lora.lora_rank=8", "qlora.r=8"])
def test_a_familiar_word_for_another_methods_block_is_refused_too(word: str) -> None:
    with pytest.raises(OverrideWithoutEffect) as caught:
        require_effect((word,), ("prompt_tuning",))
    assert caught.value.block == "lora"
    require_effect((word,), ("qlora",))


def test_overrides_of_a_comparison_may_be_for_any_of_its_methods_and_for_no_other() -> None:
    require_effect(("lora.r=8", "training.seed=8"), ("ia3", "qlora"))
    with pytest.raises(OverrideWithoutEffect, match="lora"):
        require_effect(("lora.r=8",), ("ia3", "full"))


def test_only_a_stopped_run_of_the_same_name_or_file_is_warned_of(tmp_path: Path) -> None:
    other = KeptRun(
        run_id="a" * 32,
        name="boxes",
        config=str(tmp_path / "boxes.yml"),
        config_sha256=Digest.of(b"configuration"),
        base=Digest.of(b"base"),
        started_at=NOW,
    )
    (tmp_path / "runs" / other.run_id / TRAINING).mkdir(parents=True)
    (tmp_path / "runs" / other.run_id / TRAINING / "checkpoint.pt").write_bytes(b"state")
    write_state(tmp_path / "runs" / other.run_id, other)

    def told(name: str, file: str) -> list[Event]:
        events: list[Event] = []
        report_resumable_runs(tmp_path / "runs", events.append, name=name, file=tmp_path / file)
        return events

    assert told("another", "another.yml") == []
    assert len(told("boxes", "another.yml")) == 1
    assert len(told("another", "boxes.yml")) == 1


# --- in fp16 ---


def overflowing(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """Every run begins with this loss scale."""
    monkeypatch.setattr(loop, "loss_scaler", lambda *_: torch.amp.GradScaler("cpu", init_scale=scale))


def test_a_training_in_fp16_is_registered_and_its_record_says_which_steps_changed_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflowing(monkeypatch, 2.0**26)
    place.said.clear()
    outcome, warnings = place.train("name=half", "training.dtype=fp16", "training.num_train_epochs=4")
    run = records_of(place.registry, outcome.version).run
    assert run is not None and run.points is not None
    assert run.environment.dtype == run.config["training"]["dtype"] == "fp16"
    told = [text for label, text in place.said if label == "fp16"]
    assert 0 < len(told) < len(run.curve.loss) == 12
    sentence = f"fp16: the gradients of {len(told)} of 12 steps overflowed; these steps changed no weight"
    assert warnings["fp16-overflow"] == sentence
    assert sentence in run.warnings
    points = RunPoints.from_json(json.loads(place.registry.store.read_bytes(run.points.sha256))).points
    assert len([point for point in points if point.step and "gradient_norm" not in point.values]) == len(told)
    assert "fp16 on cpu" in dict(describe_version(place.registry, "half").lines())["settings"]
    assert verify_version(place.registry, outcome.version).verdict == "verified"
    assert run.loss_after.value < run.loss_before.value


def test_a_training_whose_every_step_overflows_registers_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    overflowing(monkeypatch, 2.0**60)
    with pytest.raises(NothingTrained, match="the gradients of all 3 steps overflowed fp16"):
        place.train("name=none", "training.dtype=fp16")
    with pytest.raises(NotFound):
        describe_version(place.registry, "none")
    (folder,) = place.registry.files.runs.iterdir()
    state = read_state(folder)
    assert state is not None and state.status == "failed"
    assert "no step of this run changed a weight" in (state.why or "")
    shutil.rmtree(folder)


# --- what is wrong is told before a weight is read ---


@pytest.fixture(scope="module")
def huge(place: Place) -> str:
    """A base by reference whose weights have become 100 GB: whoever reads them does not come back."""
    folder = a_base_folder(place.folder / "huge", seed=3)
    add_base(place.registry, folder, name="huge", origin=BaseOrigin(format="huggingface", source="b"))
    weights = folder / "model.safetensors"
    weights.unlink()
    with weights.open("wb") as file:
        file.truncate(100 * 2**30)
    return "huge"


def nothing_to_learn(folder: Path) -> None:
    write_rows(folder / "mute.jsonl", [{"prompt": "why " * 40, "completion": "so"}] * 8)


WRONG: dict[str, tuple[str, type[KnownError]]] = {
    "column": ("data.train.columns.prompt=question", AbsentColumn),
    "file": ("data.train.path=nowhere.jsonl", DataFileMissing),
    "key": ("training.epoch=3", InputRefused),
    "length": ("training.max_length=4096", LengthOverContext),
    "rows": ("data.train.path=mute.jsonl", NothingToLearn),
    "device": ("training.device=cuda", NoGpu),
    "layer": ("lora.target_modules=[query]", TargetsNotFound),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_training_is_told_before_its_base_is_read(
    place: Place, huge: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    override, error = WRONG[name]
    nothing_to_learn(place.folder)
    started = time.process_time()
    with pytest.raises(error):
        place.train(f"base={huge}", override)
    assert time.process_time() - started < 3.0


def test_an_edition_that_nobody_announced_is_told_before_anything_is_trained(place: Place, tmp_path: Path) -> None:
    """A registration is refused until it is; what was trained for hours before that would be lost."""
    with a_home_before_editions(tmp_path / "home") as registry:
        origin = BaseOrigin(format="huggingface", source="b")
        add_base(registry, place.folder / "base", name="tiny", origin=origin)
        with pytest.raises(EditionNotAnnounced):
            train_and_register(registry, place.folder / "train.yml")
        assert not registry.files.begun.exists()


def test_a_token_that_the_base_has_no_embedding_for_is_told_of_its_row_and_of_a_question(place: Place) -> None:
    """The tokenizer has 258 tokens; nobody resized the 257 embeddings."""
    add_base(
        place.registry,
        a_base_folder(place.folder / "small", vocab_size=257, eos_token_id=256),
        name="small",
        origin=BaseOrigin(format="huggingface", source="b"),
    )
    with pytest.raises(TokenWithoutEmbedding, match=r"line \d+ of rows.jsonl has the token '</s>'"):
        place.train("base=small")
    with pytest.raises(TokenWithoutEmbedding, match="the number 257, and the embeddings have 257 rows"):
        ask(place.registry, "small", "red</s>", max_new_tokens=1)
    assert len(ask(place.registry, "small", "red", max_new_tokens=1)) == 1
