"""Adapters that peft and TRL saved, imported: they verify, answer as their own loader has them, are evaluated and merged."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import version_named
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.records.stored_manifests import stored_manifest
from peft_registry.registry.use_cases.import_folder import ImportOutcome, import_folders
from peft_registry.registry.use_cases.import_plan import ImportRequest
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.pull import pull_version, pull_with_base
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.verify import verify_version
from peft_registry.trainer.merge.bundle import load_artifact
from peft_registry.trainer.merge.request import MergeRequest
from peft_registry.trainer.use_cases.add_base import intake_base
from peft_registry.trainer.use_cases.evaluate import EvaluationRequest, evaluate_references
from peft_registry.trainer.use_cases.load import load_version
from peft_registry.trainer.use_cases.merge import merge_and_register
from tests.builders.homes import a_home
from tests.builders.imports import axolotl_folder, llama_factory_folder, trl_folder, unsloth_folder
from tests.builders.merge import load
from tests.builders.training import a_base_folder, colour_rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    a_base_folder(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def registry(place: Path) -> Iterator[Registry]:
    with a_home(place / "home") as opened:
        intake_base(opened, str(place / "tiny"), name="tiny")
        yield opened


@pytest.fixture(scope="module")
def saved_by_peft(place: Path) -> Path:
    """An adapter with random factors, as `save_pretrained` writes it."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(3)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    get_peft_model(load(place / "tiny"), config).save_pretrained(place / "by-peft")
    return place / "by-peft"


@pytest.fixture(scope="module")
def imported(registry: Registry, saved_by_peft: Path) -> ImportOutcome:
    return import_folders(registry, ImportRequest((saved_by_peft,), base="tiny"))[0]


def test_what_was_imported_answers_as_peft_loads_it(
    registry: Registry, imported: ImportOutcome, saved_by_peft: Path, place: Path
) -> None:
    import torch
    from peft import PeftModel

    pull_version(registry, imported.version, place / "pulled")
    tokens = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        expected = PeftModel.from_pretrained(load(place / "tiny"), saved_by_peft).eval()(tokens).logits
        manifest = stored_manifest(registry, imported.version.manifest_digest)
        logits = load_artifact(manifest, load(place / "tiny"), place / "pulled")(tokens).logits
    assert torch.equal(logits, expected)


def test_what_was_pulled_with_its_base_loads_by_its_path_alone(
    registry: Registry, imported: ImportOutcome, saved_by_peft: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base has no id on the Hub: without the folder beside it none of these calls would find it."""
    import torch
    from peft import AutoPeftModelForCausalLM, PeftModel
    from transformers import AutoModelForCausalLM, pipeline

    pull_with_base(registry, imported.version, place / "with-base")
    monkeypatch.chdir(place.parent)
    folder = str(place / "with-base")
    tokens = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        expected = PeftModel.from_pretrained(load(place / "tiny"), saved_by_peft).eval()(tokens).logits
        base = AutoModelForCausalLM.from_pretrained(f"{folder}/base")
        assert not torch.equal(base(tokens).logits, expected)
        loaded = (
            PeftModel.from_pretrained(base, folder),
            AutoPeftModelForCausalLM.from_pretrained(folder),
            AutoModelForCausalLM.from_pretrained(folder),
            pipeline("text-generation", model=folder).model,
        )
        for model in loaded:
            assert torch.equal(model.eval()(tokens).logits, expected)


def test_an_imported_adapter_is_evaluated_promoted_reported_and_merged(
    registry: Registry, imported: ImportOutcome
) -> None:
    version = imported.version
    assert verify_version(registry, version).verdict == "verified"
    evaluated = evaluate_references(registry, [version.label], EvaluationRequest(suites=("house",), limit=8))
    assert evaluated
    records = records_of(registry, version)
    assert records.evaluation is not None
    assert "its training is not recorded here" in " ".join(map(str, records.evaluation.limitations))
    set_alias(registry, version, "champion")
    page = make_report(registry, version).decode()
    assert "Imported: made elsewhere" in page
    merged = merge_and_register(registry, MergeRequest((version.label,)))
    assert merged.version is not None
    assert verify_version(registry, merged.version).verdict == "verified"
    # what was merged is not imported, and its record does not know what the import does not know
    assert "origin" not in records_of(registry, merged.version).manifest.to_json()
    assert not merged.modification.compute.conservative_flop.known


PRODUCERS = {
    "trl": trl_folder,
    "axolotl": axolotl_folder,
    "llama-factory": llama_factory_folder,
    "unsloth": unsloth_folder,
}


@pytest.mark.parametrize("producer", PRODUCERS)
def test_what_each_producer_left_answers_as_the_producer_loads_it(
    producer: str, registry: Registry, place: Path, tmp_path: Path
) -> None:
    """The files that a producer writes beside them change nothing of the weights; all four are loaded by peft."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    torch.manual_seed(len(producer))
    targets = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}
    model = get_peft_model(load(place / "tiny"), LoraConfig(**targets, init_lora_weights=False, task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "saved")
    folder = PRODUCERS[producer](tmp_path / "out", **targets)
    shutil.copy(tmp_path / "saved" / "adapter_model.safetensors", folder / "adapter_model.safetensors")
    outcome = import_folders(registry, ImportRequest((folder,), base="tiny", name=f"by-{producer}"))[0]
    assert outcome.record.producer == producer
    tokens = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        expected = PeftModel.from_pretrained(load(place / "tiny"), folder).eval()(tokens).logits
        loaded = load_version(registry, outcome.version, tmp_path).model.eval()(tokens).logits
    assert torch.equal(loaded, expected)


def test_a_merged_model_answers_as_transformers_loads_it(registry: Registry, place: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(99)
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(load(place / "tiny"), config).merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(place / "tiny").save_pretrained(tmp_path / "merged")
    outcome = import_folders(registry, ImportRequest((tmp_path / "merged",), base="tiny", name="merged-elsewhere"))[0]
    assert outcome.version.kind == "model"
    tokens = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        expected = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()(tokens).logits
        loaded = load_version(registry, outcome.version, tmp_path).model.eval()(tokens).logits
    assert torch.equal(loaded, expected)


@pytest.mark.peers
def test_a_folder_that_trl_left_is_imported_with_its_figures(registry: Registry, place: Path) -> None:
    trainer = _trained_by_trl(place)
    outcome = import_folders(registry, ImportRequest((place / "by-trl",)))[0]
    settings = outcome.record.settings
    assert outcome.record.producer == "trl"
    assert outcome.record.base.manifest == version_named(registry, "tiny").manifest_digest
    assert settings["global_step"].value == trainer.state.global_step == 1
    assert settings["loss_curve"].value["loss"] == [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert settings["lora.r"].value == 4
    assert settings["total_flos"].value == trainer.state.total_flos
    assert {"libraries.trl", "libraries.peft", "libraries.transformers"} <= settings.keys()
    assert "learning_rate" not in settings  # it stands in a pickle only, which nobody opens
    assert not outcome.modification.method.seed.known
    assert verify_version(registry, outcome.version).verdict == "verified"


def _trained_by_trl(place: Path) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    settings = SFTConfig(
        output_dir=str(place / "by-trl"),
        max_steps=1,
        save_steps=1,
        logging_steps=1,
        per_device_train_batch_size=2,
        max_length=32,
        report_to=[],
        use_cpu=True,
        bf16=False,
        seed=7,
    )
    rows = [{"text": row["prompt"] + row["completion"]} for row in colour_rows(4)]
    trainer = SFTTrainer(
        model=str(place / "tiny"),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"),
    )
    trainer.train()
    trainer.save_model()
    return trainer
