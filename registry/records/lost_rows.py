"""Rows of the catalogue that somebody deleted, noticed before a list is read from those that are left.

What is listed is held against what was signed; what is missing from a list is not there to be held against anything. So the rows
are counted, against how many were written. That an entry of the log registers a version without a row is read from the whole log
only where one is missing, to name it, and by the check of the log.
"""

from collections.abc import Collection, Iterator

from peft_registry.registry.database import catalog
from peft_registry.registry.database.catalog.row_counts import KINDS, TOGETHER, CountedKind, ShortList, short_lists
from peft_registry.registry.records.entries import statement_of_entry
from peft_registry.registry.records.views import VersionsDiffer, View
from peft_registry.schemas.errors import IntegrityBroken
from peft_registry.schemas.log import Event
from peft_registry.schemas.statement import RegistrationPredicate

_LISTS = {
    "facet": "the facet {word}",
    "source": "what was made from {word}",
    "alias": "the alias {word}",
    "edge": "the lineage",
    "version": "versions",
}


class RowsMissing(IntegrityBroken):
    what = "the catalogue has other rows of {rows} than were written, so that a list would not be complete"
    why = "{counted} were written, and {here} are there"
    fix = "run `registry admin rebuild`: it makes the catalogue again from the log and from what was signed"

    rows: str
    counted: int
    here: int

    @classmethod
    def of(cls, short: ShortList) -> "RowsMissing":
        """Said of a list that is short."""
        rows = _LISTS[short.kind].format(word=short.word)
        return cls(rows, short.counted, short.here)


def lost_rows(view: View) -> Iterator[RowsMissing]:
    """Every list that has other than as many rows as were written."""
    if view.registry.database.is_current:  # earlier releases counted none
        for kind in KINDS:
            yield from map(RowsMissing.of, short_lists(view.tx, kind))


def require_rows(view: View, kind: CountedKind, words: Collection[str]) -> None:
    """Raise RowsMissing unless as many rows are there of each of these words as were written.

    A row too many is no reason: what it says of a version that is listed is held against what was signed.
    """
    for short in _lists_with_fewer_rows(view, kind, words):
        raise RowsMissing.of(short)


def _lists_with_fewer_rows(view: View, kind: CountedKind, words: Collection[str]) -> tuple[ShortList, ...]:
    if not view.registry.database.is_current:  # earlier releases counted none
        return ()
    return tuple(short for short in short_lists(view.tx, kind, words) if short.here < short.counted)


def require_edges(view: View) -> None:
    """Raise RowsMissing unless as many edges of the lineage graph are there as were written."""
    require_rows(view, "edge", [TOGETHER])


def require_registrations(view: View) -> None:
    """Raise if fewer versions have a row than were registered: a name of which all rows are gone is in no list at all.

    Raises:
        VersionsDiffer: an entry of the log registers a version that has no row; its name is said.
        RowsMissing: each entry has one, so that the count is what somebody changed.
    """
    fewer = _lists_with_fewer_rows(view, "version", [TOGETHER])
    # what an earlier release wrote has no counts, so that its log is read whole
    if view.registry.database.is_current and not fewer:
        return
    without_row = catalog.registering_entries(view.tx) - catalog.version_entries(view.tx)
    if without_row:
        index = min(without_row)
        raise VersionsDiffer(_registered_name(view, index), f"entry {index} registers a version of it that has no row")
    for short in fewer:
        raise RowsMissing.of(short)


def _registered_name(view: View, index: int) -> str:
    """The name under which an entry registers a version."""
    leaf = view.leaf(index)
    assert isinstance(leaf, Event), "an entry that registers is an event"
    return RegistrationPredicate.from_json(statement_of_entry(view.tx, index, leaf).statement.predicate).name
