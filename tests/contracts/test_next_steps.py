"""The command that a success names next is one that there is, with options that it takes."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from docs.generate import commands
from peft_registry.cli.main import app
from tests.processes.interpreter import ROOT

COMMANDS: dict[tuple[str, ...], Any] = dict(commands(get_command(app)))
VALUE = "VALUE"  # in the place of what is put in when the command runs


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a program, each with its line; what is put into one when it runs is `VALUE`."""
    if isinstance(node, ast.JoinedStr):
        yield (
            node.lineno,
            "".join(str(piece.value) if isinstance(piece, ast.Constant) else VALUE for piece in node.values),
        )
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    else:
        for part in ast.iter_child_nodes(node):
            yield from texts(part)


def next_steps() -> Iterator[tuple[str, str]]:
    """Each text of a command that is a command line, as next steps are, and the file and line where it stands."""
    for path in sorted((ROOT / "cli" / "commands").glob("*.py")):
        for number, line in texts(ast.parse(path.read_text("utf-8"))):
            # which command it is may itself be put in: what that gives is typed by the tests of that command
            if line.startswith("registry ") and not line.startswith((f"registry {VALUE}", f"registry trust {VALUE}")):
                yield f"{path.relative_to(ROOT)}:{number}", line


STEPS = list(next_steps())


def test_steps_are_found() -> None:
    assert len(STEPS) > 70


@pytest.mark.parametrize(("place", "line"), STEPS, ids=[f"{place} {line}" for place, line in STEPS])
def test_a_next_step_is_a_command_that_takes_its_options(place: str, line: str) -> None:
    words = line.split()[1:]
    path = next((tuple(words[:length]) for length in (2, 1) if tuple(words[:length]) in COMMANDS), None)
    assert path is not None, f"{place}: there is no `{line}`"
    taken = {option for parameter in COMMANDS[path].params for option in (*parameter.opts, *parameter.secondary_opts)}
    typed = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert typed <= {*taken, "--help"}, f"{place}: `registry {' '.join(path)}` takes no {typed - taken}"
