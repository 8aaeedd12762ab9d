"""A team's own MLflow server, with a login, where peft-registry is not installed."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow

READY_SECONDS = 150
ADMIN = ("admin", "a-password-of-the-admin")
_INI = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{users}
admin_username = admin
auth_cache_ttl_seconds = 600
"""


@dataclass(frozen=True)
class RunningMlflow:
    url: str
    database: Path

    def add_user(self, name: str, password: str) -> None:
        """Make a user, who may make experiments and models, and sees only what is theirs."""
        login = base64.b64encode(":".join(ADMIN).encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        sent = json.dumps({"username": name, "password": password}).encode()
        request = urllib.request.Request(f"{self.url}/api/2.0/mlflow/users/create", sent, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200


@contextmanager
def a_team_server(folder: Path) -> Iterator[RunningMlflow]:
    """A server that keeps everything in a folder."""
    packages = folder / "packages"
    packages.mkdir()
    for path in Path(mlflow.__path__[0]).parent.iterdir():
        if path.suffix != ".pth" and not path.name.startswith(("peft_registry", "__editable__")):
            (packages / path.name).symlink_to(path)
    ini = folder / "basic_auth.ini"
    ini.write_text(_INI.format(users=folder / "users.db"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "PYTHON"))}
    settings = {
        "PYTHONPATH": str(packages),
        "MLFLOW_AUTH_CONFIG_PATH": str(ini),
        "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN[1],
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-this-test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with held_port() as port:
        yield from _running(folder, port, kept | settings)


@contextmanager
def held_port() -> Iterator[int]:
    """A free port that nobody who asks for any port is given, though a server that shares addresses can listen on it.

    MLflow takes seconds to begin; without this another test of those seconds might have the port by then.
    """
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _running(folder: Path, port: int, environment: dict[str, str]) -> Iterator[RunningMlflow]:
    database = folder / "mlflow.db"
    command = [
        f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}",
        "-s",
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        f"{port}",
    ]
    command += ["--workers", "1", "--app-name", "basic-auth", "--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process, folder / "log")
        yield RunningMlflow(url, database)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(log.read_text())
