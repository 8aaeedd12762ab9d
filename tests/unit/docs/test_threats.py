"""The page of threats names tests that exist, and every threat."""

import re
from pathlib import Path

from tests.builders.hostile import corpus
from tests.processes.interpreter import ROOT

PAGE = ROOT / "docs" / "explanation" / "threats.md"
ROW = re.compile(r"^\| T(\d+) \|(.*)\|$", re.MULTILINE)
NAMED = re.compile(r"`((?:unit|integration|contracts|e2e|compat)/[\w/]+\.py)::(test_\w+)(?:\[([^\]]+)\])?`")
CORPUS = Path("integration/hostile/test_corpus.py")


def rows() -> dict[int, str]:
    return {int(number): rest for number, rest in ROW.findall(PAGE.read_text())}


def test_every_threat_has_a_row_in_order() -> None:
    assert list(rows()) == list(range(1, 107))


def test_every_threat_is_held_by_a_test_or_says_that_it_is_out_of_scope() -> None:
    without = [number for number, row in rows().items() if not NAMED.search(row) and "out of scope" not in row]
    assert without == []


def test_every_test_that_the_page_names_exists() -> None:
    cases = {case.id for case in corpus()}
    missing = []
    for number, row in rows().items():
        for file, name, ids in NAMED.findall(row):
            path = ROOT / "tests" / file
            if not path.is_file() or not re.search(rf"^def {name}\(", path.read_text(), re.MULTILINE):
                missing.append(f"T{number}: {file}::{name}")
            missing += [f"T{number}: {case}" for case in ids.split() if case not in cases or Path(file) != CORPUS]
    assert missing == []


def test_nothing_that_looks_like_a_test_is_written_so_that_it_is_not_looked_for() -> None:
    text = PAGE.read_text()
    assert len(re.findall(r"::test_\w+", text)) == len(NAMED.findall(text)) + text.count(
        "`tests/unit/docs/test_threats.py::"
    )
