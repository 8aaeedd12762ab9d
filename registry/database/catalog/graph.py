"""The lineage graph: edges by recursive queries (one walk up, one walk down, however deep), and what nodes are called."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import CTE, Label, func, literal, select, type_coerce, union

from peft_registry.registry.database.catalog.versions import read_versions, select_versions
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import (
    DigestText,
    aliases,
    artifact_data,
    artifact_parents,
    artifacts,
    versions,
)
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import LineageEdge, LineageNode
from peft_registry.schemas.version import Version

_DIGESTS_AT_ONCE = 500
"""SQLite and PostgreSQL both bound the parameters of one query; this is far below."""


def edges_above(tx: Transaction, focus: Digest) -> tuple[LineageEdge, ...]:
    """Every edge that leads to `focus`: what it was made from, what that was made from, and the data of each."""
    seen = select(_given(tx, focus)).cte("above", recursive=True)
    walk = select(artifact_parents.c.parent).join(seen, artifact_parents.c.child == seen.c.digest)
    above = seen.union(walk)
    parents = select(artifact_parents.c.parent, artifact_parents.c.child, artifact_parents.c.role)
    parents = parents.where(artifact_parents.c.child.in_(select(above.c.digest)))
    data = select(artifact_data.c.sha256, artifact_data.c.manifest_digest, literal("data"))
    data = data.where(artifact_data.c.manifest_digest.in_(select(above.c.digest)))
    return tuple(LineageEdge(source=row[0], target=row[1], role=row[2]) for row in tx.execute(union(parents, data)))


def edges_below(tx: Transaction, focus: Digest) -> tuple[LineageEdge, ...]:
    """Every edge that `focus` (an artifact, or a data file) leads to."""
    below = _below(tx, focus)
    parents = select(artifact_parents.c.parent, artifact_parents.c.child, artifact_parents.c.role)
    parents = parents.where(artifact_parents.c.parent.in_(select(below.c.digest)))
    data = select(artifact_data.c.sha256, artifact_data.c.manifest_digest, literal("data"))
    data = data.where(artifact_data.c.sha256 == focus)
    return tuple(LineageEdge(source=row[0], target=row[1], role=row[2]) for row in tx.execute(union(parents, data)))


@dataclass(frozen=True, slots=True)
class Below:
    """What was made from something: how many versions, the first of them by name and number, and the aliases that point at any."""

    count: int
    first: tuple[Version, ...]
    aliases: tuple[str, ...]  # `name@alias`, in order


def versions_below(tx: Transaction, starts: Sequence[Digest], *, limit: int, registered_by: str | None = None) -> Below:
    """The versions of these artifacts and of what was made from them, or from these data files, at any distance.

    Args:
        tx: reads them.
        starts: digests of manifests and of data.
        limit: how many versions are returned; all are counted.
        registered_by: the id of a key; what it registered counts as a start as well.
    """
    below = _below_any(tx, starts, registered_by=registered_by)
    reached = versions.c.manifest_digest.in_(select(below.c.digest))
    count: int = tx.execute(select(func.count()).select_from(versions).where(reached)).scalar_one()
    first = read_versions(
        tx, select_versions().where(reached).order_by(versions.c.name, versions.c.number).limit(limit)
    )
    pointing = (
        select(aliases.c.name, aliases.c.alias)
        .join_from(aliases, versions, (versions.c.name == aliases.c.name) & (versions.c.number == aliases.c.number))
        .where(reached)
        .order_by(aliases.c.name, aliases.c.alias)
    )
    return Below(count, first, tuple(f"{name}@{alias}" for name, alias in tx.execute(pointing)))


def describe_nodes(tx: Transaction, digests: Iterable[Digest]) -> dict[Digest, LineageNode]:
    """What each digest is, as far as this registry knows; a digest that it does not know is absent."""
    found: dict[Digest, LineageNode] = {}
    for some in _in_parts(sorted(set(digests))):
        found |= {node.digest: node for node in _data(tx, some)}
        found |= {node.digest: node for node in _artifacts(tx, some)}
    return found


def _below(tx: Transaction, focus: Digest) -> CTE:
    return _below_any(tx, [focus])


def _below_any(tx: Transaction, starts: Sequence[Digest], *, registered_by: str | None = None) -> CTE:
    trained = select(artifact_data.c.manifest_digest.label("digest")).where(artifact_data.c.sha256.in_(starts))
    parts = [*(select(_given(tx, focus)) for focus in starts), trained]
    if registered_by is not None:
        parts.append(select(versions.c.manifest_digest.label("digest")).where(versions.c.key_id == registered_by))
    start = union(*parts).cte("start")
    seen = select(start.c.digest).cte("below", recursive=True)
    return seen.union(select(artifact_parents.c.child).join(seen, artifact_parents.c.parent == seen.c.digest))


def _given(tx: Transaction, digest: Digest) -> Label[Digest]:
    """A digest as the column `digest`; PostgreSQL demands that a recursive query starts with the collation it ends with."""
    value = literal(digest, DigestText)
    if tx.dialect.name == "postgresql":
        return type_coerce(value.collate("C"), DigestText).label("digest")
    return value.label("digest")


def _artifacts(tx: Transaction, digests: Sequence[Digest]) -> Iterator[LineageNode]:
    query = (
        select(artifacts.c.manifest_digest, artifacts.c.kind, artifacts.c.method, versions.c.name, versions.c.number)
        .outerjoin_from(artifacts, versions, versions.c.manifest_digest == artifacts.c.manifest_digest)
        .where(artifacts.c.manifest_digest.in_(digests))
        .order_by(
            artifacts.c.manifest_digest, versions.c.log_index.desc()
        )  # the first registration comes last and stays
    )
    for digest, kind, method, name, number in tx.execute(query):
        registered = name is not None
        label = f"{name}:{number}" if registered else digest.short
        yield LineageNode(digest=digest, kind=kind, label=label, registered=registered, detail=method or "")


def _data(tx: Transaction, digests: Sequence[Digest]) -> Iterator[LineageNode]:
    query = select(artifact_data.c.sha256, artifact_data.c.name).where(artifact_data.c.sha256.in_(digests))
    # one file may have been used under several names: the last in order is shown, always the same one
    for digest, name in tx.execute(query.distinct().order_by(artifact_data.c.sha256, artifact_data.c.name)):
        yield LineageNode(digest=digest, kind="data", label=name, registered=False)


def _in_parts(digests: Sequence[Digest]) -> Iterator[Sequence[Digest]]:
    for start in range(0, len(digests), _DIGESTS_AT_ONCE):
        yield digests[start : start + _DIGESTS_AT_ONCE]
