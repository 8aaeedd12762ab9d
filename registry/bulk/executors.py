"""Executors by name: `local:N` is built in, others are factories that packages enter in the group `peft_registry.executors`.

A factory takes what was typed and gives a `concurrent.futures.Executor`, whose workers import this package in the same release and
reach the same home. Whoever asks for one closes it. What a worker is, what it waits for and what is tried again is the engine's.
"""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from multiprocessing import get_context, parent_process
from typing import Any

from peft_registry.schemas.errors import InputRefused, Unavailable
from peft_registry.schemas.suggestions import closest, did_you_mean

GROUP = "peft_registry.executors"
LOCAL = "local"


class UnknownExecutor(InputRefused):
    what = "{text!q} is not an executor"
    why = "what is installed here is {known!l}"
    fix = "{suggestion}"

    text: str
    known: tuple[str, ...]

    @property
    def suggestion(self) -> str:
        nearest = closest(self.text.partition(":")[0], self.known)
        return did_you_mean(nearest, "use one of them; an array of Slurm or Kubernetes needs none, but --shard")


class ProcessesUnclear(InputRefused):
    what = "{text!q} names no number of processes"
    why = "a number from 1 to 9999 belongs after the colon"
    fix = "write --on local:2"

    text: str


class ExecutorUnreachable(Unavailable):
    what = "{text} cannot be reached"
    why = "{reason}"
    fix = "start it, or correct the address; nothing was done"

    text: str
    reason: str


@contextmanager
def opened_executor(text: str) -> Iterator[Executor]:
    """The executor that `NAME:…` means, until the block ends; what it has not begun by then, it never does.

    Raises:
        InputRefused, Unavailable: as `executor_named`.
    """
    executor = executor_named(text)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def require_executor(text: str) -> None:
    """Raise unless `NAME:…` means an executor that is installed; none is made, and whether it answers is not asked.

    Raises:
        UnknownExecutor, ProcessesUnclear: as `executor_named`.
    """
    if text.partition(":")[0] == LOCAL:
        _processes_of(text)
    else:
        _installed(text)


def executor_named(text: str) -> Executor:
    """The executor that `NAME:…` means; the caller closes it.

    Raises:
        UnknownExecutor: no package that is installed has one of this name.
        ProcessesUnclear: as `local`.
        ExtraMissing, ExecutorUnreachable: as its factory.
    """
    if text.partition(":")[0] == LOCAL:
        return local(text)
    factory: Callable[[str], Executor] = _installed(text).load()
    return factory(text)


def _installed(text: str) -> EntryPoint:
    name = text.partition(":")[0]
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in installed:
        raise UnknownExecutor(text, tuple(sorted((LOCAL, *installed))))
    return installed[name]


def local(text: str) -> ProcessPoolExecutor:
    """So many processes of this machine, which end with this one.

    Raises:
        ProcessesUnclear: the text is not `local:N`.
    """
    count = _processes_of(text)
    # spawned: what is forked from a process with threads may wait for ever for a lock that one of them held
    return _Processes(count, get_context("spawn"), _begin, (count,))


def _processes_of(text: str) -> int:
    number = text.removeprefix(f"{LOCAL}:")
    if re.fullmatch(r"[1-9][0-9]{0,3}", number) is None:
        raise ProcessesUnclear(text)
    return int(number)


class _Processes(ProcessPoolExecutor):
    """Processes that a Ctrl-C ends: a call that is interrupted removes its temporary files, and no other begins."""

    def submit(self, call: Callable[..., Any], /, *values: Any, **named: Any) -> Future[Any]:
        return super().submit(_interruptible, call, *values, **named)


def _interruptible(call: Callable[..., Any], /, *values: Any, **named: Any) -> Any:
    """What a call returns; after an interrupt, which the process ignores from then on, it raises instead of calling.

    Raises:
        KeyboardInterrupt: the process was interrupted, now or before.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt  # the pool would go on with what waits in its pipe
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        result = call(*values, **named)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left to do is to end, and that removes files too
        raise
    return result


def _begin(count: int) -> None:
    """A process of a pool takes its share of the cores, and ends with the one that started it, or at an interrupt."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # between two calls Python's own handler would print where it waits
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
