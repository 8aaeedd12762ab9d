"""One contract for every executor: local processes, Dask, Ray; what each owes whoever hands it items."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from peft_registry.registry.bulk.executors import ExecutorUnreachable, executor_named, opened_executor
from peft_registry.registry.bulk.lists import ListItem
from peft_registry.registry.bulk.results import LOST, ItemResult
from peft_registry.registry.bulk.running import Group, Lacks, WorkerUnfit, require_worker, results_of
from tests.servers.clusters import dask_cluster, free_port, local_processes, ray_cluster, wait_for

ITEMS = tuple(ListItem((str(number),)) for number in range(40))
GROUPS = [(item,) for item in ITEMS]


def worked(folder: Path, group: Group) -> tuple[ItemResult, ...]:
    """What a worker does in these tests: it notes that it is there, and takes a moment for each item."""
    (folder / f"{os.getpid()}").touch()
    time.sleep(0.02)
    return tuple(ItemResult(item, os.getpid()) for item in group)


def worked_beside_another(folder: Path, group: Group) -> tuple[ItemResult, ...]:
    """The same, once a second worker is there: one that begins late would find all of it done."""
    answers = worked(folder, group)
    wait_for(lambda: len(list(folder.iterdir())) > 1, seconds=300)
    return answers


def held(folder: Path, group: Group) -> tuple[ItemResult, ...]:
    """As `worked`, but the first worker that gets item 7 is never done with it."""
    answers = worked(folder, group)
    if group[0].parts == ("7",):
        try:
            (folder / "held").symlink_to(f"{os.getpid()}")
        except FileExistsError:
            return answers
        time.sleep(600)
    return answers


def unfit(group: Group) -> Lacks:
    return Lacks("there is no registry here", "nothing lies under /home", "mount it")


def fit(group: Group) -> tuple[ItemResult, ...]:
    return ()


ENGINES = [
    pytest.param(local_processes, id="local", marks=pytest.mark.processes),
    pytest.param(dask_cluster, id="dask", marks=pytest.mark.peers),
    pytest.param(ray_cluster, id="ray", marks=pytest.mark.full),
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What is typed behind `--on`, of an engine with two workers."""
    cluster: Any = request.param
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started.text


@contextmanager
def opened(engine: str) -> Iterator[Executor]:
    """The executor, greeted as the command greets it, and shut down."""
    with opened_executor(engine) as executor:
        require_worker(executor, fit, name=engine)
        yield executor


@pytest.mark.timeout(600)
def test_each_item_is_answered_once_by_two_workers(engine: str, tmp_path: Path) -> None:
    with opened(engine) as executor:
        answers = list(results_of(executor, partial(worked_beside_another, tmp_path), GROUPS))
    assert {answer.item for answer in answers} == set(ITEMS) and len(answers) == len(ITEMS)
    assert all(answer.is_done for answer in answers)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.timeout(600)
def test_a_worker_that_lacks_something_is_told_in_its_words(engine: str) -> None:
    with opened(engine) as executor, pytest.raises(WorkerUnfit, match="there is no registry here"):
        list(results_of(executor, unfit, GROUPS))


@pytest.mark.timeout(600)
def test_what_a_killed_worker_had_is_lost_or_done_again_and_never_forgotten(engine: str, tmp_path: Path) -> None:
    with opened(engine) as executor:
        answers = results_of(executor, partial(held, tmp_path), GROUPS)
        got = [next(answers)]
        wait_for((tmp_path / "held").is_symlink, seconds=60)
        os.kill(int(str((tmp_path / "held").readlink())), signal.SIGKILL)
        got += answers
    assert sorted(str(answer.item) for answer in got) == sorted(map(str, ITEMS))
    lost = [answer.item for answer in got if answer.reason == LOST]
    assert all(answer.is_done for answer in got if answer.item not in lost)
    with opened(engine) as executor:
        again = list(results_of(executor, partial(held, tmp_path), [(item,) for item in lost]))
    assert {answer.item for answer in again if answer.is_done} == set(lost)


@pytest.mark.timeout(600)
def test_who_is_interrupted_waits_for_no_item_that_has_not_begun(engine: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(engine) as executor:
        for _ in results_of(executor, partial(noted, tmp_path), GROUPS):
            raise KeyboardInterrupt
    assert len(list(tmp_path.iterdir())) < len(GROUPS) / 2


def noted(folder: Path, group: Group) -> tuple[ItemResult, ...]:
    """Says which item was begun, and takes a while for it."""
    (folder / group[0].parts[0]).touch()
    time.sleep(0.3)
    return (ItemResult(group[0]),)


@pytest.mark.processes
def test_a_process_that_waits_for_work_ends_at_an_interrupt_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    with executor_named("local:1") as executor:
        os.kill(executor.submit(os.getpid).result(), signal.SIGINT)
        with pytest.raises(BrokenProcessPool):
            while True:  # until the pool has seen that its process is gone
                executor.submit(os.getpid).result()
    assert capfd.readouterr() == ("", "")


@pytest.mark.processes
def test_an_interrupted_process_removes_its_temporary_files_and_begins_nothing_more(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with executor_named("local:1") as executor:
        process = executor.submit(os.getpid).result()
        interrupted, waiting = (executor.submit(in_scratch, tmp_path) for _ in range(2))
        wait_for(lambda: any(tmp_path.glob("*/begun")), seconds=60)
        os.kill(process, signal.SIGINT)
        assert isinstance(interrupted.exception(), KeyboardInterrupt)
        assert isinstance(waiting.exception(), KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def in_scratch(folder: Path) -> None:
    """Writes to a temporary folder, and is never done."""
    with TemporaryDirectory(dir=folder) as scratch:
        # only from here on somebody removes it
        Path(scratch, "begun").touch()
        time.sleep(600)


@pytest.mark.peers
def test_a_scheduler_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from peft_registry.registry.bulk import dask_executor

    monkeypatch.setattr(dask_executor, "_TIMEOUT", "1s")
    with pytest.raises(ExecutorUnreachable, match="cannot be reached"):
        executor_named(f"dask://127.0.0.1:{free_port()}")
