"""Which test files are imported, and the order in which the processes of one run take them."""

import re
import tomllib
from pathlib import Path

import pytest

from tests import conftest

TESTS = Path(conftest.__file__).parent
SETTINGS = tomllib.loads((TESTS.parent / "pyproject.toml").read_text("utf-8"))
MARKS = [line.partition(":")[0] for line in SETTINGS["tool"]["pytest"]["ini_options"]["markers"]]


def test_every_test_file_has_its_turn() -> None:
    turns = {conftest.turn_of(f"tests/{file.relative_to(TESTS).as_posix()}") for file in TESTS.rglob("test_*.py")}
    assert turns == set(range(len(conftest.PLACES_BY_COST)))


def test_what_trains_comes_first_and_what_takes_milliseconds_last() -> None:
    files = ("unit/test_order.py", "integration/registry/records/test_plans.py", "integration/trainer/merge/test_x.py")
    assert sorted(files, key=lambda file: conftest.turn_of(f"tests/{file}")) == [*reversed(files)]


OUTSIDE = "(browser or strace or openssl) and not full and not gpu"


@pytest.mark.parametrize(
    ("asked", "text", "chosen"),
    [
        (OUTSIDE, "@pytest.mark.strace\n", True),
        (OUTSIDE, "@pytest.mark.slow\n", False),
        (OUTSIDE, "strace = 1\n", False),
        (f"not {OUTSIDE}", "@pytest.mark.strace\n@pytest.mark.full\n", True),
        # asked of PostgreSQL as well, a test is `full` though its file does not say so
        ("full and not gpu", "", True),
        ("full and sql", "", False),
        ("hypothesis and not full", "from hypothesis import given\n", True),
        ("hypothesis and not full", "", False),
    ],
)
def test_a_file_is_left_out_if_its_marks_can_be_none_of_those_asked_for(asked: str, text: str, chosen: bool) -> None:
    assert conftest.may_be_chosen(asked, text) is chosen


def test_no_test_gets_from_elsewhere_a_mark_that_its_own_file_does_not_name() -> None:
    named = re.compile(rf"\bmark\.({'|'.join(MARKS)})\b")
    elsewhere = [file for file in TESTS.rglob("*.py") if not file.name.startswith("test_")]
    given = {mark for file in elsewhere for mark in named.findall(file.read_text("utf-8"))}
    assert given == conftest.GIVEN_HERE


def test_files_that_share_a_process_go_to_one_job_and_every_other_file_alone() -> None:
    assert all((TESTS.parent / file).is_file() for file in conftest.OF_ONE_JOB)
    shares = {conftest.share_of(f"{file}::test_it[a::b]") for file in conftest.OF_ONE_JOB}
    assert shares == {"tests/e2e"}
    assert conftest.share_of("tests/unit/test_order.py::test_it") == "tests/unit/test_order.py"
