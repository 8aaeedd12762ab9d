"""The list of the runs that were begun in a home, whatever becomes of them: a try that nobody registers was a try."""

import os
from pathlib import Path

from peft_registry.schemas.run import BegunRun


def note_begun(path: Path, run: BegunRun) -> None:
    """Add a run to the list of a home.

    Raises:
        OSError: it cannot be written.
    """
    line = (run.model_dump_json() + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)  # one call: two runs that begin at once do not mix their lines
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
