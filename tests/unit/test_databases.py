"""In which run a test asks which database."""

import pytest

from tests.builders.backends import BACKENDS


def is_in_make_full_alone(request: pytest.FixtureRequest) -> bool:
    return request.node.get_closest_marker("full") is not None


@pytest.mark.parametrize("database", BACKENDS)
def test_a_use_case_is_asked_of_postgresql_in_make_full_alone(database: str, request: pytest.FixtureRequest) -> None:
    assert is_in_make_full_alone(request) == (database == "postgresql")


@pytest.mark.parametrize("postgres", [None])
def test_so_is_what_starts_a_server_itself(postgres: None, request: pytest.FixtureRequest) -> None:
    assert is_in_make_full_alone(request)


@pytest.mark.sql
@pytest.mark.parametrize("database", BACKENDS)
def test_what_is_about_sql_is_asked_of_both_in_every_run(database: str, request: pytest.FixtureRequest) -> None:
    assert not is_in_make_full_alone(request)
