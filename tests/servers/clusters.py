"""Engines with two workers on this machine, as tests of lists start them: local processes, Dask, Ray."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes.interpreter import ROOT


@dataclass(frozen=True)
class Engine:
    """What is typed behind `--on`, and the number of a process that works on something."""

    text: str
    a_worker: Callable[[], int]


def wait_for(happened: Callable[[], bool], *, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def child_of(pid: int) -> int:
    """A spawned worker of a process, and not the one that keeps track of what they share."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    return next(int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())


@contextmanager
def local_processes(_: Path) -> Iterator[Engine]:
    yield Engine("local:2", lambda: child_of(os.getpid()))


@contextmanager
def dask_cluster(folder: Path) -> Iterator[Engine]:
    from distributed import Client, LocalCluster

    with LocalCluster(  # type: ignore[no-untyped-call]  # Dask has no types
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(folder), silence_logs=50
    ) as cluster:

        def a_worker() -> int:
            with Client(cluster.scheduler_address, set_as_default=False) as client:
                return int(next(iter(client.run(os.getpid).values())))

        yield Engine(cluster.scheduler_address.replace("tcp://", "dask://"), a_worker)


@contextmanager
def ray_cluster(_: Path) -> Iterator[Engine]:
    # the paths of its sockets may have 107 bytes, of which the folder of a test with a long name takes too many
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as short:
        yield from _ray_in(Path(short))


def _ray_in(folder: Path) -> Iterator[Engine]:
    port = free_port()
    words = ["start", "--head", "--block", f"--port={port}", "--num-cpus=2", "--include-dashboard=false"]
    words += ["--object-store-memory=100000000", f"--temp-dir={folder}"]
    command = [sys.executable, "-m", "ray.scripts.scripts", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    with (folder / "ray.log").open("w") as log:
        head = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        try:
            wait_for(lambda: has_begun(head, folder / "ray.log"), seconds=120)
            yield Engine("ray://auto", _working_for_ray)
        finally:
            with suppress(ProcessLookupError):  # it ended by itself
                os.killpg(head.pid, signal.SIGTERM)
            try:
                head.wait(60)
            except subprocess.TimeoutExpired:  # it waits for what it started, on a machine that others use too
                os.killpg(head.pid, signal.SIGKILL)
                head.wait()


def has_begun(head: "subprocess.Popen[bytes]", log: Path) -> bool:
    """Whether the head of a cluster takes work; a head that ended is told with what it wrote."""
    text = log.read_text("utf-8")
    assert head.poll() is None, text
    return "Ray runtime started" in text


def _working_for_ray() -> int:
    """A process that Ray has named after the call that it runs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::_called"):
                return int(process.name)
        except OSError:  # it ended meanwhile
            continue
    raise AssertionError("no process of Ray works on anything")
