"""Rows of versions as an index of the catalogue gives them: newest first, and not proven. No mlflow here.

A list is in the order of registration, and is read by the key of the last version of the page before.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from peft_registry.registry.database import catalog
from peft_registry.registry.homes.home import Registry
from peft_registry.schemas.facets import Condition, Order, VersionQuery
from peft_registry.schemas.version import Version

_NEWEST_FIRST = Order("registered", descending=True)
ROWS_AT_ONCE = 500

Position = tuple[str, str, int, int]
"""Of a run in the order of registration: when, name and number of its version, and which of the runs of that version it is.

A run under way stands where it began, with its id for a name and the number 0, which no version has.
"""


@dataclass(frozen=True, slots=True)
class VersionName:
    """A version by name and number."""

    name: str
    number: int

    @property
    def label(self) -> str:
        return f"{self.name}:{self.number}"

    @classmethod
    def of_label(cls, label: str) -> "VersionName":
        """The version of a label, which has a number."""
        name, _, number = label.rpartition(":")
        return cls(name, int(number))


def position_of_version(version: Version) -> Position:
    """Where a version stands, and with it the first of its runs."""
    return (version.registered_at, version.name, version.number, 0)


def rows_in_order(
    registry: Registry, conditions: tuple[Condition, ...], after: Position | None = None, *, first: int = ROWS_AT_ONCE
) -> Iterator[Sequence[Version]]:
    """The versions that meet every condition, some at a time and `first` before all others.

    They begin with the version of the position `after`, because not all of its runs may have been shown.
    """
    query = VersionQuery(conditions, _NEWEST_FIRST)
    key: catalog.SearchKey | None = None
    limit = min(first, ROWS_AT_ONCE)
    if after is not None:
        key = after[:3]
        yield rows_named(registry, [VersionName(after[1], after[2])])
    while True:
        with registry.database.read() as tx:
            page = catalog.search_versions(tx, query, after=key, limit=limit)
        if page.versions:
            yield page.versions
        key = page.next
        if key is None:
            return
        limit = ROWS_AT_ONCE


def rows_named(registry: Registry, names: Collection[VersionName]) -> tuple[Version, ...]:
    """Those of these versions that there are."""
    with registry.database.read() as tx:
        return catalog.versions_named(tx, [(name.name, name.number) for name in names])
