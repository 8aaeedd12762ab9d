"""The oldest MLflow that `pyproject.toml` allows, and the newest, do what the installed one does."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import not_run
from tests.processes.interpreter import ROOT

FILES = ("test_stores.py", "test_server.py", "test_mlflow_loading.py")


def oldest() -> str:
    """The lower bound, such as 3.11."""
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (bound,) = [found[1] for line in requirements if (found := re.match(r"mlflow>=([0-9.]+),", line))]
    return bound


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("which", ["oldest", "newest"])
def test_the_stores_and_loading_work_with_another_mlflow(tmp_path: Path, which: str) -> None:
    """Its packages lie before the installed ones; what they need besides is what is installed."""
    wanted = f"=={oldest()}.*" if which == "oldest" else ">=3,<4"
    packages = [f"{name}{wanted}" for name in ("mlflow", "mlflow-skinny", "mlflow-tracing")]
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "another"), *packages],
        check=False,
        capture_output=True,
        text=True,
    )
    if fetched.returncode != 0:
        not_run(f"no package index has it: {fetched.stderr[-200:]}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = f"{tmp_path / 'another'}:{ROOT / 'src'}"
    asked = [sys.executable, "-c", "import mlflow; print(mlflow.__version__)"]
    version = subprocess.run(asked, env=environment, check=True, capture_output=True, text=True).stdout
    assert version.startswith(f"{oldest()}.") == (which == "oldest")
    files = [f"tests/integration/registry/mlflow/{name}" for name in FILES]
    options = ("-q", "-p", "no:cacheprovider", "-m", "not full and not gpu", "--basetemp", str(tmp_path / "tests"))
    tests = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert tests.returncode == 0, tests.stdout[-4000:]
