"""`registry record`: the record that holds, where each value comes from, what is open, and what each correction changed."""

import json
import re
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
    lines = [re.split("  +", line) for line in shown(place, capsys, "sums").splitlines()]
    # the name was typed into a facts file, and the key that vouches for it is the trainer's
    said = r"sums of two numbers \[declared, as said by alex, data steward at \S+, "
    vouched = r"in a record signed by lab-1 \(trainer, key \w{12}…\); nobody who answers for modifier has signed it\]"
    assert re.fullmatch(said + vouched, dict(map(tuple, (line for line in lines if len(line) == 2)))["use.intended"])
    assert any(line[0] == "identity.kind" and line[1].startswith("fine_tune [measured") for line in lines)


def test_values_stand_in_columns_by_section_and_none_of_them_is_json(place, capsys):
    head, *parts = shown(place, capsys, "sums").split("\n\n")
    assert head.startswith("version      sums:1\n") and ", 0 " not in head
    for part in parts:
        rows = [line for line in part.splitlines() if not line.startswith("open ")]
        gaps = {re.match(r"\S+ {2,}", row).end() for row in rows}
        assert len(gaps) == 1, f"the second column begins at one place: {part}"
        assert "{" not in part and "false" not in part
    sections = [part.partition(".")[0] for part in parts]
    assert sections.index("identity") < sections.index("method") < sections.index("use")


def test_an_open_question_is_shown_with_who_owes_it(place, capsys):
    lines = shown(place, capsys, "sums").splitlines()
    wanted = "modifier.legal_name"
    begin = next(number for number, line in enumerate(lines) if line.startswith("open         "))
    assert not [line for line in lines[begin:] if line.startswith(f"{wanted} ")]  # the profile answers it
    heading = next(number for number, line in enumerate(lines) if line.startswith("open ") and " for legal;" in line)
    assert lines[heading].endswith("; where no reason stands, nobody has answered it")
    (asked,) = [line for line in lines[heading:] if line.startswith("identity.name_or_trademark_on_result ")]
    assert asked.endswith("(Arts. 3(3), 25(1)(a))"), "that nobody has answered is said once"


def test_the_json_has_the_record_as_signed_and_the_open_questions(place, capsys):
    value = json.loads(shown(place, capsys, "sums", "--output", "json"))
    assert value["record"]["use"]["intended"]["value"] == "sums of two numbers"
    assert value["record"]["supersedes"] == "run-1"
    assert {"legal", "modifier"} <= {gap["owner"] for gap in value["open"]}
    assert "history" not in value


def test_the_history_says_what_changed_why_and_who_signed(place, capsys):
    text = shown(place, capsys, "sums", "--history")
    assert "supersedes   run-1: facts declared on a repeated run" in text
    changed = r"use\.foreseeable_misuse +unknown: nobody has answered it → long sums \[declared, as said by sam at "
    assert re.search(changed, text) and "use.intended" not in text
    history = json.loads(shown(place, capsys, "sums", "--history", "--output", "json"))["history"]
    assert [link["supersedes"] for link in history] == [None, "run-1"]
    assert [change["path"] for change in history[1]["changes"] if "domain" in change["path"]] == ["data[0].domain"]
    assert {link["signed"]["person"] for link in history} == {"lab-1"}


def test_the_form_for_a_recipient_has_the_rows_that_are_theirs_and_no_other_value(place, capsys):
    text = shown(place, capsys, "sums", "--to", "downstream")
    assert "form         Model Documentation Form of the Code of Practice, for the downstream provider" in text
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["40 computation"].endswith("not for this recipient")
    said = r".*\[declared, as said by alex, data steward at \S+, in a record signed by lab-1 \(trainer, key \w{12}…\); .*\]"
    assert re.fullmatch(said, lines["21 intended uses"])
    form = json.loads(shown(place, capsys, "sums", "--to", "national-authority", "--output", "json"))
    assert [row["row"] for row in form["rows"]] == [str(number) for number in range(46)]
    whole = json.loads(shown(place, capsys, "sums", "--output", "json"))
    assert form["record"] == whole["signed"]["digest"]
    exact = whole["record"]["product"]["params_total"]["value"]
    # within a digest the same digits stand by chance
    assert not re.search(rf"(?<!\w){exact}(?!\w)", json.dumps(form["rows"]))
    assert re.search(rf"(?<!\w){exact}(?!\w)", json.dumps(whole["record"])), "it is looked for as it is written"


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--to", "everybody"), "everybody"), (("--to", "downstream", "--history"), "do not go together")],
)
def test_a_form_for_nobody_that_the_form_knows_is_refused(place, capsys, words, said):
    assert run(["record", "sums", *words, "--home", str(place / ".registry")]) == 2
    assert said in capsys.readouterr().err


def test_a_base_has_no_record(place):
    from tests.builders.homes import reopened

    registry = reopened(place / ".registry")
    with pytest.raises(NoRecord):
        describe_record(registry, "tiny")
    registry.close()
