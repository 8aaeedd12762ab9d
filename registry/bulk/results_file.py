"""The file that keeps what became of each item: read once, then a line is added for each answer, by one process at a time."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path

from peft_registry.registry.bulk.lists import ListItem
from peft_registry.registry.bulk.results import ItemResult, Job, lost, read_results
from peft_registry.registry.disk.files import unwritable
from peft_registry.schemas.errors import Taken


class ResultsBusy(Taken):
    what = "another process writes its results to {path}"
    why = "two that write to one file would do everything twice"
    fix = "wait for it, or give each shard a file of its own"

    path: Path


@dataclass(frozen=True)
class Results:
    """What is known of a job, and where more of it is written; nowhere where nobody named a file."""

    job: Job
    known: Mapping[tuple[str, ...], ItemResult]
    path: Path | None = None
    stream: BufferedRandom | None = None

    def to_do(self, items: Iterable[ListItem], *, only: str | None = None) -> tuple[ListItem, ...]:
        """The items that are not done; with `only` those of this reason, which is `LOST` of unanswered ones."""
        answers = ((item, self.known.get(item.parts) or lost(item)) for item in items)
        return tuple(item for item, answer in answers if not answer.is_done and only in (None, answer.reason))

    def add(self, answer: ItemResult) -> None:
        """Keep an answer: it is in the file when this returns.

        Raises:
            DiskFull, NotWritable: it cannot be written.
        """
        if self.stream is None or self.path is None:
            return
        try:
            self.stream.write(answer.line(self.job).encode())
            self.stream.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error


@contextmanager
def kept_results(path: Path | None, job: Job) -> Iterator[Results]:
    """The results of a job in a file, which is made where it is missing; held while the block runs.

    Raises:
        ResultsBusy: another process holds it.
        OtherResults, ResultsUnreadable: it is of another job, or no file of results.
        DiskFull, NotWritable: it cannot be opened.
    """
    if path is None:
        yield Results(job, {})
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    with os.fdopen(descriptor, "r+b") as stream:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultsBusy(path) from error
        data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]  # a process that was killed left a part of a line
        known = read_results(whole.decode("utf-8", "replace"), job, path=str(path))
        stream.truncate(len(whole))
        stream.seek(len(whole))
        yield Results(job, known, path, stream)
