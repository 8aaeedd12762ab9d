"""A new act is a row, a word and a predicate: the one on the page for whoever adds one works as the page has it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.processes.interpreter import ROOT

_BLOCK = re.compile(r"^### Adding an act\n.*?```diff\n(.*?)```", re.MULTILINE | re.DOTALL)


def with_the_page_applied(text: str) -> str:
    """The file that the page changes, changed as it says; each of its places is there once."""
    page = _BLOCK.search((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert page is not None, "CONTRIBUTING shows how an act is added"
    _, *hunks = page[1].split("@@\n")
    for hunk in hunks:
        lines = [(line[:1], line[1:]) for line in hunk.splitlines()]
        before = "\n".join(line for mark, line in lines if mark in (" ", "-"))
        assert text.count(before) == 1, f"CONTRIBUTING changes what is not in the file once: {before}"
        text = text.replace(before, "\n".join(line for mark, line in lines if mark in (" ", "+")))
    return text


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a process tells that has the program with the act of the page."""
    folder = tmp_path_factory.mktemp("changed")
    package = folder / "source" / "peft_registry"
    shutil.copytree(ROOT / "schemas", package / "schemas", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "src" / "peft_registry" / "__init__.py", package / "__init__.py")
    for layer in ("registry", "trainer", "cli"):
        (package / layer).symlink_to(ROOT / layer)
    acts = package / "schemas" / "acts.py"
    acts.write_text(with_the_page_applied(acts.read_text("utf-8")), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.processes.quarantine", str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(package.parent), "XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_it_stops_what_its_row_says_of_whatever_was_made_from_its_subject_and_nothing_else(
    walked: dict[str, object],
) -> None:
    assert walked["before"] == walked["after"] == walked["pull"] == "done"
    assert {"helper:1", "helper:2", "other:1"} <= set(walked["reaches"])  # type: ignore[call-overload]
    refusal = re.compile(
        r"3 helper:1 must not be promoted: its base \(sha256:\w+…\) is quarantined: alex quarantined it at .*: odd"
    )
    assert refusal.match(str(walked["promote"]))
    assert str(walked["promote by a policy"]).startswith("3 promotion of helper:1 to champion blocked") and walked[
        "gate"
    ] == ["quarantine"]
    assert walked["log"] == []


def test_whoever_reads_is_told_its_name_and_what_it_forbids(walked: dict[str, object]) -> None:
    told = r"its base \(sha256:\w+…\): alex quarantined it at .*: odd answers"
    for reader in ("show", "verify"):
        (line,) = walked[reader]  # type: ignore[misc]
        assert re.fullmatch(f"quarantined: {told}; it must not be promoted", line)
    mark, first, attention = walked["report"]  # type: ignore[misc]
    assert first.startswith(
        '<tr><th scope="row">May it be used?</th><td><strong>It is quarantined: it must not be promoted.'
    )
    assert ">✗ quarantined: must not be promoted<" in mark
    assert ">Quarantined, and must not be promoted: its base (" in attention and "alex quarantined it at " in attention
    description, tag = walked["MLflow"]  # type: ignore[misc]
    assert description.startswith("**Quarantined.** It must not be promoted") and tag == "quarantined"


def test_who_may_not_say_it_says_nothing_and_it_is_said_once(walked: dict[str, object]) -> None:
    assert str(walked["officer"]).startswith("6 ") and "a statement of kind quarantine" in str(walked["officer"])
    assert re.match(r"7 .* is quarantined already: alex quarantined it", str(walked["again"]))


def test_two_persons_lift_it_and_neither_alone(walked: dict[str, object]) -> None:
    assert walked["lifted by one"] == "2 persons must sign this; so far alex"
    assert walked["still"] == walked["promote"]
    assert str(walked["twice"]).startswith("7 alex has already signed this")
    assert walked["lifted by two"] is None
    assert re.match(r"7 .* is not quarantined: no quarantine of it is in force", str(walked["undone"]))
