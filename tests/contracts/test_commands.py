"""What every command keeps, whatever it does: help, JSON on reads, exit codes, no traceback, no hang without a terminal."""

import hashlib
import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.errors_page import KnownErrorEntry, known_errors
from docs.generate import commands
from peft_registry.cli.main import app, run
from peft_registry.schemas.errors import KnownError
from tests.processes.interpreter import ROOT

PROGRAM = get_command(app)
COMMANDS: dict[str, Any] = {" ".join(path): command for path, command in commands(PROGRAM)}
GROUPS = sorted({path[0] for path, _ in commands(PROGRAM) if len(path) > 1})

# every other command prints its result as JSON on request, whether it reads or writes
WITHOUT_JSON = {
    "demo": "it types other commands, each with an output of its own",
    "ui": "it serves pages until it is stopped, and has no result",
}
# what an empty folder answers: 7, there is no registry here, but for these
IN_AN_EMPTY_FOLDER = {"init": 2, "schema": 0, "methods": 0, "suites list": 0, "suites show": 2}
# it builds everything it needs: the end-to-end tests run it
NOT_RUN_HERE = {"demo"}
# something that could be meant, for arguments where any word will do
ARGUMENTS = {"reference": "name:1", "target": "name:1", "alias": "champion", "source": "folder", "config": "train.yml"}
FAMILY_CODES = {2, 3, 4, 5, 6, 7, 8}


def arguments_of(command: Any, folder: Path) -> list[str]:
    """One word for each required argument."""
    required = [one for one in command.params if one.param_type_name == "argument" and one.required]
    return [str(folder / "new") if one.name == "folder" else ARGUMENTS.get(one.name, "something") for one in required]


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder below no registry, and nobody at the keyboard."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        yield folder  # type: ignore[misc]


