"""The file that keeps what became of each item: read once, then a line is added for each, by one process at a time."""

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from peft_registry.registry.bulk.results import ItemResult, Job, read_results
from peft_registry.registry.disk.files import unwritable
from peft_registry.schemas.errors import Taken


class ResultsBusy(Taken):
    what = "another process writes its results to {path}"
    why = "two that write to one file would do everything twice"
    fix = "wait for it, or give each shard a file of its own"

    path: Path


@dataclass(frozen=True)
class KeptResults:
    """The last result of each item so far, and `add`, which has put a further one into the file when it returns."""

    known: Mapping[tuple[str, ...], ItemResult]
    add: Callable[[ItemResult], None]


@contextmanager
def kept_results(path: Path | None, job: Job) -> Iterator[KeptResults]:
    """The results of a job in a file, which is made where it is missing, and held while the block runs; none without a file.

    Raises:
        ResultsBusy: another process holds it.
        OtherResults, ResultsUnreadable: it is of another job, or no file of results.
        DiskFull, NotWritable: it cannot be opened, or (of `add`) written.
    """
    if path is None:
        yield KeptResults({}, lambda _: None)
        return
    try:
        stream = path.open("a+b")
    except OSError as error:
        raise unwritable(path, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultsBusy(path) from error
        stream.seek(0)
        data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]  # a process that was killed left a part of a line
        known = read_results(whole.decode("utf-8", "replace"), job, path=str(path))
        stream.truncate(len(whole))

        def add(result: ItemResult) -> None:
            try:
                stream.write(result.line(job).encode())
                stream.flush()
            except OSError as error:
                raise unwritable(path, error) from error

        yield KeptResults(known, add)
