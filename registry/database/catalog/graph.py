"""The lineage graph: edges, and what nodes are called.

All of a graph is read by recursive queries, one walk up and one walk down, however deep; the part near a digest level by level.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import BindParameter, FromClause, Integer, Select, bindparam, func, literal, select, union_all

from peft_registry.registry.database.catalog.versions import versions_named
from peft_registry.registry.database.catalog.walks import artifacts_above, artifacts_below
from peft_registry.registry.database.session import Transaction, in_parts
from peft_registry.registry.database.tables import (
    ByteOrdered,
    DigestText,
    aliases,
    artifact_data,
    artifact_parents,
    artifacts,
    version_sources,
    versions,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import LineageEdge, LineageNode
from peft_registry.schemas.version import Version

_PARENT_EDGES = select(
    artifact_parents.c.parent.label("source"), artifact_parents.c.child.label("target"), artifact_parents.c.role
)
_DATA_EDGES = select(
    artifact_data.c.sha256.label("source"),
    artifact_data.c.manifest_digest.label("target"),
    literal("data").label("role"),
)


# a statement takes longer to put together than to run: those that are asked of every version are put together once
_FOCUS = bindparam("focus", type_=DigestText)
_SOME = bindparam("some", expanding=True, type_=DigestText)
_ROOM = bindparam("room", type_=Integer)


def edges_above(tx: Transaction, focus: Digest, *, depth: int | None = None) -> tuple[LineageEdge, ...]:
    """Every edge that leads to `focus`: what it was made from, what that was made from, and the data of each.

    `depth` is how many edges away from the focus the walk ends; None goes all the way.
    """
    if depth is not None:
        return _edges_near(tx, focus, _TO_SOME, depth=depth, limit=None)
    return _edges(tx, _all_above(tx.dialect.name), {"focus": focus}, limit=None)


@cache
def _all_above(dialect: str) -> "_EdgeQueries":
    """The edges that lead to the focus, from however far."""
    above = artifacts_above(dialect, _FOCUS)
    return _EdgeQueries.of(_edges_to(select(above.c.digest)))


def edges_below(
    tx: Transaction, focus: Digest, *, depth: int | None = None, limit: int | None = None
) -> tuple[LineageEdge, ...]:
    """Every edge that `focus` (an artifact, or a data file) leads to; at most `limit`, the nearest first."""
    if depth is not None or limit is not None:
        return _edges_near(tx, focus, _FROM_SOME, depth=depth, limit=limit)
    below = artifacts_below(tx, [focus])
    return _edges(tx, _EdgeQueries.of(_edges_from(select(below.c.digest))), {}, limit=None)


def _edges_near(
    tx: Transaction,
    focus: Digest,
    beside: "_EdgeQueries",
    *,
    depth: int | None,
    limit: int | None,
) -> tuple[LineageEdge, ...]:
    """The edges around the focus, level after level; a recursive query would read all of them, however few are asked for."""
    edges: list[LineageEdge] = []
    seen, level = {focus}, [focus]
    while level and depth != 0 and (limit is None or len(edges) < limit):
        reached: list[LineageEdge] = []
        for some in in_parts(level):
            room = None if limit is None else limit - len(edges) - len(reached)
            reached += _edges(tx, beside, {"some": some}, limit=room)
        edges += reached
        ends = dict.fromkeys(digest for edge in reached for digest in (edge.source, edge.target))
        level = [digest for digest in ends if digest not in seen]
        seen.update(level)
        depth = None if depth is None else depth - 1
    return tuple(edges)


def _edges_to(digests: BindParameter[Any] | Select[Any]) -> tuple[Select[Any], ...]:
    """The edges that end at any of these, from artifacts and from data."""
    return (
        _PARENT_EDGES.where(artifact_parents.c.child.in_(digests)),
        _DATA_EDGES.where(artifact_data.c.manifest_digest.in_(digests)),
    )


def _edges_from(digests: BindParameter[Any] | Select[Any]) -> tuple[Select[Any], ...]:
    """The edges that begin at any of these, at artifacts and at data."""
    return (
        _PARENT_EDGES.where(artifact_parents.c.parent.in_(digests)),
        _DATA_EDGES.where(artifact_data.c.sha256.in_(digests)),
    )


@dataclass(frozen=True, slots=True)
class _EdgeQueries:
    """What finds edges, in an order that depends on the rows alone: all of them, and the first that there is room for."""

    all: tuple[Select[Any], ...]
    some: tuple[Select[Any], ...]

    @classmethod
    def of(cls, queries: Iterable[Select[Any]]) -> "_EdgeQueries":
        """Of these, one after the other."""
        ordered = tuple(query.order_by("source", "target", "role") for query in queries)
        return cls(ordered, tuple(query.limit(_ROOM) for query in ordered))


_TO_SOME = _EdgeQueries.of(_edges_to(_SOME))
_FROM_SOME = _EdgeQueries.of(_edges_from(_SOME))


def _edges(
    tx: Transaction, asked: _EdgeQueries, values: Mapping[str, Any], *, limit: int | None
) -> tuple[LineageEdge, ...]:
    """What these find together with the values of their parameters, at most `limit`; always the same of equal rows."""
    edges: list[LineageEdge] = []
    for query in asked.all if limit is None else asked.some:
        room = {} if limit is None else {"room": limit - len(edges)}
        rows = tx.execute(query, {**values, **room})
        edges += [LineageEdge(source=row.source, target=row.target, role=row.role) for row in rows]
    return tuple(edges)


@dataclass(frozen=True, slots=True)
class Below:
    """What was made from something: how many versions, the first of them by name and number, and the aliases that point at any."""

    count: int
    first: tuple[Version, ...]
    aliases: tuple[str, ...]  # `name@alias`, in order, as many as versions
    alias_count: int


def versions_below(
    tx: Transaction,
    starts: Sequence[Digest],
    *,
    limit: int,
    depth: int | None = None,
    registered_by: str | None = None,
) -> Below:
    """The versions of these artifacts and of what was made from them, or from these data files, at any distance; found by a walk.

    Args:
        tx: reads them.
        starts: digests of manifests and of data.
        limit: how many versions, and how many aliases, are returned; all are counted.
        depth: how many edges below the starts the walk ends; None goes all the way.
        registered_by: the id of a key; what it registered counts as a start as well.
    """
    below = artifacts_below(tx, starts, depth=depth, registered_by=registered_by)
    reached = select(versions.c.name, versions.c.number).where(versions.c.manifest_digest.in_(select(below.c.digest)))
    return _below(tx, reached.cte("reached"), limit)  # it is made once, whichever parts of the answer read it


def versions_of_sources(tx: Transaction, starts: Sequence[Digest], *, limit: int) -> Below:
    """The same, however far down, from the rows that say what each version was made from."""
    reached = select(version_sources.c.name, version_sources.c.number).where(version_sources.c.source.in_(starts))
    # read in the order of its index by each part of the answer that needs it
    return _below(tx, (reached if len(starts) == 1 else reached.distinct()).subquery("reached"), limit)


def _below(tx: Transaction, reached: FromClause, limit: int) -> Below:
    """What is said of the versions with these names and numbers."""
    order = (reached.c.name, reached.c.number)
    first = select(*order).order_by(*order).limit(limit).subquery("first")
    is_same = (reached.c.name == aliases.c.name) & (reached.c.number == aliases.c.number)
    pointing = select(aliases.c.name, aliases.c.number, aliases.c.alias).where(
        select(literal(1)).where(is_same).exists()
    )
    first_pointing = pointing.order_by(aliases.c.name, aliases.c.alias).limit(limit).subquery("first_pointing")
    no_text = literal("", ByteOrdered)
    # one statement: a walk is what takes the time, and each statement would walk again
    answer = union_all(
        select(literal("versions"), no_text, func.count(), no_text).select_from(reached),
        select(literal("aliases"), no_text, func.count(), no_text).select_from(pointing.subquery("pointing")),
        select(literal("version"), first.c.name, first.c.number, no_text),
        select(literal("alias"), first_pointing.c.name, first_pointing.c.number, first_pointing.c.alias),
    )
    counts: dict[str, int] = {}
    keys: list[tuple[str, int]] = []
    named: list[tuple[str, str]] = []
    for part, name, number, alias in tx.execute(answer):
        if part == "version":
            keys.append((name, number))
        elif part == "alias":
            named.append((name, alias))
        else:
            counts[part] = number
    # names and aliases are ASCII: Python orders them as the databases do, by their bytes
    listed = tuple(f"{name}@{alias}" for name, alias in sorted(named))
    return Below(counts["versions"], versions_named(tx, sorted(keys)), listed, counts["aliases"])


def describe_nodes(tx: Transaction, digests: Iterable[Digest]) -> dict[Digest, LineageNode]:
    """What each digest is, as far as this registry knows; a digest that it does not know is absent."""
    found: dict[Digest, LineageNode] = {}
    for some in in_parts(sorted(set(digests))):
        found |= {node.digest: node for node in _data(tx, some)}
        found |= {node.digest: node for node in _artifacts(tx, some)}
    return found


_ARTIFACTS = (
    select(artifacts.c.manifest_digest, artifacts.c.kind, artifacts.c.method, versions.c.name, versions.c.number)
    .outerjoin_from(artifacts, versions, versions.c.manifest_digest == artifacts.c.manifest_digest)
    .where(artifacts.c.manifest_digest.in_(_SOME))
    # the first registration comes last and stays
    .order_by(artifacts.c.manifest_digest, versions.c.log_index.desc())
)
_DATA = (
    select(artifact_data.c.sha256, artifact_data.c.name)
    .where(artifact_data.c.sha256.in_(_SOME))
    .distinct()
    # one file may have been used under several names: the last in order is shown, always the same one
    .order_by(artifact_data.c.sha256, artifact_data.c.name)
)


def _artifacts(tx: Transaction, digests: Sequence[Digest]) -> Iterator[LineageNode]:
    for digest, kind, method, name, number in tx.execute(_ARTIFACTS, {"some": digests}):
        registered = name is not None
        label = f"{name}:{number}" if registered else digest.short
        yield LineageNode(digest=digest, kind=kind, label=label, registered=registered, detail=method or "")


def _data(tx: Transaction, digests: Sequence[Digest]) -> Iterator[LineageNode]:
    for digest, name in tx.execute(_DATA, {"some": digests}):
        yield LineageNode(digest=digest, kind="data", label=name, registered=False)
