"""The checkpoints that came with folders which this user verified, kept outside every home: nobody else can compare them.

Whoever holds a log key can sign two histories of one log, and hand each auditor a folder of another. Each verifies. Somebody who
sees both finds two roots over as many entries, and needs no log for that.

    STATE/folders/LOG/SIZE    JSON: the root over that many entries, and the folder that it came with; LOG is the SHA-256 of the
                              log's origin and of the id of the key that signed

By key, because a stranger's trust file may name any log: what their key signs says nothing about what ours did. Without a state
folder, or where it cannot be written, everything works and nothing is remembered, which is said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from peft_registry.registry.disk.files import read_file, write_atomically
from peft_registry.registry.intake.json import read_json
from peft_registry.registry.transparency.note import Checkpoint
from peft_registry.schemas.document import Frozen, first_problem
from peft_registry.schemas.errors import IntegrityBroken, KnownError, NotChecked
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import Sha256Hex

FOLDER_NAME = "folders"
_MAX_BYTES = 64 * 1024


class TwoHistories(IntegrityBroken):
    reference = "log-of-two-histories"
    what = "the key of the log {origin} signed two histories of it"
    why = (
        "{folder} comes with the root {root} over {size} entries, and {earlier}, which you verified before, with the root {seen} "
        "over as many"
    )
    fix = "keep both folders as evidence, rely on neither, and ask whoever holds the log key"

    origin: str
    size: int
    folder: str
    root: str
    earlier: str
    seen: str


class SeenFolderUnreadable(NotChecked):
    what = "what you have seen of this log in other folders cannot be read"
    why = "{path}: {reason}"
    fix = "restore that file from a backup of your state folder, or remove it and verify the other folders again"

    path: Path
    reason: str


class _SeenRoot(Frozen):
    root: Sha256Hex
    folder: str = Field(max_length=16 * 1024)


@dataclass(frozen=True, slots=True)
class SeenFolders:
    """What one user has seen of logs in folders; `say` tells them what cannot be remembered."""

    state: Path
    say: Callable[[str], None]

    def hold(self, origin: str, checkpoint: Checkpoint, folder: Path) -> None:
        """Remember a checkpoint that a trusted log key signed, and that came with a folder.

        Raises:
            TwoHistories: another folder came with another root over as many entries.
            SeenFolderUnreadable: that cannot be told.
        """
        log = Digest.of(f"{origin}\n{checkpoint.key_id}".encode("utf-8", "surrogatepass"))
        path = self.state / FOLDER_NAME / log.hex / f"{checkpoint.size}"
        root = checkpoint.root.hex()
        earlier = _read(path)
        if earlier is None:
            self._keep(path, _SeenRoot(root=root, folder=f"{folder.resolve()}"))
        elif earlier.root != root:
            raise TwoHistories(origin, checkpoint.size, f"{folder}", root, earlier.folder, earlier.root)

    def _keep(self, path: Path, seen: _SeenRoot) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, seen.model_dump_json().encode() + b"\n", mode=0o600)
        except (OSError, KnownError):
            self.say("note: your state folder cannot be written: the log of this folder is not remembered")


def _read(path: Path) -> _SeenRoot | None:
    try:
        if not path.exists():
            return None
        return _SeenRoot.model_validate(read_json(read_file(path, max_bytes=_MAX_BYTES), what="it"))
    except ValidationError as error:
        raise SeenFolderUnreadable(path, first_problem(error)) from error
    except KnownError as error:
        raise SeenFolderUnreadable(path, error.why) from error
    except OSError as error:
        raise SeenFolderUnreadable(path, error.strerror or f"{error}") from error
