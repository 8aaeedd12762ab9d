"""What a bench says of the machine first: seconds are read by it, and compared between machines or minutes by ratios alone."""

import hashlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def machine() -> str:
    """One line: processor, cores, Python, load, and the CPU seconds of a fixed task."""
    load = " ".join(f"{share:.1f}" for share in os.getloadavg())
    return (
        f"machine      {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}; "
        f"SHA-256 of 256 MiB in memory on one core: {calibration():.2f} CPU s"
    )


@contextmanager
def folder_on_disk() -> Iterator[Path]:
    """An empty folder where a user's files lie, and not in memory, where those of tests lie; gone afterwards."""
    on_disk = os.environ.get("TESTS_ON_DISK")  # tests say so where they have theirs in memory
    with tempfile.TemporaryDirectory(dir=on_disk) as folder:
        yield Path(folder)


def calibration() -> float:
    data = bytes(256 * 1024 * 1024)
    began = time.process_time()
    hashlib.sha256(data).digest()
    return time.process_time() - began
