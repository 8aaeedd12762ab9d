"""Items handed to an executor of others, and what became of each, as they finish. No queue and no retries of its own.

An executor is any `concurrent.futures.Executor`. What it loses is said to be lost: an item that is run twice does no harm, so
that whoever runs the list again needs to know nothing else.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass

from peft_registry.registry.bulk.lists import ListItem
from peft_registry.registry.bulk.results import ItemResult, lost
from peft_registry.schemas.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Lacks:
    """Why a worker cannot work: the sentences of an error, which itself does not survive the way between processes."""

    what: str
    why: str
    fix: str


Group = tuple[ListItem, ...]
"""Items that one worker does together."""
Call = Callable[[Group], tuple[ItemResult, ...] | Lacks]
"""What a worker does: it can be pickled, and raises nothing, so that whatever is raised is the executor's."""

START_SECONDS = 600.0
"""How long a queue may take to start the first worker: a node that is switched on for it takes minutes."""


class QueueNeverStarted(Unavailable):
    what = "no worker of {executor} has begun in {seconds:g} seconds"
    why = "its queue takes items, and nobody works on them"
    fix = (
        "start its workers, or see with its own tools what they wait for; then run the command again: nothing was done"
    )

    executor: str
    seconds: float


class WorkerUnfit(Unavailable):
    """`problem`, `why`, `remedy` as the worker says them."""

    what = "a worker cannot work on this list: {problem}"
    why = "{reason}"
    fix = "{remedy}"

    problem: str
    reason: str
    remedy: str


def require_worker(executor: Executor, call: Call, *, name: str, seconds: float = START_SECONDS) -> None:
    """Raise unless a worker of the executor begins, and has what the list needs: it is asked for no items at all.

    Raises:
        QueueNeverStarted: none begins.
        WorkerUnfit: it lacks something.
    """
    first = executor.submit(call, ())
    try:
        error = first.exception(timeout=seconds)
    except TimeoutError as late:
        first.cancel()
        raise QueueNeverStarted(name, seconds) from late
    if error is not None:
        # a worker without this package, or of a release without this function, cannot even read what it is asked
        remedy = "install the same release of peft-registry where its workers run; nothing was done"
        raise WorkerUnfit("it ended, or could not read what it was asked", f"{error!r:.300}", remedy) from error
    _fit(first.result())


def results_of(executor: Executor, call: Call, groups: Iterable[Group]) -> Iterator[ItemResult]:
    """What became of each item, as they finish; an item that the executor lost is `lost`.

    Args:
        executor: open; the caller closes it.
        call: what a worker does.
        groups: each is handed out once.

    Raises:
        WorkerUnfit: a worker is not as the one that was asked first.
    """
    pending: dict[Future[tuple[ItemResult, ...] | Lacks], Group] = {}
    for group in groups:
        try:
            pending[executor.submit(call, group)] = group
        except (RuntimeError, OSError):  # it broke, or was shut down
            yield from map(lost, group)
    for future in as_completed(pending):
        group = pending.pop(future)
        lost_it = future.cancelled() or future.exception() is not None
        known = {result.item.parts: result for result in _fit(None if lost_it else future.result())}
        yield from (known.get(item.parts) or lost(item) for item in group)


def _fit(value: tuple[ItemResult, ...] | Lacks | None) -> tuple[ItemResult, ...]:
    """The results of a worker; of what an executor lost there are none.

    Raises:
        WorkerUnfit: the worker says so.
    """
    if isinstance(value, Lacks):
        raise WorkerUnfit(value.what, value.why, value.fix)
    return value or ()
