"""What the page of architectures says was measured of every family that the program knows, and nothing ends in a traceback."""

import json
from pathlib import Path

from docs.architectures_page import architectures_page, works_everywhere
from docs.measured.architectures import BACKWARDS, FAMILIES, LIBRARIES

KEPT = Path(__file__).parents[3] / "docs/measured/architectures.json"
ROWS = json.loads(KEPT.read_text("utf-8"))["families"]


def test_every_family_was_measured_with_the_versions_that_are_named() -> None:
    assert ROWS.keys() == FAMILIES.keys()
    assert json.loads(KEPT.read_text("utf-8"))["versions"].keys() == set(LIBRARIES)


def test_at_least_seventy_kinds_of_models_work_in_every_column() -> None:
    types = {FAMILIES[name].model_type for name, row in ROWS.items() if works_everywhere(row)}
    assert len(types) >= 70


def test_nothing_ends_in_a_traceback() -> None:
    assert [(name, answer) for name, row in ROWS.items() for answer in row.values() if answer.startswith("fails")] == []


def test_what_sees_the_token_that_it_is_asked_for_is_refused_where_it_comes_in() -> None:
    for name, row in ROWS.items():
        if row[BACKWARDS] != "yes":
            assert row["add"] == "not-a-causal-model (2)", name


def test_the_page_counts_what_it_shows() -> None:
    page = architectures_page(KEPT)
    shown = [line for line in page.splitlines() if line.count("| works ") >= 6]
    assert f"{len(shown)} of {len(ROWS)} rows work in every column" in " ".join(page.split())
