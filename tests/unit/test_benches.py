"""A bench runs rarely: what it takes by name from the product is looked up here at every change."""

import pytest

from peft_registry.trainer.use_cases import train
from tests.bench.overhead import IDENTITY, REGISTRATION


@pytest.mark.parametrize("name", IDENTITY + REGISTRATION)
def test_what_the_overhead_bench_times_is_a_function_that_the_train_use_case_calls(name: str) -> None:
    owner: object = train
    for part in name.split("."):
        owner = getattr(owner, part)
    assert callable(owner)
