"""Lists of versions, page by page: the key of the last row says where the next page starts, however many there are."""

from dataclasses import dataclass

from sqlalchemy import literal, select, tuple_

from peft_registry.registry.database.catalog.versions import read_versions, select_versions
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import ByteOrdered, artifacts, versions
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version

PageKey = tuple[str, int]
"""Name and number of the last version of a page."""


@dataclass(frozen=True, slots=True)
class VersionFilter:
    """What to list; None means any. `base` is the manifest digest of a base, or a weights digest.

    Not by kind: which versions are of one is read from their manifests (`verification/signed_versions.py`).
    """

    name: str | None = None
    name_prefix: str | None = None
    method: str | None = None
    base: Digest | None = None


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Some versions by name and number, and the key to continue after; None at the end."""

    versions: tuple[Version, ...]
    next: PageKey | None


def list_versions(
    tx: Transaction, *, where: VersionFilter | None = None, after: PageKey | None = None, limit: int = 100
) -> VersionPage:
    """At most `limit` versions behind `after`, in the order name, number."""
    where = where or VersionFilter()
    order = (versions.c.name, versions.c.number)
    query = select_versions().order_by(*order).limit(limit + 1)
    if where.name is not None:
        query = query.where(versions.c.name == where.name)
    if where.name_prefix:
        query = query.where(versions.c.name >= where.name_prefix, versions.c.name < behind_prefix(where.name_prefix))
    if where.method is not None:
        query = query.where(versions.c.method == where.method)
    if where.base is not None:
        query = query.where(versions.c.base_weights == _weights_of(tx, where.base))
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(literal(after[0], ByteOrdered), literal(after[1])))
    found = read_versions(tx, query)
    page = found[:limit]
    return VersionPage(page, (page[-1].name, page[-1].number) if len(found) > limit else None)


def _weights_of(tx: Transaction, base: Digest) -> Digest:
    """What a base's descendants record of it even when they came from elsewhere: its weights."""
    query = select(artifacts.c.weights_digest).where(artifacts.c.manifest_digest == base)
    found: Digest | None = tx.execute(query).scalar_one_or_none()
    return found or base


def behind_prefix(prefix: str) -> str:
    """The smallest text behind every text with this prefix: names are ASCII (`check_name`), so one step is enough."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
