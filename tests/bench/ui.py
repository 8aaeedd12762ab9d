"""`python -m tests.bench.ui [TIMES]`: how long until `registry ui` answers, beside a plain `mlflow server`, in turn in one run.

The plain server has one worker and no job execution, which is the fastest that it starts; the goal is 1.3 times its time.
"""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.builders.homes import a_home, add_a_base
from tests.servers.ui import READY_SECONDS

GOAL = 1.3
PORTS = (5410, 5411)


def main(times: int) -> int:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        with a_home(folder / "home") as registry:
            add_a_base(registry, folder / "base")
        first = ready_after(lambda: ours(folder / "home"), PORTS[0])  # the store and its tables are made once
        print(f"first start, with an empty store   {first:.1f} s")
        (folder / "plain").mkdir()
        ready_after(lambda: plain(folder / "plain"), PORTS[1])
        taken: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(times):
            taken["ours"].append(ready_after(lambda: ours(folder / "home"), PORTS[0]))
            taken["plain"].append(ready_after(lambda: plain(folder / "plain"), PORTS[1]))
    ratio = min(taken["ours"]) / min(taken["plain"])
    for name, seconds in taken.items():
        print(f"{name:<8} {' '.join(f'{second:.1f}' for second in seconds)} s until /health answers")
    print(f"ratio    {ratio:.2f}, goal {GOAL}")
    return int(ratio > GOAL)


def ours(home: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "peft_registry.cli.main", "ui", "--home", str(home)),
        *("--no-open", "--port", str(PORTS[0])),
    ]


def plain(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(PORTS[1]), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "artifacts")),
    ]


def ready_after(command: Callable[[], list[str]], port: int) -> float:
    """Seconds from the start of the command until the server answers."""
    began = time.perf_counter()
    with _running(command()) as process:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    return time.perf_counter() - began
            except OSError:
                assert process.poll() is None, "the server ended by itself"
                assert time.perf_counter() - began < READY_SECONDS, "no answer"
                time.sleep(0.05)


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
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
