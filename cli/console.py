"""What a command prints: data on stdout, everything else on stderr; colour only on a terminal and never alone."""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from schemas.errors import KnownError

_COLOURS = {"ok": "32", "recorded": "36", "changed": "33", "unchecked": "33", "failed": "31;1"}


def out(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(text + "\n")


def note(text: str = "") -> None:
    """One line beside the data, after what was written before it, also where both end in one file."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def out_json(value: Any) -> None:  # any JSON value
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def next_step(command: str) -> None:
    """The command that follows a success."""
    note(f"next: {command}")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns, two spaces apart; headings only where there are rows."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def painted(text: str, status: str) -> str:
    """The text in its status's colour, where stdout is a terminal that wants colour."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or status not in _COLOURS:
        return text
    return f"\x1b[{_COLOURS[status]}m{text}\x1b[0m"


def show_error(error: KnownError, *, as_json: bool) -> None:
    """A foreseen error: what, why and how to go on; as one JSON object on stderr where the command speaks JSON."""
    if as_json:
        value = {
            "error": error.reference,
            "what": error.what,
            "why": error.why,
            "fix": error.fix,
            "exit": error.exit_code,
        }
        note(json.dumps(value, ensure_ascii=False))
        return
    note(f"error: {error.what}")
    note(f"  why: {error.why}")
    note(f"  fix: {error.fix}")
