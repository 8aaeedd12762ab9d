"""The newest checkpoint of each log that this user has seen, kept outside every home.

An older copy of a home, put back with everything in it, is consistent in itself; whoever can write the home can remove its
checkpoints together with the entries. This memory is not in their reach: a log has to continue what was seen of it.

    STATE/checkpoints/DIGEST    the text of a checkpoint; DIGEST is the SHA-256 of the log's origin

The first sight is believed, and said. Without a state folder, or where it cannot be written, everything works and nothing is
remembered, which is said too.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from peft_registry.registry.disk.files import DiskFull, FileMissing, NotWritable, read_file, write_atomically
from peft_registry.registry.transparency import note
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.values import timestamp

FOLDER_NAME = "checkpoints"


def written_at(path: Path) -> str:
    """When a file was written, RFC 3339, UTC, as the file system says."""
    return timestamp(datetime.fromtimestamp(path.stat().st_mtime, UTC))


class SeenCheckpointUnreadable(NotChecked):
    what = "what you have seen of this log before cannot be read"
    why = "{path}: {reason}"
    fix = "put that checkpoint in its place again, from wherever you keep others; `registry log check` looks at the log meanwhile"

    path: Path
    reason: str


@dataclass(frozen=True)
class SeenCheckpoints:
    """What one user has seen; `say` tells them what is believed and what cannot be remembered."""

    state: Path | None
    say: Callable[[str], None]

    def newest(self, origin: str) -> str | None:
        """The text of the largest checkpoint of a log that was seen; None before the first sight.

        Raises:
            SeenCheckpointUnreadable: there is something else in its place.
        """
        path = self._path(origin)
        if path is None:
            return None
        try:
            text = read_file(path, max_bytes=note.CHECKPOINT_MAX_BYTES).decode("utf-8", "replace")
            of, _, _ = note.read_unverified(text)
        except FileMissing:
            return None
        except KnownError as error:
            raise SeenCheckpointUnreadable(path, error.why) from error
        if of != origin:
            raise SeenCheckpointUnreadable(path, f"it is of the log {of[:100]!r}")
        return text

    def seen_at(self, origin: str) -> str | None:
        """When what `newest` returns was written down, RFC 3339, as the file system says; None before the first sight."""
        path = self._path(origin)
        return written_at(path) if path is not None and path.exists() else None

    def follow(self, origin: str, text: str) -> None:
        """Remember a checkpoint that the log was held against, and say what of it is believed without having been seen."""
        size = note.read_unverified(text)[1]
        first = self.newest(origin) is None
        if not self.remember(origin, text):
            self.say(
                f"note: {size} entries of {origin} are believed, and nothing is remembered, because your state folder cannot be "
                f"written; --checkpoint FILE holds the log against a checkpoint that you keep elsewhere"
            )
        elif first:
            self.say(
                f"note: {origin} is seen here for the first time, and its {size} entries are believed; --checkpoint FILE holds it "
                f"against a checkpoint that you got elsewhere"
            )

    def remember(self, origin: str, text: str) -> bool:
        """Keep the larger of this checkpoint and the one that was seen before; False where nothing can be kept."""
        path = self._path(origin)
        before = self.newest(origin)
        if before is not None and note.read_unverified(before)[1] >= note.read_unverified(text)[1]:
            return True
        if path is None:
            return False
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, text.encode(), mode=0o600)
        except (OSError, DiskFull, NotWritable):
            return False
        return True

    def _path(self, origin: str) -> Path | None:
        name = hashlib.sha256(origin.encode("utf-8", "surrogatepass")).hexdigest()
        return None if self.state is None else self.state / FOLDER_NAME / name
