"""Walks over the edges of the lineage graph, as recursive queries to be joined with others."""

from collections.abc import Sequence

from sqlalchemy import CTE, ColumnElement, Label, Select, literal, select, type_coerce, union

from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import DigestText, artifact_data, artifact_parents, versions
from peft_registry.schemas.identity import Digest


def artifacts_above(dialect: str, digest: ColumnElement[Digest]) -> CTE:
    """The column `digest`: an artifact, and every artifact that went into it, however far up; data not among them.

    Args:
        dialect: the name of the database's.
        digest: of the artifact, as a value or a parameter.
    """
    seen = select(given(dialect, digest)).cte("above", recursive=True)
    return seen.union(select(artifact_parents.c.parent).join(seen, artifact_parents.c.child == seen.c.digest))


def artifacts_below(
    tx: Transaction, starts: Sequence[Digest], *, depth: int | None = None, registered_by: str | None = None
) -> CTE:
    """The digests below these, and themselves; what was trained on data, or registered by a key, is a step below it."""
    made = [select(artifact_data.c.manifest_digest.label("digest")).where(artifact_data.c.sha256.in_(starts))]
    if registered_by is not None:
        made.append(select(versions.c.manifest_digest.label("digest")).where(versions.c.key_id == registered_by))
    themselves = [select(given(tx.dialect.name, literal(focus, DigestText))) for focus in starts]
    if depth is None:
        start = union(*themselves, *made).cte("start")
        seen = select(start.c.digest).cte("below", recursive=True)
        return seen.union(_next_below(seen))
    levels = [query.add_columns(literal(0).label("level")) for query in themselves]
    levels += [query.add_columns(literal(1).label("level")) for query in made]
    start = union(*levels).cte("start")
    seen = select(start.c.digest, start.c.level).cte("below", recursive=True)
    steps = _next_below(seen).add_columns(seen.c.level + 1).where(seen.c.level < depth)
    return seen.union(steps)


def _next_below(seen: CTE) -> Select[tuple[Digest]]:
    return select(artifact_parents.c.child).join(seen, artifact_parents.c.parent == seen.c.digest)


def given(dialect: str, digest: ColumnElement[Digest]) -> Label[Digest]:
    """A digest as the column `digest`; PostgreSQL demands that a recursive query starts with the collation it ends with."""
    if dialect == "postgresql":
        return type_coerce(digest.collate("C"), DigestText).label("digest")
    return digest.label("digest")
