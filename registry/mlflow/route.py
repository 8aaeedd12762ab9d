"""Where a home's mirror lives, and how mlflow is imported: quietly, and without telling anybody."""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from peft_registry.registry.disk.child_environment import Need, child_environment
from peft_registry.registry.disk.files import unwritable
from peft_registry.registry.homes.layout import HomeFiles
from peft_registry.schemas.errors import NotChecked, NotFound, Unavailable

RouteKind = Literal["server", "store"]
# MLflow's own scheme for "whatever folder the server was told": nothing in its database names a path of this machine, so
# the home can be moved, and a browser on another machine sees the files too
ARTIFACT_SCHEME = "mlflow-artifacts"
LOCK_SECONDS = 60.0
# "1" in the environment: an alias or version that MLflow has otherwise than we is refused when it is loaded; else a warning
STRICT = "REGISTRY_MLFLOW_STRICT"
DATABASE = "mlflow.db"
"""The file of a home's own store, in its folder."""
_NAME_BYTES = 200

# set before mlflow is imported: it reads them then, and with telemetry on client and server call home
_TELL_NOBODY = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
_QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
# MLflow's defaults try seven times with growing pauses, minutes in all
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}


class MlflowMissing(Unavailable):
    reference = "mlflow-missing"
    what = "MLflow cannot be imported"
    why = "{reason}"
    fix = "install it with `pip install 'mlflow>=3.11,<4'`; everything but the mirror works without it"

    reason: str


class MirrorUnavailable(Unavailable):
    reference = "mirror-unavailable"
    what = "MLflow at {where} cannot be used"
    why = "{reason}"
    fix = "check that it runs and can be reached, then run the command again; nothing is lost meanwhile"

    where: str
    reason: str


class MirrorFull(Unavailable):
    reference = "mirror-full"
    what = "MLflow could not be written"
    why = "the disk under it is full, or a quota is used up"
    fix = "free space there, then run `registry mirror sync`; what was copied stays, and nothing is lost"


class MirrorBusy(Unavailable):
    reference = "mirror-busy"
    what = "the mirror is being written by another process"
    why = f"{{holder}} had it for more than {LOCK_SECONDS:.0f} seconds"
    fix = "wait for it, then run `registry mirror sync`"

    holder: str


class RouteUnknown(NotFound):
    reference = "mirror-route-unknown"
    what = "nothing is mirrored to {place}"
    why = "this registry copied nothing there, or forgot it"
    fix = "name a place as `registry mirror status` shows it"

    place: str


class TurnLost(Unavailable):
    reference = "mirror-turn-lost"
    what = "another machine writes to MLflow at {where} now"
    why = "this process stood still for longer than its turn is kept for it"
    fix = "run `registry mirror sync`; what was copied is not copied twice"

    where: str


class MirrorNotChecked(NotChecked):
    reference = "mirror-not-checked"
    what = "what MLflow at {where} shows could not be read"
    why = "{reason}"
    fix = "check that it runs and can be reached, then run `registry mirror check` again"

    where: str
    reason: str


class MirrorGone(Unavailable):
    reference = "mirror-gone"
    what = "MLflow at {where} no longer has what was mirrored there"
    why = "{reason}"
    fix = "run `registry mirror rebuild`, which writes all of it again from the records; nothing signed was lost"

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class MirrorRoute:
    """The one way from a home to MLflow: a server by HTTP, or the home's own store with a folder for artifacts."""

    kind: RouteKind
    uri: str
    artifact_root: Path | None = None

    def __post_init__(self) -> None:
        if (self.kind == "store") != (self.artifact_root is not None):
            raise ValueError("a store has an artifact root, a server keeps its own")

    @classmethod
    def of_home(cls, home: Path) -> "MirrorRoute":
        """The home's own store: `HOME/mlflow/mlflow.db` and `HOME/mlflow/artifacts`."""
        folder = HomeFiles(home.resolve()).mlflow
        return cls("store", f"sqlite:///{folder / DATABASE}", folder / "artifacts")

    @classmethod
    def of_server(cls, uri: str) -> "MirrorRoute":
        """A running MLflow server."""
        return cls("server", uri.rstrip("/"))

    @property
    def missing_file(self) -> Path | None:
        """The database of the home's own store, where it is not there; None of a server, which is asked."""
        if self.artifact_root is None:
            return None
        database = self.artifact_root.parent / DATABASE
        return None if database.exists() else database

    @property
    def described(self) -> str:
        """For people: a server without user and password; a store without its path, so it may move."""
        if self.kind == "store":
            return "the home's own store"
        parts = urlsplit(self.uri)
        host = parts.hostname or ""
        return urlunsplit(parts._replace(netloc=f"{host}:{parts.port}" if parts.port else host))


def prepare_environment() -> None:
    """Set what mlflow reads from the environment while it is imported. What a user set about patience stays."""
    os.environ.update(_TELL_NOBODY)
    for name, value in (_QUIET | _PATIENCE).items():
        os.environ.setdefault(name, value)


def server_environment(home: Path | None, needs: Iterable[Need]) -> dict[str, str]:
    """The environment of the server we start: the user's without any MLFLOW_ setting or secret that it does not need, then ours."""
    kept = {name: value for name, value in child_environment(os.environ, needs=needs).items() if "MLFLOW" not in name}
    if home is not None:
        kept["REGISTRY_HOME"] = str(home.resolve())
    return (
        kept
        | _TELL_NOBODY
        | {
            STRICT: os.environ.get(STRICT, "1"),
            "PYTHONSAFEPATH": "1",  # for the processes that MLflow starts itself
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
    )


@contextmanager
def exclusively(lock: Path) -> Iterator["HeldLock"]:
    """Hold the lock file: of the processes of one home one at a time writes to MLflow.

    Raises:
        MirrorBusy: another process held it for 60 seconds.
        DiskFull, NotWritable: the file cannot be made.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(lock, error) from error
    try:
        _wait_for(descriptor)
        yield HeldLock(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock file that is held. It keeps the name under which its last holder wrote: that process has ended."""

    descriptor: int

    @property
    def last_holder(self) -> str | None:
        """The name that was kept last, or None."""
        return os.pread(self.descriptor, _NAME_BYTES, 0).decode("ascii", "replace") or None

    def keep(self, holder: str) -> None:
        """Keep the name of the process that holds it now.

        Raises:
            DiskFull, NotWritable: it cannot be written.
        """
        try:
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, holder.encode("ascii"), 0)
        except OSError as error:
            raise unwritable("mirror.lock", error) from error


def _wait_for(descriptor: int) -> None:
    give_up = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > give_up:
                raise MirrorBusy("another process of this home") from error
            time.sleep(0.1)
        else:
            return
