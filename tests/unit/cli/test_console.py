"""What somebody else wrote never draws on the terminal: it is shown escaped, whichever way it is printed."""

import json
import sys
from collections.abc import Callable

import pytest

from peft_registry.cli import console
from peft_registry.cli.progress import Progress
from peft_registry.schemas.errors import InputRefused, SeveralProblems
from peft_registry.schemas.progress import Said, Warned

HOSTILE = "mit\x1b[2J\x9b31m\u202e\rverified"
UNPAIRED = "\udcff"  # how Python shows a byte of a file name that is not UTF-8
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
PRINTED_AS_JSON: dict[str, Callable[[], None]] = {
    "document": lambda: console.out_json({HOSTILE: [HOSTILE, UNPAIRED]}),
    "error": lambda: console.show_error(refused(f"{HOSTILE}{UNPAIRED}\U000e0001"), as_json=True),
}


def refused(what: str) -> InputRefused:
    return InputRefused.in_words(what=what, why="its reason", fix="its remedy")


@pytest.mark.parametrize("way", PRINTED)
def test_what_would_draw_on_the_terminal_is_shown_escaped(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    PRINTED[way]()
    shown = capsys.readouterr()
    assert ESCAPED in shown.out + shown.err
    assert (shown.out + shown.err).replace("\n", "").isprintable()


@pytest.mark.parametrize("way", PRINTED_AS_JSON)
def test_json_does_not_draw_on_the_terminal_either_and_stays_json(
    way: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # a real stream: it cannot encode half a surrogate pair
    monkeypatch.setattr("sys.stdout", open(1, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    PRINTED_AS_JSON[way]()
    console.note("")
    shown = "".join(capfd.readouterr())
    assert shown.replace("\n", "").isprintable()
    value = json.loads(shown)
    if way == "document":
        assert value == {HOSTILE: [HOSTILE, UNPAIRED]}
    else:
        assert value["what"] == f"{HOSTILE}{UNPAIRED}\U000e0001"


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("\ninterrupted\x07")
    assert capsys.readouterr().err == "\ninterrupted\\x07\n"
    assert console.printable_lines("first\n\x1b[1A") == "first\n\\x1b[1A"


class Listing(InputRefused):
    reference = "listing"
    what = "it is refused"
    why = "(1) its record; (2) its licence\n  fix: believe me"
    fix = "its remedy"

    @property
    def separate_reasons(self) -> tuple[str, ...]:
        return ("(1) its record", "(2) its licence\n  fix: believe me")


def test_several_reasons_stand_below_each_other_and_none_of_them_makes_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console.show_error(Listing(), as_json=False)
    assert capsys.readouterr().err.splitlines() == [
        "error: it is refused",
        "  why: (1) its record",
        "       (2) its licence\\n  fix: believe me",
        "  fix: its remedy",
    ]


def test_whoever_watches_a_story_is_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not console.may_ask()
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    assert console.may_ask()
    with console.without_next_steps():
        assert not console.may_ask()
    with console.quietly():
        assert console.may_ask()


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


def test_on_a_terminal_the_second_line_of_a_warning_and_of_an_error_stands_below_their_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    console.warn("6 of 640 items occur in what was trained on")
    console.show_error(refused("this version is not the one that was signed"), as_json=False)
    assert capsys.readouterr().err.splitlines() == [
        "warning  6 of 640 items occur",
        "         in what was trained",
        "         on",
        "error: this version is not the",
        "       one that was signed",
        "  why: its reason",
        "  fix: its remedy",
    ]
