"""A command returns what came of it: people read its lines, programs its JSON, and what it opened is closed before either."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import pytest
import typer
from typer.main import get_command

from peft_registry.cli import wiring
from peft_registry.cli.options import Output
from peft_registry.cli.outcome import ANSWERS, READS_AT, SIGNS, Home, Line, Note, Outcome, Table, Verbatim, command
from peft_registry.schemas.errors import NotFound


def typed(function, *words: str):
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(function)
    return get_command(app)(args=list(words), standalone_mode=False)


def test_people_read_lines_and_the_next_command_and_programs_one_json_value(capsys):
    parts = [
        "label    a line",
        Line("far      another", 9),
        Table([["a", "b"], ["1", "2"]]),
        Verbatim("as it is"),
        Note("aside"),
    ]
    outcome = Outcome({"a": 1}, parts, "registry list")
    outcome.show(Output.text)
    assert capsys.readouterr() == (
        "label    a line\nfar      another\na  b\n1  2\nas it is\n",
        "aside\nnext: registry list\n",
    )
    outcome.show(Output.json)
    shown = capsys.readouterr()
    assert (json.loads(shown.out), shown.err) == ({"a": 1}, "")


def test_where_there_are_no_lines_people_read_the_json_too(capsys):
    Outcome({"a": 1}).show(Output.text)
    assert json.loads(capsys.readouterr().out) == {"a": 1}


@pytest.mark.parametrize("part", [str, lambda text: Line(text, 9), Verbatim, Note, lambda text: Table([[text]])])
def test_nothing_that_is_shown_draws_on_the_terminal(part, capsys):
    Outcome(None, [part("a\x1b[2Jb")]).show(Output.text)
    shown = "".join(capsys.readouterr())
    assert "\x1b" not in shown and "a\\x1b[2Jb" in shown


@pytest.mark.parametrize("output", list(Output))
def test_a_problem_is_raised_once_the_rest_was_said_and_no_command_follows(output, capsys):
    problem = NotFound.in_words(what="it is gone", why="somebody took it", fix="look elsewhere")
    with pytest.raises(NotFound):
        Outcome("said", ["said"], "registry list", problem=problem).show(output)
    shown = capsys.readouterr()
    assert "said" in shown.out and shown.err == ""


def test_what_a_command_opened_is_closed_before_anything_is_printed(monkeypatch, capsys):
    asked = []

    @contextmanager
    def opened(home, passphrase_file, *, check_log, checkpoint) -> Iterator[str]:
        asked.append((home, passphrase_file, check_log, checkpoint))
        yield "registry"
        print("closed")

    monkeypatch.setattr(wiring, "opened", opened)

    @command(READS_AT)
    def look(home: Home, name: Annotated[str, typer.Argument()]) -> Outcome:
        return Outcome(None, [f"{name} of {home.registry}, {home.registry} again"], exit_code=3)

    assert typed(look, "first", "--home", "somewhere") == 3
    assert capsys.readouterr().out == "closed\nfirst of registry, registry again\n"
    ((home, passphrase_file, check_log, checkpoint),) = asked
    assert (str(home), passphrase_file, check_log, checkpoint) == ("somewhere", None, True, None)


@pytest.mark.parametrize("options", [ANSWERS, READS_AT, SIGNS])
def test_a_command_that_asks_for_no_registry_opens_none(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def answer(word: str = "x") -> Outcome:
        return Outcome(word)

    def at_home(home: Home, word: str = "x") -> Outcome:
        return Outcome(word)

    assert typed(command(options)(at_home if options else answer), "--word", "y") in (None, 0)
    assert capsys.readouterr() == ('"y"\n', "")
