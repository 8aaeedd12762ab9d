"""`python -m tests.bench`: prints one table. Run it on an idle machine; the calibration line says how fast the machine was."""

import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from peft_registry.registry.homes.home import utc_now
from peft_registry.registry.use_cases.register import register_version
from peft_registry.registry.use_cases.verify import verify_folder
from tests.bench import overhead, training
from tests.bench.large_adapter import pulled_large_adapter
from tests.bench.merging import merging
from tests.builders.homes import a_home, add_a_base, an_artifact

REPEATS = 7
BIG_BYTES = 512 * 1024 * 1024


def main() -> None:
    print(f"machine      {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"calibration  SHA-256 of 256 MiB in memory on one core: {calibration():.2f} s")
    with tempfile.TemporaryDirectory() as scratch:
        start_up(Path(scratch))
        verification(Path(scratch))
        merging(Path(scratch) / "merging")
    training.main()
    overhead.main()


def calibration() -> float:
    data = bytes(256 * 1024 * 1024)
    started = time.perf_counter()
    hashlib.sha256(data).digest()
    return time.perf_counter() - started


def start_up(folder: Path) -> None:
    """CPU seconds (user + system) of commands in a fresh interpreter; median of several."""
    with a_home(folder / "home", now=utc_now()) as registry:
        base = add_a_base(registry, folder / "base")
        for number in range(20):
            register_version(registry, an_artifact(folder / f"a{number}", base, value=number / 32))
    for bar, arguments in ((0.3, ["--help"]), (0.6, ["list", "--home", str(folder / "home")])):
        seconds = [cpu_seconds([sys.executable, "-m", "peft_registry.cli.main", *arguments]) for _ in range(REPEATS)]
        print(f"start-up     registry {arguments[0]:<8} {statistics.median(seconds):.2f} CPU s  (bar {bar})")


def verification(folder: Path) -> None:
    """Our ten checks over half a gigabyte of weights against the reference tool's signature check, same folder, warm."""
    adapter = pulled_large_adapter(folder / "big", BIG_BYTES)
    peer = [str(Path(sys.executable).with_name("model_signing")), "verify", "key", str(adapter.copy)]
    peer += ["--signature", str(adapter.copy / "model.sig")]
    peer += ["--public_key", str(adapter.home / "keys" / "trainer.pub")]
    verify = [sys.executable, "-m", "peft_registry.cli.main", "verify", str(adapter.copy), "--home", str(adapter.home)]
    ours = timed(lambda: verify_folder(adapter.copy, trust=adapter.trust, now=adapter.now))
    command = timed(lambda: run(verify))
    theirs = timed(lambda: run(peer))
    print(
        f"verify       512 MiB, 10 checks: in process {ours:.2f} s, command {command:.2f} s; model_signing {theirs:.2f} s"
    )
    print(f"ratio        model_signing / our command: {theirs / command:.2f}")


def timed(action: Callable[[], object]) -> float:
    """Median wall seconds of three runs after one to warm up."""
    action()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def cpu_seconds(command: list[str]) -> float:
    before = os.times()
    run(command)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


main()
