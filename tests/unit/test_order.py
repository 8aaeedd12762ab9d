"""The order in which the processes of one run take test files."""

from pathlib import Path

from tests import conftest

TESTS = Path(conftest.__file__).parent


def test_every_test_file_has_its_turn() -> None:
    turns = {conftest.turn_of(f"tests/{file.relative_to(TESTS).as_posix()}") for file in TESTS.rglob("test_*.py")}
    assert turns == set(range(len(conftest.PLACES_BY_COST)))


def test_what_trains_comes_first_and_what_takes_milliseconds_last() -> None:
    files = ("unit/test_order.py", "integration/registry/records/test_plans.py", "integration/trainer/merge/test_x.py")
    assert sorted(files, key=lambda file: conftest.turn_of(f"tests/{file}")) == [*reversed(files)]
