"""A home whose records and evaluations give their reasons in prose that was reworded since: it verifies, and it goes on."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders.files import contents
from tests.compat.kept_home import copy_kept, printed

KEPT = Path(__file__).parent / "2026-11-27-home"
# when it was made; every kept key is valid then
THEN = "2026-11-30T12:00:00Z"
# the base lay by reference, so that its own files are not here
VERSIONS = ("polite-ia3:1", "polite-replies:1")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kept home, with what was pulled from it beside it; the working folder is theirs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return copy_kept(tmp_path, KEPT)


def asked(*arguments: str) -> Any:
    """The JSON document that a command prints."""
    code, text = printed(*arguments, "--output", "json", at=THEN)
    assert code == 0, text
    return json.loads(text)


def statuses(*target: str) -> dict[str, str]:
    return {check["step"]: check["status"] for check in asked("verify", *target)["checks"]}


@pytest.mark.parametrize("label", VERSIONS)
def test_every_version_verifies(label: str, home: Path) -> None:
    assert set(statuses(label).values()) <= {"ok", "recorded"}


def test_what_was_pulled_verifies_and_is_pulled_again(home: Path) -> None:
    assert set(statuses("./pulled", "--trust", "home/trust.json").values()) <= {"ok", "recorded"}
    assert printed("pull", "polite-replies:1", "again", at=THEN)[0] == 0
    again, before = contents(Path("again")), contents(KEPT / "pulled")
    # what people decided since, as of today, and proofs of the log as it is today
    assert {name: again[name] for name in before if not name.startswith("evidence/")} == {
        name: data for name, data in before.items() if not name.startswith("evidence/")
    }


@pytest.mark.parametrize("label", VERSIONS)
def test_its_record_and_its_page_are_readable(label: str, home: Path) -> None:
    record = asked("record", label)
    assert record["record"]["rule_set"] == "2026-11-27.4"
    code, page = printed("report", label, "--out", "-", at=THEN)
    assert (code, page.count("<h1")) == (0, 1)


def test_it_goes_on_after_an_upgrade(home: Path) -> None:
    key = str(home / "keys" / "root.key")
    assert printed("upgrade", "--key", key, at=THEN)[0] == 0
    assert printed("promote", "polite-replies:1", "champion", "--policy", "none", at=THEN)[0] == 0
    for label in VERSIONS:
        assert set(statuses(label).values()) <= {"ok", "recorded"}
