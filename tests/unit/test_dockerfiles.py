"""The images of docs/how-to/docker, read without a daemon: they copy what there is, and install what the package asks for."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from typer.main import get_command

from peft_registry.cli.main import app
from tests.processes.interpreter import ROOT

FILES = sorted((ROOT / "docs" / "how-to" / "docker").glob("*.Dockerfile"))
PAGE = ROOT / "docs" / "how-to" / "run-in-a-container.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def instructions(file: Path) -> list[tuple[str, str]]:
    """Each instruction with its argument; lines that end in a backslash are one."""
    text = re.sub(r"\\\n\s*", "", file.read_text("utf-8"))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def arguments(file: Path, name: str) -> list[str]:
    return [argument for instruction, argument in instructions(file) if instruction == name]


@pytest.fixture(params=FILES, ids=lambda file: file.stem)
def file(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_are_two() -> None:
    assert [path.name for path in FILES] == ["ui.Dockerfile", "verify.Dockerfile"]


def copied_names(file: Path) -> list[str]:
    """What an image takes from the checkout."""
    copied = [shlex.split(text)[:-1] for text in arguments(file, "COPY") if not text.startswith("--from")]
    return [name for words in copied for name in words]


def test_everything_that_is_copied_is_in_the_repository(file: Path) -> None:
    names = copied_names(file)
    assert [name for name in names if not (ROOT / name).exists()] == []
    layers = {path.name for path in (ROOT / "src" / "peft_registry").iterdir() if path.is_symlink()}
    assert layers | {"src", "pyproject.toml", "setup.py"} <= set(names)


def test_a_build_is_sent_what_is_copied_and_no_environment_home_or_key(file: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule.removeprefix("!") for rule in rules if rule.startswith("!")} == set(copied_names(file))


def test_what_an_image_installs_is_what_the_tests_run_with(file: Path) -> None:
    [requirements] = [text for text in arguments(file, "RUN") if " -r /requirements" in text]
    assert "pip install --no-cache-dir -c /constraints.txt -r /requirements-verify.txt" in requirements


def test_each_requirement_is_one_of_the_package_and_none_is_of_training(file: Path) -> None:
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    known = {str(Requirement(line)) for line in (*PROJECT["dependencies"], *extras)}
    words = [word for text in arguments(file, "RUN") if "pip install" in text for word in shlex.split(text)]
    asked = [word for word in words if re.search("[<>=]=?[0-9]", word)]
    assert {str(Requirement(word)) for word in asked} <= known
    assert not {"torch", "transformers", "peft"} & {Requirement(word).name for word in asked}


def test_python_is_one_that_the_package_takes_and_the_user_is_not_root(file: Path) -> None:
    [version] = {match[1] for text in arguments(file, "FROM") if (match := re.match(r"python:(3\.\d+)-slim", text))}
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    [user] = arguments(file, "USER")
    assert int(user) > 0
    assert any(f"useradd --uid {user} " in text for text in arguments(file, "RUN"))
    names = [name for name, _ in instructions(file)]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")


def test_what_an_image_starts_is_a_command_of_the_package(file: Path) -> None:
    [entry] = arguments(file, "ENTRYPOINT")
    program, *words = re.findall('"([^"]+)"', entry)
    assert program == "registry"
    known = get_command(app).commands
    if words:
        options = {
            option for parameter in known[words[0]].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(words[1:]) <= options


def test_the_page_builds_each_file(file: Path) -> None:
    assert f"docker build -f {file.relative_to(ROOT)} " in PAGE.read_text("utf-8")
