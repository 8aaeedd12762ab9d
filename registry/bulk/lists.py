"""The items that a command is run for: fixed first, named by their digest, divided into shards. Pure.

An item is what the command would be given: a manifest digest, several of them for one merge, or a source to import. Two lists
with the same items in the same order are the same list, whatever the versions are called today.

A list is a text with an item a line. Behind ` # ` stands what people call it; a line that begins with `#` is a comment.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from peft_registry.schemas.canonical import canonical_digest
from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.identity import Digest

_LABEL = re.compile(r"\s#\s")
_SHARD = re.compile(r"(?P<index>[0-9]{1,9})?/(?P<count>[1-9][0-9]{0,8})\Z")
SLURM_INDEX = "SLURM_ARRAY_TASK_ID"
SLURM_COUNT, SLURM_FIRST, SLURM_LAST = (f"SLURM_ARRAY_TASK_{word}" for word in ("COUNT", "MIN", "MAX"))
KUBERNETES_INDEX = "JOB_COMPLETION_INDEX"
VARIABLES = (SLURM_INDEX, SLURM_COUNT, SLURM_FIRST, SLURM_LAST, KUBERNETES_INDEX)
"""What a Slurm array and an Indexed Job of Kubernetes tell each of their processes."""


class NothingListed(NotFound):
    what = "{source} names nothing"
    why = "{reason}"
    fix = "`registry list --where CONDITIONS` shows what conditions find; nothing was done"

    source: str
    reason: str


class ShardRefused(InputRefused):
    what = "{text!q} is not a shard"
    why = "{reason}"
    fix = "write --shard I/N with 0 <= I < N, such as 0/8 … 7/8, or --shard /N where Slurm or Kubernetes says which"

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListItem:
    """What a command is run for, in words that mean the same tomorrow, and what people call it."""

    parts: tuple[str, ...]
    label: str = ""

    @property
    def line(self) -> str:
        """As a list has it."""
        return " ".join(self.parts) + (f"  # {self.label}" if self.label else "")


@dataclass(frozen=True)
class WorkList:
    """Items in their order, each once."""

    items: tuple[ListItem, ...]

    @classmethod
    def of(cls, items: Iterable[ListItem]) -> "WorkList":
        """The list of these items; of two with the same parts the first."""
        first: dict[tuple[str, ...], ListItem] = {}
        for item in items:
            first.setdefault(item.parts, item)
        return cls(tuple(first.values()))

    @cached_property
    def digest(self) -> Digest:
        """What names the list."""
        return canonical_digest([list(item.parts) for item in self.items])

    @property
    def text(self) -> str:
        """As a file keeps it."""
        return "".join(f"{line}\n" for line in (f"# {self.digest}", *(item.line for item in self.items)))


def read_lines(text: str) -> tuple[ListItem, ...]:
    """The items of a list as somebody wrote it: what a line says is one part until a command knows better."""
    items = []
    for line in text.splitlines():
        words, *label = _LABEL.split(line.strip(), maxsplit=1)
        if words and not words.startswith("#"):
            items.append(ListItem((words.strip(),), "".join(label).strip()))
    return tuple(items)


@dataclass(frozen=True, slots=True)
class Shard:
    """Every `count`-th item, from the one at `index` on: shards of one list are disjoint and together the list."""

    index: int = 0
    count: int = 1

    def of(self, items: tuple[ListItem, ...]) -> tuple[ListItem, ...]:
        """Its part of the items."""
        return items[self.index :: self.count]

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


def shard_of(text: str | None, variables: Mapping[str, str]) -> Shard:
    """The shard that was typed, or that Slurm or Kubernetes says; the whole list where nobody says any.

    Args:
        text: `I/N`, or `/N` where a variable has the index; None where nothing was typed.
        variables: those of `VARIABLES` that are set.

    Raises:
        ShardRefused: it is none, or the variables do not say which.
    """
    if text is None:
        return _said(variables)
    match = _SHARD.match(text)
    if match is None:
        raise ShardRefused(text, "a shard is written as its index and the number of shards")
    if match["index"] is not None:
        return _shard(text, int(match["index"]), int(match["count"]))
    name = next((name for name in (SLURM_INDEX, KUBERNETES_INDEX) if name in variables), None)
    if name is None:
        raise ShardRefused(text, f"neither {SLURM_INDEX} nor {KUBERNETES_INDEX} is set, which would say the index")
    return _shard(text, _number(variables, name), int(match["count"]))


def _said(variables: Mapping[str, str]) -> Shard:
    """The shard of a process of an array whose indices have no gaps; the whole list outside any array."""
    if SLURM_INDEX in variables:
        index, count, first, last = (
            _number(variables, name) for name in (SLURM_INDEX, SLURM_COUNT, SLURM_FIRST, SLURM_LAST)
        )
        text = f"{SLURM_INDEX}={index}"
        if last - first + 1 != count:
            raise ShardRefused(
                text,
                f"the array has {count} tasks between {first} and {last}: with gaps no task can tell which part is its own",
            )
        return _shard(text, index - first, count)
    if KUBERNETES_INDEX in variables:
        text = f"{KUBERNETES_INDEX}={variables[KUBERNETES_INDEX]}"
        raise ShardRefused(text, "Kubernetes does not tell a pod how many there are: give the job's completions as N")
    return Shard()


def _shard(text: str, index: int, count: int) -> Shard:
    if not 0 <= index < count:
        raise ShardRefused(text, f"shards are counted from 0: of {count} the last is {count - 1}/{count}")
    return Shard(index, count)


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables.get(name, "")
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise ShardRefused(f"{name}={text}", "a number is expected there, as Slurm and Kubernetes give each task")
    return int(text)
