"""The reference tool of Open Model Signing."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import not_run


@pytest.fixture(scope="session")
def tool() -> str:
    """Path of the `model_signing` command."""
    beside_python = Path(sys.executable).with_name("model_signing")
    found = str(beside_python) if beside_python.exists() else shutil.which("model_signing")
    return found or not_run("the model_signing command is not installed")
