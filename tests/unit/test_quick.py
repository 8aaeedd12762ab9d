"""Which tests `make quick` runs for which change."""

import subprocess
from pathlib import Path

import pytest

from tests.quick import OF_EVERY_ROOM, ROOT, changed_paths, nearest_tests


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("registry/gate/reasons.py", {"tests/unit/registry/gate"}),
        (
            "registry/compliance/rules/editions.json",
            {"tests/unit/registry/compliance", "tests/contracts/test_editions.py"},
        ),
        ("registry/storage/filesystem.py", {"tests/contracts/test_object_store.py"}),  # it has no unit tests
        (
            "schemas/facets.py",
            {"tests/unit/schemas", "tests/contracts/test_facets.py", "tests/contracts/test_commands.py"},
        ),
        ("tests/contracts/test_homes.py", {"tests/contracts/test_homes.py"}),
        ("tests/integration/registry/use_cases/test_gate.py", set()),
        ("README.md", set()),
    ],
)
def test_a_changed_room_is_held_by_its_units_and_by_the_contracts_that_import_it(changed: str, tests: set[str]) -> None:
    assert set(nearest_tests([changed])) == tests | set(OF_EVERY_ROOM)


def test_no_change_has_no_tests_and_no_file_is_run_twice() -> None:
    assert nearest_tests([]) == []
    both = nearest_tests(["registry/gate/reasons.py", "tests/unit/registry/gate/test_reasons.py"])
    assert "tests/unit/registry/gate/test_reasons.py" not in both


def test_what_is_named_here_exists() -> None:
    assert [test for test in OF_EVERY_ROOM if not (ROOT / test).is_file()] == []


def test_a_change_is_what_left_the_base_and_what_is_not_committed(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(text)
        git("add", name)

    git("init", "-b", "main")
    for name in ("kept", "edited", "moved"):
        write(name, f"{name}\n" * 9)
    git("commit", "-m", "first")
    git("switch", "-c", "work")
    write("committed", "a")
    git("mv", "moved", "elsewhere")
    git("commit", "-m", "mine")
    git("switch", "main")
    write("theirs", "main went on")
    git("commit", "-m", "theirs")
    git("switch", "work")
    (tmp_path / "edited").write_text("b")
    (tmp_path / "new é").write_text("c")
    assert changed_paths("main", root=tmp_path) == ["committed", "edited", "elsewhere", "moved", "new é"]
