"""Columns of a list of versions: what a version says of itself, and the facets that it is found by; as a table or as CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.facets import FACETS, METRIC, RULES
from peft_registry.schemas.suggestions import closest, did_you_mean
from peft_registry.schemas.version import Version

FacetValues = Mapping[str, tuple[str | float, ...]]
_OF_VERSION: dict[str, Callable[[Version], str | float]] = {
    "version": lambda version: version.label,
    "name": lambda version: version.name,
    "number": lambda version: version.number,
    "kind": lambda version: version.kind,
    "layout": lambda version: version.layout,
    "method": lambda version: version.method or "",
    "manifest": lambda version: str(version.manifest_digest),
    "weights": lambda version: str(version.weights_digest),
    "base": lambda version: "" if version.base_weights is None else str(version.base_weights),
    "size": lambda version: version.size_bytes,
    "signer": lambda version: version.key_id,
    "registered": lambda version: version.registered_at,
    "alias": lambda version: ", ".join(version.aliases),
    "aliases": lambda version: ", ".join(version.aliases),
}
DEFAULT_COLUMNS = ("version", "kind", "method", "manifest", "registered", "aliases")
# what a spreadsheet takes for the start of a formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class ColumnUnknown(InputRefused):
    what = "there is no column {name!q}"
    why = "a column is a facet, or one of {others!l}"
    fix = "{suggestion}"

    name: str
    others: tuple[str, ...]
    nearest: str | None = None

    @property
    def suggestion(self) -> str:
        return did_you_mean(self.nearest, "`registry list --facets` shows every facet")


def read_columns(text: str | None) -> tuple[str, ...]:
    """The columns that `--columns` names, each once; those of every list for None.

    Raises:
        ColumnUnknown, QueryMalformed: one of them is neither.
    """
    from peft_registry.registry.intake.where import read_facet

    if text is None:
        return DEFAULT_COLUMNS
    columns = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in columns:
        if name.partition("[")[0] in RULES:
            read_facet(name)
        elif name not in _OF_VERSION:
            others = tuple(column for column in _OF_VERSION if column not in RULES)
            raise ColumnUnknown(name, others, closest(name, (*_OF_VERSION, *RULES)))
    return columns


def facet_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Those of the columns that are looked up among the facets."""
    return tuple(name for name in columns if name not in _OF_VERSION)


def values_of(version: Version, facets: FacetValues, columns: Sequence[str]) -> tuple[str | float, ...]:
    """The value of each column; an empty text where the version has none, several words with commas between them."""
    return tuple(_value(version, facets, name) for name in columns)


def text_of(value: str | float) -> str:
    """A value as people read it: a whole number without a point."""
    if isinstance(value, str):
        return value
    return f"{int(value)}" if float(value).is_integer() else f"{value:.6g}"


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    """The rows as CSV (RFC 4180), the names of the columns first. No text begins as a formula of a spreadsheet does."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return written.getvalue()


def facet_rows(figures: Sequence[str]) -> list[tuple[str, str, str, str, str]]:
    """Every facet with its type, operators, an example and what it says, under headings; the figures that are known last."""
    rows = [("facet", "type", "operators", "example", "says")]
    for rule in FACETS:
        name = f"{METRIC}[…]" if rule.name == METRIC else rule.name
        says = f"{rule.says}: {', '.join(rule.known)}" if rule.known else rule.says
        rows.append((name, rule.type, " ".join(rule.operators), rule.example, says))
    rows += [
        (figure, "number", " ".join(RULES[METRIC].operators), f"{figure}<0.5", "recorded here") for figure in figures
    ]
    return rows


def _value(version: Version, facets: FacetValues, name: str) -> str | float:
    of_version = _OF_VERSION.get(name)
    if of_version is not None:
        return of_version(version)
    values = facets.get(name, ())
    if len(values) == 1:
        return values[0]
    return ", ".join(map(text_of, values))


def _harmless(cell: str | float) -> str | float:
    if not isinstance(cell, str):
        return int(cell) if float(cell).is_integer() else cell
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
