"""A training by somebody else's trainer, followed by the callback: what is registered, what is said, and what is refused."""

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from peft_registry import RegistryCallback
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.homes.home import HomeNotFound, Registry, open_home
from peft_registry.registry.records.bases import base_record
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.tries import tries_of_run
from peft_registry.registry.use_cases.import_folder import import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.registry.use_cases.make_home import NewHome, make_home
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.registry.verification.signed_versions import all_signed_versions
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest, MalformedProject
from peft_registry.schemas.modification import ModificationRecord
from peft_registry.schemas.profile import OrganisationProfile
from peft_registry.schemas.system_metrics import SystemMetrics
from peft_registry.trainer.evaluation.leakage import hash_texts, read_text_hashes
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.train import train_and_register
from tests.builders.homes import NOW, a_home, name_once
from tests.builders.hub_cache import a_cached_snapshot
from tests.builders.trainers import LENGTH, PROMPT, ROWS, TEXTS, a_lora, a_model_of, a_trainer, token_rows
from tests.builders.training import a_base_folder, a_tokenizer, write_rows
from tests.conftest import STATE
from tests.processes.interpreter import ROOT
from tests.servers.hub import COMMIT

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")

STEPS = 4
POSITIONS = STEPS * 2 * LENGTH  # of two rows a step


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the base `tiny` and a home that this user named once."""
    folder = tmp_path_factory.mktemp("followed")
    a_base_folder(folder / "tiny")
    make_home(NewHome(folder / "home", OrganisationProfile(), "lab-1", None), now=NOW)
    name_once(folder / "home", STATE)
    return folder


@pytest.fixture
def registry(place: Path) -> Iterator[Registry]:
    with closing(open_home(place / "home")) as opened:
        yield opened


def followed(place: Path, trainer: Any, name: str, **changes: Any) -> RegistryCallback:
    """The one line of a script: the callback, added."""
    callback = RegistryCallback(trainer, name, home=place / "home", mirror=False, quiet=True, **changes)
    trainer.add_callback(callback)
    return callback


def registered(place: Path) -> set[str]:
    with closing(open_home(place / "home")) as registry:
        return {version.name for version in all_signed_versions(registry)}


@pytest.fixture
def lora(place: Path, tmp_path: Path) -> tuple[Any, RegistryCallback]:
    """A LoRA that `transformers.Trainer` trained."""
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    callback = followed(place, trainer, "lora", project="colours")
    trainer.train()
    return trainer, callback


def test_what_a_trainer_trained_verifies_and_answers_as_the_model_in_memory(
    place: Path, lora: tuple[Any, RegistryCallback], registry: Registry, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel

    trainer, callback = lora
    version = callback.outcome.version
    assert verify_version(registry, version).verdict == "verified"
    pull_version(registry, version, tmp_path / "pulled")
    tokens = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        expected = trainer.model.eval()(tokens).logits
        assert torch.equal(
            PeftModel.from_pretrained(a_model_of(place / "tiny"), tmp_path / "pulled").eval()(tokens).logits, expected
        )
    assert "Trainer" in make_report(registry, version).decode()
    system = callback.outcome.run.system
    assert system is not None
    assert SystemMetrics.from_json(json.loads(registry.store.read_bytes(system.sha256))).samples[-1].step == (
        trainer.state.global_step
    )
    assert records_of(registry, version).project == callback.outcome.run.project == "colours"
    # the scratch of the run is gone, and no hook stays on the script's model
    assert not list((place / "home" / "runs").glob("*"))
    assert not trainer.model.get_base_model()._forward_pre_hooks


def test_no_known_field_is_wrong(place: Path, lora: tuple[Any, RegistryCallback], registry: Registry) -> None:
    """Each field that the run answers, against what the script says and a hand counts."""
    trainer, callback = lora
    record = callback.outcome.modification
    lines = b"".join(canonical_bytes(row) + b"\n" for row in token_rows())
    base = a_model_of(place / "tiny")
    parameters = sum(parameter.numel() for parameter in base.parameters())
    # the embedding is tied, so that it is counted once, as the head
    matrices = sum(parameter.numel() for parameter in base.parameters() if parameter.dim() == 2)
    added = 2 * (4 * (32 + 32) + 4 * (32 + 16))  # of two layers: q_proj is 32 × 32, v_proj 16 × 32
    by_hand: dict[str, Any] = {
        "method.kind": "lora",
        "method.objective": "next-token cross-entropy over the labelled tokens",
        "method.optimiser": "AdamW (adamw_torch_fused)",
        "method.schedule": "cosine",
        "method.seed": 7,
        "peft.rank": 4,
        "peft.alpha": 8,
        "peft.dropout": 0.0,
        "peft.target_modules": ["q_proj", "v_proj"],
        "peft.bias": "none",
        "data[0].digest": str(Digest.of(lines)),
        "data[0].bytes": len(lines),
        "data[0].n_points": ROWS,
        "data[0].n_tokens": ROWS * LENGTH,
        "data[0].epochs": 1.0,
        "data[0].unit": "row",
        "data[0].modality": "text",
        "compute.conservative_flop": 6.0 * parameters * POSITIONS,
        "compute.param_update_flop": (4.0 * matrices + 6.0 * added) * POSITIONS,
        "compute.method": "6·P·D: P all parameters of the base, D positions with padding, repeats and passes of a reference model",
        "compute.inputs": {"P": parameters, "D": POSITIONS},
        "compute.excluded.evaluation_flop": 0.0,
        "change.params_trainable": added,
        "change.params_added": added,
        "change.params_changed": 0,
        "change.params_removed": 0,
        "change.pct_of_base": 0.0,
        "change.base_weights_untouched": "yes",
        "base[0].params_total": parameters,
    }
    found = {leaf.path: leaf.value for leaf in leaves(record)}
    assert {path: found[path].value for path in by_hand} == by_hand
    training = found["method.hyperparameters"].value["training"]
    assert (training["learning_rate"], training["max_steps"], "num_train_epochs" in training) == (1e-3, 4, False)
    assert str(place) not in str(record.to_json())
    # what a hand cannot count, beside what is said of the base, the organisation and the form itself
    uncounted = {
        *("method.hyperparameters", "data[0].splits", "step.adapted_pct", "step.adapted_pct_by_kind"),
        *("change.relative_to", "change.artifact_digests", "change.rel_norm_global", "change.modules"),
        *("compute.uncertainty_pct", "compute.hardware", "compute.wall_clock_days", "compute.hardware_days"),
        *("compute.nca_range",),
    }
    sections = ("method.", "peft.", "prompt.", "data[", "step.", "change.", "compute.")
    of_the_run = {path for path, value in found.items() if value.known and path.startswith(sections)}
    derived_of_record = {path for path in of_the_run if path.startswith(("compute.cumulative", "compute.private"))}
    assert of_the_run - derived_of_record - uncounted <= by_hand.keys()
    run = callback.outcome.run
    assert (run.compute.supervised_tokens.value, run.compute.padding_tokens.value) == (STEPS * 2 * (LENGTH - PROMPT), 0)
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert (run.curve.steps, list(run.curve.loss)) == ((1, 2, 3, 4), logged)
    assert not found["data[0].name"].known  # rows in memory have none


TRL_LENGTH = 13  # "box 0 is" has 8 bytes, " red" 4, and the end of a text one token
TRL_LEARNT = 5


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_no_known_field_of_a_trainer_of_trl_is_wrong(
    kind: str, place: Path, registry: Registry, tmp_path: Path
) -> None:
    """Four steps of two rows, counted by hand; DPO takes two texts a row, each through the reference model as well."""
    trainer = trained_by_trl(kind, place, tmp_path)
    callback = followed(place, trainer, f"by-{kind}")
    trainer.train()
    record = callback.outcome.modification
    parameters = sum(parameter.numel() for parameter in a_model_of(place / "tiny").parameters())
    texts = STEPS * 2 if kind == "sft" else STEPS * 2 * 2
    positions = texts * TRL_LENGTH * (1 if kind == "sft" else 2)
    lines = b"".join(canonical_bytes(row) + b"\n" for row in rows_of_trl(kind, prepared=True))
    by_hand = {
        "method.objective": {
            "sft": "next-token cross-entropy over the labelled tokens",
            "dpo": "direct preference optimization (DPO), loss_type sigmoid, beta 0.2",
        }[kind],
        "method.kind": "lora",
        "method.schedule": "linear",
        "method.seed": 11,
        "peft.rank": 4,
        "data[0].digest": str(Digest.of(lines)),
        "data[0].n_points": ROWS,
        "data[0].epochs": 1.0,
        "compute.conservative_flop": 6.0 * parameters * positions,
        "compute.inputs": {"P": parameters, "D": positions},
    }
    found = {leaf.path: leaf.value for leaf in leaves(record)}
    assert {path: found[path].value for path in by_hand} == by_hand
    assert callback.outcome.run.compute.supervised_tokens.value == texts * TRL_LEARNT
    assert verify_version(registry, callback.outcome.version).verdict == "verified"


def rows_of_trl(kind: str, *, prepared: bool) -> list[dict[str, Any]]:
    """Rows as the script gives them, or as TRL holds them once it has tokenised them."""
    tokenizer = a_tokenizer()
    end = "</s>" if prepared else ""
    rows: list[dict[str, Any]] = []
    for number in range(ROWS):
        texts = {"prompt": f"box {number} is", "completion": f" red{end}"}
        if kind == "dpo":
            texts = {"prompt": f"box {number} is", "chosen": f" red{end}", "rejected": f" tan{end}"}
        ids = {name: tokenizer.encode(text, add_special_tokens=False) for name, text in texts.items()}
        row: dict[str, Any] = dict(texts)
        if prepared and kind == "dpo":
            row |= {f"{name}_ids": tokens for name, tokens in ids.items()}
        elif prepared:
            labels = [-100] * len(ids["prompt"]) + ids["completion"]
            row |= {"input_ids": ids["prompt"] + ids["completion"], "labels": labels}
        rows.append(row)
    return rows


def trained_by_trl(kind: str, place: Path, folder: Path) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": STEPS,
        "per_device_train_batch_size": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "seed": 11,
        "disable_tqdm": True,
    }
    given = {
        "model": str(place / "tiny"),
        "train_dataset": Dataset.from_list(rows_of_trl(kind, prepared=False)),
        "peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    }
    if kind == "dpo":
        return DPOTrainer(args=DPOConfig(beta=0.2, **settings), **given)
    return SFTTrainer(args=SFTConfig(**settings), **given)


def test_the_hashes_that_are_kept_are_those_of_the_rows_as_text(
    lora: tuple[Any, RegistryCallback], registry: Registry
) -> None:
    kept = callback_texts(lora[1])
    hashes = read_text_hashes(registry.store.read_bytes(kept.sha256), kept.sha256)
    expected = hash_texts(TEXTS)
    assert (hashes.rows, hashes.hashes.tolist()) == (ROWS, expected.hashes.tolist())


def callback_texts(callback: RegistryCallback) -> Any:
    texts = callback.outcome.run.texts
    assert texts is not None
    return texts


def test_a_whole_model_is_registered_as_one_and_is_compared_with_its_base(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    trainer = a_trainer(tmp_path, a_model_of(place / "tiny"), max_steps=1)
    callback = followed(place, trainer, "whole", evaluate=False)
    trainer.train()
    version = callback.outcome.version
    assert (version.kind, version.method, verify_version(registry, version).verdict) == ("model", "full", "verified")
    change = callback.outcome.modification.change
    assert change.params_changed.value > 0
    assert change.base_weights_untouched.value == "no"
    points = callback.outcome.modification.data[0].n_points
    assert (points.value, points.reason) == (None, "of 8 rows the training went through 0.25 of one epoch")


@pytest.mark.full
def test_suites_are_scored_on_the_base_and_the_result_where_the_script_asks(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), max_steps=1)
    callback = followed(place, trainer, "scored", evaluate="house")
    trainer.train()
    evaluation = records_of(registry, callback.outcome.version).evaluation
    assert evaluation is not None
    assert {arm.name for arm in evaluation.arms} >= {"base", "adapted"}
    assert evaluation.leakage_check is not None
    assert [text.status for text in evaluation.leakage_check.trainings] == ["compared"]
    assert verify_version(registry, callback.outcome.version).verdict == "verified"


def test_a_base_in_the_shared_cache_is_added_with_its_repository_and_commit(
    place: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    a_base_folder(tmp_path / "other", seed=5)
    snapshot = a_cached_snapshot(tmp_path / "hub", tmp_path / "other")
    model = a_lora(snapshot)
    # as transformers leaves it where the script names the repository
    model.get_base_model().config._name_or_path = "lab/tiny"
    model.get_base_model().config._commit_hash = COMMIT
    trainer = a_trainer(tmp_path / "out", model, max_steps=1)
    callback = followed(place, trainer, "of-the-hub")
    trainer.train()
    base = callback.outcome.run.base
    assert base.manifest is not None
    record = base_record(registry, version_named(registry, str(base.manifest)))
    assert (record.origin.source, record.identity.revision) == ("lab/tiny", COMMIT)
    assert not list((place / "home" / "bases").rglob("*.safetensors"))


def test_what_a_script_declares_of_its_rows_is_recorded_though_they_have_no_name(place: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.yml"
    facts.write_text('asserted_by: alex, data owner\ndata: {"*": {licence: CC0-1.0}}\n')
    trainer = a_trainer(tmp_path / "out", a_lora(place / "tiny"), max_steps=1)
    callback = followed(place, trainer, "declared", facts=facts)
    trainer.train()
    licence = callback.outcome.modification.data[0].licence
    assert (licence.value, licence.source, licence.asserted_by) == ("CC0-1.0", "declared", "alex, data owner")


# --- what is unknown, and why ---


def test_a_loss_of_the_script_has_no_objective_here(place: Path, tmp_path: Path) -> None:
    from transformers import Trainer

    class Weighted(Trainer):  # type: ignore[misc]  # transformers has no types
        def compute_loss(self, *arguments: Any, **named: Any) -> Any:
            return 2 * super().compute_loss(*arguments, **named)

    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), kind=Weighted, max_steps=1)
    callback = followed(place, trainer, "weighted")
    trainer.train()
    record = callback.outcome.modification
    assert "Weighted" in (record.method.objective.reason or "")
    assert not any(getattr(record.compute, name).known for name in ("conservative_flop", "param_update_flop", "method"))
    assert not record.data[0].n_points.known


def test_rows_that_are_streamed_are_unknown_and_the_rest_is_recorded(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    from datasets import Dataset

    rows = Dataset.from_list(token_rows()).to_iterable_dataset()
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), rows=rows, max_steps=1)
    callback = followed(place, trainer, "streamed")
    trainer.train()
    outcome = callback.outcome
    assert "streamed" in (outcome.modification.data[0].digest.reason or "")
    assert (outcome.run.data, outcome.run.texts) == ((), None)
    assert outcome.modification.compute.conservative_flop.known
    assert verify_version(registry, outcome.version).verdict == "verified"


def test_a_resumed_training_has_no_figures_of_the_steps_that_nobody_saw(
    place: Path, registry: Registry, tmp_path: Path
) -> None:
    first = a_trainer(tmp_path, a_lora(place / "tiny"), save_strategy="steps", save_steps=2, max_steps=2)
    first.train()
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    callback = followed(place, trainer, "resumed")
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    outcome = callback.outcome
    assert "resumed from a checkpoint after step 2" in (outcome.modification.compute.conservative_flop.reason or "")
    assert not outcome.run.compute.tokens.known
    assert not outcome.modification.data[0].n_points.known
    assert outcome.run.curve.steps == (1, 2, 3, 4)
    assert verify_version(registry, outcome.version).verdict == "verified"


# --- what registers nothing ---


def test_tries_by_a_script_and_by_the_command_are_counted_together(place: Path, tmp_path: Path) -> None:
    """Who trains twice in a script and once by the command, on the same rows, has tried three times, and shows the best."""
    rows = [{"text": text} for text in TEXTS]
    with a_home(tmp_path / "tries") as registry:
        intake_base(registry, str(place / "tiny"), name="tiny")
        name_once(registry.folder, STATE)
        scripts = []
        for seed in (7, 8):
            model = a_lora(place / "tiny")
            both = [row | tokens for row, tokens in zip(reversed(rows), reversed(token_rows()), strict=True)]
            trainer = a_trainer(tmp_path / str(seed), model, rows=Dataset.from_list(both), seed=seed)
            callback = RegistryCallback(trainer, "tried", home=registry.folder, mirror=False, quiet=True)
            trainer.add_callback(callback)
            trainer.train()
            scripts.append(callback.outcome.run)
        write_rows(tmp_path / "rows.jsonl", rows)
        (tmp_path / "train.yml").write_text(OWN)
        own = train_and_register(registry, tmp_path / "train.yml", ()).run
        for run in scripts:
            tries = tries_of_run(registry, run)
            assert (tries.seeds, tries.runs, tries.others) == (2, 2, 1)
        tries = tries_of_run(registry, own)
        assert (tries.seeds, tries.runs, tries.others) == (1, 1, 2)


def test_where_the_counts_of_the_processes_are_lost_the_training_is_registered_and_they_are_unknown(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process died between the last step and the sum: gloo and NCCL raise a RuntimeError in the others."""
    from transformers import TrainerCallback

    class Unreachable:
        num_processes = 2
        device = "cpu"

        def __init__(self, real: Any) -> None:
            self.real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def reduce(self, *_: Any) -> Any:
            raise RuntimeError("Connection closed by peer [127.0.0.1]:1")

    class LosesTheOther(TrainerCallback):
        def on_train_end(self, *_: Any, **__: Any) -> None:
            trainer.accelerator = Unreachable(trainer.accelerator)

    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    trainer.add_callback(LosesTheOther)
    callback = followed(place, trainer, "lonely")
    trainer.train()
    assert callback.outcome.version.label == "lonely:1"
    compute = callback.outcome.run.compute
    assert not compute.conservative_flop.known
    assert "the counts of 2 processes could not be added up" in str(compute.tokens.reason)
    assert "Connection closed by peer" in capsys.readouterr().err


