"""The two halves of a suite: one to develop on, one that nobody who trains has looked at. Pure.

Which half an item is in follows from the name of the suite and the item's cluster alone, by digest: the same on every machine, for
a part of the data as for all of it, and no cluster is ever in both.
"""

from collections.abc import Iterable, Iterator
from typing import get_args

from peft_registry.registry.evaluation.items import TableRow
from peft_registry.schemas.codes import code
from peft_registry.schemas.evaluation import DatasetUsed, Half
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.statement import urn

HALVES: tuple[Half, ...] = get_args(Half)
NOT_SELECTED = code("not_selected")  # names in `DatasetUsed.excluded` of rows that a quick look leaves out
OTHER_HALF = code("in_the_other_half")  # names there those of the half that is not asked
_PURPOSE = urn("suite-half")


def half_of(suite: str, cluster: str) -> Half:
    """The half that every item of a cluster is in: by the first bit of SHA-256 over purpose, suite and cluster, one a line."""
    digest = Digest.of(f"{_PURPOSE}\n{suite}\n{cluster}\n".encode())
    return HALVES[int(digest.hex[0], 16) >> 3]


def half_text(half: Half) -> str:
    """`the development half`, as a person reads it."""
    return f"the {half} half"


def shares_items(first: Half | None, second: Half | None) -> bool:
    """Whether two parts of a suite have items in common; None is the whole of it."""
    return first is None or second is None or first == second


def outside_half(used: DatasetUsed, rows: Iterable[TableRow]) -> Iterator[str]:
    """The ids of items that are not in the half that a record names; none where it names no half."""
    if used.half is None:
        return
    for row in rows:
        if row.dataset == used.name and half_of(used.name, row.cluster) != used.half:
            yield row.id
