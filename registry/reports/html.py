"""A report as one HTML page: no network, no script, its style inside; it prints, and it can be read without colour.

The template prints what the view holds and decides nothing; every text from a record is escaped.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from itertools import groupby
from typing import TYPE_CHECKING

from peft_registry.registry.reports.drawing import (
    bar_groups,
    curve_drawing,
    flow_drawing,
    interval_drawing,
    lineage_drawing,
    spread_drawing,
)
from peft_registry.registry.reports.open_fields import NOT_ASKED
from peft_registry.registry.reports.text import visible
from peft_registry.schemas.report import FieldRow, ReportView
from peft_registry.schemas.run_samples import Sample

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

# a digest, or what somebody types: between two backticks
_CODE = re.compile(r"(sha256:[0-9a-f]{12,64}…?|`[^`\n]+`)")
# a day or a time, a version, a log or a quoted name with a hyphen, after which a line would be broken
_HYPHENATED = re.compile(
    r"(\b\d{4}-\d\d-\d\d(?:T[\d:]+Z)?\b"
    r"|(?<![\w./-])[\w.]+(?:-[\w.]+)+(?::\d+|/[0-9a-f]{8,})|(?<=“)[\w.]+(?:-[\w.]+)+(?=”))",
    re.ASCII,
)
_HYPHENATED_WORD = re.compile(r"(\S*-\S*)")  # of a command, options among them
# what stands for itself in a string of CSS inside a page: no quote, no backslash, no end of the style
_PLAIN_IN_CSS = re.compile(r"[^A-Za-z0-9 ._:@-]")

# what each source word means, printed once; the badge holds the word itself, so that no colour is needed
SOURCES = (
    ("measured", "this tool measured or counted it"),
    ("derived", "computed by the named formula from recorded values"),
    ("imported", "taken from somebody else's document"),
    ("declared", "stated by a person"),
    ("unknown", "nobody has measured or stated it; the reason is given"),
    ("not_applicable", "there is no answer to give; the reason is given"),
)


def render_html(view: ReportView, samples: Sequence[Sample] = ()) -> str:
    """The page of a report, with rows of the data where they are given. Same view, same text."""
    return template("report.html.jinja").render(
        view=view,
        samples=samples,
        sources=SOURCES,
        lineage_svg=lineage_drawing(view.lineage),
        curve_svg=None if view.curve is None else curve_drawing(view.curve),
        chart_svgs=[interval_drawing(group) for group in bar_groups(view.bars)],
        flow_svgs=list(map(flow_drawing, view.flows)),
        spread_svgs=list(map(spread_drawing, view.spreads)),
        sections=_sections(view.fields),
        gaps=_by_owner(view),
        worded=WORDED,
        badges=BADGES,
    )


# how a check or a verdict reads, beside its sign
WORDED = {
    "ok": "✓ ok",
    "failed": "✗ failed",
    "unchecked": "? unchecked",
    "recorded": "= recorded",
    "verified": "✓ verified",
    "unverified": "? unverified",
    "broken": "✗ broken",
}


# the verdict beside a name: a word that nobody takes for an approval
BADGES = {"verified": "✓ signatures intact", "unverified": "? not fully checked", "broken": "✗ broken"}


@cache
def template(name: str) -> "Template":
    """A template of this room, with the style and the filters that all of them use."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = resources.files("peft_registry.registry.reports") / "templates"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    environment.globals["style"] = Markup((folder / "report.css").read_text(encoding="utf-8"))  # noqa: S704 our own file
    environment.filters["svg"] = Markup  # drawings escape what they print
    environment.filters["code"] = _with_code_marked
    environment.filters["prose"] = _prose
    environment.filters["command"] = _command
    environment.filters["css"] = _in_css_string
    return environment.from_string((folder / name).read_text(encoding="utf-8"))


def _shown(value: object) -> object:
    if not isinstance(value, str) or value.isprintable():  # nearly every text, and told at a tenth of the cost
        return value
    return type(value)(visible(value))  # markup stays markup


def _with_code_marked(text: str) -> "Markup":
    """Escaped text in which every digest and every command is set as code."""
    from markupsafe import escape

    return _marked(text, escape) if "sha256:" in text or "`" in text else escape(text)


def _prose(text: str) -> "Markup":
    """The same for whoever reads line by line: no line is broken inside a day, a time or a hyphenated name."""
    return _marked(text, lambda piece: _unbroken(_HYPHENATED.split(piece)))


def _marked(text: str, write: Callable[[str], "Markup"]) -> "Markup":
    from markupsafe import Markup

    pieces = _CODE.split(text)  # every second piece is code
    return Markup("").join(
        Markup("<code>{}</code>").format(_command(piece.strip("`"))) if position % 2 else write(piece)
        for position, piece in enumerate(pieces)
    )


def _command(text: str) -> "Markup":
    """A command, escaped, which is broken between its words alone."""
    return _unbroken(_HYPHENATED_WORD.split(text))


def _unbroken(pieces: Sequence[str]) -> "Markup":
    """The pieces, escaped; of every second one a line is broken before it and not inside."""
    from markupsafe import Markup, escape

    return Markup("").join(
        Markup('<span class="name">{}</span>').format(piece) if position % 2 else escape(piece)
        for position, piece in enumerate(pieces)
    )


def _in_css_string(text: str) -> "Markup":
    """Text for a string of CSS between double quotes, in the style of a page."""
    from markupsafe import Markup

    return Markup(_PLAIN_IN_CSS.sub(lambda match: f"\\{ord(match.group()):x} ", text))  # noqa: S704 nothing else is left


def _sections(fields: tuple[FieldRow, ...]) -> list[tuple[str, list[FieldRow]]]:
    return [(name, list(rows)) for name, rows in groupby(fields, key=lambda row: row.section)]


def _by_owner(view: ReportView) -> list[tuple[str, int, list[object]]]:
    return [
        (NOT_ASKED if owner == "tool" else owner, count, [gap for gap in view.gaps if gap.owner == owner])
        for owner, count in view.gap_owners
    ]
