"""Logs of runs under way, as `trainer/runs/run_log.py` writes them."""

import json
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.process_identity import this_process
from peft_registry.registry.homes.run_logs import RUN_LOG_NAME
from peft_registry.schemas.run_log import ProcessIdentity, RunBegun, RunEnded

RUN = "3f2a91c0d4e5f60718293a4b5c6d7e8f"
START = 1_800_000_000.0  # seconds since 1970

Line = bytes | RunBegun | RunEnded | dict[str, Any]


def begun(process: ProcessIdentity | None = None, **changes: Any) -> RunBegun:
    """How a log begins: of this process where none is given."""
    fields: dict[str, Any] = {
        "run_id": RUN,
        "name": "boxes",
        "method": "lora",
        "base": "tiny:1",
        "settings": {"lora": {"r": 4}},
        "started_at": "2026-11-30T17:00:00Z",
        "at": START,
        "process": process or this_process(),
    }
    return RunBegun(**{**fields, **changes})


def point(step: int, loss: float, **more: Any) -> dict[str, Any]:
    """The line of a step, a second after that of the step before."""
    return {"kind": "point", "step": step, "at": START + step, "values": {"loss": loss}, **more}


def write_log(runs: Path, *lines: Line, run: str = RUN) -> Path:
    """Write the log of a run; returns its folder."""
    folder = runs / run
    folder.mkdir(parents=True)
    (folder / RUN_LOG_NAME).write_bytes(b"".join(_text(line) + b"\n" for line in lines))
    return folder


def _text(line: Line) -> bytes:
    if isinstance(line, bytes):
        return line
    return json.dumps(line).encode() if isinstance(line, dict) else line.model_dump_json().encode()
