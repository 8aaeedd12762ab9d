"""What a command prints: data on stdout, everything else on stderr; colour only on a terminal and never alone."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from peft_registry.cli.tables import table_lines, wrapped_lines
from peft_registry.schemas.errors import KnownError, SeveralProblems

_COLOURS = {"ok": "32", "recorded": "36", "unchecked": "33", "failed": "31;1"}
# a facts file from another tool may be wrong in every line: the first problems are enough to see that
PROBLEMS_SHOWN = 20
COUNTS_HERE = "pending   it counts already, and a signed log keeps it from being deleted: `registry log sign`, where the log key is"
"""The line about a recall, hold or binding that no checkpoint covers yet."""
# each holds an entry for every context manager that is open: it silences next steps, or progress too
_silenced: list[bool] = []
_quiet: list[bool] = []
# likewise for a story, whose reader watches and must not be asked anything
_told: list[bool] = []


def out(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(text + "\n")


def note(text: str = "", *, indent: int | None = None) -> None:
    """Lines beside the data, after what was written before them, also where both end in one file.

    Args:
        text: the lines.
        indent: where they do not fit the terminal they are wrapped, and continue behind so many columns; None leaves that to the
            terminal, so that a command can be copied.
    """
    lines = printable_lines(text).split("\n")
    if indent is not None:
        width = terminal_width(sys.stderr)
        lines = [part for whole in lines for part in wrapped_lines(whole, width=width, indent=indent)]
    sys.stdout.flush()
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """A labelled warning, wrapped below its text: `warning  6 of 640 items …`."""
    note(f"warning  {text}", indent=9)


def out_json(value: Any) -> None:  # any JSON value
    """One JSON document."""
    sys.stdout.write(_json_text(value, indent=2) + "\n")


def next_step(command: str) -> None:
    """The command that follows a success."""
    if not any(_silenced):
        note(f"next: {command}")


@contextmanager
def without_next_steps() -> Iterator[None]:
    """Say nothing about what follows, inside a story that says it."""
    with _silent(_silenced), _silent(_told):
        yield


@contextmanager
def quietly() -> Iterator[None]:
    """No progress and nothing about what follows: only data, warnings and errors."""
    with _silent(_silenced), _silent(_quiet):
        yield


def may_ask() -> bool:
    """Whether a person sits at the terminal and expects questions, which nobody who watches a story does."""
    return not any(_told) and sys.stdin.isatty() and sys.stderr.isatty()


def is_quiet() -> bool:
    """Whether the user asked for no progress."""
    return any(_quiet)


@contextmanager
def _silent(what: list[bool]) -> Iterator[None]:
    what.append(True)
    try:
        yield
    finally:
        what.pop()


def path_from_here(path: Path) -> Path:
    """The path as a user would type it: relative where it lies below the working folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def line(text: str, *, indent: int = 9) -> None:
    """One labelled line of data: `base     tiny:1 …`. On a terminal what does not fit continues below, indented."""
    for part in wrapped_lines(printable(text), width=terminal_width(sys.stdout), indent=indent):
        out(part)


def table(rows: Sequence[Sequence[str]], *, prose: int | None = None) -> None:
    """Aligned columns that fit the terminal; in a pipe every value stands in full, one line a row.

    Args:
        rows: the first may be headings.
        prose: index of the column that may be wrapped between words.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    for text in table_lines(cells, width=terminal_width(sys.stdout), prose=prose):
        out(text)


def terminal_width(stream: TextIO) -> int | None:
    """How many columns a line may take; None where no terminal shows it."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def printable(text: str) -> str:
    """The text with everything that would not show as itself escaped: what is verified must not draw on the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def painted(text: str, status: str) -> str:
    """The text in its status's colour, where stdout is a terminal that wants colour."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or status not in _COLOURS:
        return text
    return f"\x1b[{_COLOURS[status]}m{text}\x1b[0m"


def show_error(error: KnownError, *, as_json: bool) -> None:
    """Print a foreseen error to stderr: what, why and how to go on; one JSON object where the command prints JSON."""
    if as_json:
        value = _error_json(error) | {"exit": error.exit_code}
        if isinstance(error, SeveralProblems):
            value["problems"] = [_error_json(problem) for problem in error.problems]
        note(_json_text(value))
        return
    problems = error.problems if isinstance(error, SeveralProblems) else (error,)
    if isinstance(error, SeveralProblems):
        note(f"{printable(error.what)}:")
    for problem in problems[:PROBLEMS_SHOWN]:
        note(f"error: {printable(problem.what)}", indent=7)
        reasons = problem.separate_reasons or (problem.why,)
        note(f"  why: {printable(reasons[0])}", indent=7)
        for reason in reasons[1:]:
            note(f"       {printable(reason)}", indent=7)
        note(f"  fix: {printable(problem.fix)}", indent=7)
    if len(problems) > PROBLEMS_SHOWN:
        note(f"… and {len(problems) - PROBLEMS_SHOWN} more; --output json has all of them")


def _json_text(value: Any, *, indent: int | None = None) -> str:  # any JSON value
    """JSON in which everything that would not show as itself is escaped, as JSON escapes it: a file name must not draw either."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    # outside of texts JSON holds printable characters and line ends only
    return "".join(
        character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1] for character in text
    )


def _error_json(error: KnownError) -> dict[str, Any]:
    return {"error": error.reference, "what": error.what, "why": error.why, "fix": error.fix}
