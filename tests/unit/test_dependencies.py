"""What the source imports is declared in `pyproject.toml`, and what is declared is imported, or has its reason here."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.processes.interpreter import ROOT

LAYERS = ("schemas", "registry", "trainer", "cli")
# the name of a distribution, where its package is imported by another one
IMPORTED_AS = {"pyyaml": "yaml"}
# imported only where the declared distribution that brings it, as part of its own interface, is there
BROUGHT_BY = {
    "pydantic_core": "pydantic",  # the types of its errors and schemas
    "markupsafe": "jinja2",  # the type of what is already escaped
    "flask": "mlflow",  # our plugin is handed MLflow's Flask application
    "starlette": "mlflow",  # and wraps it in a middleware of its FastAPI one
    "uvicorn": "mlflow",  # its command starts a server with it
    "requests": "mlflow",  # what its client raises where a file does not come
    "botocore": "s3fs",  # the exceptions of a bucket
    "httpx2": "huggingface-hub",  # the type of what its session answers
    "aiohttp": "s3fs",  # and of its connection
    "datasets": "lm-eval",  # the rows that its tasks read
}
# imported only in the process of a program that calls our plugin, and that this package never needs
HOSTS = {"vllm": "calls the entry point `vllm.general_plugins`; it pins other versions of what trains here"}
# declared and imported by no line of the source
NOT_IMPORTED = {
    "bitsandbytes": "imported by name, where a base is quantized (trainer/bases/quantization.py)",
    "flask-wtf": "MLflow's login imports it",
    "s3fs": "fsspec's plugin for s3://",
    "psycopg": "SQLAlchemy's driver for postgresql://",
}


def project() -> dict[str, list[str]]:
    """The requirements of the project, and of each of its extras that a user may ask for."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = settings["optional-dependencies"]
    return {"": settings["dependencies"]} | {
        name: extras[name] for name in ("s3", "postgres", "shared", "tasks", "dask", "ray")
    }


def distribution(requirement: str) -> str:
    """Its name in the form that the index compares."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def declared() -> set[str]:
    return {distribution(requirement) for group in project().values() for requirement in group}


@cache  # to parse all the source takes a second, and most tests below ask for it
def imports_of(path: Path) -> frozenset[str]:
    """The top-level package of every import, those inside functions and under `TYPE_CHECKING` included."""
    packages: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            packages.add(node.module.partition(".")[0])
    return frozenset(packages)


def imported(*folders: str) -> set[str]:
    """The distributions that the source of these folders imports."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert files
    packages = {name for path in files for name in imports_of(path)}
    packages -= {"peft_registry", *sys.stdlib_module_names}
    distributions = {package: name for name, package in IMPORTED_AS.items()}
    return {distribution(distributions.get(name, name)) for name in packages}


def brought() -> dict[str, str]:
    return {distribution(name): owner for name, owner in BROUGHT_BY.items()}


def test_everything_that_is_imported_is_declared() -> None:
    missing = imported(*LAYERS) - declared() - set(brought()) - set(HOSTS)
    assert not missing, f"declare in pyproject.toml: {sorted(missing)}"


def test_everything_that_is_declared_is_imported_or_has_its_reason() -> None:
    idle = declared() - imported(*LAYERS) - set(NOT_IMPORTED)
    assert not idle, f"required, and imported nowhere: {sorted(idle)}"


def test_no_reason_outlives_its_dependency() -> None:
    assert set(NOT_IMPORTED) <= declared() - imported(*LAYERS)
    assert set(brought()) <= imported(*LAYERS) - declared()
    assert set(brought().values()) <= declared()
    assert set(HOSTS) <= imported(*LAYERS) - declared()


def test_every_dependency_has_a_lower_bound() -> None:
    for group in project().values():
        for requirement in group:
            assert ">=" in requirement, requirement


# --- the auditor's part ---

# what schemas, registry and cli import only for what an auditor does not do
NOT_THE_AUDITORS = {
    "mlflow": "browsing",
    "flask": "browsing",
    "starlette": "browsing",
    "huggingface-hub": "publishing, and the card of a version that is written",
    "distributed": "lists on a cluster",
    "ray": "lists on a cluster",
}
# and what one file alone imports, which only a training script loads: what its trainer calls has to be a class of transformers
OF_A_TRAINING_SCRIPT = {"cli/callback.py": {"torch", "transformers"}}


def verify_requirements() -> list[str]:
    lines = (ROOT / "requirements-verify.txt").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_auditors_requirements_are_what_the_layers_without_torch_import() -> None:
    extras = {name for name, owner in brought().items() if owner in {"s3fs", "mlflow", "huggingface-hub"}}
    needed = imported("schemas", "registry", "cli") - set(NOT_THE_AUDITORS) - set(HOSTS) - extras
    needed -= {name for name, owner in brought().items() if owner == "pydantic" or owner == "jinja2"}
    needed -= set().union(*OF_A_TRAINING_SCRIPT.values())
    assert {distribution(line) for line in verify_requirements()} == needed


def test_only_what_a_training_script_loads_imports_what_it_trains_with() -> None:
    packages = set().union(*OF_A_TRAINING_SCRIPT.values())
    files = [path for folder in ("schemas", "registry", "cli") for path in (ROOT / folder).rglob("*.py")]
    importing = {
        path.relative_to(ROOT).as_posix(): used for path in files if (used := packages & set(imports_of(path)))
    }
    assert importing == OF_A_TRAINING_SCRIPT


def test_the_auditors_requirements_are_those_of_the_project() -> None:
    assert set(verify_requirements()) <= set(project()[""])


@pytest.mark.parametrize("name", sorted({"sqlalchemy", "cryptography", "pydantic"}))
def test_the_auditors_requirements_hold_what_verification_cannot_do_without(name: str) -> None:
    assert name in {distribution(line) for line in verify_requirements()}
