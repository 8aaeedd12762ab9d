"""Commands on a registry that holds something: JSON, what follows, eighty columns, and when the passphrase is asked for."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_registry.cli.main import run
from tests.contracts.test_commands import COMMANDS
from tests.processes.interpreter import ROOT


@pytest.fixture(scope="module")
def home_with_a_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one base whose name is as long as names of models are."""
    home = tmp_path_factory.mktemp("columns") / ".registry"
    assert run(["init", "--unencrypted", "--home", str(home)]) == 0
    assert run(["base", "add", "embedded", "--name", "smollm2-135m-instruct-2025", "--home", str(home)]) == 0
    return home


# --- JSON, and what follows ---


def test_what_is_written_is_told_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def value_of(*words: str) -> Any:
        assert run([*words, "--output", "json"]) == 0
        shown = capsys.readouterr()
        return json.loads(shown.out)

    made = value_of("init", "--unencrypted")
    assert made["home"] == str(tmp_path / ".registry")
    assert Path(made["training_file"]).is_file()
    assert not made["encrypted"]
    base = value_of("base", "add", "embedded", "--name", "tiny")
    moved = value_of("promote", "tiny", "champion")
    assert (moved["version"], moved["alias"]) == (base["version"], "champion")
    report = value_of("report", "tiny@champion")
    assert hashlib.sha256(Path(report["report"]).read_bytes()).hexdigest() == report["sha256"].removeprefix("sha256:")
    exported = value_of("trust", "export", "theirs")
    assert exported["root"] == made["root"]
    assert all(Path(path).is_file() for path in exported["files"])
    assert value_of("trust", "update") == {"version": 1, "added": []}
    assert {"name", "about"} == set(value_of("schema")[0])
    # a move to where the alias points already replaces nothing
    assert run(["promote", "tiny", "champion"]) == 0
    told = capsys.readouterr().out
    assert "again    it pointed there since" in told and "replaces" not in told
    assert run(["list", "--sort", "rank"]) == 0
    assert "versions without rank have no place in this order and are left out" in capsys.readouterr().err
    assert run(["list", "--sort", "size"]) == 0
    assert "left out" not in capsys.readouterr().err
    for words, told in ((["--limit", "0"], "it has to be greater than"), (["--after", "tiny"], "--after NAME:NUMBER")):
        assert run(["list", *words]) == 2
        assert told in capsys.readouterr().err
    # what is asked of an alias is not asked of a version
    assert run(["gate", "status", "tiny"]) == 2
    refused = capsys.readouterr().err
    assert "'tiny' names no alias" in refused and "write NAME@ALIAS" in refused


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("show {name}:{number}", 2),
        ("list --where size>{number}", 0),
        ("promote {name} champion --if-current {number}", 7),
        ("log show --limit {number}", 0),
        ("log show --before {number}", 0),
        ("log prove {number}", 7),
        ("report --all --within {number}", 2),
        ("gate status {name}@champion --policy {policy}", 2),
        ("train {training} base={name} lora.r={number} --dry-run", 2),
        ("train {training} base={name} data.validation.seed={number} --dry-run", 2),
        ("train {training} base={name} --nproc {number}", 2),
        ("evaluate {name} --seed {number}", 2),
    ],
)
def test_the_largest_number_of_64_bits_is_taken_or_refused_in_one_sentence(
    words: str, code: int, home_with_a_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = 2**63 - 1
    policy = tmp_path / "policy.yml"
    policy.write_text(f"name: many\nabout: all\napprovals: {{count: {number}}}\n")
    training = home_with_a_base.parent / "example" / "train.yml"
    line = words.format(name="smollm2-135m-instruct-2025", number=number, policy=policy, training=training)
    assert run([*line.split(), "--home", str(home_with_a_base)]) == code
    told = capsys.readouterr().err
    assert "this is a bug" not in told
    if code:
        assert [part.split(":")[0] for part in told.splitlines()] == ["error", "  why", "  fix"]


def test_a_page_and_json_do_not_share_stdout(home_with_a_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", "smollm2-135m-instruct-2025", "--home", str(home_with_a_base)]
    capsys.readouterr()
    assert run([*words, "--out", "-", "--output", "json"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "words",
    [
        ["methods"],
        ["methods", "--for", "latency"],
        ["schema"],
        ["list"],
        ["show", "smollm2-135m-instruct-2025"],
        ["lineage", "smollm2-135m-instruct-2025"],
        ["verify", "smollm2-135m-instruct-2025"],
        ["suites", "list"],
        ["suites", "show", "house"],
        ["trust", "show"],
        ["trust", "update"],
        ["mirror", "connect", "none"],
    ],
    ids=" ".join,
)
def test_a_success_names_one_command_that_follows(
    words: list[str], home_with_a_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    known_without_home = words[0] in {"methods", "schema"}
    assert run([*words, *([] if known_without_home else ["--home", str(home_with_a_base)])]) == 0
    (hint,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next: ")]
    program, name, *rest = hint.removeprefix("next: ").split()
    assert program == "registry"
    assert name in COMMANDS or f"{name} {rest[0]}" in COMMANDS


def test_after_a_folder_verified_the_command_that_is_named_works(
    home_with_a_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = ["--home", str(home_with_a_base)]
    folder = tmp_path / "pulled"
    assert run(["pull", "smollm2-135m-instruct-2025", str(folder), *home]) == 0
    capsys.readouterr()
    assert run(["verify", str(folder), *home]) == 0
    hint = capsys.readouterr().err
    assert hint == f"next: registry verify {folder} --require log-proof\n"
    assert run([*hint.split()[2:], *home]) == 0


# --- eighty columns ---

MEASURED = sorted((ROOT / "docs" / "measured").glob("compare-*.json"))


@pytest.fixture
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output goes to a terminal of 80 columns."""
    monkeypatch.setattr("peft_registry.cli.console.terminal_width", lambda stream: 80)


def too_wide(text: str) -> list[str]:
    return [line for line in text.splitlines() if len(line) > 80]


@pytest.mark.usefixtures("eighty_columns")
@pytest.mark.parametrize(
    "words",
    [
        ["methods"],
        ["methods", "--for", "latency,bias_mitigation,many_tasks"],
        ["suites", "list"],
        ["suites", "show", "house"],
        ["list"],
        ["show", "smollm2-135m-instruct-2025"],
        ["trust", "show"],
        ["verify", "smollm2-135m-instruct-2025"],
    ],
    ids=" ".join,
)
def test_what_is_printed_fits_a_terminal_of_80_columns(
    words: list[str], home_with_a_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run([*words, *([] if words[0] == "methods" else ["--home", str(home_with_a_base)])]) == 0
    shown = capsys.readouterr().out
    assert shown
    assert too_wide(shown) == []


@pytest.mark.usefixtures("eighty_columns")
@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_a_comparison_of_methods_fits_a_terminal_of_80_columns(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from peft_registry.cli.commands.compare import lines_of
    from peft_registry.cli.options import Output
    from peft_registry.cli.outcome import Outcome
    from peft_registry.schemas.comparison import MethodComparison

    Outcome(None, lines_of(MethodComparison.from_json(json.loads(path.read_text("utf-8"))))).show(Output.text)
    shown = capsys.readouterr().out
    assert "bias fixed, introduced" in shown
    assert too_wide(shown) == []


def test_in_a_pipe_the_list_holds_whole_digests(home_with_a_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["list", "--columns", "version,manifest,registered", "--home", str(home_with_a_base)]) == 0
    (row,) = capsys.readouterr().out.splitlines()[1:]
    assert re.search(r" sha256:[0-9a-f]{64} ", row)


# --- less of everything ---


def test_quiet_leaves_the_data_and_takes_the_hints(home_with_a_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["list", "--home", str(home_with_a_base)]
    capsys.readouterr()
    assert run(words) == 0
    usual = capsys.readouterr()
    assert run(["--quiet", *words]) == 0
    quiet = capsys.readouterr()
    assert (quiet.out, quiet.err) == (usual.out, "")
    assert usual.err.startswith("next: ")


# --- the passphrase ---


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home whose keys have a passphrase, a base, and a training file."""
    folder = tmp_path_factory.mktemp("encrypted")
    home = ["--home", str(folder / ".registry")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REGISTRY_PASSPHRASE", "correct horse")
        assert run(["init", *home]) == 0
        assert run(["base", "add", "embedded", "--name", "tiny", *home]) == 0
    return folder


@pytest.fixture
def nobody_at_the_keyboard(encrypted: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(encrypted)
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        yield


SIGNING = {
    "base add": ["embedded", "--name", "other"],
    "train": ["example/train.yml"],
    "compare": ["example/train.yml", "--methods", "lora"],
    "evaluate": ["tiny", "--suite", "house", "--limit", "8"],
    "merge": ["tiny"],
    "import": ["example"],
    "promote": ["tiny", "champion"],
    "decide": ["tiny", "--form", "example/train.yml"],
    "record": ["tiny", "--attach", "example/train.yml", "--as", "instructions", "--key", "example/train.yml"],
    "gate approve": ["tiny", "--reason", "read", "--key", "example/train.yml"],
    "gate waive": ["tiny", "worse", "--until", "2099-01-01", "--reason", "read", "--key", "example/train.yml"],
    "recall": ["tiny", "--reason", "withdrawn", "--key", "example/train.yml"],
    "hold": ["tiny", "--reason", "asked for", "--key", "example/train.yml"],
    "release": ["tiny", "--reason", "over", "--key", "example/train.yml"],
    "gate set": ["champion", "--policy", "starter", "--reason", "first", "--key", "example/train.yml"],
    "gate unset": ["champion", "--reason", "last", "--key", "example/train.yml"],
}


@pytest.mark.usefixtures("nobody_at_the_keyboard")
@pytest.mark.parametrize("name", SIGNING)
def test_a_passphrase_that_nobody_can_type_is_missed_before_any_work(
    name: str, encrypted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run([*name.split(), *SIGNING[name], "--home", str(encrypted / ".registry")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: the signing key has a passphrase and nobody can be asked for it\n")
    assert list((encrypted / ".registry" / "runs").iterdir()) == []


@pytest.mark.usefixtures("nobody_at_the_keyboard")
@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - SIGNING.keys()))
def test_every_command_that_signs_asks_for_the_passphrase(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    # init and keys choose the passphrase; trust update and log checkpoint are one signature without work before it; upgrade, tested
    # with the kept home, asks first
    changes_trust = {f"trust {change}" for change in ("init", "add", "revoke", "renew", "rotate", "sign", "update")}
    keys = {f"keys {act}" for act in ("create", "import")}
    logs = {f"log {act}" for act in ("checkpoint", "sign", "reject", "accept-restore")}
    asks_otherwise = {"init", "admin upgrade", *logs, *keys, *changes_trust}
    assert "--passphrase-file" not in options or name in asks_otherwise
