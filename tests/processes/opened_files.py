"""Which files below a folder a fresh interpreter opens while it runs pieces of code, whatever language opens them.

An audit hook of Python does not see what a library in Rust opens, so the kernel is asked (inotify(7), Linux alone).
"""

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_IN_OPEN, _IN_ISDIR = 0x20, 0x4000_0000
_IN_NONBLOCK = os.O_NONBLOCK
_EVENT = struct.Struct("iIII")


_ONE_AFTER_THE_OTHER = """
import json, sys
for code in json.loads(sys.stdin.readline()):
    exec(code, {"__name__": "__main__"})
    print("done", flush=True)
    sys.stdin.readline()
"""


def opened_by(codes: Sequence[str], folder: Path) -> list[set[str]]:
    """Of each piece of code, run one after the other by one interpreter, the regular files that were opened.

    Paths are relative to the folder, which is `sys.argv[1]`.

    Raises:
        AssertionError: a piece failed.
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
        with subprocess.Popen(
            [sys.executable, "-c", _ONE_AFTER_THE_OTHER, str(folder)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": "/nonexistent"},
            cwd=folder.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            opened = []
            for code, line in zip(codes, (json.dumps([*codes]), *[""] * len(codes)), strict=False):
                running.stdin.write(f"{line}\n")
                running.stdin.flush()
                assert running.stdout.readline() == "done\n", code
                opened.append(_events(descriptor, watched, folder))
            running.stdin.close()
        return opened
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
