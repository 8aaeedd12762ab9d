"""Tables and long lines as text that fits a terminal. Pure: the width is an argument, None where it has no limit.

A table that is too wide loses nothing that was written for people: digests and times are shortened, then the one column of
prose is wrapped between its words, then the columns are split into blocks that each repeat the first.
"""

import re
import textwrap
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]

_GAP = "  "
_PROSE_ROOM = 24  # columns; narrower prose is harder to read than another block of the table
_COMMAND = re.compile(r"`[^`]+`")
_JOINT = "\0"  # in place of a space that no line ends at; printed text has none
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# what a narrow table writes instead of a full value, mildest first
_SHORTER = (
    (re.compile(r"\b(sha256:[0-9a-f]{12})[0-9a-f]{52}\b"), r"\1…"),
    (re.compile(r"\b(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\dZ"), r"\1"),
    (re.compile(r"\bsha256:([0-9a-f]{8})[0-9a-f]{4}…"), r"\1…"),
)


def table_lines(rows: Rows, *, width: int | None, prose: int | None = None) -> list[str]:
    """The rows as lines of aligned columns, none longer than `width` unless a single word is.

    Args:
        rows: all of one length; the first may be headings.
        width: in columns of the terminal; None writes every value in full.
        prose: index of the column that may be wrapped between words.
    """
    if width is None or _total(rows) <= width:
        return _aligned(rows)
    for pattern, shorter in _SHORTER:
        rows = [[pattern.sub(shorter, cell) for cell in row] for row in rows]
        if _total(rows) <= width:
            return _aligned(rows)
    if prose is not None and _room(rows, prose, width) >= _PROSE_ROOM:
        return _aligned(_wrapped(rows, prose, _room(rows, prose, width)))
    return _in_blocks(rows, width)


def wrapped_lines(text: str, *, width: int | None, indent: int) -> list[str]:
    """One long line as several, broken between words; those after the first are indented, unless a word needs the room.

    A command in backticks is one word: a shell would run the half of it that was copied with the line end.
    """
    if width is None or _length(text) <= width:
        return [text]
    joined = _COMMAND.sub(lambda command: command[0].replace(" ", _JOINT), text)
    lengths = [_length(word) for word in joined.split(" ") if _length(word) <= width]  # a longer one fits nowhere
    room = width - max(lengths, default=0)
    return [part.replace(_JOINT, " ") for part in _broken(joined, width, " " * max(min(indent, room), 0))]


def _in_blocks(rows: Rows, width: int) -> list[str]:
    """Each block repeats the first column and takes as many of the others as fit."""
    widths = _widths(rows)
    blocks: list[list[int]] = []
    for column in range(1, len(widths)):
        joined = [*blocks[-1], column] if blocks else []
        if joined and _sum([widths[index] for index in (0, *joined)]) <= width:
            blocks[-1] = joined
        else:
            blocks.append([column])
    lines: list[str] = []
    for block in blocks:
        part = [[row[0], *(row[column] for column in block)] for row in rows]
        if len(block) == 1 and _room(part, 1, width) >= _PROSE_ROOM:
            part = _wrapped(part, 1, _room(part, 1, width))
        if _total(part) > width:
            return _one_below_the_other(rows, width)
        lines += [*([""] if lines else []), *_aligned(part)]
    return lines


def _one_below_the_other(rows: Rows, width: int) -> list[str]:
    """For first columns so wide that nothing fits beside them: a line for each cell."""
    lines: list[str] = []
    for row in rows:
        first, *others = row
        lines += _broken(first, width, _GAP)
        for cell in filter(None, others):
            lines += _broken(_GAP + cell, width, _GAP * 2)
    return lines


def _aligned(rows: Rows) -> list[str]:
    widths = _widths(rows)
    return [
        _GAP.join(cell + " " * (width - _length(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _wrapped(rows: Rows, prose: int, room: int) -> list[list[str]]:
    """The rows with one column wrapped; what follows its first line stands in rows that are empty otherwise."""
    result: list[list[str]] = []
    for row in rows:
        first, *others = _broken(row[prose], room, "") or [""]
        result.append([*row[:prose], first, *row[prose + 1 :]])
        result += [[*[""] * prose, line, *[""] * (len(row) - prose - 1)] for line in others]
    return result


def _broken(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _room(rows: Rows, column: int, width: int) -> int:
    """The columns of the terminal that the others leave to one."""
    widths = _widths(rows)
    return width - _sum(widths) + widths[column]


def _total(rows: Rows) -> int:
    return _sum(_widths(rows))


def _sum(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _widths(rows: Rows) -> list[int]:
    return [max(map(_length, column)) for column in zip(*rows, strict=True)]


def _length(cell: str) -> int:
    """What a cell takes on the terminal, its colour not counted."""
    return len(_COLOUR.sub("", cell))
