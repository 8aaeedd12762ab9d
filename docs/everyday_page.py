"""Six everyday tasks beside other tools: lines to write and seconds, from a kept result."""

import json
from pathlib import Path
from typing import Any

from docs.tables import table

HEAD = """
## Six everyday tasks

Generated from `docs/measured/everyday.json`, which `python -m docs.measured.everyday FOLDER` makes;
[that script](../measured/everyday.py) has the lines of every cell. Two LoRAs of the embedded base are trained by one script for
`transformers.Trainer`, and each tool does the task by what its documentation has for it. Run on {date}, {processor}, one thread,
beside other work.

A cell has the lines that somebody writes or changes, and the processor seconds of the program with its imports; for the first two
tasks, what it adds to the {plain} s of the training alone. *Account*: it needs a service, so it was counted and not run. To approve
a version is one more line with each tool, and in no cell.
"""
TAIL = """
What lines do not show: ours of the first task compares the base and digests the rows, then signs and logs the result, which makes
its seconds. After ours of the last task `pull`, `load` and `promote` refuse the version; the others print names and stop nothing.
`registry merge` measures the error of the merge and records it; the lines with PEFT measure nothing.
"""


def everyday_section(kept: Path) -> str:
    """The part of the page that compares tasks."""
    said: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    tools: dict[str, dict[str, Any]] = said["tools"]
    headings = ["task", *(_heading(tool, facts["versions"]) for tool, facts in tools.items())]
    columns = [facts["tasks"] for facts in tools.values()]
    rows = [[row[0]["task"], *(_cell(task) for task in row)] for row in zip(*columns, strict=True)]
    head = HEAD.format(date=said["date"], processor=said["processor"], plain=f"{said['plain_seconds']:.1f}")
    return "\n".join([head, *table(headings, rows)]) + "\n" + TAIL


def _heading(tool: str, versions: dict[str, str]) -> str:
    shown = [version for package, version in versions.items() if package != "peft-registry"]
    return f"{tool} {', '.join(shown)}" if shown else tool


def _cell(task: dict[str, Any]) -> str:
    match task["runs"]:
        case "nowhere":
            return "–"
        case "page":
            return "a page of the service; account"
    if task["lines"] == 0:
        return "nothing more"
    what = "command" if task["command"] else "line"
    lines = f"{task['lines']} {what}{'s' if task['lines'] > 1 else ''}"
    if task["seconds"] is None:
        return f"{lines}; account"
    # a difference of two trainings: less than that is noise
    return f"{lines}, less than 0.5 s" if task["seconds"] < 0.5 else f"{lines}, {task['seconds']} s"
