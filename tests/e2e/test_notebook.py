"""The notebook of the documentation runs from its first cell to its last, and answers what it shows.

`UPDATE_GOLDEN=1` writes the answers into it. A cell with the tag `varies` shows what depends on the time, the machine or a key.
"""

import ast
import contextlib
import io
import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import state_of
from tests.e2e.commands import WarmCommand
from tests.processes.interpreter import ROOT

NOTEBOOK = ROOT / "docs" / "tutorials" / "first-fine-tune.ipynb"


def answer_of(source: str, names: dict[str, object]) -> str:
    """What a cell prints and, where its last line is an expression, what that is; as a notebook shows them."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, NOTEBOOK.name, "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)
    return printed.getvalue() + ("" if value is None else f"{value!r}\n")


def shown_by(cell: dict[str, Any]) -> str:
    return "".join(line for output in cell["outputs"] for line in output["text"])


@pytest.mark.processes
def test_the_notebook_runs_and_answers_what_it_shows(
    warm: WarmCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(state_of(tmp_path)))  # the user of the lines is that of the cells
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    names: dict[str, object] = {}
    answers = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"])
        if source.startswith("!"):
            for line in source.splitlines():
                program, *words = shlex.split(line.removeprefix("!"))
                assert program == "registry"
                warm(*words, cwd=tmp_path).ok()
            answer = ""
        else:
            answer = answer_of(source, names)
        if "varies" not in cell["metadata"].get("tags", ()):
            answers[cell["id"]] = answer
    cells = {cell["id"]: cell for cell in notebook["cells"]}
    if os.environ.get("UPDATE_GOLDEN"):
        for name, answer in answers.items():
            text = answer.splitlines(keepends=True)
            cells[name]["outputs"] = [{"name": "stdout", "output_type": "stream", "text": text}] if text else []
        NOTEBOOK.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert {name: shown_by(cells[name]) for name in answers} == answers
    assert len([answer for answer in answers.values() if answer]) > 4


def test_the_notebook_is_one_that_jupyter_opens() -> None:
    """nbformat 4.5: each cell has a name of its own, and outputs stand at cells of code alone."""
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        code = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert set(cell) == {"cell_type", "id", "metadata", "source"} | code
