"""The table of everyday tasks is of the lines that its script has today, and each tool has every task."""

import json
from typing import Any

import pytest

from docs.everyday_page import _cell, everyday_section
from docs.measured.everyday import TASKS, TOOLS
from tests.processes.interpreter import ROOT

KEPT = ROOT / "docs" / "measured" / "everyday.json"


def test_the_kept_figures_are_of_the_lines_that_the_script_has() -> None:
    kept = json.loads(KEPT.read_text("utf-8"))["tools"]
    assert list(kept) == list(TOOLS)
    for tool, steps in TOOLS.items():
        found = [(task["task"], task["lines"], task["runs"]) for task in kept[tool]["tasks"]]
        assert found == [(task, step.count, step.runs) for task, step in zip(TASKS, steps, strict=True)]
    assert len([line for line in everyday_section(KEPT).splitlines() if line.startswith("| ")]) == 1 + len(TASKS)


@pytest.mark.parametrize(
    ("task", "cell"),
    [
        ({"lines": 2, "runs": "here", "command": False, "seconds": 1.5}, "2 lines, 1.5 s"),
        ({"lines": 2, "runs": "here", "command": False, "seconds": -0.1}, "2 lines, less than 0.5 s"),
        ({"lines": 1, "runs": "here", "command": True, "seconds": 3.0}, "1 command, 3.0 s"),
        ({"lines": 3, "runs": "account", "command": False, "seconds": None}, "3 lines; account"),
        ({"lines": 0, "runs": "here", "command": False, "seconds": 0.0}, "nothing more"),
        ({"lines": 0, "runs": "nowhere", "command": False, "seconds": None}, "–"),
    ],
)
def test_a_cell_says_what_is_written_and_what_it_takes(task: dict[str, Any], cell: str) -> None:
    assert _cell(task) == cell
