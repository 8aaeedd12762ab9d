"""What every command keeps, whatever it does: help, JSON on reads, exit codes, no traceback, no hang without a terminal."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.generate import commands
from peft_registry.cli.groups import SECTIONS, Section
from peft_registry.cli.main import app, run
from peft_registry.schemas.facets import FACETS
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
IN_AN_EMPTY_FOLDER = {
    "init": 2,
    "record verdict": 2,
    "report": 2,
    "gate approve": 2,
    "gate waive": 2,
    "gate show": 0,
    "gate set": 2,
    "gate unset": 2,
    "recall": 2,
    "hold": 2,
    "release": 2,
    "schema": 0,
    "methods": 0,
    "suites list": 0,
    "suites show": 2,
    "suites ids": 2,
}
# they ask first where to write, and what for
IN_AN_EMPTY_FOLDER |= {"pull": 2, "export": 2, "verify": 2, "evaluate": 2, "merge": 2, "import": 2}
IN_AN_EMPTY_FOLDER |= {"trust init": 2, "trust add": 2, "trust revoke": 2, "trust sign": 2}
# every other command is named on a page that somebody wrote
ON_NO_PAGE = {
    "demo": "`make demo` runs it, and README says so",
    "keys export": "it writes one public key; `registry trust export`, which the pages use, writes all",
}
# it builds everything it needs: the end-to-end tests run it
NOT_RUN_HERE = {"demo"}
# numbers without an upper bound: each is compared with what there is, and nothing is made as often, or as large
COMPARED = {
    "data inspect --labels",
    "data inspect --max-length",
    "evaluate --limit",
    "evaluate --sample",
    "log prove entry",
    "log reject entry",
    "log show --before",
    "log show --limit",
    "merge --rank",
    "promote --if-current",
    "report --within",
    "trust add --threshold",
    "verify --rerun",
}
# something that could be meant, for arguments where any word will do
ARGUMENTS = {
    "reference": "name:1",
    "target": "name:1",
    "alias": "champion",
    "source": "folder",
    "config": "train.yml",
    "entry": "1",
    "own": "trainer",
    "role": "approver",
    "key": "trainer",
}


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
    assert "[[" not in shown, "what may be left out stands in one pair of brackets"


def test_the_help_of_list_names_every_facet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--help"]) == 0
    named = " ".join(capsys.readouterr().out.split()).partition("Facets: ")[2].partition(".")[0]
    assert named.replace("[…]", "").split(", ") == [rule.name for rule in FACETS]


@pytest.mark.parametrize("name", ["", *GROUPS])
def test_no_line_of_a_list_of_commands_is_cut_on_a_terminal_of_80_columns(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    _, _, commands_listed = shown.partition("\nCommands:\n" if name else f"\n{SECTIONS[0].title}:\n")
    assert commands_listed
    assert not [line for line in commands_listed.splitlines() if line.endswith("...")]


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_the_help_of_the_program_says_of_a_command_what_its_own_help_says_first(section: Section) -> None:
    said = {name: PROGRAM.commands[name].get_short_help_str(100) for name in section.commands}  # type: ignore[attr-defined]
    assert section.commands == said


def test_each_module_of_commands_is_reached() -> None:
    modules = {command.callback.__module__.rpartition(".")[2] for command in COMMANDS.values()}
    groups = {"admin", *(name for name in GROUPS if name not in COMMANDS)}
    written = {path.stem for path in (ROOT / "cli" / "commands").glob("*.py")} - {"__init__"}
    assert written - modules - groups == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_everything_it_takes_is_explained(name: str) -> None:
    command = COMMANDS[name]
    assert (command.help or "").strip()
    assert [one.name for one in command.params if not (getattr(one, "help", None) or "").strip()] == []


def test_a_number_has_an_upper_bound_or_is_compared_with_what_there_is() -> None:
    without = set()
    for name, command in COMMANDS.items():
        for parameter in command.params:
            is_number = parameter.type_descriptor.annotation in (int, float, list[int])
            if is_number and parameter.max is None:
                without.add(f"{name} {parameter.opts[0]}")
    assert without == COMPARED


def test_the_groups_are_explained() -> None:
    assert [name for name in GROUPS if not PROGRAM.commands[name].help] == []  # type: ignore[attr-defined]


def test_nothing_but_help_is_printed_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    run([])
    shown = capsys.readouterr()
    assert "Usage: " in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - ON_NO_PAGE.keys()))
def test_a_page_that_somebody_wrote_names_the_command(name: str) -> None:
    pages = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if "reference" not in page.parts)]
    named = re.compile(rf"(?:registry |`){name}\b")
    assert any(named.search(page.read_text("utf-8")) for page in pages), (
        f"name `registry {name}` on a page of docs/tutorials, docs/how-to or docs/explanation"
    )


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


# --- completion ---


@pytest.mark.parametrize(("typed", "completed"), [("registry veri", "verify"), ("registry trust ex", "export")])
def test_a_shell_completes_commands(
    typed: str, completed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_REGISTRY_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    assert run([]) == 0
    assert capsys.readouterr().out.split() == [completed]


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
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and "  why: " in shown and "  fix: " in shown
    if name not in WITHOUT_JSON:
        assert run([*name.split(), "--output", "json"]) == 2
        assert json.loads(capsys.readouterr().err)["exit"] == 2


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["no-such-command"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("word", ["sync", "check", "repair", "rebuild", "forget", "status"])
def test_a_command_of_an_earlier_release_is_answered_with_what_takes_its_place(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["mirror", word, "--output", "json"]) == 2
    said = json.loads(capsys.readouterr().err)
    assert f"no such command '{word}'" in said["why"]
    assert "MLflow reads the registry itself now" in said["fix"] and "`registry mirror push`" in said["fix"]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("approve", "gate approve"),
        ("waive", "gate waive"),
        ("impact", "lineage impact"),
        ("verdict", "record verdict"),
        ("gc", "admin gc"),
        ("upgrade", "admin upgrade"),
        ("keys rotate", "trust rotate"),
        ("keys revoke", "trust revoke"),
    ],
)
def test_a_command_that_moved_is_answered_with_where_it_is(
    before: str, now: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert now in COMMANDS and before not in COMMANDS
    assert run([*before.split(), "polite-replies:1", "--key", "FILE", "--output", "json"]) == 2
    said = json.loads(capsys.readouterr().err)
    assert said["why"] == f"no such command '{before.rpartition(' ')[2]}'"
    assert f"`registry {now}`" in said["fix"]


@pytest.mark.parametrize("words", [["record", "verdict:1"], ["lineage", "impact:1"]])
def test_a_version_is_not_taken_for_the_command_of_its_name(
    words: list[str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 7
    assert "registry" in capsys.readouterr().err


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


def test_an_interrupted_command_says_what_became_of_its_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("peft_registry.cli.wiring.opened", interrupt)
    assert run(["list"]) == 130
    assert capsys.readouterr() == ("", "interrupted: nothing incomplete was registered\n")
