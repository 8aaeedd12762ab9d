"""How long until `registry ui` answers, beside a plain `mlflow server`, in turn in one run.

    python -m tests.bench.ui [--times 3]

The plain server has one worker and no job execution, which is the fastest that it starts; the goal is 1.3 times its time.
"""

import argparse
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

from tests.bench.machine import machine
from tests.builders.homes import a_home, add_a_base
from tests.servers.ui import READY_SECONDS

GOAL = 1.3


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ui")
    parser.add_argument("--times", type=int, default=3, help="that each is started after its first; 0 for that alone")
    times = parser.parse_args(arguments).times
    print(machine(), flush=True)
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
