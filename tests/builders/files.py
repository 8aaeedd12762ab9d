"""Files on disk: what a folder holds, and one that changes while it is read."""

import os
from collections.abc import Callable
from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def while_reading(path: Path, edit: Callable[[Path], None]) -> Callable[[int], None]:
    """A reader's `on_bytes` that edits the file after its first block was read."""
    os.utime(path, (1, 1))  # two writes within one tick of the clock would have one modification time
    pending = [edit]

    def on_bytes(_: int) -> None:
        if pending:
            pending.pop()(path)

    return on_bytes


def with_another_digit(data: bytes) -> bytes:
    """The data with one digit changed to another: the first in their second half, or the last before that."""
    half = len(data) // 2
    at = next(at for at in (*range(half, len(data)), *range(half, -1, -1)) if data[at : at + 1].isdigit())
    return data[:at] + (b"3" if data[at : at + 1] != b"3" else b"4") + data[at + 1 :]
