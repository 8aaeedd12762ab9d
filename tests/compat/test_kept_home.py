"""A whole home that 0.1.0 made, never made again: every later release prints the same about it, and can go on with it."""

import json
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from peft_registry.registry.homes.home import open_home
from peft_registry.registry.records.bases import required_base
from peft_registry.registry.records.references import version_named
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.register import register_version
from tests.builders.files import contents
from tests.builders.homes import an_artifact
from tests.compat.kept_home import (
    COMMANDS,
    EXPECTED,
    KEPT,
    LATER,
    PULLED,
    THEN,
    VERSIONS,
    copy_kept,
    normalised,
    printed,
)

STEPS = ("read", "signature", "trust", "policy", "files", "tensors", "base", "statements", "log", "parents")
LOG_ENTRIES = 35


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kept home, with what was pulled from it beside it; the working folder is theirs."""
    monkeypatch.chdir(tmp_path)
    # each copy is another user's: what happens to the trust file or the log of one is not remembered of the others
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return copy_kept(tmp_path)


def asked(*arguments: str, at: str = THEN, code: int = 0) -> Any:
    """The JSON document that a command prints."""
    ended, text = printed(*arguments, "--output", "json", at=at)
    assert ended == code, text
    return json.loads(text)


def statuses(target: str, *options: str) -> dict[str, str]:
    outcome = asked("verify", target, *options)
    assert outcome["verdict"] == "verified", outcome
    return {check["step"]: check["status"] for check in outcome["checks"]}


def unlike_expected(names: Collection[str] = COMMANDS) -> set[str]:
    """Which of these files differ from what the commands print now; a command that fails differs too."""
    now = {name: printed(*COMMANDS[name]) for name in names}
    return {name for name, (code, text) in now.items() if code or normalised(text) != read(name)}


def read(name: str) -> str:
    return (EXPECTED / name).read_bytes().decode()


def sql(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "database.sqlite")) as database, database:
        database.execute(statement)


# --- it prints the same ---


def test_every_kept_file_is_compared() -> None:
    assert {path.name for path in EXPECTED.iterdir()} == COMMANDS.keys()


@pytest.mark.parametrize("label", VERSIONS)
def test_every_version_of_the_home_verifies(label: str, home: Path) -> None:
    # the base's bytes are in the store and in no folder, so that its check says what is recorded
    of_base = "ok" if label == "tiny:1" else "recorded"
    assert statuses(label) == dict.fromkeys(STEPS, "ok") | {"base": of_base}


def test_with_the_base_that_the_home_keeps_every_check_is_ok(home: Path) -> None:
    assert printed("pull", "tiny:1", "base")[0] == 0
    for label in VERSIONS:
        options = () if label == "tiny:1" else ("--base", "base", "--require", "log-proof")
        assert set(statuses(label, *options).values()) == {"ok"}, label


def test_what_was_pulled_verifies_by_the_trust_file_alone_and_is_pulled_again_byte_for_byte(home: Path) -> None:
    assert set(statuses("./pulled", "--trust", "home/trust.json").values()) == {"ok", "recorded"}
    assert printed("pull", PULLED, "again")[0] == 0
    again = contents(Path("again"))
    # without a file of decisions: the proofs of 0.1.0 do not tell when each statement was logged, and by whose key
    assert again == contents(KEPT / "pulled")


def test_every_command_prints_what_the_release_printed_and_changes_nothing_that_is_kept(home: Path) -> None:
    before = contents(home)
    for name, arguments in COMMANDS.items():
        code, text = printed(*arguments)
        assert (name, code) == (name, 0), text
        assert normalised(text) == read(name), name
    after = {name: data for name, data in contents(home).items() if "sqlite" not in name}
    assert after == {name: data for name, data in before.items() if "sqlite" not in name}


# --- it goes on ---


def test_aliases_move_on_and_everything_still_verifies(home: Path) -> None:
    assert printed("admin", "upgrade")[0] == 0
    assert printed("promote", "polite-replies:1", "champion", "--policy", "none", "--reason", "back again")[0] == 0
    assert printed("promote", "polite-ia3:1", "smallest", "--policy", "none")[0] == 0
    aliases = {f"{one['name']}:{one['number']}": one["aliases"] for one in asked("list")}
    assert aliases == {label: [] for label in VERSIONS} | {
        "polite-replies:1": ["champion", "fallback"],
        "polite-ia3:1": ["smallest"],
        "replies:1": ["champion"],
    }
    assert printed("show", "polite-replies@champion")[1].startswith("version      polite-replies:1\n")
    for label in VERSIONS:
        assert set(statuses(label).values()) <= {"ok", "recorded"}
    log = next(check for check in asked("verify", "tiny:1")["checks"] if check["step"] == "log")
    said = 3  # the edition and two moves
    operations = 4  # the upgrade, the announcement and two moves: each ends with a snapshot
    assert f" of {LOG_ENTRIES + said + operations} in " in log["text"]


def test_a_version_is_registered_on_the_kept_base_and_everything_still_verifies(home: Path, tmp_path: Path) -> None:
    assert printed("admin", "upgrade")[0] == 0
    registry = open_home(home, clock=lambda: THEN)
    try:
        tiny = version_named(registry, "tiny:1")
        stated = required_base(registry, tiny)
        base = AddedBase(tiny, stated.record, tmp_path, stated.statement)
        new = register_version(registry, an_artifact(tmp_path / "new", base, name="polite-replies"))
    finally:
        registry.close()
    assert new.label == "polite-replies:3"
    for label in (*VERSIONS, new.label):
        assert set(statuses(label).values()) <= {"ok", "recorded"}
    assert new.label in printed("lineage", "tiny:1")[1]
    assert printed("pull", new.label, "new-one")[0] == 0
    assert statuses("./new-one")["log"] == "ok"


def test_the_trust_file_was_brought_up_to_date_once_and_has_every_kind(home: Path) -> None:
    code, text = printed("trust", "update")
    assert (code, text) == (0, "trust v2  has every kind already; nothing was changed\n")
    assert (home / "trust-accepted").read_text() == "2"


# --- the comparisons can fail ---


def test_after_the_trust_file_expired_nothing_verifies(home: Path) -> None:
    outcome = asked("verify", "polite-replies:1", at=LATER, code=5)
    assert outcome["verdict"] == "unverified"
    assert {one["step"]: one["status"] for one in outcome["checks"]}["trust"] == "unchecked"


def test_an_object_with_one_other_bit_is_noticed(home: Path) -> None:
    files = asked("show", PULLED)["manifest"]["files"]
    weights = next(one["sha256"] for one in files if one["path"].endswith(".safetensors")).removeprefix("sha256:")
    stored = home / "objects" / weights[:2] / weights
    stored.chmod(0o644)
    data = bytearray(stored.read_bytes())
    data[-1] ^= 1
    stored.write_bytes(data)
    assert unlike_expected() == {"verify-polite-replies-2.json"}
    assert asked("verify", PULLED, code=6)["verdict"] == "broken"


def test_rows_that_say_something_else_are_noticed(home: Path) -> None:
    sql(home, "UPDATE aliases SET number = 1 WHERE name = 'polite-replies' AND alias = 'champion'")
    sql(home, "DELETE FROM artifact_parents WHERE role <> 'base'")
    edited = {"list.json", "show-polite-replies@champion.txt"}
    edited |= {"lineage-tiny-1.txt", "lineage-replies-1.txt", "lineage-replies-1.json"}
    assert unlike_expected({*edited, "verify-pulled.json"}) == edited


def test_a_new_move_of_an_alias_is_noticed_on_pages_and_in_what_is_shown(home: Path) -> None:
    (
        home / "keys" / "root.key"
    ).unlink()  # so that the upgrade leaves the trust file, which every check names, as it was
    assert printed("admin", "upgrade")[0] == 0
    assert printed("promote", "replies:1", "another", "--policy", "none")[0] == 0
    moved = {"list.json", "show-replies-1.json", "page-of-replies-1.html"}
    checks = {name for name in COMMANDS if name.startswith("verify-")}
    # the log is longer, which every check of a version says; what was pulled has the proof of then
    assert unlike_expected(moved | checks) == (moved | checks) - {"verify-pulled.json"}
