"""What the files of an import give away or could run: rewritten, left outside, or a finding."""

import json
from pathlib import Path

from safetensors.numpy import save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.signed_records import records_of
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.pull import pull_version
from peft_registry.registry.use_cases.verify import verify_version
from tests.builders.importing import imported
from tests.builders.imports import lora_tensors, peft_folder, trl_folder, unsloth_folder


def test_no_path_of_a_machine_and_no_module_name_is_registered(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = unsloth_folder(tmp_path / "helper", base_model_name_or_path="/home/alex/tiny")
    version = imported(registry, folder).version
    pull_version(registry, version, tmp_path / "pulled")
    config = json.loads((tmp_path / "pulled/adapter_config.json").read_bytes())
    assert config["base_model_name_or_path"] == str(base.record.identity.weights)
    assert config["auto_mapping"] is None
    assert config == json.loads((folder / "adapter_config.json").read_bytes()) | {
        "base_model_name_or_path": str(base.record.identity.weights),
        "auto_mapping": None,
    }


def test_pickles_and_code_beside_the_weights_stay_outside_and_are_noted(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = trl_folder(tmp_path / "helper")
    (folder / "modeling_tiny.py").write_text("raise SystemExit\n")
    outcome = imported(registry, folder)
    noted = {source.path: source for source in outcome.record.sources}
    assert noted["training_args.bin"].use == "noted"
    assert noted["training_args.bin"].what == "a pickle"
    assert {"pickle-beside", "code-beside"} <= {finding.kind for finding in outcome.record.findings}
    kept = {entry.path for entry in records_of(registry, outcome.version).manifest.files}
    assert kept == {"adapter_config.json", "adapter_model.safetensors"}


def test_where_a_saver_loaded_from_is_not_registered_and_another_path_is_a_finding(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "helper", notes="see /home/alex/project/run.log")
    save_file(
        lora_tensors(), folder / "adapter_model.safetensors", metadata={"format": "pt", "by": "/home/alex/train.py"}
    )
    loaded_from = {"name_or_path": "/home/alex/tiny", "tokenizer_file": "/home/alex/.cache/t.json", "eos_token": "b"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(loaded_from | {"chat_template": "{% set token = 'abcdef' %}"})
    )
    (folder / "config.yml").write_text(
        "base_model: org/tiny\nlearning_rate: 1\ndatasets: file:///home/alex/rows.jsonl\n"
    )
    outcome = imported(registry, folder)
    places = [finding.place for finding in outcome.record.findings if finding.kind == "path-inside"]
    assert places == ["adapter_config.json, notes", "adapter_model.safetensors, metadata by"]
    used = {source.path: source.use for source in outcome.record.sources}
    assert (used["tokenizer_config.json"], used["adapter_model.safetensors"]) == ("rewritten", "artifact")
    assert outcome.record.settings["datasets"].value == ["rows.jsonl"]
    pull_version(registry, outcome.version, tmp_path / "pulled")
    kept = json.loads((tmp_path / "pulled" / "tokenizer_config.json").read_text())
    assert kept == {"eos_token": "b", "chat_template": "{% set token = 'abcdef' %}"}
    assert verify_version(registry, outcome.version).verdict == "verified"
