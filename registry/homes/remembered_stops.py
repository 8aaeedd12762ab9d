"""The stops that this user signed, or once read, before a checkpoint covered them, kept outside every home.

A recall, a hold and a binding count from their signature on. Until a checkpoint covers one, whoever can write the database can
take it out of the log again, and nothing there shows that it was ever said. This memory is not in their reach.

    STATE/stops/REGISTRY/DIGEST    the envelope as it was signed; DIGEST is that of its payload, REGISTRY the SHA-256 of the
                                   registry's id

Without a state folder, or where it cannot be written, everything works and nothing is remembered, which is said.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.schemas.errors import KnownError, NotChecked
from peft_registry.schemas.identity import Digest

FOLDER_NAME = "stops"
_MAX_BYTES = 1024 * 1024  # a reason has 2000 characters, and every stop some hundred bytes besides


class StopMemoryUnreadable(NotChecked):
    what = "a stop that you remember of this registry cannot be read"
    why = "{path}: {reason}"
    fix = "restore that file from a backup of your state folder, or remove it if you know what it stopped"

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class RememberedStops:
    """What one user remembers of one registry; `say` tells them what cannot be remembered."""

    folder: Path
    say: Callable[[str], None]

    @classmethod
    def of(cls, state: Path, registry_id: str, say: Callable[[str], None]) -> "RememberedStops":
        """Where those of a registry are kept: its id comes from a home's own settings, and could lead elsewhere."""
        return cls(state / FOLDER_NAME / Digest.of(registry_id.encode()).hex, say)

    def keep(self, digest: Digest, envelope: bytes) -> None:
        """Remember a stop, by the digest of its payload."""
        path = self.folder / digest.hex
        try:
            if path.exists() or len(envelope) > _MAX_BYTES:
                return
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, envelope, mode=0o600)
        except (OSError, KnownError):
            self.say(
                "note: your state folder cannot be written: until a checkpoint covers this stop, whoever can write the database "
                "can take it out unnoticed"
            )

    def drop(self, digest: Digest) -> None:
        """Forget a stop: a checkpoint covers it, or nothing was recorded."""
        try:
            (self.folder / digest.hex).unlink(missing_ok=True)
        except OSError:
            self.say("note: your state folder cannot be written: a stop that the log has stays remembered")

    def envelopes(self) -> Iterator[tuple[Path, bytes]]:
        """The file and the envelope of each, by name.

        Raises:
            StopMemoryUnreadable: one of them cannot be read.
        """
        try:
            if not self.folder.exists():
                return  # also where no state folder can be made
            paths = sorted(self.folder.iterdir())
        except OSError as error:
            raise StopMemoryUnreadable(self.folder, error.strerror or f"{error}") from error
        for path in paths:
            if path.name.startswith("."):
                continue  # what an interrupted write left
            try:
                yield path, read_file(path, max_bytes=_MAX_BYTES)
            except KnownError as error:
                raise StopMemoryUnreadable(path, error.why) from error
