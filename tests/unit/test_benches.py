"""A bench runs rarely: what it takes by name from the product is looked up here at every change."""

import pkgutil

import pytest

from tests.bench.overhead import IDENTITY, REGISTRATION, USE_CASES


@pytest.mark.parametrize("name", IDENTITY + REGISTRATION)
def test_what_the_overhead_bench_times_is_a_function_that_the_train_use_case_calls(name: str) -> None:
    assert callable(pkgutil.resolve_name(f"{USE_CASES}.{name}"))
