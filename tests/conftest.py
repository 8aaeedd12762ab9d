"""What every test may ask for, and how a test that cannot run says so."""

import os
from pathlib import Path
from typing import NoReturn

import pytest


def not_run(why: str) -> NoReturn:
    """Say that a test did not run; where everything is required, that is a failure."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"not run: {why}")
    pytest.skip(f"not run: {why}")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of external test data (vectors, benchmark files, model weights)."""
    folder = os.environ.get("PEFT_REGISTRY_TEST_DATA")
    if not folder:
        not_run("PEFT_REGISTRY_TEST_DATA names no folder of test data")
    if not Path(folder).is_dir():
        not_run(f"the folder of test data {folder} does not exist")
    return Path(folder)
