"""A command over many items: which they are, who works on them, what became of each.

The list, the shards and the lines are `registry/bulk`. What a command does with one item is a `Work`, a value that is sent to
whoever works. Each worker opens the home once, and keeps what its items share: a base that is hashed, loaded or scored.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import lru_cache
from itertools import pairwise
from multiprocessing import util
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peft_registry.cli import console, wiring
from peft_registry.cli.outcome import Home, ListWords, Note, Outcome, Part

if TYPE_CHECKING:
    from peft_registry.registry.bulk.lists import ListItem, Shard, WorkList
    from peft_registry.registry.bulk.results import Failure, ItemResult, Job
    from peft_registry.registry.bulk.running import Group, Lacks
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.identity import Digest

GroupCall = Callable[["Group"], "tuple[ItemResult, ...]"]


@dataclass(frozen=True)
class BegunWork:
    """A work that a process has begun.

    Attributes:
        run_item: what the command comes to for one item by itself.
        data: the digests of what was read that no option names by itself, as the files of a folder; they are part of the plan.
    """

    run_item: Callable[["ListItem"], Outcome]
    data: "tuple[Digest, ...]" = ()


_ONE_AT_A_TIME = Lock()
"""A worker of Dask has as many threads as cores, and what items share, from a base to the seeds of torch, is of one process."""


@dataclass(frozen=True)
class Work:
    """What a command does with one item, with its options: a value, which can be pickled.

    Attributes:
        verb: how the command is called.
        takes: what an item is: a version, several that are worked on together, or a source that is not registered.
        at_once: how many items a worker takes together. More than one only where each takes a moment and writes nothing: they share
            one reading of the database, and are lost together where their worker is.
    """

    verb: ClassVar[str]
    takes: ClassVar[Literal["version", "versions", "source"]] = "version"
    at_once: ClassVar[int] = 1

    @property
    def signs(self) -> bool:
        """Whether the keys of the home are needed."""
        return False

    def require_count(self, count: int) -> None:
        """Raise where an option does not go with so many items.

        Args:
            count: of the items of all shards.
        """

    def begin(self, registry: "Registry", closing: ExitStack) -> BegunWork:
        """What is done with an item; what is kept between two is closed with `closing`.

        Raises:
            KnownError: an option is wrong, whatever the item.
        """
        raise NotImplementedError

    def summary(self, values: Sequence[Any]) -> str | None:  # noqa: ARG002  a work with a summary reads them
        """A line on what came of the items: where their files lie, what was registered; None where there is nothing to add.

        Args:
            values: the JSON of the items that are done, at least one.
        """
        return None


def versions_line(values: Sequence[Any]) -> str:
    """The versions that items were registered as, the first of them by name."""
    from peft_registry.registry.bulk.results import SHOWN_LABELS
    from peft_registry.schemas.errors import listed

    return f"versions {listed((value['version'] for value in values), most=SHOWN_LABELS)}"


@dataclass(frozen=True)
class Worker:
    """What a worker opens before its first item, and what it has to find there."""

    work: Work
    home: Path
    registry_id: str
    passphrase_file: Path | None
    release: str

    def results(self, group: "Group") -> "tuple[ItemResult, ...] | Lacks":
        """What became of some items; nothing is raised, because errors of ours do not survive the way between processes."""
        from peft_registry.registry.bulk.running import Lacks
        from peft_registry.registry.disk.release import tool_version
        from peft_registry.schemas.errors import KnownError

        if tool_version() != self.release:
            why = f"it has {tool_version()}, and this command is {self.release}: two releases may judge one item differently"
            return Lacks("it is of another release", why, "install the same release there; nothing was done by it")
        with _ONE_AT_A_TIME:
            try:
                run_group = _begun(self)
            except KnownError as error:
                return Lacks(error.what, error.why, error.fix)
            return run_group(group)


@lru_cache(maxsize=1)
def _begun(worker: Worker) -> GroupCall:
    """The work of this process, begun once: executors run functions, and know nothing of what these keep between two calls.

    Raises:
        KnownError: the home cannot be opened, or is another one.
    """
    from peft_registry.schemas.errors import NotFound

    closing = ExitStack()
    util.Finalize(None, closing.close, exitpriority=1)  # at the end of a child of multiprocessing too
    registry = closing.enter_context(wiring.opened(worker.home, worker.passphrase_file))
    if registry.settings.registry_id != worker.registry_id:
        raise NotFound.in_words(
            what=f"{worker.home} is another registry there",
            why=f"its id is {registry.settings.registry_id}, and this list is of {worker.registry_id}",
            fix="mount the same home under the same path, or use the same database and store",
        )
    if worker.work.signs:
        registry.unlock()
    return _in_groups(worker.work, worker.work.begin(registry, closing), registry)


def _in_groups(work: Work, begun: BegunWork, registry: "Registry") -> GroupCall:
    """The work of a process, for some items at a time."""
    reading = registry.database.reading if work.at_once > 1 else nullcontext

    def results(group: "Group") -> "tuple[ItemResult, ...]":
        with reading():
            return tuple(_result_of(begun, item) for item in group)

    return results


def _result_of(begun: BegunWork, item: "ListItem") -> "ItemResult":
    from peft_registry.registry.bulk.results import ItemResult, failed, met_a_bug
    from peft_registry.schemas.errors import KnownError

    try:
        outcome = begun.run_item(item)
    except KnownError as error:
        return failed(item, error)
    except Exception as error:  # noqa: BLE001  a bug at one item must not end the others; its result says that it is one
        return met_a_bug(item, error)
    return ItemResult(item, outcome.json) if outcome.problem is None else failed(item, outcome.problem, outcome.json)


@dataclass(frozen=True)
class ListRun:
    """A list over which a command was run.

    Attributes:
        work: what was done with each item.
        job: what was run over which list.
        of_list: how many items the list has.
        shard: the part that is meant.
        items: of the shard.
        known: the last result of each item that has one, of this run or of those before.
        done_before: how many items were done before.
    """

    work: Work
    job: "Job"
    of_list: int
    shard: "Shard"
    items: "tuple[ListItem, ...]"
    known: "Mapping[tuple[str, ...], ItemResult]"
    done_before: int

    def outcome(self, words: ListWords, *, recorded: str | None = None) -> Outcome:
        """What the command says of it; `recorded` is what is signed about the verdicts."""
        from peft_registry.registry.bulk.results import exit_code, failures

        done = [result.value for result in self.known.values() if result.is_done]
        failed = failures(self.known.values())
        value = {
            "list": str(self.job.list),
            "items": self.of_list,
            "shard": str(self.shard),
            "of_shard": len(self.items),
            "done": len(done),
            "done_before": self.done_before,
            "recorded": recorded,
            "failed": [_as_json(group, words) for group in failed],
        }
        lines = [*self._lines(done, recorded), *_failure_lines(failed, words)]
        return Outcome(value, lines, exit_code=exit_code(failed))

    def _lines(self, done: Sequence[Any], recorded: str | None) -> Iterator[Part]:
        shard = "" if len(self.items) == self.of_list else f"; shard {self.shard} has {len(self.items)}"
        items = "1 item" if self.of_list == 1 else f"{self.of_list} items"
        yield f"list     {self.job.list}: {items}{shard}"
        before = f", {self.done_before} of them before" if self.done_before else ""
        yield f"done     {len(done)} of {len(self.items)}{before}"
        if recorded is not None:
            yield f"recorded {recorded}"
        summary = self.work.summary(done) if done else None
        if summary is not None:
            yield summary


def over_many(home: Home, work: Work, typed: Mapping[str, object]) -> Outcome:
    """Do the work for every item of the list that is meant, but for what is done already.

    Args:
        home: the registry, and how the list was asked for.
        work: what is done.
        typed: by name, what the command takes of a single item and a list has no use for.

    Raises:
        KnownError: as `run_over`; nothing was done.
    """
    return run_over(home, work, typed).outcome(home.words)


def run_over(home: Home, work: Work, typed: Mapping[str, object], *, to_sign: bool = False) -> ListRun:
    """The same, with what became of each item. Where somebody is `to_sign` that, every item is done again.

    Raises:
        KnownError: an option, the list, the shard, the file of results or the executor is refused; nothing was done.
    """
    from peft_registry.cli.options import OptionNeeded
    from peft_registry.cli.settings import array_variables
    from peft_registry.registry.bulk.executors import require_executor
    from peft_registry.registry.bulk.lists import shard_of
    from peft_registry.registry.bulk.results import Job, to_do
    from peft_registry.registry.bulk.results_file import kept_results

    words = home.words
    _require_absent(typed)
    if words.retry is not None and words.json_lines is None:
        raise OptionNeeded("--json-lines FILE", "--retry is about what failed by the lines that a run kept")
    shard = shard_of(words.shard, array_variables())
    if work.signs or to_sign:
        home.registry.unlock()
    work = _from_anywhere(work)
    with ExitStack() as closing:
        # begun here even where workers do it: a wrong option is refused before one is started, as it is for a single item
        begun = work.begin(home.registry, closing)
        listed = _listed(home, work)
        work.require_count(len(listed.items))
        if words.on is not None:
            require_executor(words.on)  # before the file of results is made
        items = shard.of(listed.items)
        job = Job(work.verb, listed.digest, plan_of(work, begun.data))
        kept = closing.enter_context(kept_results(words.json_lines, job))
        # what somebody signs they have seen, and not read in a file
        before = {} if to_sign else {item.parts: kept.known[item.parts] for item in items if item.parts in kept.known}
        results = []
        for result in _worked(home, work, begun, items if to_sign else to_do(items, before, only=words.retry)):
            kept.add(result)
            results.append(result)
    return ListRun(
        work=work,
        job=job,
        of_list=len(listed.items),
        shard=shard,
        items=items,
        known=before | {result.item.parts: result for result in results},
        done_before=sum(result.is_done for result in before.values()),
    )


def _require_absent(typed: Mapping[str, object]) -> None:
    from peft_registry.cli.options import OptionsExclusive

    for name, value in typed.items():
        if value:
            raise OptionsExclusive(
                name, "--where or --list", "a list says which items there are, and every one is treated alike"
            )


def _listed(home: Home, work: Work) -> "WorkList":
    from peft_registry.cli.options import OptionNeeded, OptionsExclusive
    from peft_registry.registry.use_cases.list_items import listed_versions, read_list

    words = home.words
    if work.takes != "source":
        if words.where is not None and words.list_file is not None and words.list_file.exists():
            console.note(
                f"note: {words.list_file} exists and names the items; the conditions of --where are not used", indent=6
            )
        return listed_versions(
            home.registry,
            where=words.where,
            file=words.list_file,
            accepts_everything=words.yes,
            several=work.takes == "versions",
        )
    if words.list_file is None:
        raise OptionNeeded("--list FILE", "it names what is to be imported; conditions find what is registered")
    if words.where is not None:
        raise OptionsExclusive("--where", "import", "conditions find what is registered, and this is not yet")
    return read_list(words.list_file)


def plan_of(work: Work, data: "Sequence[Digest]" = ()) -> "Digest":
    """What names the options: two works with the same ones, and the same bytes in what they name, do the same.

    A file counts by its bytes. A folder counts by its name: results that are written to a folder lie nowhere else, and a base in a
    folder is compared with the one that is registered. Files of a folder of data count by their digests in `data`.
    """
    from peft_registry.schemas.identity import Digest

    def plain(value: object) -> str:
        return str(Digest.of(value.read_bytes()) if isinstance(value, Path) and value.is_file() else value)

    options = asdict(work)
    if data:
        options["read"] = [str(digest) for digest in data]
    return Digest.of(json.dumps(options, default=plain, sort_keys=True).encode())


def _from_anywhere(value: Any) -> Any:  # a work, or a value in it
    """The same with whole paths: a worker may have another working folder."""
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, tuple):
        return tuple(map(_from_anywhere, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _from_anywhere(getattr(value, field.name)) for field in fields(value)})
    return value


def _worked(home: Home, work: Work, begun: BegunWork, items: "Sequence[ListItem]") -> "Iterator[ItemResult]":
    """The results as they come, with progress for people."""
    from peft_registry.schemas.progress import Advanced, Finished, Started

    if not items:
        return
    observe = home.story
    observe(Started(work.verb, len(items), "items"))
    groups = [tuple(items[start : start + work.at_once]) for start in range(0, len(items), work.at_once)]
    for number, result in enumerate(_results(home, work, begun, groups), start=1):
        yield result
        observe(Advanced(work.verb, number))
    observe(Finished(work.verb))


def _results(home: Home, work: Work, begun: BegunWork, groups: "Sequence[Group]") -> "Iterator[ItemResult]":
    """Of this process, or of the executor that was named."""
    from peft_registry.registry.bulk.executors import opened_executor
    from peft_registry.registry.bulk.running import require_worker, results_of
    from peft_registry.registry.disk.release import tool_version

    registry, on = home.registry, home.words.on
    if on is None:
        run_group = _in_groups(work, begun, registry)
        for group in groups:
            yield from run_group(group)
        return
    # found under the same path by whoever works, whatever its working folder is
    place, passphrase_file = registry.folder.resolve(), _from_anywhere(home.passphrase_file)
    worker = Worker(work, place, registry.settings.registry_id, passphrase_file, tool_version())
    with opened_executor(on) as executor:
        require_worker(executor, worker.results, name=on)
        yield from results_of(executor, worker.results, groups)


def _as_json(group: "Failure", words: ListWords) -> dict[str, Any]:
    return {
        "reason": group.reason,
        "code": group.code,
        "items": [list(item.parts) for item in group.items],
        "sentences": list(group.sentences),
        "again": _again(group, words),
    }


def _failure_lines(groups: "Sequence[Failure]", words: ListWords) -> Iterator[Part]:
    for group in groups:
        what, why, fix = group.sentences
        yield f"failed   {len(group.items)} {group.reason} ({group.code}): {group.named}"
        yield f"         {what}: {why}"
        yield Note(f"fix: {fix}")
        yield Note(f"again: {_again(group, words)}")
    if groups and words.json_lines is None:
        yield Note(
            "note: with --json-lines FILE a run remembers what is done, and --retry REASON runs only what failed for it"
        )


def _again(group: "Failure", words: ListWords) -> str:
    """The line that runs only these items again; without a file of results it runs all of them."""
    # as typed, without `--retry REASON` or `--retry=REASON`
    typed = [
        word
        for previous, word in pairwise(("", *wiring.typed_command()))
        if previous != "--retry" and word.partition("=")[0] != "--retry"
    ]
    only = [] if words.json_lines is None else ["--retry", group.reason]
    return shlex.join(["registry", *typed, *only])
