"""What each version was made from, at any distance, as rows of its own: so that what something went into is read from an index.

A walk from a base down to ten thousand adapters takes as long as they are many; these rows lie in the order of a page. They repeat
the edges of the lineage graph, which repeat what manifests say: whoever can write the database can change both.
"""

from typing import Any, NamedTuple

from sqlalchemy import CompoundSelect, delete, func, insert, literal, select, true
from sqlalchemy import text as sql

from peft_registry.registry.database.catalog.row_counts import note_added, note_deleted
from peft_registry.registry.database.catalog.walks import artifacts_above, artifacts_below
from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import (
    ByteOrdered,
    DigestText,
    artifact_data,
    artifact_parents,
    version_sources,
    versions,
)
from peft_registry.schemas.identity import Digest

_COLUMNS = ("source", "name", "number")


def insert_sources(tx: Transaction, *, name: str, number: int, manifest_digest: Digest) -> None:
    """Record what a new version was made from: its artifact, everything that went into it, and the data of each."""
    sources = _sources_of(tx, manifest_digest).subquery("sources")
    rows = select(sources.c.source, literal(name, ByteOrdered), literal(number))
    added = insert(version_sources).from_select(_COLUMNS, rows).returning(version_sources.c.source)
    note_added(tx, "source", map(str, tx.execute(added).scalars()))


def insert_sources_below(tx: Transaction, manifest_digest: Digest) -> None:
    """Record it for every version of an artifact, and of what was made from it, after an edge to or from the artifact was added."""
    sources = _sources_of(tx, manifest_digest).subquery("sources")
    below = artifacts_below(tx, [manifest_digest])
    made = select(versions.c.name, versions.c.number).where(versions.c.manifest_digest.in_(select(below.c.digest)))
    reached = made.subquery("made")
    pairs = sources.join(reached, true())
    # a condition that always holds: behind a join SQLite reads "ON CONFLICT" as a condition of the join
    rows = select(sources.c.source, reached.c.name, reached.c.number).select_from(pairs).where(reached.c.number > 0)
    added = insert_or(tx, version_sources).from_select(_COLUMNS, rows).on_conflict_do_nothing()
    note_added(tx, "source", map(str, tx.execute(added.returning(version_sources.c.source)).scalars()))


def delete_sources(tx: Transaction, *, name: str, number: int) -> None:
    """Forget what a version was made from; before its own row is deleted."""
    of_version = (version_sources.c.name == name, version_sources.c.number == number)
    deleted = delete(version_sources).where(*of_version).returning(version_sources.c.source)
    note_deleted(tx, "source", map(str, tx.execute(deleted).scalars()))


# revision 0005 filled the table by the same walk
_WRONG = sql("""
WITH RECURSIVE above (name, number, digest) AS (
    SELECT name, number, manifest_digest FROM versions
    UNION
    SELECT above.name, above.number, artifact_parents.parent
    FROM above JOIN artifact_parents ON artifact_parents.child = above.digest
), given (source, name, number) AS (
    SELECT digest, name, number FROM above
    UNION
    SELECT artifact_data.sha256, above.name, above.number
    FROM above JOIN artifact_data ON artifact_data.manifest_digest = above.digest
), missing AS (
    SELECT source, name, number FROM given EXCEPT SELECT source, name, number FROM version_sources
), added AS (
    SELECT source, name, number FROM version_sources EXCEPT SELECT source, name, number FROM given
)
SELECT source, name, number, 1 AS is_missing FROM missing
UNION ALL SELECT source, name, number, 0 FROM added ORDER BY name, number, source LIMIT 1000
""")


class WrongSource(NamedTuple):
    """What a version was made from by the edges of the lineage graph, and no row says so; or the other way round."""

    source: str
    name: str
    number: int
    is_missing: bool


def wrong_sources(tx: Transaction) -> tuple[WrongSource, ...]:
    """The first of them; it walks up from every version."""
    return tuple(WrongSource(row.source, row.name, row.number, bool(row.is_missing)) for row in tx.execute(_WRONG))


def edges_at(tx: Transaction, manifest_digest: Digest) -> int:
    """How many edges begin or end at an artifact; they are added, and never taken away."""
    conditions = (
        artifact_parents.c.child == manifest_digest,
        artifact_parents.c.parent == manifest_digest,
        artifact_data.c.manifest_digest == manifest_digest,
    )
    counts = [select(func.count()).where(condition).scalar_subquery() for condition in conditions]
    return sum(tx.execute(select(*counts)).one())


def _sources_of(tx: Transaction, manifest_digest: Digest) -> CompoundSelect[Any]:
    above = artifacts_above(tx.dialect.name, literal(manifest_digest, DigestText))
    return select(above.c.digest.label("source")).union(
        select(artifact_data.c.sha256).join(above, artifact_data.c.manifest_digest == above.c.digest)
    )
