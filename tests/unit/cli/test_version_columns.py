"""Columns of a list of versions, and cells that no spreadsheet takes for a formula."""

import csv
import io

import pytest

from peft_registry.cli.version_columns import csv_text, facet_columns, read_columns, text_of, values_of
from tests.builders.records import a_version


@pytest.mark.parametrize("cell", ["=1+2", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_a_text_that_begins_as_a_formula_does_begins_with_a_quote(cell: str) -> None:
    _, (written,) = list(csv.reader(io.StringIO(csv_text(("licence",), ((cell,),)), newline="")))
    assert written == f"'{cell}"


def test_a_negative_number_is_a_number_and_separators_stay_inside_their_cell() -> None:
    text = csv_text(("a", "b", "c"), ((-0.5, 8.0, 'x, "y"\n=z'),))
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b", "c"], ["-0.5", "8", 'x, "y"\n=z']]


def test_columns_are_of_the_version_or_looked_up() -> None:
    names = read_columns("version, rank,licence,metric[house.loss]")
    assert facet_columns(names) == ("rank", "licence", "metric[house.loss]")
    row = values_of(a_version(), {"rank": (8.0,), "licence": ("a", "b")}, names)
    assert row[1:] == (8.0, "a, b", "")
    assert [text_of(value) for value in (8.0, 0.1234567, "x")] == ["8", "0.123457", "x"]
