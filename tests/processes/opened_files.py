"""Which files below a folder a fresh interpreter opens while it runs a piece of code, whatever language opens them.

An audit hook of Python does not see what a library in Rust opens, so the kernel is asked (inotify(7), Linux alone).
"""

import ctypes
import os
import struct
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_IN_OPEN, _IN_ISDIR = 0x20, 0x4000_0000
_IN_NONBLOCK = os.O_NONBLOCK
_EVENT = struct.Struct("iIII")


def opened_by(code: str, folder: Path) -> set[str]:
    """Paths relative to the folder of the regular files that were opened; `sys.argv[1]` is the folder.

    Raises:
        subprocess.CalledProcessError: the code failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(_IN_NONBLOCK)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        watched = {
            libc.inotify_add_watch(descriptor, os.fsencode(place), _IN_OPEN): place
            for place in (folder, *(path for path in folder.rglob("*") if path.is_dir()))
        }
        assert min(watched) >= 0, os.strerror(ctypes.get_errno())
        subprocess.run(
            [sys.executable, "-c", code, str(folder)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": "/nonexistent"},
            cwd=folder.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=240,
            check=True,
        )
        return _events(descriptor, watched, folder)
    finally:
        os.close(descriptor)


def _events(descriptor: int, watched: dict[int, Path], folder: Path) -> set[str]:
    opened: set[str] = set()
    while True:
        try:
            data = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return opened
        while data:
            watch, mask, _, length = _EVENT.unpack_from(data)
            name = data[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
            data = data[_EVENT.size + length :]
            assert watch >= 0, "the kernel dropped events"
            if name and not mask & _IN_ISDIR:
                opened.add((watched[watch] / name).relative_to(folder).as_posix())
