"""What somebody else wrote never draws on the terminal: it is shown escaped, whichever way it is printed."""

import json
from collections.abc import Callable

import pytest

from peft_registry.cli import console
from peft_registry.cli.progress import Progress
from peft_registry.schemas.errors import InputRefused, SeveralProblems
from peft_registry.schemas.progress import Said, Warned

HOSTILE = "mit\x1b[2J\x9b31m\u202e\rverified"
ESCAPED = r"mit\x1b[2J\x9b31m\u202e\rverified"

PRINTED: dict[str, Callable[[], None]] = {
    "line": lambda: console.line(f"base     {HOSTILE}"),
    "note": lambda: console.note(f"warning  {HOSTILE}"),
    "next step": lambda: console.next_step(f"registry verify {HOSTILE}"),
    "table": lambda: console.table([["version", "licence"], ["tiny:1", HOSTILE]]),
    "line of the story": lambda: Progress(story_on_stdout=True)(Said("base", HOSTILE)),
    "line of the story beside the data": lambda: Progress(story_on_stdout=False)(Said("base", HOSTILE)),
    "warning": lambda: Progress(story_on_stdout=True)(Warned("licence", HOSTILE)),
    "error": lambda: console.show_error(refused(HOSTILE), as_json=False),
}


def refused(what: str) -> InputRefused:
    return InputRefused.in_words(what=what, why="its reason", fix="its remedy")


@pytest.mark.parametrize("way", PRINTED)
def test_what_would_draw_on_the_terminal_is_shown_escaped(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    PRINTED[way]()
    shown = capsys.readouterr()
    assert ESCAPED in shown.out + shown.err
    assert (shown.out + shown.err).replace("\n", "").isprintable()


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("\ninterrupted\x07")
    assert capsys.readouterr().err == "\ninterrupted\\x07\n"
    assert console.printable_lines("first\n\x1b[1A") == "first\n\\x1b[1A"


@pytest.mark.parametrize("more", [0, 3])
def test_the_first_problems_of_very_many_are_shown_and_the_rest_counted(
    more: int, capsys: pytest.CaptureFixture[str]
) -> None:
    count = console.PROBLEMS_SHOWN + more
    error = SeveralProblems(tuple(refused(f"fact {number}") for number in range(count)))
    console.show_error(error, as_json=False)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{count} things are wrong with what was given:"
    assert sum(line.startswith("error: ") for line in lines) == console.PROBLEMS_SHOWN
    assert ("… and 3 more; --output json has all of them" in lines) == bool(more)
    console.show_error(error, as_json=True)
    assert len(json.loads(capsys.readouterr().err)["problems"]) == count
