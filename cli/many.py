"""A command over many items: which they are, who works on them, what became of each.

The list, the shards and the lines are `registry/bulk`. What a command does with one item is a `Work`, a value that is sent to
whoever works. Each worker opens the home once, and keeps what its items share: a base that is hashed, loaded or scored.
"""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import lru_cache
from multiprocessing import util
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from peft_registry.cli import wiring
from peft_registry.cli.outcome import Home, ListWords, Note, Outcome, Part

if TYPE_CHECKING:
    from peft_registry.registry.bulk.lists import ListItem, Shard, WorkList
    from peft_registry.registry.bulk.results import Failure, ItemResult, Job
    from peft_registry.registry.bulk.results_file import Results
    from peft_registry.registry.bulk.running import Group, Lacks
    from peft_registry.registry.homes.home import Registry
    from peft_registry.schemas.identity import Digest

Act = Callable[["ListItem"], "ItemResult"]

_ONE_AT_A_TIME = Lock()
"""A worker of Dask has as many threads as cores, and what items share, from a base to the seeds of torch, is of one process."""


@dataclass(frozen=True)
class Work:
    """What a command does with one item, with its options: a value, which can be pickled.

    Attributes:
        verb: how the command is called.
        takes: what an item is: a version, several that are worked on together, or a source that is not registered.
        signs: the keys of the home are needed.
        at_once: how many items a worker takes together. More than one only where each takes a moment and writes nothing: they share
            one reading of the database, and are lost together where their worker is.
    """

    verb: ClassVar[str]
    takes: ClassVar[Literal["version", "versions", "source"]] = "version"
    signs: ClassVar[bool] = False
    at_once: ClassVar[int] = 1

    def begin(self, registry: "Registry", closing: ExitStack) -> Act:  # noqa: ARG002  whoever keeps something open needs it
        """What is done with an item; what is kept between two is closed with `closing`. Here nothing is."""
        return lambda item: result_of(item, self.outcome(registry, item))

    def outcome(self, registry: "Registry", item: "ListItem") -> Outcome:
        """What the command comes to for one item by itself; of a work that has a `begin` of its own nobody asks."""
        raise NotImplementedError

    @property
    def written(self) -> str | None:
        """A line that says where the files of the items lie; None where it writes none."""
        return None


@dataclass(frozen=True)
class Worker:
    """What a worker opens before its first item, and what it has to find there."""

    work: Work
    home: Path
    registry_id: str
    passphrase_file: Path | None
    release: str

    def lacks(self) -> "Lacks | None":
        """What keeps this process from working on the list; None where nothing does. The home is open afterwards."""
        from peft_registry.registry.bulk.running import Lacks
        from peft_registry.registry.disk.release import tool_version
        from peft_registry.schemas.errors import KnownError

        if tool_version() != self.release:
            why = f"it has {tool_version()}, and this command is {self.release}: two releases may judge one item differently"
            return Lacks("it is of another release", why, "install the same release there; nothing was done by it")
        try:
            _begun(self)
        except KnownError as error:
            return Lacks(error.what, error.why, error.fix)
        return None

    def answers(self, group: "Group") -> "tuple[ItemResult, ...] | Lacks":
        """What became of some items; nothing is raised, because errors of ours do not survive the way between processes."""
        with _ONE_AT_A_TIME:
            lacks = self.lacks()
            return _begun(self)(group) if lacks is None else lacks


@lru_cache(maxsize=1)
def _begun(worker: Worker) -> "Callable[[Group], tuple[ItemResult, ...]]":
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
    return _acting(worker.work, registry, closing)


def _acting(work: Work, registry: "Registry", closing: ExitStack) -> "Callable[[Group], tuple[ItemResult, ...]]":
    """The work begun in this process: answers some items at a time."""
    act = work.begin(registry, closing)

    def answers(group: "Group") -> "tuple[ItemResult, ...]":
        if len(group) == 1:
            return (_answered(act, group[0]),)
        with registry.database.reading():
            return tuple(_answered(act, item) for item in group)

    return answers


def _answered(act: Act, item: "ListItem") -> "ItemResult":
    """What became of an item, whatever happens at it."""
    from peft_registry.registry.bulk.results import failed, met_a_bug
    from peft_registry.schemas.errors import KnownError

    try:
        return act(item)
    except KnownError as error:
        return failed(item, error)
    except Exception as error:  # noqa: BLE001  a bug at one item must not end the others; its answer says that it is one
        return met_a_bug(item, error)


