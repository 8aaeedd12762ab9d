"""The names of what lies in a home, and where it lies. `homes/home.py` says what each of them holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

FOLDER_NAME = ".registry"
LATEST = "latest"  # the newest checkpoint, beside one file a size
_EPOCH = "epoch-"  # and its number: a folder of checkpoints under those before any loss was accepted


class KeyFiles(NamedTuple):
    """The two files of a key pair: OpenSSH, and SPKI PEM."""

    private: Path
    public: Path


def key_files(folder: Path, name: str) -> KeyFiles:
    """The files of a key pair in a folder of keys, by role or other name."""
    return KeyFiles(folder / f"{name}.key", folder / f"{name}.pub")


@dataclass(frozen=True, slots=True)
class HomeFiles:
    """The files and folders of one home, whether they exist or not."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "registry.json"

    @property
    def profile(self) -> Path:
        return self.folder / "profile.json"

    @property
    def trust(self) -> Path:
        return self.folder / "trust.json"

    @property
    def trust_accepted(self) -> Path:
        """The version of the trust file that was accepted last, as digits."""
        return self.folder / "trust-accepted"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    def checkpoints_of(self, epoch: int) -> Path:
        """Where the checkpoints of an epoch of the log are; 0 is before any loss was accepted."""
        return self.checkpoints / f"{_EPOCH}{epoch}" if epoch else self.checkpoints

    def every_checkpoints_folder(self) -> tuple[Path, ...]:
        """Those of all epochs that there are."""
        epochs = sorted(self.checkpoints.glob(f"{_EPOCH}*"))
        return tuple(folder for folder in (self.checkpoints, *epochs) if folder.is_dir())

    @property
    def database(self) -> Path:
        """The home's own database, for a home that names none elsewhere."""
        return self.folder / "database.sqlite"

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def states(self) -> Path:
        """States of trainings that others may run again, in a folder for each run; they belong to what is registered."""
        return self.folder / "states"

    @property
    def begun(self) -> Path:
        """The runs that were begun in this home, one a line, whatever became of them."""
        return self.folder / "begun.jsonl"

    @property
    def unused(self) -> tuple[Path, ...]:
        """What earlier releases kept of a copy in MLflow, where it is there: nothing reads or writes it."""
        return tuple(path for name in ("mlflow", "mirror") if (path := self.folder / name).exists())

    def key(self, name: str) -> KeyFiles:
        """The key of a role; a rotation names others too."""
        return key_files(self.keys, name)


def next_version_of(trust_file: Path) -> Path:
    """Where the next version of a trust file waits for the signatures that it still needs."""
    return trust_file.with_name("trust-next.json")
