"""`registry record`: the record that holds, where each value comes from, what is open, and what each correction changed."""

import json
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.records.signed_records import NoRecord
from peft_registry.registry.use_cases.register_product import register_product
from peft_registry.registry.use_cases.show_record import describe_record
from tests.builders.homes import a_home, add_a_base, name_once
from tests.builders.products import FACTS, a_product


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a version whose record was superseded once, by facts of a repeated run."""
    folder = tmp_path_factory.mktemp("record")
    again = {"asserted_by": "sam", "use": {"foreseeable_misuse": "long sums"}, "data": {"*": {"domain": "school"}}}
    with a_home(folder / ".registry") as registry:
        base = add_a_base(registry, folder / "base")
        register_product(registry, a_product(registry, folder / "first", base, facts=FACTS))
        register_product(registry, a_product(registry, folder / "again", base, run_id="run-2", facts=again))
    name_once(folder / ".registry")
    return folder


def shown(place: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(["record", *words, "--home", str(place / ".registry")]) == 0
    return capsys.readouterr().out


def test_a_value_is_shown_with_its_source_and_who_asserts_it(place, capsys):
    lines = shown(place, capsys, "sums").splitlines()
    assert "use.intended sums of two numbers [declared, by alex, data steward at 2026-11-24T12:00:00Z]" in lines
    assert any(line.startswith("identity.kind fine_tune [measured") for line in lines)


def test_an_open_question_is_shown_with_who_owes_it(place, capsys):
    lines = shown(place, capsys, "sums").splitlines()
    wanted = "modifier.legal_name"
    assert not [line for line in lines if line.startswith(f"{wanted} open")]  # the profile answers it
    assert any(line.startswith("identity.name_or_trademark_on_result open, legal: ") for line in lines)


def test_the_json_has_the_record_as_signed_and_the_open_questions(place, capsys):
    value = json.loads(shown(place, capsys, "sums", "--output", "json"))
    assert value["record"]["use"]["intended"]["value"] == "sums of two numbers"
    assert value["record"]["supersedes"] == "run-1"
    assert {"legal", "modifier"} <= {gap["owner"] for gap in value["open"]}
    assert "history" not in value


def test_the_history_says_what_changed_why_and_who_signed(place, capsys):
    text = shown(place, capsys, "sums", "--history")
    assert "supersedes   run-1: facts declared on a repeated run" in text
    assert "use.foreseeable_misuse unknown: nobody has answered it → long sums [declared, by sam at " in text
    assert "use.intended sums" not in text
    history = json.loads(shown(place, capsys, "sums", "--history", "--output", "json"))["history"]
    assert [link["supersedes"] for link in history] == [None, "run-1"]
    assert [change["path"] for change in history[1]["changes"] if "domain" in change["path"]] == ["data[0].domain"]
    assert {link["signed"]["person"] for link in history} == {"lab-1"}


def test_a_base_has_no_record(place):
    from tests.builders.homes import reopened

    registry = reopened(place / ".registry")
    with pytest.raises(NoRecord):
        describe_record(registry, "tiny")
    registry.close()
