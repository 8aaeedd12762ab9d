"""HOME/runs/<id>: the scratch of one run, removed when the run ends, however it ends.

A run holds a lock on its folder while it lives. A kill runs no handler, but it releases the lock: the next run removes every
folder that nobody holds. On a file system that cannot lock folders nothing of another run is ever removed.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def run_folder(runs: Path, run_id: str) -> Iterator[Path]:
    """A new folder for this run, gone afterwards; what killed runs left beside it is removed first.

    Raises:
        OSError: it cannot be made.
    """
    remove_abandoned(runs)
    folder = runs / run_id
    descriptor = _made_and_held(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def remove_abandoned(runs: Path) -> None:
    """Remove every folder of a run that is no longer running; one that cannot be removed is left for the next time."""
    if not runs.is_dir():
        return
    for folder in runs.iterdir():
        with suppress(OSError):  # held by a run, no folder, gone already, or of another user
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _made_and_held(folder: Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with suppress(OSError):  # this file system cannot: then nobody removes it for being unlocked either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():  # another run may have taken it for abandoned before it was held
            return descriptor
        os.close(descriptor)
