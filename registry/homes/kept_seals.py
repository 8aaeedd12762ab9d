"""What this user found in a home's own MLflow store, kept outside every home: whoever can write the home cannot say what was found.

    STATE/seals/DIGEST.jsonl    DIGEST is the SHA-256 of the registry's id and of the place where it lies

A home that was copied to another place, and that of another user, has nothing here. What is kept saves time and decides nothing by
itself: without a state folder, or where it cannot be written or read, everything is looked at anew.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import read_file, reading, write_atomically
from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest

FOLDER_NAME = "seals"
_MAX_BYTES = 256 * 1024 * 1024  # about 300,000 versions


@dataclass(frozen=True, slots=True)
class KeptSeals:
    """The seals of one home in one user's state folder."""

    path: Path

    @classmethod
    def of(cls, state: Path, registry_id: str, folder: Path) -> "KeptSeals":
        """Where those of a registry at a place are kept."""
        name = Digest.of(registry_id.encode() + b"\n" + os.fsencode(folder.resolve()))
        return cls(state / FOLDER_NAME / f"{name.hex}.jsonl")

    def read(self) -> bytes | None:
        """What is kept; None where nothing is, or where it cannot be read."""
        try:
            return read_file(self.path, max_bytes=_MAX_BYTES)
        except KnownError:
            return None

    def write(self, data: bytes) -> bool:
        """Keep this in the place of what was kept before; False where that cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self.path, data, mode=0o600)
        except (OSError, KnownError):
            return False
        return True

    def begins_with(self, line: bytes) -> bool:
        """Whether the first of what is kept is this line."""
        try:
            with reading(self.path) as file:
                return next(file.blocks(0, len(line)), b"") == line
        except KnownError:
            return False

    def add(self, line: bytes) -> bool:
        """Keep a line behind what is kept; False where that cannot be written.

        It is not synced: of a line that a power cut left half written nothing can be read, which costs time.
        """
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "ab", buffering=0) as stream:
                # behind a line that was left half written it begins one of its own
                return stream.write(b"\n" + line) == len(line) + 1
        except OSError:
            return False
