"""Versions that meet a question, page by page.

A page takes the same statements however many versions there are, and no statement walks over all of them: one counts how many rows
each condition has, up to a bound, and one reads the keys of the page in the order of an index. Where a condition has few rows they
are all read and sorted; else the page is read in its order, from the rows of a condition where these are in that order, and every
other condition is looked up for each row by its key.

Of what holds today (`OF_TODAY`) rows only choose: a page has every version that may meet such a condition, and whoever shows it
finds out which do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    and_,
    exists,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    tuple_,
)

from peft_registry.registry.database.catalog.facet_rows import chunks, has_key
from peft_registry.registry.database.catalog.pages import behind_prefix
from peft_registry.registry.database.catalog.versions import read_versions, select_versions
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import aliases, facet_numbers, facet_words, versions
from peft_registry.schemas.facets import (
    METRIC,
    OF_TODAY,
    RULES,
    UNSETTLED,
    Condition,
    Order,
    Range,
    Span,
    VersionQuery,
    Words,
)
from peft_registry.schemas.version import Version

FEW_ROWS = 1000  # of a condition: so many are read and sorted in a few milliseconds
_COMPARED = 2000  # names of figures, or words of a facet, that are looked at for "did you mean"
SearchKey = tuple[str | float | int, ...]
"""What orders a version: the value of the facet if it is not the name, then name and number."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Some versions in the order of a question, and the key to continue after; None at the end."""

    versions: tuple[Version, ...]
    next: SearchKey | None


def search_versions(
    tx: Transaction, query: VersionQuery, *, after: SearchKey | None = None, limit: int = 100
) -> SearchPage:
    """At most `limit` versions behind `after` that meet every condition, in the order of the question.

    In an order by a number only versions that have it are listed.
    """
    source = _chosen_source(tx, query)
    keys = [tuple(row) for row in tx.execute(_keys_query(source, query, after, limit))]
    page = keys[:limit]
    found: dict[tuple[str, int], Version] = {}
    for chunk in chunks([(key[-2], key[-1]) for key in page]):
        versions_read = read_versions(tx, select_versions().where(has_key(versions, chunk)))
        found |= {(version.name, version.number): version for version in versions_read}
    # a version whose artifact has no row is in no list: `registry log check` names it
    listed = tuple(found[key[-2], key[-1]] for key in page if (key[-2], key[-1]) in found)
    return SearchPage(listed, page[-1] if len(keys) > limit else None)


def figures(tx: Transaction) -> tuple[str, ...]:
    """The figures that versions are found by; the cost grows with figures, never with versions."""
    start = f"{METRIC}["
    column = facet_numbers.c.facet
    return _different(tx, column, and_(column >= start, column < behind_prefix(start)))


def has_figure(tx: Transaction, name: str) -> bool:
    """Whether any version has a figure of this name."""
    return tx.execute(select(literal(1)).where(facet_numbers.c.facet == name).limit(1)).first() is not None


def known_words(tx: Transaction, facet: str) -> tuple[str, ...]:
    """The words of a facet that versions are found by; the cost grows with words, never with versions."""
    return _different(tx, *_words_of(facet))


def is_known_word(tx: Transaction, facet: str, word: str) -> bool:
    """Whether any version has a word of a facet."""
    column, of_facet = _words_of(facet)
    return tx.execute(select(literal(1)).where(of_facet, column == word).limit(1)).first() is not None


def _words_of(facet: str) -> tuple[ColumnElement[str], ColumnElement[bool]]:
    """The column that holds the words of a facet, and in which rows."""
    if facet == "alias":
        return aliases.c.alias, true()
    return facet_words.c.word, facet_words.c.facet == facet


