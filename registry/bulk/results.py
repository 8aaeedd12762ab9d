"""What became of each item, a line of JSON each; what is done, and what failed for which reason. Pure.

A file of lines belongs to one job: one command with its options over one list. Lines of another job are refused: what is done by
other rules, or of another list, is not done.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from peft_registry.registry.bulk.lists import ListItem
from peft_registry.schemas.errors import EXIT_BUG, InputRefused, IntegrityBroken, KnownError, Unavailable, listed
from peft_registry.schemas.identity import Digest

LOST = "not-done"
"""The reason of an item that no worker answered."""
_BUG = "bug"
SHOWN_LABELS = 5


class OtherResults(InputRefused):
    what = "{path} holds results of another {what_differs}"
    why = "line {number} says {found}, and this is {expected}"
    fix = "give --json-lines another file, or run the command that wrote this one"

    path: str
    what_differs: str
    number: int
    found: str
    expected: str


class ResultsUnreadable(InputRefused):
    what = "{path} is not a file of results"
    why = "line {number} is not a line that this command writes"
    fix = "give --json-lines a new file"

    path: str
    number: int


@dataclass(frozen=True, slots=True)
class Job:
    """A command with its options, and the list that it is run over: what all lines of a file have in common."""

    verb: str
    list: Digest
    plan: Digest

    @property
    def values(self) -> dict[str, str]:
        """As each line says it."""
        return {"verb": self.verb, "list": str(self.list), "plan": str(self.plan)}


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of an item.

    Attributes:
        item: which.
        value: JSON, what the command prints of it; None where it failed before it had anything to print.
        code: the exit code that the command would end with.
        reason: by which failures are grouped; empty where it is done.
        sentences: the problem, its reason and its remedy; empty if the item succeeded.
    """

    item: ListItem
    value: Any = None  # any JSON value
    code: int = 0
    reason: str = ""
    sentences: tuple[str, ...] = ()

    @property
    def is_done(self) -> bool:
        return self.code == 0

    def line(self, job: Job) -> str:
        """As a file has it."""
        said = {"reason": self.reason, "sentences": list(self.sentences)} if self.reason else {}
        of_item = {"item": list(self.item.parts), "label": self.item.label, "code": self.code}
        return json.dumps({**job.values, **of_item, **said, "value": self.value}, ensure_ascii=False) + "\n"


def failed(item: ListItem, error: KnownError, value: Any = None) -> ItemResult:
    """The result of an item that the command refuses, or cannot do, or ends with an error of; `value` is what it prints before."""
    return ItemResult(item, value, error.exit_code, error.reference, (error.what, error.why, error.fix))


def lost(item: ListItem) -> ItemResult:
    """The result of an item that no worker answered."""
    sentences = ("no worker answered", "it ended, or its executor lost what it answered", "run the command again")
    return ItemResult(item, None, Unavailable.exit_code, LOST, sentences)


def met_a_bug(item: ListItem, error: Exception) -> ItemResult:
    """The result of an item at which the program itself went wrong."""
    sentences = (f"{type(error).__name__}: {error}", "this is a bug in registry", "run the command for this item alone")
    return ItemResult(item, None, EXIT_BUG, _BUG, sentences)


def read_results(text: str, job: Job, *, path: str) -> dict[tuple[str, ...], ItemResult]:
    """The last result of each item, by its parts.

    Raises:
        OtherResults: a line is of another job.
        ResultsUnreadable: a line is none.
    """
    results = {}
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            value = json.loads(line)
            found = {name: value[name] for name in job.values}
            item = ListItem(tuple(map(str, value["item"])), str(value["label"]))
            said = (str(value.get("reason", "")), tuple(map(str, value.get("sentences", ()))))
            result = ItemResult(item, value["value"], int(value["code"]), *said)
        except (ValueError, TypeError, KeyError) as error:
            raise ResultsUnreadable(path, number) from error
        for name, expected in job.values.items():
            if found[name] != expected:
                different = {"verb": "command", "plan": "set of options"}.get(name, name)
                raise OtherResults(path, different, number, f"{found[name]}", expected)
        results[item.parts] = result
    return results


def to_do(
    items: Iterable[ListItem], known: Mapping[tuple[str, ...], ItemResult], *, only: str | None = None
) -> tuple[ListItem, ...]:
    """The items that are not done; with `only` those that failed for this reason, or without any result for `LOST`."""
    results = (known.get(item.parts) or lost(item) for item in items)
    return tuple(result.item for result in results if not result.is_done and only in (None, result.reason))


@dataclass(frozen=True, slots=True)
class Failure:
    """Items that failed for one reason."""

    reason: str
    code: int
    sentences: tuple[str, ...]  # of the first
    items: tuple[ListItem, ...]

    @property
    def named(self) -> str:
        """The first of them, for people."""
        return listed((item.label or " ".join(item.parts) for item in self.items), most=SHOWN_LABELS)


def failures(results: Iterable[ItemResult]) -> tuple[Failure, ...]:
    """What failed, by reason; the reason with the most items first."""
    groups: dict[tuple[str, int], Failure] = {}
    for result in results:
        if not result.is_done:
            key = (result.reason, result.code)
            known = groups.get(key, Failure(*key, result.sentences, ()))
            groups[key] = replace(known, items=(*known.items, result.item))
    return tuple(sorted(groups.values(), key=lambda group: (-len(group.items), group.reason)))


def exit_code(groups: Iterable[Failure]) -> int:
    """What the whole ends with: 6 where anything is broken, which accuses somebody; else the largest code; 0 where all is done."""
    codes = {group.code for group in groups}
    return IntegrityBroken.exit_code if IntegrityBroken.exit_code in codes else max(codes, default=0)
