"""What MLflow refuses, and what it holds that is not ours, as exceptions of our own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from peft_registry.registry.disk.files import DiskFull
from peft_registry.registry.mlflow.route import MirrorFull

_Answer = TypeVar("_Answer")

# what SQLite, the system and PostgreSQL say, also through a server
_FULL = ("database or disk is full", "No space left on device", "Disk quota exceeded", "could not extend file")


class DriftFound(Exception):
    """MLflow holds something else under this name; carries the sentence to report."""


class EntryRefused(Exception):
    """MLflow, or the order of versions, refuses this entry; carries the sentence to report."""


@contextmanager
def refusals() -> Iterator[None]:
    """Calls to MLflow, whose exceptions become ours.

    Raises:
        MirrorFull: there is no room where it writes.
        EntryRefused: whatever else it says.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except DiskFull as error:
        raise MirrorFull from error
    except MlflowException as error:
        if any(words in str(error) for words in _FULL):
            raise MirrorFull from error
        raise EntryRefused(_one_line(error)) from error


def answer_or_none(call: Callable[[], _Answer]) -> _Answer | None:
    """What a call to MLflow answers; None where it says that there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _one_line(error: Exception) -> str:
    """What an exception says, in one line of at most 500 characters."""
    return " ".join(str(error).split())[:500]
