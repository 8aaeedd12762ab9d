"""The oldest MLflow that `pyproject.toml` allows does what the installed one does."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import not_run
from tests.processes.interpreter import ROOT

FILES = ("test_mlflow_mirror.py", "test_mlflow_loading.py", "test_checking.py")


def oldest() -> str:
    """The lower bound, such as 3.11."""
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    (bound,) = [found[1] for line in requirements if (found := re.match(r"mlflow>=([0-9.]+),", line))]
    return bound


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_mirroring_checking_and_loading_work_with_the_oldest_mlflow(tmp_path: Path) -> None:
    """Its packages lie before the installed ones; what they need besides is what is installed."""
    packages = [f"{name}=={oldest()}.*" for name in ("mlflow", "mlflow-skinny", "mlflow-tracing")]
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "oldest"), *packages],
        check=False,
        capture_output=True,
        text=True,
    )
    if fetched.returncode != 0:
        not_run(f"no package index has it: {fetched.stderr[-200:]}")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = f"{tmp_path / 'oldest'}:{ROOT / 'src'}"
    which = [sys.executable, "-c", "import mlflow; print(mlflow.__version__)"]
    version = subprocess.run(which, env=environment, check=True, capture_output=True, text=True).stdout
    assert version.startswith(f"{oldest()}.")
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
