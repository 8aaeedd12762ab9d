"""Executors that lose, refuse and never begin: what is said of their items."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from peft_registry.registry.bulk.executors import ProcessesUnclear, UnknownExecutor, executor_named
from peft_registry.registry.bulk.lists import ListItem
from peft_registry.registry.bulk.results import ItemResult, lost
from peft_registry.registry.bulk.running import (
    Group,
    Lacks,
    QueueNeverStarted,
    WorkerUnfit,
    require_worker,
    results_of,
)
from peft_registry.registry.extras import ExtraMissing

ITEMS = tuple(ListItem((str(number),)) for number in range(3000))
GROUPS = [ITEMS[start : start + 2] for start in range(0, len(ITEMS), 2)]


def doubled(group: Group) -> tuple[ItemResult, ...]:
    return tuple(ItemResult(item, 2 * int(item.parts[0])) for item in group)


class Odd(Executor):
    """Does at once what it is handed, but with every third call what it was made for."""

    def __init__(self, odd: "Callable[[Future[Any]], None]") -> None:
        self.calls = 0
        self.odd = odd

    def submit(self, call: Callable[..., Any], /, *values: Any, **named: Any) -> "Future[Any]":
        self.calls += 1
        future: Future[Any] = Future()
        if self.calls % 3:
            future.set_result(call(*values, **named))
        else:
            self.odd(future)
        return future


def cancel(future: "Future[Any]") -> None:
    future.cancel()
    future.set_running_or_notify_cancel()  # as executors do with what they cancel


def break_down(future: "Future[Any]") -> None:
    raise BrokenProcessPool("a process was killed")


@pytest.mark.parametrize(
    "odd",
    [
        cancel,
        break_down,
        lambda future: future.set_exception(BrokenProcessPool("killed")),
        lambda future: future.set_exception(ValueError("an engine's own")),
        lambda future: future.set_result(None),
        lambda future: future.set_result(()),
    ],
    ids=["cancelled", "refused", "broken", "failed", "nothing", "empty"],
)
def test_what_an_executor_loses_is_not_done_and_all_else_is(odd: "Callable[[Future[Any]], None]") -> None:
    answers = list(results_of(Odd(odd), doubled, GROUPS))
    assert {answer.item for answer in answers} == set(ITEMS) and len(answers) == len(ITEMS)
    assert sum(answer == lost(answer.item) for answer in answers) == 2 * (len(GROUPS) // 3)
    assert all(answer.value == 2 * int(answer.item.parts[0]) for answer in answers if answer.is_done)


def test_a_worker_that_lacks_something_ends_the_whole_in_its_words() -> None:
    lacks = Lacks("there is no registry here", "nothing lies under /home", "mount it")
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(WorkerUnfit, match="cannot work on this list: there is no registry here") as refused:
            require_worker(executor, lambda _: lacks, name="local:1")
        assert (refused.value.exit_code, refused.value.fix) == (8, "mount it")
        with pytest.raises(WorkerUnfit):
            list(results_of(executor, lambda _: lacks, GROUPS))


class Waiting(Executor):
    """Takes what it is handed, and nobody works on it."""

    def __init__(self) -> None:
        self.handed: list[Future[Any]] = []

    def submit(self, call: Callable[..., Any], /, *values: Any, **named: Any) -> "Future[Any]":
        self.handed.append(Future())
        return self.handed[-1]


def test_a_queue_that_never_starts_is_given_up_with_nothing_handed_out() -> None:
    queue = Waiting()
    with pytest.raises(QueueNeverStarted, match=r"no worker of ray://auto has begun in 0\.01 seconds"):
        require_worker(queue, doubled, name="ray://auto", seconds=0.01)
    assert [future.cancelled() for future in queue.handed] == [True]


def test_a_worker_that_cannot_read_what_it_is_asked_is_unfit() -> None:
    def unread(_: Group) -> tuple[ItemResult, ...]:
        raise ModuleNotFoundError("No module named 'peft_registry'")

    with ThreadPoolExecutor(1) as executor, pytest.raises(WorkerUnfit, match="could not read what it was asked"):
        require_worker(executor, unread, name="dask://a")


# --- names ---


@pytest.mark.parametrize("text", ["local", "local:", "local:0", "local:-1", "local:two", "local:10000", "local:²"])
def test_local_says_how_many_processes(text: str) -> None:
    with pytest.raises(ProcessesUnclear):
        executor_named(text)


def test_an_executor_that_nobody_entered_is_refused_with_those_that_are_there() -> None:
    with pytest.raises(UnknownExecutor, match=r"what is installed here is .*local") as refused:
        executor_named("slurm:gpu")
    assert "--shard" in refused.value.fix


@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExtraMissing, match=f"the extra `{name}` is missing"):
        executor_named(f"{name}://127.0.0.1:1")
