"""The workflows that `registry init --ci` writes: YAML of the service's form, commands that there are, and no key."""

import importlib.metadata
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from packaging.requirements import Requirement
from typer.main import get_command

from peft_registry.cli.main import app, run
from peft_registry.registry.exports.ci_workflow import (
    DISTRIBUTION,
    PLACES,
    CiService,
    checking_requirements,
    ci_workflow,
)
from tests.processes.interpreter import ROOT

REQUIRES = importlib.metadata.requires(DISTRIBUTION) or []
SERVICES: tuple[CiService, ...] = get_args(CiService)


def lines_of(service: CiService) -> list[str]:
    """The shell lines of a workflow, in their order, from the places where the service has them."""
    value = yaml.safe_load(ci_workflow(service, REQUIRES, "1.2.3"))
    if service == "gitlab":
        job = value["registry"]
        assert set(job) == {"image", "timeout", "variables", "cache", "before_script", "script"}
        return [*job["before_script"], *job["script"]]
    assert value[True].keys() == {"workflow_dispatch", "push", "schedule"}  # `on` is a boolean of YAML 1.1
    assert value["permissions"] == {"contents": "read"}
    (job,) = value["jobs"].values()
    steps: list[dict[str, Any]] = job["steps"]
    assert all(("run" in step) != ("uses" in step) for step in steps)
    return [line for step in steps for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("service", SERVICES)
def test_every_command_of_a_workflow_is_one_with_its_options(service: CiService) -> None:
    registry = [shlex.split(line) for line in lines_of(service) if line.startswith("registry ")]
    assert [words[1] for words in registry] == ["init", "verify", "evaluate", "gate"]
    for words in registry:
        command: Any = get_command(app)
        names = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
        for name in names[: 2 if names[0] == "gate" else 1]:
            command = command.get_command(None, name)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, words


@pytest.mark.parametrize("service", SERVICES)
def test_a_workflow_has_no_key_and_installs_this_release(service: CiService) -> None:
    text = ci_workflow(service, REQUIRES, "1.2.3")
    joins = next(line for line in lines_of(service) if " init " in line)
    assert "--read-only" in joins and "--unencrypted" not in text
    assert not re.search(r"--key|passphrase|PRIVATE", text)
    assert f"pip install --no-compile --no-deps '{DISTRIBUTION}==1.2.3'" in lines_of(service)


def test_it_installs_what_checks_need_and_what_a_shared_registry_does() -> None:
    wanted = {Requirement(line) for line in _stated("requirements-verify.txt")}
    found = set(map(Requirement, checking_requirements(REQUIRES)))
    assert wanted <= found
    assert {requirement.name for requirement in found - wanted} == {"psycopg", "s3fs"}


def _stated(name: str) -> Iterator[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return (line for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_written_once_where_the_service_looks(
    service: CiService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "--ci", service]) == 0
    place = tmp_path / PLACES[service]
    written = place.read_text(encoding="utf-8")
    assert written == ci_workflow(service, REQUIRES, importlib.metadata.version(DISTRIBUTION))
    assert not (tmp_path / ".registry").exists()
    place.write_text("mine: true\n", encoding="utf-8")
    assert run(["init", "--ci", service]) != 0
    assert place.read_text(encoding="utf-8") == "mine: true\n"
    assert "is there already" in capsys.readouterr().err


def test_it_makes_no_registry_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--ci", "github", "--unencrypted"]) == 2
    assert "--ci and --unencrypted do not go together" in capsys.readouterr().err
