"""`registry record verdict`: verdicts about a version, before and after people answered, and all versions under other rules."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_registry.cli.main import run
from peft_registry.registry.compliance.verdicts.rules import VerdictRules, shipped_text
from peft_registry.registry.records.signed_records import NoRecord
from peft_registry.registry.use_cases.check_log import check_log
from peft_registry.registry.use_cases.decide import decide
from peft_registry.registry.use_cases.gate import explain_gate, read_gate_policy
from peft_registry.registry.use_cases.report import make_report
from peft_registry.registry.use_cases.show_verdict import (
    VerdictRulesRefused,
    describe_verdict,
    read_verdict_rules,
    replay,
)
from tests.builders.backends import MadeHome, make_on
from tests.builders.decisions import OFFICER, Place, fill, version_of
from tests.builders.homes import NOW

BECOMES_HIGH_RISK = {
    "high_risk.classification_before": "not_high_risk",
    "high_risk.classification_after": "annex_iii_3",
    "high_risk.intended_purpose_before": "a calculator",
    "use.intended": "marks of pupils",
    "high_risk.intended_purpose_changed": "yes",
}


@pytest.fixture(scope="module", params=["sqlite"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    return make_on(request, tmp_path_factory.mktemp("made"), fill)


@pytest.fixture
def place(made: MadeHome, tmp_path: Path) -> Iterator[Place]:
    registry = made.copy(tmp_path / "home").opened(now=NOW)
    yield Place(tmp_path, registry, version_of(registry, "sums"))
    registry.close()


def rules(folder: Path, **changes: object) -> Path:
    """A file of the shipped rules with other thresholds, under another version."""
    text = json.loads(shipped_text()) | {"version": "tried"}
    for threshold in text["thresholds"]:
        threshold["value"] = changes.get(threshold["name"], threshold["value"])
    file = folder / "rules.json"
    file.write_text(json.dumps(text), "utf-8")
    return file


def test_a_changed_purpose_that_makes_the_system_high_risk_is_told_on_page_one(place: Place) -> None:
    before = describe_verdict(place.registry, "sums").verdicts
    assert before.high_risk.status == "undetermined"
    assert any("classification_after" in question for question in before.high_risk.missing)
    decide(place.registry, place.version, place.form(BECOMES_HIGH_RISK), OFFICER)
    shown = describe_verdict(place.registry, "sums")
    assert (shown.verdicts.high_risk.status, shown.verdicts.high_risk.row) == ("provider_25_1_c", "H6")
    # the other verdict is about the model, and no answer about the system moves it
    assert shown.verdicts.gpai_modifier == before.gpai_modifier
    text = "\n".join(f"{label} {line}" for label, line in shown.lines())
    assert "Art" in text and "not legal advice" in text
    page = make_report(place.registry, place.version).decode()
    asks = page.index("<h2>What is wrong, or needs a decision")
    first = page[: page.index("<h2", asks + 1)]
    assert "provider of a high-risk system, because its purpose makes it one (Arts. 6, 25(1)(c))" in first


def test_programs_are_told_which_field_answers_what_is_open_as_people_are(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(place.folder / "state"))  # the copy of another test has another log
    shown = describe_verdict(place.registry, "sums")
    for_people = [text for label, text in shown.lines() if label == "open"]
    assert run(["record", "verdict", "sums", "--home", str(place.registry.folder), "--output", "json"]) == 0
    tables = json.loads(capsys.readouterr().out)["verdicts"]
    assert [question for table in ("gpai_modifier", "high_risk") for question in tables[table]["open"]] == for_people
    assert any(question.endswith("(gpai.placed_on_eu_market)") for question in for_people)
    reasons = explain_gate(place.registry, place.version, read_gate_policy("regulated")).decision.reasons
    told = "; ".join(reason.text for reason in reasons if reason.rule == "undecided-status")
    assert all(question in told for question in for_people), "the gate names the fields too"


def test_a_base_has_no_verdict(place: Place) -> None:
    with pytest.raises(NoRecord):
        describe_verdict(place.registry, "tiny")


def test_other_rules_change_what_they_say_and_record_nothing(place: Place) -> None:
    same = replay(place.registry, read_verdict_rules(rules(place.folder)))
    assert (same.versions, same.without_record, same.changes) == (3, 1, ())
    stricter = VerdictRules.model_validate_json(rules(place.folder).read_text("utf-8"))
    row = stricter.row("H1")
    moved = stricter.revised(rows=(*(item for item in stricter.rows if item != row), row.revised(status="asked_again")))
    decide(place.registry, place.version, place.form({"high_risk.classification_after": "no_system"}), OFFICER)
    size = check_log(place.registry).size
    told = replay(place.registry, moved)
    assert [(change.version, change.table) for change in told.changes] == [("sums:1", "high_risk")]
    assert "not_applicable_model_only" in told.changes[0].now and "asked_again" in told.changes[0].under
    assert check_log(place.registry).size == size


@pytest.mark.parametrize(
    "text", ["{}", "[]", "null", '{"version": 1}', shipped_text().replace('"clause": "GL J63", ', "")], ids=range(5)
)
def test_a_file_that_is_no_rules_is_refused_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(text, "utf-8")
    with pytest.raises(VerdictRulesRefused):
        read_verdict_rules(tmp_path / "rules.json")


def test_rules_that_differ_under_the_shipped_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_text(shipped_text(), "utf-8")
    read_verdict_rules(tmp_path / "rules.json")
    changed = shipped_text().replace('"value": 30', '"value": 10')
    (tmp_path / "rules.json").write_text(changed, "utf-8")
    with pytest.raises(VerdictRulesRefused, match="says something else"):
        read_verdict_rules(tmp_path / "rules.json")


def test_the_command_prints_both_and_asks_for_what_it_needs(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(place.registry.folder)
    assert run(["record", "verdict", "sums", "--home", home]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("model", "system"))] == ["model", "system"]
    assert run(["record", "verdict", "--home", home]) == 2
    assert run(["record", "verdict", "--all", "--home", home]) == 2
    assert run(["record", "verdict", "sums", "--all", "--home", home]) == 2
    assert "--all and sums do not go together" in capsys.readouterr().err
    assert run(["record", "verdict", "--print-rules"]) == 0
    printed = capsys.readouterr().out
    (place.folder / "rules.json").write_text(printed, "utf-8")
    assert (
        run(
            [
                "record",
                "verdict",
                "--all",
                "--rules",
                str(place.folder / "rules.json"),
                "--home",
                home,
                "--output",
                "json",
            ]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["changes"] == []
