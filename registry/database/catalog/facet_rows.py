"""The rows that versions are found by: which the catalogue knows by itself, and how they are written and read.

They repeat what was signed, so that a page can be chosen by an index. Whoever can write the database can change them; what is
printed of a version that was found is held against its manifest and the log (`verification/signed_versions.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Table, delete, insert, tuple_
from sqlalchemy import select as select_columns

from peft_registry.registry.database.catalog.row_counts import note_added, note_deleted
from peft_registry.registry.database.session import Transaction
from peft_registry.registry.database.tables import facet_numbers, facet_words
from peft_registry.schemas.facets import Facet, rule_of
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.version import Version

_VERSIONS_A_STATEMENT = 500  # keys of one look-up; SQLite takes some thousand parameters
VersionKey = tuple[str, int]
"""Name and number."""


def artifact_facets(
    *,
    kind: str,
    method: str | None,
    base_weights: Digest | None,
    size_bytes: int,
    data: Iterable[Digest],
    key_id: str,
) -> tuple[Facet, ...]:
    """What every version is found by: what its artifact is and was made from, and which key registered it."""
    facets = [Facet("kind", kind), Facet("size", float(size_bytes)), Facet("signer", key_id)]
    if method is not None:
        facets.append(Facet("method", method))
    if base_weights is not None:
        facets.append(Facet("base", str(base_weights)))
    facets += [Facet("data", str(digest)) for digest in sorted(set(data))]
    return tuple(facets)


FROM_MANIFEST = frozenset({"kind", "method", "origin", "base", "data", "size", "signer"})
"""The facets that a manifest and its registration say, so that no statement is read for them."""


def facets_of_manifest(manifest: Manifest, key_id: str) -> tuple[Facet, ...]:
    """What a version is found by that its manifest and its registration say."""
    known = artifact_facets(
        kind=manifest.kind,
        method=manifest.method,
        base_weights=None if manifest.base is None else manifest.base.identity.weights,
        size_bytes=sum(entry.size for entry in manifest.files),
        data=(data.sha256 for data in manifest.data),
        key_id=key_id,
    )
    return known if manifest.kind == "base" else (*known, Facet("origin", manifest.origin or "made"))


def insert_facets(tx: Transaction, key: VersionKey, *, registered_at: str, facets: Iterable[Facet]) -> None:
    """Let a version be found by facets that it has no rows of yet; of equal ones there is one row."""
    version = {"name": key[0], "number": key[1]}
    facets = tuple(dict.fromkeys(facets))
    words = [
        version | {"facet": facet.name, "word": facet.value, "registered_at": registered_at}
        for facet in facets
        if isinstance(facet.value, str)
    ]
    numbers = [
        version | {"facet": facet.name, "value": facet.value} for facet in facets if not isinstance(facet.value, str)
    ]
    if words:
        tx.execute(insert(facet_words), words)
    if numbers:
        tx.execute(insert(facet_numbers), numbers)
    note_added(tx, "facet", (facet.name for facet in facets))


def put_facets(
    tx: Transaction, key: VersionKey, *, registered_at: str, facets: Iterable[Facet], besides: Iterable[str] = ()
) -> None:
    """Let a version be found by these facets, in the place of those of the same names, and of the names `besides`."""
    facets = tuple(facets)
    names = sorted({facet.name for facet in facets} | set(besides))
    for table in (facet_words, facet_numbers):
        _delete(tx, table, *_of_version(table, key), table.c.facet.in_(names))
    insert_facets(tx, key, registered_at=registered_at, facets=facets)


def let_be_found(tx: Transaction, versions: Iterable[Version], facet: Facet) -> None:
    """Let versions be found by a word too, each that is not yet."""
    by_key = {(version.name, version.number): version for version in versions}
    for chunk in chunks(tuple(by_key)):
        known = facets_of_versions(tx, chunk, [facet.name])
        rows = [
            {
                "name": name,
                "number": number,
                "facet": facet.name,
                "word": facet.value,
                "registered_at": by_key[name, number].registered_at,
            }
            for name, number in chunk
            if facet.value not in known.get((name, number), {}).get(facet.name, ())
        ]
        if rows:
            tx.execute(insert(facet_words), rows)
            note_added(tx, "facet", [facet.name] * len(rows))


def replace_facets(tx: Transaction, key: VersionKey, *, registered_at: str, facets: Iterable[Facet]) -> None:
    """Let a version be found by these facets and by no others."""
    delete_facets(tx, key)
    insert_facets(tx, key, registered_at=registered_at, facets=facets)


def delete_facets(tx: Transaction, key: VersionKey) -> None:
    """Let a version be found by nothing; before its own row is deleted."""
    for table in (facet_words, facet_numbers):
        _delete(tx, table, *_of_version(table, key))


def facets_of_versions(
    tx: Transaction, keys: Sequence[VersionKey], names: Sequence[str]
) -> dict[VersionKey, dict[str, tuple[str | float, ...]]]:
    """The values of some facets of each version, words in order; what a version does not have is left out."""
    values: dict[VersionKey, dict[str, tuple[str | float, ...]]] = {}
    numbers = [name for name in names if rule_of(name).kept == "numbers"]
    words = [name for name in names if name not in numbers]
    for table, column, kept in (
        (facet_words, facet_words.c.word, words),
        (facet_numbers, facet_numbers.c.value, numbers),
    ):
        for chunk in chunks(keys) if kept else []:
            query = (
                select_columns(table.c.name, table.c.number, table.c.facet, column)
                .where(has_key(table, chunk), table.c.facet.in_(kept))
                .order_by(table.c.facet, column)
            )
            for name, number, facet, value in tx.execute(query):
                of_version = values.setdefault((name, number), {})
                of_version[facet] = (*of_version.get(facet, ()), value)
    return values


def facet_rows_of(tx: Transaction, keys: Sequence[VersionKey]) -> dict[VersionKey, set[Facet]]:
    """What each of these versions is found by, as rows say; of one without rows nothing."""
    rows: dict[VersionKey, set[Facet]] = {key: set() for key in keys}
    for chunk in chunks(keys):
        for table, column in ((facet_words, facet_words.c.word), (facet_numbers, facet_numbers.c.value)):
            query = select_columns(table.c.name, table.c.number, table.c.facet, column).where(has_key(table, chunk))
            for name, number, facet, value in tx.execute(query):
                rows[name, number].add(Facet(facet, value))
    return rows


def keys_with(tx: Transaction, facet: Facet) -> frozenset[VersionKey]:
    """The versions that a row lets be found by a word."""
    is_it = (facet_words.c.facet == facet.name, facet_words.c.word == facet.value)
    rows = tx.execute(select_columns(facet_words.c.name, facet_words.c.number).where(*is_it))
    return frozenset((name, number) for name, number in rows)


def has_key(table: FromClause, keys: Sequence[VersionKey]) -> ColumnElement[bool]:
    """Whether a row is of one of these versions."""
    return tuple_(table.c.name, table.c.number).in_(keys)


def chunks(keys: Sequence[VersionKey]) -> list[Sequence[VersionKey]]:
    """The keys in parts that one statement takes."""
    return [keys[start : start + _VERSIONS_A_STATEMENT] for start in range(0, len(keys), _VERSIONS_A_STATEMENT)]


def _delete(tx: Transaction, table: Table, *rows: ColumnElement[bool]) -> None:
    note_deleted(tx, "facet", tx.execute(delete(table).where(*rows).returning(table.c.facet)).scalars())


def _of_version(table: FromClause, key: VersionKey) -> tuple[Any, Any]:  # two conditions of SQLAlchemy
    return table.c.name == key[0], table.c.number == key[1]
