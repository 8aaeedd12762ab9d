"""How many rows each list of versions has, counted where they are written; and which list has fewer now.

A list that is read from rows has no place for one that is gone. These counts stand in the database too: whoever changes them too
is seen by `registry log check`, which makes every row again from what was signed.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

from sqlalchemy import Select, String, delete, func, insert, literal, select, type_coerce, union_all

from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction, in_parts
from peft_registry.registry.database.tables import (
    aliases,
    artifact_data,
    artifact_parents,
    facet_numbers,
    facet_words,
    row_counts,
    version_sources,
    versions,
)

CountedKind = Literal["facet", "source", "alias", "edge", "version"]
"""Rows of a facet, by its name; of something that versions were made from, by its digest; of an alias; edges; versions."""
KINDS: tuple[CountedKind, ...] = ("facet", "source", "alias", "edge", "version")
TOGETHER = ""
"""The word of a kind of which all rows are counted together: edges, and versions."""
_COUNTED_TOGETHER = {"edge": (artifact_parents, artifact_data), "version": (versions,)}


class ShortList(NamedTuple):
    """A list of which rows are gone: of what, how many rows were written, and how many there are."""

    kind: str
    word: str
    counted: int
    here: int


def note_added(tx: Transaction, kind: CountedKind, words: Iterable[str]) -> None:
    """Count a row for each of these words."""
    _change(tx, kind, Counter(words))


def note_deleted(tx: Transaction, kind: CountedKind, words: Iterable[str]) -> None:
    """Count a row less for each of these words."""
    _change(tx, kind, {word: -number for word, number in Counter(words).items()})


def short_lists(tx: Transaction, kind: CountedKind, words: Collection[str] | None = None) -> tuple[ShortList, ...]:
    """Of these words, or (None) of every one, the lists that have other than as many rows as were written."""
    if words is None:
        query = select(row_counts.c.word, row_counts.c.counted).where(row_counts.c.kind == kind)
        counted = {row.word: row.counted for row in tx.execute(query)}
        here = {row.word: row.here for query in _rows_of(kind, None) for row in tx.execute(query)}
    else:
        counted, here = {}, {}
        for part in in_parts(sorted(set(words))):
            query = select(row_counts.c.word, row_counts.c.counted).where(
                row_counts.c.kind == kind, row_counts.c.word.in_(part)
            )
            counted |= {row.word: row.counted for row in tx.execute(query)}
            here |= {row.word: row.here for query in _rows_of(kind, part) for row in tx.execute(query)}
    pairs = ((word, counted.get(word, 0), here.get(word, 0)) for word in sorted({*counted, *here}))
    return tuple(ShortList(kind, word, number, rows) for word, number, rows in pairs if number != rows)


def recount(tx: Transaction, kinds: Collection[CountedKind] = KINDS) -> None:
    """Count the lists of these kinds anew, from the rows that are there: after all of them were made again."""
    for kind in kinds:
        tx.execute(delete(row_counts).where(row_counts.c.kind == kind))
        for query in _rows_of(kind, None):
            rows = query.subquery("counted_rows")
            counts = select(literal(kind), rows.c.word, rows.c.here)
            tx.execute(insert(row_counts).from_select(["kind", "word", "counted"], counts))


def _change(tx: Transaction, kind: CountedKind, changes: Mapping[str, int]) -> None:
    rows = [{"kind": kind, "word": word, "counted": change} for word, change in sorted(changes.items()) if change]
    if not rows:
        return
    statement = insert_or(tx, row_counts)
    more = row_counts.c.counted + statement.excluded.counted
    tx.execute(statement.on_conflict_do_update(index_elements=["kind", "word"], set_={"counted": more}), rows)


def _rows_of(kind: CountedKind, words: Collection[str] | None) -> tuple[Select[str, int], ...]:
    """What counts the rows that are there, by word."""
    tables = _COUNTED_TOGETHER.get(kind)
    if tables is not None:
        each = union_all(*(select(func.count().label("here")).select_from(table) for table in tables)).subquery()
        return (select(literal(TOGETHER).label("word"), func.sum(each.c.here).label("here")),)
    columns = {
        "facet": (facet_words.c.facet, facet_numbers.c.facet),
        "source": (version_sources.c.source,),
        "alias": (aliases.c.alias,),
    }[kind]
    queries = []
    for column in columns:
        # as text: what somebody wrote in the place of a digest is a row too
        query = select(type_coerce(column, String).label("word"), func.count().label("here")).group_by(column)
        queries.append(query if words is None else query.where(column.in_(words)))
    return tuple(queries)
