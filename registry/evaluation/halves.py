"""The two halves of a suite: one to develop on, one that nobody who trains has looked at; and the screen of the first. Pure.

Which half an item is in follows from the name of the suite and the item's cluster alone, by digest: the same on every machine, for
a part of the data as for all of it, and no cluster is ever in both. The screen is a few items of the development half for a quick
look, in the order of digests, from as many clusters as there are: the same for everybody, so that nobody draws until a figure
pleases, and never a verdict.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from peft_registry.registry.evaluation.items import TableRow
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import DatasetUsed, Half, Part
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import urn

HALVES: tuple[Half, ...] = get_args(Half)
NOT_SELECTED = code("not_selected")  # names in `DatasetUsed.excluded` of rows that a quick look leaves out
OTHER_HALF = code("in_the_other_half")  # names there those of the half that is not asked
OFF_SCREEN = code("not_on_the_screen")  # names there those of the half that a screen leaves out
SCREEN_UNITS = 160  # on a screen; 4 of each of the 40 templates of `house`: 15 seconds an arm of 135 M on one core
_PURPOSE = urn("suite-half")
_SCREEN = urn("suite-screen")


def half_of(suite: str, cluster: str) -> Half:
    """The half that every item of a cluster is in: by the first bit of SHA-256 over purpose, suite and cluster, one a line."""
    digest = Digest.of(f"{_PURPOSE}\n{suite}\n{cluster}\n".encode())
    return HALVES[int(digest.hex[0], 16) >> 3]


def screen_of(suite: str, clusters: Mapping[str, str]) -> frozenset[str]:
    """What is on the screen of a suite: every cluster of the development half gives one in turn, until there are enough.

    Args:
        suite: its name.
        clusters: of the whole suite what is never parted, each with its cluster.
    """
    members: dict[str, list[str]] = {}
    for unit, cluster in clusters.items():
        if half_of(suite, cluster) == "development":
            members.setdefault(cluster, []).append(unit)
    rounds = sorted(
        (turn, _rank(suite, cluster), unit)
        for cluster, units in members.items()
        for turn, unit in enumerate(sorted(units, key=lambda unit: _rank(suite, unit)))
    )
    return frozenset(unit for _, _, unit in rounds[:SCREEN_UNITS])


def _rank(suite: str, name: str) -> str:
    return Digest.of(f"{_SCREEN}\n{suite}\n{name}\n".encode()).hex


def screens_of(datasets: Iterable[DatasetUsed]) -> Mapping[str, Code]:
    """The data sets of which only the screen was asked, each with the sentence that says so."""
    return {used.name: code("only_a_screen", items=used.rows_used) for used in datasets if _is_screen(used)}


def is_whole(used: DatasetUsed) -> bool:
    """Whether nothing of a suite was left out by whoever asked: no half, no screen and no selection."""
    left_out = (NOT_SELECTED, OTHER_HALF, OFF_SCREEN)
    return used.half is None and not any(used.left_out(reason) for reason in left_out)


def _is_screen(used: DatasetUsed) -> bool:
    return OFF_SCREEN.code in used.excluded


def half_text(half: Half) -> str:
    """`the development half`, as a person reads it."""
    return f"the {half} half"


def part_text(used: DatasetUsed) -> str | None:
    """Which part of its data an evaluation asked, as a person reads it; None for all of it."""
    if used.half is None:
        return None
    return f"the screen of {half_text(used.half)}" if _is_screen(used) else half_text(used.half)


def part_of_record(used: DatasetUsed) -> Part | None:
    """Which part of its data an evaluation asked; None for all of it."""
    return "screen" if _is_screen(used) else used.half


def shares_items(first: Part | None, second: Part | None) -> bool:
    """Whether two parts of a suite have items in common; None is the whole of it, and a screen is of the development half."""
    halves = {"development" if part == "screen" else part for part in (first, second)}
    return None in halves or len(halves) == 1


def outside_half(used: DatasetUsed, rows: Iterable[TableRow]) -> Iterator[str]:
    """The ids of items that are not in the half that a record names; none where it names no half."""
    if used.half is None:
        return
    for row in rows:
        if row.dataset == used.name and half_of(used.name, row.cluster) != used.half:
            yield row.id
