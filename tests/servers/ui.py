"""`serve` in a process of its own, as the command runs it."""

import base64
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

READY_SECONDS = 150
_SCRIPT = """
import sys
from pathlib import Path
from peft_registry.registry.mlflow.server import serve
def observe(event):
    print(getattr(event, 'label', ''), getattr(event, 'text', ''), flush=True)
home = Path(sys.argv[1])
sys.exit(serve(home, port=int(sys.argv[2]), open_browser=False, observe=observe))
"""


@dataclass(frozen=True)
class RunningUi:
    process: subprocess.Popen[str]
    url: str
    server_pids: tuple[int, ...]

    def get(
        self, path: str, *, host: str | None = None, login: tuple[str, str] | None = None, sent: object = None
    ) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers (lower-case names) of a GET, or of a POST of what is `sent` as JSON."""
        headers = {"Host": host} if host else {}
        if login is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        data = None
        if sent is not None:
            data, headers["Content-Type"] = json.dumps(sent).encode(), "application/json"
        request = urllib.request.Request(self.url + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read(), {name.lower(): value for name, value in answer.headers.items()}
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), {name.lower(): value for name, value in error.headers.items()}

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send the signal and return the exit code; it must come within 30 seconds."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def alive(self) -> list[int]:
        return [pid for pid in self.server_pids if _is_alive(pid)]


def running_ui(home: Path, port: int) -> AbstractContextManager[RunningUi]:
    return _running([sys.executable, "-c", _SCRIPT, str(home), str(port)], os.environ)


def shared_ui(home: Path, port: int, environment: Mapping[str, str]) -> AbstractContextManager[RunningUi]:
    """`registry ui --shared`, listening on every address of this machine."""
    command = ("-m", "peft_registry.cli.main", "ui", "--home", str(home), "--shared", "--no-open")
    return _running([sys.executable, *command, "--port", str(port)], os.environ | environment)


@contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[RunningUi]:
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=None, text=True)
    try:
        url = _ready_line(process)
        yield RunningUi(process, url, _descendants(process.pid))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
        if process.stdout:
            process.stdout.close()


def _ready_line(process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()], daemon=True).start()
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            continue
        if line.startswith("ready"):
            return line.split()[1]
    raise AssertionError(f"no ready line; exit code {process.poll()}")


def _descendants(pid: int) -> tuple[int, ...]:
    """Every process below `pid`, from /proc."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found: list[int] = []
    frontier = [pid]
    while frontier:
        frontier = [child for child, parent in parents.items() if parent in frontier]
        found += frontier
    return tuple(found)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ProcessLookupError):
        return False