def _different(tx: Transaction, column: ColumnElement[str], rows: ColumnElement[bool]) -> tuple[str, ...]:
    """The different values of a column, in order and as many as are compared, by jumping through its index."""
    values: list[str] = []
    query = select(func.min(column)).where(rows)
    value: str | None = tx.execute(query).scalar_one()
    while value is not None and len(values) < _COMPARED:
        values.append(value)
        value = tx.execute(query.where(column > value)).scalar_one()
    return tuple(values)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the keys of a page are read: a table, which of its rows, and the conditions that these rows meet already."""

    table: FromClause
    rows: ColumnElement[bool]
    meets: tuple[Condition, ...]


def _chosen_source(tx: Transaction, query: VersionQuery) -> _Source:
    """The condition with the fewest rows, where these are few; else rows that lie in the order of the question."""
    order = query.order
    candidates = [source for source in map(_source, query.conditions) if source is not None]
    if candidates:
        counts = [
            select(func.count())
            .select_from(select(literal(1)).select_from(source.table).where(source.rows).limit(FEW_ROWS + 1).subquery())
            .scalar_subquery()
            for source in candidates
        ]
        counted = tx.execute(select(*counts)).one()
        fewest = min(range(len(candidates)), key=lambda index: counted[index])
        if counted[fewest] <= FEW_ROWS:
            return candidates[fewest]
    if order.facet not in ("name", "registered"):
        ranges = [part for part in query.conditions if isinstance(part, Range) and part.facet == order.facet]
        in_range = and_(true(), *(_in_range(part, facet_numbers.c.value) for part in ranges))
        return _Source(facet_numbers, and_(facet_numbers.c.facet == order.facet, in_range), tuple(ranges))
    for source in candidates:
        if _lies_in_order(source, order):
            return source
    return _Source(versions, true(), ())


def _source(condition: Condition) -> _Source | None:
    """The rows of a condition that an index gives; None where they are all but some."""
    if not isinstance(condition, Span) and condition.excluded:
        return None
    match condition:
        case Words():
            return _source_of_words(condition)
        case Range(facet=facet):
            in_range = and_(facet_numbers.c.facet == facet, _in_range(condition, facet_numbers.c.value))
            return _Source(facet_numbers, in_range, (condition,))
        case Span():
            return _Source(versions, _in_span(condition, versions), (condition,))


def _source_of_words(condition: Words) -> _Source:
    words = condition.words
    if condition.facet == "name":
        return _Source(versions, _has_name(versions, words), (condition,))
    if condition.facet == "gate":
        guarded = select(aliases.c.name, aliases.c.number).distinct().subquery()
        return _Source(guarded, true(), (condition,))
    table, columns, rows = (
        (aliases, (aliases.c.name, aliases.c.number), _among(aliases.c.alias, words))
        if condition.facet == "alias"
        else (
            facet_words,
            (facet_words.c.name, facet_words.c.number, facet_words.c.registered_at),
            and_(facet_words.c.facet == condition.facet, _among(facet_words.c.word, words)),
        )
    )
    if len(words) > 1 and RULES[condition.facet].several:
        # a version may have several of the words, and is one row of a page
        return _Source(select(*columns).where(rows).distinct().subquery(), true(), (condition,))
    return _Source(table, rows, (condition,))


def _lies_in_order(source: _Source, order: Order) -> bool:
    """Whether an index gives the rows of a condition in the order of the question."""
    (condition,) = source.meets
    match condition:
        case Words(facet="name"):
            return order.facet == "name"
        case Words(facet="gate"):
            return False
        case Words(words=words):
            return len(words) == 1 and (condition.facet != "alias" or order.facet == "name")
        case Span():
            return order.facet == "registered"
        case _:
            return False


def _keys_query(source: _Source, query: VersionQuery, after: SearchKey | None, limit: int) -> Any:  # a select of keys
    table = source.table
    values = _order_values(source, query.order)
    columns = [*values, table.c.name, table.c.number]
    statement = select(*columns).select_from(table).where(source.rows, *(value.is_not(None) for value in values))
    for condition in query.conditions:
        if not any(condition is met for met in source.meets):
            statement = statement.where(_meets(condition, table))
    if after is not None:
        bounds = tuple_(*(literal(part, column.type) for part, column in zip(after, columns, strict=True)))
        position = tuple_(*columns)
        statement = statement.where(position < bounds if query.order.descending else position > bounds)
    ordered = [column.desc() if query.order.descending else column for column in columns]
    return statement.order_by(*ordered).limit(limit + 1)


def _order_values(source: _Source, order: Order) -> list[ColumnElement[Any]]:
    """What comes before the name in an order; nothing in the order by name.

    What does not lie beside the rows is looked up for each: after a join a database may begin at the other end, with all its rows.
    """
    table = source.table
    if order.facet == "name":
        return []
    if order.facet == "registered":
        if "registered_at" in table.c:
            return [table.c.registered_at]
        dated = versions.alias("dated_by")
        return [select(dated.c.registered_at).where(_same_version(dated, table)).scalar_subquery()]
    if table is facet_numbers and all(condition.facet == order.facet for condition in source.meets):
        return [facet_numbers.c.value]
    by = facet_numbers.alias("ordered_by")
    return [select(by.c.value).where(by.c.facet == order.facet, _same_version(by, table)).scalar_subquery()]


def _meets(condition: Condition, table: FromClause) -> ColumnElement[bool]:
    """Whether the version of a row meets a condition, looked up by its key."""
    match condition:
        case Words():
            return _meets_words(condition, table)
        case Range(facet=facet):
            counted = facet_numbers.alias("counted")
            return exists(
                select(literal(1)).where(
                    counted.c.facet == facet, _same_version(counted, table), _in_range(condition, counted.c.value)
                )
            )
        case Span():
            if "registered_at" in table.c:
                return _in_span(condition, table)
            dated = versions.alias("dated")
            return exists(select(literal(1)).where(_same_version(dated, table), _in_span(condition, dated)))


def _meets_words(condition: Words, table: FromClause) -> ColumnElement[bool]:
    match condition:
        case Words(facet="name", words=words, excluded=excluded):
            named = _has_name(table, words)
            return not_(named) if excluded else named
        case Words(facet="alias", words=words, excluded=excluded):
            pointing = aliases.alias("pointing")
            has = exists(
                select(literal(1)).where(
                    pointing.c.name == table.c.name,
                    pointing.c.alias.in_(words),
                    pointing.c.number == table.c.number,
                )
            )
            return not_(has) if excluded else has
        case Words(facet="gate"):
            guarded = aliases.alias("guarded")
            return exists(select(literal(1)).where(_same_version(guarded, table)))
        case Words(facet=facet, words=words, excluded=excluded):
            has_word = _has_word(facet, words, table)
            if not excluded:
                return has_word
            # it may have the word among its rows, and not have it today
            return or_(not_(has_word), _has_word(UNSETTLED, (facet,), table)) if facet in OF_TODAY else not_(has_word)


def _has_word(facet: str, words: Sequence[str], table: FromClause) -> ColumnElement[bool]:
    said = facet_words.alias("said")
    return exists(
        select(literal(1)).where(said.c.facet == facet, _among(said.c.word, words), _same_version(said, table))
    )


def _among(column: ColumnElement[str], words: Sequence[str]) -> ColumnElement[bool]:
    # an equality for one: the rows of an index lie in the order of what follows it
    return column == words[0] if len(words) == 1 else column.in_(words)


def _has_name(table: FromClause, words: Sequence[str]) -> ColumnElement[bool]:
    parts = []
    for word in words:
        if word.endswith("*"):
            prefix = word.removesuffix("*")
            parts.append(and_(table.c.name >= prefix, table.c.name < behind_prefix(prefix)) if prefix else true())
        else:
            parts.append(table.c.name == word)
    return or_(*parts)


def _in_range(condition: Range, column: ColumnElement[float]) -> ColumnElement[bool]:
    if condition.excluded:
        return column != condition.low
    bounds: list[ColumnElement[bool]] = []
    if condition.low is not None:
        bounds.append(column >= condition.low if condition.includes_low else column > condition.low)
    if condition.high is not None:
        bounds.append(column <= condition.high if condition.includes_high else column < condition.high)
    return and_(true(), *bounds)


def _in_span(condition: Span, table: FromClause) -> ColumnElement[bool]:
    bounds: list[ColumnElement[bool]] = []
    if condition.start is not None:
        bounds.append(table.c.registered_at >= condition.start)
    if condition.end is not None:
        bounds.append(table.c.registered_at < condition.end)
    return and_(true(), *bounds)


def _same_version(table: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(table.c.name == other.c.name, table.c.number == other.c.number)
