"""The tokenizer and the chat template that an adapter brings, beside those of its base."""

import json
import shutil
from pathlib import Path

import pytest

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.import_folder import ImportOutcome
from peft_registry.registry.use_cases.report import make_report
from peft_registry.schemas.base_model import BaseOrigin
from tests.builders.homes import TOKENIZER, base_files
from tests.builders.importing import imported
from tests.builders.imports import COMMIT, peft_folder

TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


@pytest.fixture
def chat_base(registry: Registry, tmp_path: Path) -> Path:
    """The folder of a base with a chat template, registered as tiny."""
    folder = base_files(tmp_path / "chat")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "b", "chat_template": TEMPLATE}))
    origin = BaseOrigin(format="huggingface", source="org/tiny")
    add_base(registry, folder, name="tiny", origin=origin, revision=COMMIT)
    return folder


def tokenizer_findings(outcome: ImportOutcome) -> list[tuple[str, str | None]]:
    kinds = ("other-chat-template", "other-tokenizer", "tokenizer-not-compared")
    return [(finding.kind, finding.place) for finding in outcome.record.findings if finding.kind in kinds]


def test_an_adapter_that_brings_another_chat_template_or_tokenizer_says_so(
    registry: Registry, chat_base: Path, tmp_path: Path
) -> None:
    """A chat template changes what a model answers, and nothing in the weights shows which one they were trained with."""
    alone = imported(registry, peft_folder(tmp_path / "alone"))
    assert tokenizer_findings(alone) == []

    # the same tokenizer as another version of transformers writes it: the template in a file, the state of the last call kept
    own = peft_folder(tmp_path / "own")
    (own / "tokenizer.json").write_text(
        json.dumps(TOKENIZER | {"truncation": None, "padding": {"pad_id": 0}}, indent=2)
    )
    (own / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "b"}, "tokenizer_class": "T"}))
    (own / "chat_template.jinja").write_text(TEMPLATE)
    assert tokenizer_findings(imported(registry, own)) == []

    # transformers 5 writes a post-processor that adds nothing where the base has none; one that adds a token is another
    first, second = ({"Sequence": {"id": id, "type_id": place}} for place, id in enumerate("AB"))
    adds_nothing = {"type": "TemplateProcessing", "single": [first], "pair": [first, second], "special_tokens": {}}
    saved = peft_folder(tmp_path / "saved")
    (saved / "tokenizer.json").write_text(json.dumps(TOKENIZER | {"post_processor": adds_nothing}))
    shutil.copy(own / "chat_template.jinja", saved)
    assert tokenizer_findings(imported(registry, saved, name="saved")) == []
    begin = {"SpecialToken": {"id": "a", "type_id": 0}}
    adds_token = adds_nothing | {
        "single": [begin, first],
        "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}},
    }
    (saved / "tokenizer.json").write_text(json.dumps(TOKENIZER | {"post_processor": adds_token}))
    found = tokenizer_findings(imported(registry, saved, name="begun"))
    assert found == [("other-tokenizer", "tokenizer.json, post_processor")]

    other = peft_folder(tmp_path / "other")
    merged = TOKENIZER | {"model": {"type": "BPE", "vocab": {"b": 0, "a": 1}, "merges": []}}
    (other / "tokenizer.json").write_text(json.dumps(merged))
    (other / "tokenizer_config.json").write_text(json.dumps({"eos_token": "a"}))
    (other / "chat_template.jinja").write_text(f"You are a pirate. {TEMPLATE}")
    outcome = imported(registry, other)
    assert tokenizer_findings(outcome) == [
        ("other-chat-template", "chat_template.jinja"),
        ("other-tokenizer", "tokenizer.json, model"),
        ("other-tokenizer", "tokenizer_config.json, eos_token"),
    ]
    assert "Found when it was imported" in make_report(registry, outcome.version).decode()

    without = peft_folder(tmp_path / "without")
    shutil.copy(chat_base / "tokenizer.json", without / "tokenizer.json")
    (without / "tokenizer_config.json").write_text(json.dumps({"eos_token": "b"}))
    (found,) = (one for one in imported(registry, without).record.findings if one.kind == "other-chat-template")
    assert found.text.startswith("its tokenizer has no chat template, and the base has one")


def test_a_chat_template_of_a_base_without_one_is_a_finding(
    registry: Registry, base: AddedBase, tmp_path: Path
) -> None:
    folder = peft_folder(tmp_path / "a")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (found,) = (one for one in imported(registry, folder).record.findings if one.kind == "other-chat-template")
    assert found.text.startswith("it brings a chat template, and the base has none")


def test_a_tokenizer_is_not_called_another_where_the_files_of_the_base_were_changed(
    registry: Registry, chat_base: Path, tmp_path: Path
) -> None:
    equal, other = peft_folder(tmp_path / "equal"), peft_folder(tmp_path / "other")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(chat_base / name, equal / name)
        (other / name).write_text(json.dumps(json.loads((chat_base / name).read_text()), indent=1))
    (chat_base / "tokenizer.json").write_text("{}")
    assert tokenizer_findings(imported(registry, equal)) == []
    assert tokenizer_findings(imported(registry, other)) == [("tokenizer-not-compared", "tokenizer.json")]