def result_of(item: "ListItem", outcome: Outcome) -> "ItemResult":
    """The answer of an item whose command came to an end: what it prints, and the problem that it ended with."""
    from peft_registry.registry.bulk.results import ItemResult, failed

    return ItemResult(item, outcome.json) if outcome.problem is None else failed(item, outcome.problem, outcome.json)


def over_many(home: Home, work: Work, typed: Mapping[str, object], *, record: bool | None = None) -> Outcome:
    """Do the work for every item of the list that is meant, but for what is done already.

    Args:
        home: the registry, and how the list was asked for.
        work: what is done.
        typed: by name, what the command takes of a single item and a list has no use for.
        record: of a work that comes to verdicts: sign them, and do everything for that; else they are held against those that were
            signed. None of one that comes to none.

    Raises:
        KnownError: the list, the shard, the file of results or the executor is refused; nothing was done.
    """
    from peft_registry.cli.options import OptionNeeded
    from peft_registry.cli.settings import array_variables
    from peft_registry.registry.bulk.lists import shard_of
    from peft_registry.registry.bulk.results import Job, failures
    from peft_registry.registry.bulk.results_file import kept_results

    words = home.words
    _require_absent(typed)
    if words.retry is not None and words.json_lines is None:
        raise OptionNeeded("--json-lines FILE", "--retry is about what failed by the lines that a run kept")
    shard = shard_of(words.shard, array_variables())
    if work.signs or record:
        home.registry.unlock()
    work = _from_anywhere(work)
    listed = _listed(home, work)
    mine = shard.of(listed.items)
    job = Job(work.verb, listed.digest, plan_of(work))
    with kept_results(words.json_lines, job) as results:
        # what somebody signs they have seen, and not read in a file
        known = {} if record else dict(results.known)
        before = sum(known[item.parts].is_done for item in mine if item.parts in known)
        answers = _worked(home, work, mine if record else results.to_do(mine, only=words.retry), results)
    known |= {answer.item.parts: answer for answer in answers}
    recorded = None
    if record is not None:
        recorded = _recorded(home, job, shard, [known.get(item.parts) for item in mine], is_signed=record)
    done = before + sum(answer.is_done for answer in answers)
    summary = Summary(str(listed.digest), len(listed.items), str(shard), len(mine), done, before, recorded)
    return _outcome(summary, failures(answers), words, written=work.written if done else None)


def _recorded(
    home: Home, job: "Job", shard: "Shard", answers: "Sequence[ItemResult | None]", *, is_signed: bool
) -> str | None:
    """What was signed now about the verdicts, or was before; None where nothing is, or not every item has a verdict."""
    from peft_registry.registry.use_cases.record_verifications import (
        record_verifications,
        recorded_verifications,
        root_of,
    )
    from peft_registry.schemas.identity import Digest

    found = [
        (Digest.parse(answer.item.parts[0]), str(answer.value["verdict"]))
        for answer in answers
        if answer is not None and answer.value is not None
    ]
    if not found or len(found) < len(answers):
        return "nothing: not every item has a verdict" if is_signed else None
    if is_signed:
        said = record_verifications(home.registry, job.list, found, shard=str(shard), plan=job.plan)
        return f"root {root_of(found)} over {len(found)} verdicts, in statement {said.short}"
    before = recorded_verifications(home.registry, job.list, shard=str(shard), plan=job.plan)
    if before is None:
        return None
    how = "the same verdicts as" if before.root == root_of(found) else "other verdicts than"
    return f"{how} entry {before.entry} has, of {before.at}"


def _require_absent(typed: Mapping[str, object]) -> None:
    from peft_registry.cli.options import OptionsExclusive

    for name, value in typed.items():
        if value:
            raise OptionsExclusive(
                name, "--where or --list", "a list says which items there are, and every one is treated alike"
            )


def _listed(home: Home, work: Work) -> "WorkList":
    from peft_registry.cli.options import OptionNeeded, OptionsExclusive
    from peft_registry.registry.use_cases.list_items import ListSource, listed_versions, read_list

    words = home.words
    if work.takes == "source":
        if words.where is not None:
            raise OptionsExclusive("--where", "import", "conditions find what is registered, and this is not yet")
        if words.list_file is None:
            raise OptionNeeded("--list FILE", "it names what is to be imported")
        return read_list(words.list_file)
    source = ListSource(words.where, words.list_file, accepts_everything=words.yes)
    return listed_versions(home.registry, source, several=work.takes == "versions")


