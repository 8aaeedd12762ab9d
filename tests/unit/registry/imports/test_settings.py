"""Files beside the weights whose values are of odd types: what can be recorded is, the rest says nothing, and nothing raises."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.compliance.importing import ImportedChange, build_import_modification
from peft_registry.registry.exports.model_card import import_card
from peft_registry.registry.imports.base_choice import ChosenBase, RegisteredBase
from peft_registry.registry.imports.findings import findings_of_config
from peft_registry.registry.imports.offered import offered_folder
from peft_registry.registry.imports.producers import producer_of
from peft_registry.registry.imports.setting_files import settings_of_folder
from peft_registry.registry.imports.setting_names import (
    ADAPTER_KEYS,
    CARD_KEYS,
    RESULT_KEYS,
    STATE_KEYS,
    WORDS,
)
from peft_registry.registry.imports.settings import FolderSettings
from peft_registry.registry.intake.peft_config import PeftConfig
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.methods.lora import METHOD as LORA
from tests.builders.imports import LORA_CONFIG, an_import_record, peft_folder
from tests.builders.records import NOW, TOOL, a_base_input, a_base_record, a_digest, a_manifest, a_version


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


ODD: dict[str, Any] = {
    "a list": [True],
    "a mapping": {"a": [1]},
    "null": None,
    "truth": True,
    "a number": 7,
    "a text": "x",
    "a huge integer": 10**63,
    "a huge number": 1e308,
    "a list in a list": [[]],
    "a hundred lists": _nested(100),
}


def _state(odd: Any) -> str:
    row = dict.fromkeys(("step", "loss", "train_runtime", "train_loss"), odd)
    keys = dict.fromkeys((*STATE_KEYS, "total_flos"), odd)
    return json.dumps(keys | {"log_history": [row, odd, row]})


def _card(odd: Any) -> str:
    front = json.dumps(dict.fromkeys(CARD_KEYS, odd))
    words = json.dumps(dict.fromkeys(WORDS, odd))
    lines = "\n".join(f"- {word}: {json.dumps(odd)}" for word in WORDS)
    return f"---\n{front}\n---\naxolotl version: `1`\n```yaml\n{words}\n```\n{lines}\n"


FILES = {
    "trainer_state.json": _state,
    "checkpoint-2/trainer_state.json": lambda odd: json.dumps({"log_history": odd}),
    "training_args.json": lambda odd: json.dumps(dict.fromkeys(WORDS, odd)),
    "config.yml": lambda odd: json.dumps(dict.fromkeys(WORDS, odd)),
    "all_results.json": lambda odd: json.dumps(dict.fromkeys(RESULT_KEYS, odd)),
    "README.md": _card,
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.parametrize("name", FILES)
def test_no_type_of_a_value_in_a_file_is_a_traceback(tmp_path: Path, name: str, what: str) -> None:
    folder = peft_folder(tmp_path / "helper")
    (folder / "README.md").unlink()
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(FILES[name](ODD[what]))
    settings = settings_of_folder(offered_folder(folder), PeftConfig(LORA_CONFIG, LORA))
    assert settings.by_name["lora.r"].value == 2
    producer_of(offered_folder(folder), settings, LORA_CONFIG)
    _described(settings, LORA_CONFIG)


@pytest.mark.parametrize("what", ODD)
def test_no_type_of_a_value_in_the_configuration_is_a_traceback(tmp_path: Path, what: str) -> None:
    config = dict.fromkeys((*ADAPTER_KEYS, *LORA.settings), ODD[what]) | {"peft_type": "LORA"}
    folder = peft_folder(tmp_path / "helper")
    settings = settings_of_folder(offered_folder(folder), PeftConfig(config, LORA))
    producer_of(offered_folder(folder), settings, config)
    _described(settings, config)


@pytest.mark.parametrize("what", ODD)
def test_no_type_of_a_setting_is_a_traceback_where_it_is_described(what: str) -> None:
    settings = FolderSettings()
    for name in (*WORDS.values(), *STATE_KEYS, *RESULT_KEYS, *CARD_KEYS.values(), "total_flos", "libraries.trl"):
        settings.put(name, ODD[what], "args.json", name, Digest.of(b"args"))
    _described(settings, LORA_CONFIG)


def _described(settings: FolderSettings, config: Mapping[str, Any]) -> None:
    """What is signed of an import with these settings: each part of it has a canonical form."""
    base = RegisteredBase(a_version(), a_base_record(), a_digest("statement"))
    findings = findings_of_config(PeftConfig(config, LORA), ChosenBase(base, "user"), settings)
    imported = an_import_record(settings=settings.by_name, findings=(*settings.findings, *findings))
    record = build_import_modification(
        record_id="import-0001",
        now=NOW,
        name="helper",
        manifest=a_manifest(),
        imported_as=imported,
        base=a_base_input(),
        change=ImportedChange(added=48, base_untouched=True),
        tool_version=TOOL,
    )
    assert imported.to_canonical()
    assert record.to_canonical()
    assert import_card(
        name="helper",
        manifest=a_manifest(),
        imported=imported,
        base_name="tiny",
        base=base.record,
        record=record,
    )
