"""Homes as earlier code wrote them: each verifies, is read, and goes on.

That of 27 November gives the reasons of its records and evaluations in prose that was reworded since. That of 30 November has
records of the edition 2026-12, the first that was frozen, in a database of revision 0006. That of 1 December has records of the
edition 2027-01 and figures of edition 6. That of 0.2.0 has records of the edition 2027-02 and figures of edition 7.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builders.files import contents
from tests.compat.kept_home import copy_kept, printed

VERSIONS = ("polite-ia3:1", "polite-replies:1")


@dataclass(frozen=True)
class KeptHome:
    """Its folder, a time at which every kept key is valid, and by what its records say that they were derived.

    The base lay by reference, so that its own files are not here: what was made from it is asked about.
    """

    folder: Path
    then: str
    rule_set: str | None
    edition: str | None

    def ask(self, *arguments: str) -> Any:
        """The JSON document that a command prints."""
        code, text = printed(*arguments, "--output", "json", at=self.then)
        assert code == 0, text
        return json.loads(text)

    def statuses(self, *target: str) -> set[str]:
        """How the checks of `verify` ended."""
        return {check["status"] for check in self.ask("verify", *target)["checks"]}


HERE = Path(__file__).parent
HOMES = {
    "27 November": KeptHome(HERE / "2026-11-27-home", "2026-11-30T12:00:00Z", "2026-11-27.4", None),
    "30 November": KeptHome(HERE / "2026-11-30-home", "2026-11-30T20:00:00Z", None, "2026-12"),
    "1 December": KeptHome(HERE / "2026-12-01-home", "2026-12-01T20:00:00Z", None, "2027-01"),
    "0.2.0": KeptHome(HERE / "0.2.0-home", "2026-12-01T20:00:00Z", None, "2027-02"),
}


@pytest.fixture(params=HOMES)
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeptHome:
    """A kept home, whose copy is `home` in the working folder, with what was pulled from it beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    home = HOMES[request.param]
    copy_kept(tmp_path, home.folder)
    return home


def test_every_version_verifies(kept: KeptHome) -> None:
    for label in VERSIONS:
        assert kept.statuses(label) <= {"ok", "recorded"}, label


def test_what_was_pulled_verifies_and_is_pulled_again(kept: KeptHome) -> None:
    assert kept.statuses("./pulled", "--trust", "home/trust.json") <= {"ok", "recorded"}
    assert printed("pull", "polite-replies:1", "again", at=kept.then)[0] == 0
    again, before = contents(Path("again")), contents(kept.folder / "pulled")
    # what people decided since, as of today, and proofs of the log as it is today
    assert {name: again[name] for name in before if not name.startswith("evidence/")} == {
        name: data for name, data in before.items() if not name.startswith("evidence/")
    }


def test_what_was_decided_in_codes_is_held_against_its_file_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later editions tell a status in a sentence; a copy of this edition has its code, and is broken where that is another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    home = HOMES["1 December"]
    copy_kept(tmp_path, home.folder)
    file = Path("pulled", "evidence", "DECISIONS.md")
    text = file.read_text("utf-8")
    verify = ("verify", "./pulled", "--trust", "home/trust.json")
    assert printed(*verify, at=home.then)[0] == 0
    file.write_text(text.replace("of the model: undetermined", "of the model: not_gpai, G6"), "utf-8")
    assert printed(*verify, at=home.then)[0] == 6


def test_its_records_and_its_pages_are_readable(kept: KeptHome) -> None:
    for label in VERSIONS:
        shown = kept.ask("record", label)
        assert shown["record"].get("rule_set") == kept.rule_set
        assert (shown["edition"] or {}).get("name") == kept.edition
        code, page = printed("report", label, "--out", "-", at=kept.then)
        assert (code, page.count("<h1")) == (0, 1)


def test_it_goes_on_after_an_upgrade(kept: KeptHome) -> None:
    key = str(Path("home", "keys", "root.key"))
    assert printed("admin", "upgrade", "--key", key, at=kept.then)[0] == 0
    assert printed("promote", "polite-replies:1", "champion", "--policy", "none", at=kept.then)[0] == 0
    for label in VERSIONS:
        assert kept.statuses(label) <= {"ok", "recorded"}, label
