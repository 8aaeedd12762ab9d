"""The list of the runs that were begun in a home, whatever becomes of them: a try that nobody registers was a try."""

import hashlib
import os
from pathlib import Path

from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import BegunRun

_LONGEST_LINE = 1 << 20  # bytes; of a longer line each piece counts for itself


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


def unordered_digest(path: Path) -> Digest:
    """A digest of a file's lines, whatever their order and the white space around them.

    It is the SHA-256 of the sum of their digests modulo 2^256. Whoever makes lines for it may find two files with one digest; it
    serves for counting, and whoever does not want to be counted can change a row.

    Raises:
        OSError: the file cannot be read.
    """
    total = 0
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            total += int.from_bytes(hashlib.sha256(line.strip()).digest())
    return Digest.of((total % 2**256).to_bytes(32))