def plan_of(work: Work) -> "Digest":
    """What names the options: two works with the same ones, and the same bytes in the files that they name, do the same."""
    from peft_registry.schemas.identity import Digest

    def plain(value: object) -> str:
        return str(Digest.of(value.read_bytes()) if isinstance(value, Path) and value.is_file() else value)

    return Digest.of(json.dumps(asdict(work), default=plain, sort_keys=True).encode())


def _from_anywhere(value: Any) -> Any:  # a work, or a value in it
    """The same with whole paths: a worker may have another working folder."""
    if isinstance(value, Path):
        return value.absolute()
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{one.name: _from_anywhere(getattr(value, one.name)) for one in fields(value) if one.init}
        )
    return value


def _worked(home: Home, work: Work, items: "Sequence[ListItem]", results: "Results") -> "list[ItemResult]":
    """The answers, each kept as it comes."""
    from peft_registry.schemas.progress import Advanced, Finished, Started

    answers: list[ItemResult] = []
    if not items:
        return answers
    observe = home.story
    observe(Started(work.verb, len(items), "items"))
    with ExitStack() as closing:
        for answer in _answers(home, work, items, closing):
            results.add(answer)
            answers.append(answer)
            observe(Advanced(work.verb, len(answers)))
    observe(Finished(work.verb))
    return answers


def _answers(home: Home, work: Work, items: "Sequence[ListItem]", closing: ExitStack) -> "Iterator[ItemResult]":
    """The answer of each item: of this process, or of the executor that was named."""
    from peft_registry.registry.bulk.executors import opened_executor
    from peft_registry.registry.bulk.running import require_worker, results_of
    from peft_registry.registry.disk.release import tool_version

    groups = [tuple(items[start : start + work.at_once]) for start in range(0, len(items), work.at_once)]
    if home.words.on is None:
        answers = _acting(work, home.registry, closing)
        for group in groups:
            yield from answers(group)
        return
    passphrase_file = _from_anywhere(home.passphrase_file)
    registry_id = home.registry.settings.registry_id
    worker = Worker(work, _place(home.registry), registry_id, passphrase_file, tool_version())
    executor = closing.enter_context(opened_executor(home.words.on))
    require_worker(executor, worker.lacks, name=home.words.on)
    yield from results_of(executor, worker.answers, groups)


def _place(registry: "Registry") -> Path:
    """Where a worker finds the home: under the same path as here, whatever its working folder is."""
    return registry.folder.resolve()


@dataclass(frozen=True)
class Summary:
    """The list by its digest, how many items it has, the shard, its items, how many of them are done, and were before.

    `recorded` is what is signed about the verdicts.
    """

    list: str
    items: int
    shard: str
    of_shard: int
    done: int
    done_before: int
    recorded: str | None


def _outcome(summary: Summary, groups: "Sequence[Failure]", words: ListWords, *, written: str | None) -> Outcome:
    from peft_registry.registry.bulk.results import exit_code

    failed = [
        {
            "reason": group.reason,
            "code": group.code,
            "items": [list(item.parts) for item in group.items],
            "sentences": list(group.sentences),
            "again": _again(group, words),
        }
        for group in groups
    ]
    lines = [*_summary_lines(summary), *([written] if written else []), *_failure_lines(groups, words)]
    return Outcome(asdict(summary) | {"failed": failed}, lines, exit_code=exit_code(groups))


def _summary_lines(summary: Summary) -> Iterator[Part]:
    shard = "" if summary.of_shard == summary.items else f"; shard {summary.shard} has {summary.of_shard}"
    items = "1 item" if summary.items == 1 else f"{summary.items} items"
    yield f"list     {summary.list}: {items}{shard}"
    before = f", {summary.done_before} of them before" if summary.done_before else ""
    yield f"done     {summary.done}{before}"
    if summary.recorded is not None:
        yield f"recorded {summary.recorded}"


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
    typed = list(wiring.typed_command())
    if "--retry" in typed:
        at = typed.index("--retry")
        del typed[at : at + 2]
    only = [] if words.json_lines is None else ["--retry", group.reason]
    return shlex.join(["registry", *typed, *only])
