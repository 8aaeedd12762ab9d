"""How long until `registry ui` answers, beside a plain `mlflow server` in one run; and what its pages take on a large home.

    python -m tests.bench.ui [--times 3] [--versions 10000] [--home FOLDER]

The plain server has one worker and no job execution, which is the fastest that it starts; the goal is 1.3 times its time. Then what
each page of MLflow asks for is asked of a server that has answered nothing yet, and again: seconds by the clock, which need an idle
core. The memory is that of the processes below the command, each page of it shared out among those that have it (PSS). A home that
is filled already (`python -m tests.bench.load`) may be given.
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

from tests.bench.load import fill
from tests.bench.machine import folder_on_disk, machine
from tests.builders.homes import a_home, add_a_base
from tests.servers.ui import READY_SECONDS, RunningUi, running_ui

GOAL = 1.3
COLD_BAR_S, RANKED_BAR_S, MEMORY_BAR_MB = 2.0, 15.0, 400
API = "/ajax-api/2.0/mlflow"
RANKED = "all runs by a metric"


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
        began = time.perf_counter()
        found = answer(ui, f"{API}/experiments/search", {"max_results": 25})
        experiments = [experiment["experiment_id"] for experiment in found["experiments"]]
        print(
            f"pages    experiments                   {time.perf_counter() - began:5.2f} s (bar {COLD_BAR_S:g})",
            flush=True,
        )
        newest = {"experiment_ids": experiments, "max_results": 100, "order_by": ["attributes.start_time DESC"]}
        models = answer(ui, f"{API}/registered-models/search?max_results=25")["registered_models"]
        largest = max(models, key=lambda model: int(model["latest_versions"][0]["version"]))
        name, number = largest["name"], largest["latest_versions"][0]["version"]
        every = f"{API}/model-versions/search?max_results=10000&filter="
        questions: dict[str, tuple[str, Any]] = {
            "models": (f"{API}/registered-models/search?max_results=25", None),
            "newest runs": (f"{API}/runs/search", newest),
            "a version": (f"{API}/model-versions/get?name={name}&version={number}", None),
            f"{number} versions of a name": (f"{every}name%3D%27{name}%27", None),
            "versions by a tag": (
                f"{API}/model-versions/search?max_results=100&filter=tags.%60registry.method%60%3D%27ia3%27",
                None,
            ),
            RANKED: (f"{API}/runs/search", newest | {"order_by": ["metrics.`loss/held_out` DESC"]}),
        }
        for what, (path, sent) in questions.items():
            seconds = [_seconds(lambda path=path, sent=sent: answer(ui, path, sent)) for _ in range(2)]  # type: ignore[misc]
            bar = RANKED_BAR_S if what == RANKED else COLD_BAR_S
            print(f"pages    {what:<29} {seconds[0]:5.2f} s (bar {bar:g}), again {seconds[1]:.2f} s", flush=True)
        print(f"memory   {sum(map(_megabytes, ui.server_pids)):.0f} MB (bar {MEMORY_BAR_MB})", flush=True)


def answer(ui: RunningUi, path: str, sent: object = None) -> dict[str, Any]:
    """What the server says to a question of MLflow's pages, JSON."""
    headers = {"Content-Type": "application/json"}
    data = None if sent is None else json.dumps(sent).encode()
    with urllib.request.urlopen(urllib.request.Request(ui.url + path, data, headers), timeout=300) as response:
        value: dict[str, Any] = json.loads(response.read())
    return value


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


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