def test_a_diverged_training_registers_nothing_and_says_so(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), max_steps=2, learning_rate=math.inf)
    callback = followed(place, trainer, "diverged")
    trainer.train()
    said = capsys.readouterr().err
    assert "nothing was registered of diverged" in said
    assert "error: the training diverged" in said
    with pytest.raises(KnownError, match="diverged"):
        _ = callback.outcome
    assert "diverged" not in registered(place)


def test_without_a_registry_at_the_place_the_training_does_not_begin(place: Path, tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    trainer.add_callback(RegistryCallback(trainer, "nowhere", home=tmp_path / "nowhere"))
    with pytest.raises(HomeNotFound):
        trainer.train()
    assert trainer.state.global_step == 0


def refusals(place: Path, tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """Trainers that are refused before their first step, by the reference of the error."""
    from peft import LoHaConfig, LoraConfig, get_peft_model

    nameless = a_model_of(place / "tiny")
    nameless.config._name_or_path = ""
    yield "base-of-model-unknown", nameless
    changed = a_lora(place / "tiny")
    changed.get_base_model().model.norm.weight.data.add_(1)
    yield "model-is-not-its-base", changed
    resized = a_model_of(place / "tiny")
    resized.resize_token_embeddings(310)
    yield "model-is-not-its-base", resized
    trained_before = a_lora(place / "tiny")
    next(value for name, value in trained_before.named_parameters() if "lora_B" in name).data.add_(1)
    yield "training-not-followed", trained_before
    yield (
        "training-not-followed",
        get_peft_model(a_model_of(place / "tiny"), LoHaConfig(r=2, target_modules=["q_proj"])),
    )
    thawed = a_lora(place / "tiny")
    thawed.get_base_model().lm_head.weight.requires_grad_(True)
    yield "training-not-followed", thawed
    # `default` alone would be saved, which learns nothing here
    for active in ("other", ["default", "other"]):
        several = a_lora(place / "tiny")
        several.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"]))
        several.base_model.set_adapter(active)
        yield "training-not-followed", several


def test_what_could_not_be_recorded_truly_is_refused_before_the_first_step(place: Path, tmp_path: Path) -> None:
    for reference, model in refusals(place, tmp_path):
        trainer = a_trainer(tmp_path, model)
        callback = followed(place, trainer, "refused")
        with pytest.raises(KnownError) as refused:
            trainer.train()
        assert (refused.value.reference, trainer.state.global_step) == (reference, 0)
        with pytest.raises(KnownError, match="nothing was registered"):
            _ = callback.outcome
    assert "refused" not in registered(place)


def another_model(trainer: Any) -> None:
    trainer.model = a_lora(trainer.model.peft_config["default"].base_model_name_or_path)


def another_base_in_memory(trainer: Any) -> None:
    trainer.model.get_base_model().model.norm.weight.data.add_(1)


@pytest.mark.parametrize("change", [another_model, another_base_in_memory], ids=lambda change: change.__name__)
def test_a_model_that_is_exchanged_while_it_is_trained_is_not_registered(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any
) -> None:
    from transformers import TrainerCallback

    class Exchanges(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            change(trainer)

    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), max_steps=1)
    callback = followed(place, trainer, "exchanged")
    trainer.add_callback(Exchanges())
    trainer.train()
    assert "nothing was registered of exchanged" in capsys.readouterr().err
    with pytest.raises(KnownError, match="not what was followed"):
        _ = callback.outcome
    assert "exchanged" not in registered(place)


def test_a_name_of_a_base_is_refused_before_the_first_step(place: Path, lora: Any, tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    followed(place, trainer, "tiny")
    with pytest.raises(KnownError) as refused:
        trainer.train()
    assert (refused.value.reference, trainer.state.global_step) == ("name-of-another-kind", 0)


def test_two_callbacks_and_a_second_training_are_refused(place: Path, tmp_path: Path, lora: Any) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"))
    followed(place, trainer, "twice")
    followed(place, trainer, "twice")
    with pytest.raises(KnownError, match="two callbacks"):
        trainer.train()
    with pytest.raises(KnownError, match="has followed a training already"):
        lora[0].train()
    with pytest.raises(KnownError, match="and not a trainer"):
        RegistryCallback("polite-replies", "polite-replies")
    with pytest.raises(MalformedProject):
        RegistryCallback(lora[0], "polite-replies", project="Colours and Boxes")
    assert "twice" not in registered(place)


def test_the_base_is_found_by_its_bytes_whatever_it_is_called(
    place: Path, lora: Any, registry: Registry, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(place / "tiny", tmp_path / "elsewhere")
    trainer = a_trainer(tmp_path / "out", a_lora(tmp_path / "elsewhere"), max_steps=1)
    callback = followed(place, trainer, "elsewhere-based")
    trainer.train()
    assert callback.outcome.version.base_manifest == lora[1].outcome.version.base_manifest


# --- three doors ---

PAGE = ROOT / "docs" / "how-to" / "track-an-existing-script.md"
HEAD = "| Section of the record | Callback | Import afterwards | `registry train` |\n|---|---|---|---|\n"
NOT_COMPARED = ("energy",)  # known where the machine has a sensor


def test_the_table_of_the_page_is_what_the_three_doors_know(
    place: Path, lora: tuple[Any, RegistryCallback], tmp_path: Path
) -> None:
    trainer, callback = lora
    trainer.save_model(str(tmp_path / "saved"))
    records = (
        callback.outcome.modification,
        imported_afterwards(place, tmp_path / "saved", tmp_path),
        trained_here(place, tmp_path),
    )
    table = HEAD + "".join(table_rows(records))
    page = PAGE.read_text("utf-8")
    written = re.search(rf"^{re.escape(HEAD)}(?:\|.*\n)+", page, re.MULTILINE)
    assert written is not None
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page.replace(written[0], table), "utf-8")
    assert (written[0] == table) or os.environ.get("UPDATE_GOLDEN"), table


def table_rows(records: tuple[ModificationRecord, ...]) -> Iterator[str]:
    """A row a section, with how many of its fields each record knows, and of how many."""
    known = [Counter(section for section, is_known in sections_of(record) if is_known) for record in records]
    fields = [Counter(section for section, _ in sections_of(record)) for record in records]
    for section in fields[0]:
        cells = [f"{one[section]} of {whole[section]}" for one, whole in zip(known, fields, strict=True)]
        yield f"| {section} | {' | '.join(cells)} |\n"
    totals = [f"{one.total()} of {whole.total()}" for one, whole in zip(known, fields, strict=True)]
    yield f"| all | {' | '.join(totals)} |\n"


def sections_of(record: ModificationRecord) -> Iterator[tuple[str, bool]]:
    for leaf in leaves(record):
        section = re.split(r"[.\[]", leaf.path, maxsplit=1)[0]
        if section not in NOT_COMPARED and section != leaf.path:
            yield section.replace("_", " "), leaf.value.known


def imported_afterwards(place: Path, folder: Path, tmp_path: Path) -> ModificationRecord:
    """What another home knows of the folder that the trainer saved."""
    with a_home(tmp_path / "importing") as registry:
        intake_base(registry, str(place / "tiny"), name="tiny")
        return import_folders(registry, ImportRequest((folder,), base="tiny"))[0].modification


OWN = (
    "name: own\nbase: tiny\nmethod: lora\nlora: {r: 4, alpha: 8, target_modules: [q_proj, v_proj]}\n"
    "data: {train: {path: rows.jsonl}}\n"
    "training: {max_length: 32, per_device_train_batch_size: 2, dtype: fp32, seed: 7}\n"
    "evaluation: {bias: [], quality: [loss]}\n"
)


def trained_here(place: Path, tmp_path: Path) -> ModificationRecord:
    """The same LoRA, trained by `registry train` on the same texts."""
    write_rows(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS])
    (tmp_path / "train.yml").write_text(OWN)
    with a_home(tmp_path / "training") as registry:
        intake_base(registry, str(place / "tiny"), name="tiny")
        return train_and_register(registry, tmp_path / "train.yml").modification
