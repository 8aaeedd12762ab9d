"""A training by somebody else's trainer, followed by the callback: what is registered, and whether what is recorded is true."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from peft_registry import RegistryCallback
from peft_registry.registry.compliance.fields import leaves
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.mlflow import identifiers
from peft_registry.registry.mlflow.home_address import address_of
from peft_registry.registry.mlflow.unkept_logs import NOT_KEPT
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run_points import RunPoints
from peft_registry.schemas.system_metrics import SystemMetrics
from peft_registry.trainer.evaluation.suites import UnknownSuite
from peft_registry.trainer.evaluation.text_hashes import hash_texts, read_text_hashes
from peft_registry.trainer.training.followed_facts import hardware_of
from tests.builders.trainers import (
    LENGTH,
    PROMPT,
    ROWS,
    TEXTS,
    a_lora,
    a_model_of,
    a_trainer,
    followed,
    new_adapter,
    token_rows,
)

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
STEPS = 4
POSITIONS = STEPS * 2 * LENGTH  # of two rows a step


@pytest.mark.parametrize(
    ("switches", "weights", "dtype"),
    [
        ({"fp16": True}, "float32", "fp16"),
        ({"bf16": True}, "float32", "bf16"),
        ({}, "bfloat16", "bf16"),
        ({}, "float32", "fp32"),
    ],
)
def test_the_number_format_is_that_of_the_trainers_autocast_or_of_the_weights(
    switches: dict[str, bool], weights: str, dtype: str
) -> None:
    trainer = SimpleNamespace(args=SimpleNamespace(**{"fp16": False, "bf16": False} | switches))
    model = SimpleNamespace(device=SimpleNamespace(type="cpu"), dtype=f"torch.{weights}")
    assert hardware_of(trainer, model).dtype == dtype


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
    kept = callback.outcome.run.points
    assert kept is not None
    points = RunPoints.from_json(json.loads(registry.store.read_bytes(kept.sha256))).points
    logged = {row["step"]: (row["loss"], row["grad_norm"]) for row in trainer.state.log_history if "loss" in row}
    assert {point.step: (point.values["loss"], point.values["gradient_norm"]) for point in points} == {
        step: pytest.approx(figures, rel=1e-5) for step, figures in logged.items()
    }
    assert points[0].values["tokens_per_second"] > 0
    assert records_of(registry, version).project == callback.outcome.run.project == "colours"
    # the scratch of the run is gone, and no hook stays on the script's model
    assert not list((place / "home" / "runs").glob("*"))
    assert not trainer.model.get_base_model()._forward_pre_hooks


def test_logging_to_an_mlflow_that_reads_the_home_is_left_out_with_one_warning_and_the_training_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address_of(place / "home"))
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), report_to=["mlflow"], max_steps=1)
    callback = followed(place, trainer, "logged")
    trainer.train()
    assert callback.outcome.version.name == "logged"
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "report_to='mlflow' is left out" in warnings[0]


def test_without_the_callback_such_logs_are_not_kept_and_the_training_goes_on_with_one_warning(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", address_of(place / "home"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of-the-script")
    monkeypatch.setenv("MLFLOW_TAGS", '{"team": "colours"}')
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), report_to=["mlflow"], max_steps=2)
    trainer.train()
    assert trainer.state.global_step == 2
    assert logged.count(NOT_KEPT) == 1
    assert mlflow.get_experiment_by_name("of-the-script") is None
    with pytest.raises(mlflow.MlflowException, match="is only read"):
        mlflow.start_run()


def test_a_callback_that_resumes_a_signed_run_and_sends_checkpoints_changes_nothing_and_the_training_goes_on(
    place: Path,
    lora: tuple[Any, RegistryCallback],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", address_of(place / "home"))
    monkeypatch.setenv("HF_MLFLOW_LOG_ARTIFACTS", "1")
    monkeypatch.setattr("mlflow.tracking.fluent._active_experiment_id", None)
    run_id = identifiers.run_id(lora[1].outcome.version.label, lora[1].outcome.run.run_id)
    before = mlflow.get_run(run_id).to_dictionary()
    for resumed in (run_id, None):
        if resumed is not None:
            monkeypatch.setenv("MLFLOW_RUN_ID", resumed)
        model = a_lora(place / "tiny")
        trainer = a_trainer(tmp_path, model, report_to=["mlflow"], max_steps=2, save_strategy="steps", save_steps=1)
        trainer.train()
        assert trainer.state.global_step == 2
        assert (tmp_path / "checkpoint-2").is_dir()
        assert mlflow.active_run() is None
        assert mlflow.get_run(run_id).to_dictionary() == before
    assert logged.count(NOT_KEPT) == 2, "one warning a training"
    with pytest.raises(mlflow.MlflowException, match="is only read"):
        mlflow.start_run(run_id=run_id)


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
    assert (points.value, str(points.reason)) == (None, "of 8 rows the training went through 0.25 of one epoch")


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("VERA", {"r": 8}, {"r": 8, "d_initial": 0.1, "dropout": 0.0, "bias": "none"}),
        ("OFT", {"oft_block_size": 8}, {"block_size": 8, "blocks": 0, "dropout": 0.0, "bias": "none"}),
        ("LOHA", {"r": 4, "alpha": 2}, {"r": 4, "alpha": 2, "module_dropout": 0.0, "rank_dropout": 0.0}),
    ],
)
def test_an_adapter_that_peft_does_alone_is_recorded_by_its_own_name_and_settings(
    place: Path, registry: Registry, tmp_path: Path, kind: str, changes: dict[str, Any], said: dict[str, Any]
) -> None:
    name = kind.lower()
    trainer = a_trainer(tmp_path, new_adapter(a_model_of(place / "tiny"), kind, **changes), max_steps=1)
    callback = followed(place, trainer, name, evaluate=False)
    trainer.train()
    version = callback.outcome.version
    assert (version.method, verify_version(registry, version).verdict) == (name, "verified")
    record = callback.outcome.modification
    assert record.method.kind.value == name
    assert record.method.hyperparameters.value[name] == said | {"target_modules": ["q_proj", "v_proj"]}
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    assert record.change.params_trainable.value == trained
    assert (record.change.params_changed.value, record.change.base_weights_untouched.value) == (0, "yes")
    assert str(record.change.rel_norm_global.reason).startswith("not derived: ")


def test_a_suite_that_is_none_is_refused_before_the_first_step(place: Path, tmp_path: Path) -> None:
    trainer = a_trainer(tmp_path, a_lora(place / "tiny"), max_steps=1)
    followed(place, trainer, "never", evaluate="hose")
    with pytest.raises(UnknownSuite):
        trainer.train()
    assert trainer.state.global_step == 0


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


def test_what_a_script_declares_of_its_rows_is_recorded_though_they_have_no_name(place: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.yml"
    facts.write_text('asserted_by: alex, data owner\ndata: {"*": {licence: CC0-1.0}}\n')
    trainer = a_trainer(tmp_path / "out", a_lora(place / "tiny"), max_steps=1)
    callback = followed(place, trainer, "declared", facts=facts)
    trainer.train()
    licence = callback.outcome.modification.data[0].licence
    assert (licence.value, licence.source, licence.asserted_by) == ("CC0-1.0", "declared", "alex, data owner")
