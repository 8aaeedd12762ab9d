"""How long until `registry ui` answers, beside a plain `mlflow server` in one run; and what its pages take on a large home.

    python -m tests.bench.ui [--times 3] [--versions 10000] [--home FOLDER]

The plain server has one worker and no job execution, which is the fastest that it starts; the goal is 1.3 times its time. Then what
each page of MLflow asks for is asked of a server that has answered nothing yet, and again: seconds by the clock, which need an idle
core, and CPU seconds of the server, which a busy machine changes little. The memory is that of the processes below the command,
what they share counted once (PSS). A home that is filled already (`python -m tests.bench.load`) may be given.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.bench.load import fill
from tests.bench.machine import folder_on_disk, machine
from tests.builders.homes import a_home, add_a_base
from tests.servers.ui import READY_SECONDS, RunningUi, running_ui

GOAL = 1.3
COLD_BAR_S, RANKED_BAR_S, MEMORY_BAR_MB = 2.0, 15.0, 400
API = "/ajax-api/2.0/mlflow/"
RANKED = "all runs by a metric"
ALL = "all of them"  # as MLflow's page of a model asks


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ui")
    parser.add_argument("--times", type=int, default=3, help="that each is started after its first; 0 for that alone")
    parser.add_argument("--versions", type=int, default=10_000, help="of the home whose pages are read; 0 for none")
    parser.add_argument("--home", type=Path, help="one that is filled already")
    chosen = parser.parse_args(arguments)
    print(machine(), flush=True)
    starts(chosen.times)
    if chosen.home is not None:
        pages(chosen.home)
    elif chosen.versions:
        with folder_on_disk() as folder:
            fill(folder / "home", versions=chosen.versions)
            pages(folder / "home")


def starts(times: int) -> None:
    """How long both servers take to answer, at first and again."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with a_home(folder / "home") as registry:
            add_a_base(registry, folder / "base")
        (folder / "plain").mkdir()
        # the plain server makes its tables once
        first = {"ours": ready_after(ours, folder / "home"), "plain": ready_after(plain, folder / "plain")}
        print(
            f"first    {first['ours']:.1f} s on a new home, plain with a new store {first['plain']:.1f} s", flush=True
        )
        taken: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(times):
            taken["ours"].append(ready_after(ours, folder / "home"))
            taken["plain"].append(ready_after(plain, folder / "plain"))
    for name, seconds in taken.items():
        print(f"{name:<8} {' '.join(f'{second:.1f}' for second in seconds)} s until /health answers")
    ratio = min(taken["ours"] or [first["ours"]]) / min(taken["plain"] or [first["plain"]])
    print(f"ratio    {ratio:.2f}, goal {GOAL}")


def pages(home: Path) -> None:
    """What each page asks for, at first and again, and the memory of the server afterwards."""
    with running_ui(home, _free_port()) as ui:
        found = timed(ui, "experiments", "experiments/search", {"max_results": 25})
        ids = [experiment["experiment_id"] for experiment in found["experiments"]]
        newest = {"experiment_ids": ids, "max_results": 100, "order_by": ["attributes.start_time DESC"]}
        timed(ui, "newest runs", "runs/search", newest)
        models = timed(ui, "models", "registered-models/search?max_results=25")["registered_models"]
        number, name = max((int(model["latest_versions"][0]["version"]), model["name"]) for model in models)
        timed(ui, "a version", f"model-versions/get?name={name}&version={number}")
        versions = "model-versions/search?max_results={most}&filter={asked}"
        of_a_name = quote(f"name='{name}'")
        timed(ui, f"100 of {number} versions of a name", versions.format(most=100, asked=of_a_name))
        timed(ui, ALL, versions.format(most=10_000, asked=of_a_name))
        timed(ui, "versions by a tag", versions.format(most=100, asked=quote("tags.`registry.type`='ia3-adapter'")))
        by_tag = {"experiment_ids": ids, "max_results": 100, "filter": "tags.`registry.method` = 'ia3'"}
        timed(ui, "runs by a tag", "runs/search", by_tag)
        timed(ui, RANKED, "runs/search", newest | {"order_by": ["metrics.`loss/held_out` DESC"]})
        print(f"memory   {sum(map(_megabytes, ui.server_pids)):.0f} MB (bar {MEMORY_BAR_MB})", flush=True)


def timed(ui: RunningUi, what: str, path: str, sent: object = None) -> dict[str, Any]:
    """The answer to a question, which is asked twice; what it took is printed."""
    taken = []
    for _ in range(2):
        began, worked = time.perf_counter(), sum(map(_cpu_seconds, ui.server_pids))
        found = answer(ui, path, sent)
        taken.append((time.perf_counter() - began, sum(map(_cpu_seconds, ui.server_pids)) - worked))
    (first, cpu), (again, cpu_again) = taken
    bar = {RANKED: f" (bar {RANKED_BAR_S:g})", ALL: ""}.get(what, f" (bar {COLD_BAR_S:g})")
    print(
        f"pages    {what:<29} {first:5.2f} s{bar}, {cpu:.2f} CPU s; again {again:.2f} s, {cpu_again:.2f} CPU s",
        flush=True,
    )
    return found


def answer(ui: RunningUi, path: str, sent: object = None) -> dict[str, Any]:
    """What the server says to a question of MLflow's pages, JSON."""
    headers = {"Content-Type": "application/json"}
    data = None if sent is None else json.dumps(sent).encode()
    with urllib.request.urlopen(urllib.request.Request(ui.url + API + path, data, headers), timeout=300) as response:
        value: dict[str, Any] = json.loads(response.read())
    return value


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6


def ours(home: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "peft_registry.cli.main", "ui", "--home", str(home)),
        *("--no-open", "--port", str(port)),
    ]


def plain(folder: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")),
    ]


def ready_after(command: Callable[[Path, int], list[str]], folder: Path) -> float:
    """Seconds from the start of the command until the server answers."""
    port = _free_port()
    began = time.perf_counter()
    with _running(command(folder, port)) as process:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    return time.perf_counter() - began
            except OSError:
                assert process.poll() is None, "the server ended by itself"
                assert time.perf_counter() - began < READY_SECONDS, "no answer"
                time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def _running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
