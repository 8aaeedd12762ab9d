"""What a bench says of the machine first: seconds are read by it, and compared between machines or minutes by ratios alone."""

import hashlib
import os
import platform
import time


def machine() -> str:
    """One line: processor, cores, Python, load, and the CPU seconds of a fixed task."""
    load = " ".join(f"{share:.1f}" for share in os.getloadavg())
    return (
        f"machine      {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load}; "
        f"SHA-256 of 256 MiB in memory on one core: {calibration():.2f} CPU s"
    )


def calibration() -> float:
    data = bytes(256 * 1024 * 1024)
    began = time.process_time()
    hashlib.sha256(data).digest()
    return time.process_time() - began
