"""Items handed to an executor of others, and their answers in the order in which they come. No queue and no retries of its own.

An executor is any `concurrent.futures.Executor`. What it loses is said to be lost: an item that is run twice does no harm, so
that whoever runs the list again needs to know nothing else.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from queue import SimpleQueue

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
Call = Callable[[Group], tuple[ItemResult, ...] | Lacks]
Greeting = Callable[[], Lacks | None]

START_SECONDS = 600.0
"""How long a queue may take to start the first worker: a node that is switched on for it takes minutes."""
_HANDED_OUT = 1024  # items at once: enough for any number of workers, and a list of any length takes no more memory


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


def require_worker(executor: Executor, greet: Greeting, *, name: str, seconds: float = START_SECONDS) -> None:
    """Raise unless a worker of the executor begins, and has what the list needs.

    Raises:
        QueueNeverStarted: none begins.
        WorkerUnfit: it lacks something.
    """
    greeting = executor.submit(greet)
    try:
        error = greeting.exception(timeout=seconds)
    except TimeoutError as late:
        greeting.cancel()
        raise QueueNeverStarted(name, seconds) from late
    if error is not None:
        # a worker without this package, or of a release without this function, cannot even read what it is asked
        remedy = "install the same release of peft-registry where its workers run; nothing was done"
        raise WorkerUnfit("it ended, or could not read what it was asked", f"{error!r:.300}", remedy) from error
    _require_fit(greeting.result())


def results_of(executor: Executor, call: Call, groups: Iterable[Group]) -> Iterator[ItemResult]:
    """The answer of each item, as they come; an item that the executor lost is answered as `lost`.

    Args:
        executor: open; the caller closes it.
        call: can be pickled, and raises nothing: what is raised is the executor's.
        groups: items that one worker answers together; each is handed out once.

    Raises:
        WorkerUnfit: a worker is not as the one that was greeted.
    """
    finished: SimpleQueue[Future[tuple[ItemResult, ...] | Lacks]] = SimpleQueue()
    pending: dict[Future[tuple[ItemResult, ...] | Lacks], Group] = {}
    waiting = iter(groups)
    while True:
        while len(pending) < _HANDED_OUT and (group := next(waiting, None)) is not None:
            try:
                future = executor.submit(call, group)
            except (RuntimeError, OSError):  # it broke, or was shut down
                yield from map(lost, group)
                continue
            pending[future] = group
            future.add_done_callback(finished.put)
        if not pending:
            return
        future = finished.get()
        group = pending.pop(future)
        answers = _answers(future)
        yield from (answers.get(item.parts) or lost(item) for item in group)


def _answers(future: "Future[tuple[ItemResult, ...] | Lacks]") -> dict[tuple[str, ...], ItemResult]:
    """What a finished future holds, by item; nothing where it holds something else than answers.

    Raises:
        WorkerUnfit: its worker is not as the one that was greeted.
    """
    if future.cancelled() or future.exception() is not None:
        return {}
    value = future.result()
    _require_fit(value)
    said = value if isinstance(value, tuple) else ()
    return {answer.item.parts: answer for answer in said if isinstance(answer, ItemResult)}


def _require_fit(value: object) -> None:
    if isinstance(value, Lacks):
        raise WorkerUnfit(value.what, value.why, value.fix)