@pytest.fixture(scope="module")
def home_with_a_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one base whose name is as long as names of models are."""
    home = tmp_path_factory.mktemp("columns") / ".registry"
    assert run(["init", "--unencrypted", "--home", str(home)]) == 0
    assert run(["base", "add", "embedded", "--name", "smollm2-135m-instruct-2025", "--home", str(home)]) == 0
    return home


# --- help ---


@pytest.mark.parametrize("name", ["", *GROUPS, *COMMANDS])
def test_help_answers(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("Usage: ")
    assert shown.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_to_type_and_not_which_python_type_it_becomes(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"<[a-z][^>\n]*>|\blist\[|\b(?:int|float|str)\b(?: range)?", shown) == []
    assert "REFERENCE…" not in shown and "REF…" not in shown


@pytest.mark.parametrize("name", ["", *GROUPS])
def test_no_line_of_a_list_of_commands_is_cut_on_a_terminal_of_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*name.split(), "--help"]) == 0
    _, commands_listed = capsys.readouterr().out.split("\nCommands:\n")
    assert not [line for line in commands_listed.splitlines() if line.endswith("...")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_everything_it_takes_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert (command.help or "").strip()
    assert [one.name for one in command.params if not (getattr(one, "help", None) or "").strip()] == []


def test_the_groups_are_explained() -> None:
    assert [name for name in GROUPS if not PROGRAM.commands[name].help] == []  # type: ignore[attr-defined]


def test_nothing_but_help_is_printed_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    run([])
    shown = capsys.readouterr()
    assert "Usage: " in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


# --- JSON ---


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - WITHOUT_JSON.keys()))
def test_a_command_prints_its_result_as_json(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--output", "-o"} <= options


@pytest.mark.parametrize("name", WITHOUT_JSON)
def test_the_commands_without_json_are_those_that_are_listed(name: str) -> None:
    assert "--output" not in {option for parameter in COMMANDS[name].params for option in parameter.opts}


@pytest.mark.parametrize("name", ["list", "methods", "trust show"])
def test_a_read_prints_one_json_document_and_nothing_else(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    assert run(["init", "--unencrypted", "--no-example", "--home", str(home)]) == 0
    capsys.readouterr()
    arguments = [] if name == "methods" else ["--home", str(home)]
    assert run([*name.split(), *arguments, "--output", "json"]) == 0
    shown = capsys.readouterr()
    json.loads(shown.out)
    assert shown.err == ""


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
        ["mirror", "sync"],
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


def test_an_error_is_one_json_object_where_the_command_speaks_json(
    empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["list", "--output", "json"]) == 7
    shown = capsys.readouterr()
    assert shown.out == ""
    error = json.loads(shown.err)
    assert set(error) == {"error", "what", "why", "fix", "exit"}
    assert (error["error"], error["exit"]) == ("home-not-found", 7)


def test_schema_prints_a_json_schema_for_every_name_it_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names
    for name in names:
        assert run(["schema", name]) == 0
        assert json.loads(capsys.readouterr().out)["type"] == "object"


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
    from peft_registry.cli.commands.compare import _show_comparison
    from peft_registry.cli.options import Output
    from peft_registry.schemas.comparison import MethodComparison

    _show_comparison(MethodComparison.from_json(json.loads(path.read_text("utf-8"))), Output.text)
    shown = capsys.readouterr().out
    assert "bias fixed, introduced" in shown
    assert too_wide(shown) == []


def test_in_a_pipe_the_list_holds_whole_digests(home_with_a_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["list", "--home", str(home_with_a_base)]) == 0
    (row,) = capsys.readouterr().out.splitlines()[1:]
    assert re.search(r" sha256:[0-9a-f]{64} ", row)


# --- completion, and less of everything ---


@pytest.mark.parametrize(("typed", "completed"), [("registry ver", "verify"), ("registry trust ex", "export")])
def test_a_shell_completes_commands(
    typed: str, completed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_REGISTRY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    with pytest.raises(SystemExit) as end:
        run([])
    assert end.value.code == 0
    assert capsys.readouterr().out.split() == [completed]


def test_quiet_leaves_the_data_and_takes_the_hints(home_with_a_base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["list", "--home", str(home_with_a_base)]
    capsys.readouterr()
    assert run(words) == 0
    usual = capsys.readouterr()
    assert run(["--quiet", *words]) == 0
    quiet = capsys.readouterr()
    assert (quiet.out, quiet.err) == (usual.out, "")
    assert usual.err.startswith("next: ")


# --- exit codes, and no hang ---


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_a_usage_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*name.split(), "--no-such-option"]) == 2
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert "--no-such-option" in shown.err


@pytest.mark.parametrize("name", [name for name in COMMANDS if arguments_of(COMMANDS[name], Path())])
def test_a_missing_argument_is_a_usage_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name.split()) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["no-such-command"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NOT_RUN_HERE))
def test_in_an_empty_folder_a_command_says_what_is_missing_and_writes_nothing(
    name: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([*name.split(), *arguments_of(COMMANDS[name], empty_folder)])
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    assert code == IN_AN_EMPTY_FOLDER.get(name, 7), shown.err
    if code:
        assert re.search(r"^error: .+\n  why: .+\n  fix: .+$", shown.err, re.MULTILINE), shown.err
        assert shown.out == ""
    assert list(empty_folder.iterdir()) == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["init", "list", "verify", "train"])
def test_the_program_does_not_wait_for_a_closed_stdin(name: str, tmp_path: Path) -> None:
    words = [*name.split(), *arguments_of(COMMANDS[name], tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", "from peft_registry.cli.main import main; main()", *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == IN_AN_EMPTY_FOLDER.get(name, 7), done.stderr
    assert "Traceback" not in done.stderr


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
    "promote": ["tiny", "champion"],
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
    # init chooses the passphrase, and trust update is one signature without work before it
    assert "--passphrase-file" not in options or name in {"init", "trust update"}


# --- errors ---

ERRORS = known_errors(ROOT)


def sentences(entry: KnownErrorEntry) -> tuple[str, str, str]:
    return entry.what, entry.why, entry.fix


def is_family(entry: KnownErrorEntry) -> bool:
    return entry.error.name == entry.family


@pytest.mark.parametrize("entry", ERRORS, ids=lambda entry: entry.error.path)
def test_an_error_has_a_reference_a_family_and_three_sentences(entry: KnownErrorEntry) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+|refused|taken|unavailable", entry.reference)
    assert entry.exit_code in FAMILY_CODES
    if is_family(entry):
        assert entry.error.summary
        return
    for sentence in sentences(entry):
        assert sentence, f"{entry.error.path} says nothing"


@pytest.mark.parametrize("entry", ERRORS, ids=lambda entry: entry.error.path)
def test_an_error_points_only_at_commands_that_there_are(entry: KnownErrorEntry) -> None:
    known = {*COMMANDS, *GROUPS}
    for sentence in sentences(entry):
        for words in re.findall(r"`registry ((?:[a-z]+ ?)+)", sentence):
            first, _, rest = words.strip().partition(" ")
            assert first in known
            assert first not in GROUPS or not rest or f"{first} {rest.split()[0]}" in known


def every_subclass(of: type[KnownError]) -> Iterator[type[KnownError]]:
    for one in of.__subclasses__():
        yield one
        yield from every_subclass(one)


def test_the_errors_read_from_the_source_are_those_of_the_running_program() -> None:
    without_torch = tuple(f"peft_registry.{layer}" for layer in ("schemas", "registry", "cli"))
    for package in without_torch:
        for found in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if ".migrations." not in found.name and ".mlflow." not in found.name:
                importlib.import_module(found.name)
    read = {entry.error.path: (entry.reference, entry.exit_code) for entry in ERRORS}
    live = {
        f"{one.__module__}.{one.__name__}": (one.reference, one.exit_code)
        for one in every_subclass(KnownError)
        if one.__module__.startswith(without_torch)
    }
    assert live
    assert live.items() <= read.items()
