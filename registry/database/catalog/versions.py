"""Versions: an artifact under a name, numbered from 1 without gaps."""

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import Row, Select, bindparam, func, insert, select, tuple_

from peft_registry.registry.database.catalog.artifacts import ArtifactUnknown
from peft_registry.registry.database.catalog.facet_rows import artifact_facets, insert_facets
from peft_registry.registry.database.catalog.row_counts import TOGETHER, note_added
from peft_registry.registry.database.catalog.sources import insert_sources
from peft_registry.registry.database.failures import RowDamaged, stored_text
from peft_registry.registry.database.session import Transaction, in_parts
from peft_registry.registry.database.tables import aliases, artifact_data, artifacts, versions
from peft_registry.schemas.document import first_problem
from peft_registry.schemas.errors import NotFound, Taken
from peft_registry.schemas.facets import Facet
from peft_registry.schemas.identity import Digest, Reference
from peft_registry.schemas.suggestions import did_you_mean
from peft_registry.schemas.version import Version

_NAMES_COMPARED = 2000
"""How many names are looked at for "did you mean"."""


_HOW_TO_FIND_VERSIONS = "`registry list` shows all names; `registry base add` brings a base in"


_VERSIONS: Select[Any] = select(
    versions.c.name,
    versions.c.number,
    versions.c.manifest_digest,
    versions.c.kind,
    artifacts.c.layout,
    versions.c.method,
    artifacts.c.weights_digest,
    artifacts.c.base_manifest,
    versions.c.base_weights,
    artifacts.c.size_bytes,
    versions.c.key_id,
    versions.c.registered_at,
    versions.c.log_index,
).join_from(
    # a version whose artifact somebody removed is read, and told by `_version`: it is hidden from no list
    versions,
    artifacts,
    versions.c.manifest_digest == artifacts.c.manifest_digest,
    isouter=True,
)

# a statement takes longer to put together than to run: those that every command asks are put together once
_BY_ALIAS = _VERSIONS.where(
    versions.c.name == bindparam("name"),
    versions.c.number
    == select(aliases.c.number)
    .where(aliases.c.name == bindparam("name"), aliases.c.alias == bindparam("alias"))
    .scalar_subquery(),
)
_BY_NUMBER = _VERSIONS.where(versions.c.name == bindparam("name"), versions.c.number == bindparam("number"))
_NEWEST = _VERSIONS.where(versions.c.name == bindparam("name")).order_by(versions.c.number.desc()).limit(1)
_BY_DIGEST = _VERSIONS.where(versions.c.manifest_digest == bindparam("digest")).order_by(versions.c.log_index)
_OF_ARTIFACTS = _VERSIONS.where(versions.c.manifest_digest.in_(bindparam("digests", expanding=True))).order_by(
    versions.c.log_index
)
_OF_ARTIFACT = _VERSIONS.where(versions.c.name == bindparam("name"), versions.c.manifest_digest == bindparam("digest"))
_OF_NAMES = versions.c.name.in_(bindparam("names", expanding=True))
_COUNTS = select(versions.c.name, func.count()).where(_OF_NAMES).group_by(versions.c.name)
_NEWEST_NUMBERS = (
    select(versions.c.name, func.max(versions.c.number).label("newest")).where(_OF_NAMES).group_by(versions.c.name)
)
_ALIASES_OF = (
    select(aliases.c.name, aliases.c.number, aliases.c.alias)
    .where(aliases.c.name.in_(bindparam("names", expanding=True)))
    .order_by(aliases.c.name, aliases.c.alias)
)


class VersionUnknown(NotFound):
    what = "there is no version {version}"
    why = "{reason}"
    fix = "{suggestion}"

    version: Reference
    reason: str
    close: Sequence[str] = ()
    otherwise: str = _HOW_TO_FIND_VERSIONS  # where nothing is close

    @property
    def suggestion(self) -> str:
        return did_you_mean("` or `".join(self.close), self.otherwise)


class NameOfAnotherKind(Taken):
    what = "{name} is the name of {named}"
    why = (
        "{name}:1 is registered as {kind}, and one name never holds bases beside what was made from them: "
        "a bare name means its newest version"
    )
    fix = "choose another name; `registry show {name}` shows what has this one"

    name: str
    kind: str

    @property
    def named(self) -> str:
        return "a base" if self.kind == "base" else "something made from a base"


def require_kind(tx: Transaction, name: str, *, is_base: bool) -> None:
    """Raise unless a base, or what is not a base, may be registered under a name: its first version says which of them it is for.

    Raises:
        NameOfAnotherKind: it is for the other.
    """
    query = select(versions.c.kind).where(versions.c.name == name, versions.c.number == 1)
    first: str | None = tx.execute(query).scalar_one_or_none()
    if first is not None and (first == "base") != is_base:
        raise NameOfAnotherKind(name, first)


def add_version(
    tx: Transaction,
    *,
    name: str,
    manifest_digest: Digest,
    key_id: str,
    registered_at: str,
    log_index: int,
    facets: Iterable[Facet] = (),
) -> Version:
    """Put a recorded artifact under a name; its number is the next of that name.

    It is found by what its artifact is and was made from, and by the `facets` that are read from its statements.

    Raises:
        ArtifactUnknown: the artifact was not inserted before.
        NameOfAnotherKind: a base beside what is none, or the other way round.
        AlreadyRecorded: this name has this artifact already; see `idempotent_version`.
    """
    row = tx.execute(
        select(artifacts.c.kind, artifacts.c.method, artifacts.c.base_weights, artifacts.c.size_bytes).where(
            artifacts.c.manifest_digest == manifest_digest
        )
    ).one_or_none()
    if row is None:
        raise ArtifactUnknown(manifest_digest)
    require_kind(tx, name, is_base=row.kind == "base")
    number = tx.execute(select(func.coalesce(func.max(versions.c.number), 0) + 1).where(versions.c.name == name))
    values = {
        "name": name,
        "number": number.scalar_one(),
        "manifest_digest": manifest_digest,
        "kind": row.kind,
        "method": row.method,
        "base_weights": row.base_weights,
        "key_id": key_id,
        "registered_at": registered_at,
        "log_index": log_index,
    }
    tx.execute(insert(versions), values)
    note_added(tx, "version", [TOGETHER])
    data = tx.execute(
        select(artifact_data.c.sha256).where(artifact_data.c.manifest_digest == manifest_digest)
    ).scalars()
    known = artifact_facets(
        kind=row.kind,
        method=row.method,
        base_weights=row.base_weights,
        size_bytes=row.size_bytes,
        data=data,
        key_id=key_id,
    )
    insert_facets(tx, (name, values["number"]), registered_at=registered_at, facets=(*known, *facets))
    insert_sources(tx, name=name, number=values["number"], manifest_digest=manifest_digest)
    (added,) = read_versions(tx, _BY_NUMBER, name=name, number=values["number"])
    return added


def idempotent_version(tx: Transaction, *, name: str, manifest_digest: Digest) -> Version | None:
    """The version of this name that has this artifact already, if any."""
    return next(iter(read_versions(tx, _OF_ARTIFACT, name=name, digest=manifest_digest)), None)


def resolve(tx: Transaction, reference: Reference) -> Version:
    """The version that a reference means: a bare name is the newest, a digest the version registered first.

    Raises:
        VersionUnknown: there is none; names close by are in the fix.
    """
    if reference.digest is not None:
        return _resolve_digest(tx, reference, reference.digest)
    name = reference.name or ""
    if reference.alias is not None:
        found = read_versions(tx, _BY_ALIAS, name=name, alias=reference.alias)
    elif reference.number is not None:
        found = read_versions(tx, _BY_NUMBER, name=name, number=reference.number)
    else:
        found = read_versions(tx, _NEWEST, name=name)
    if not found:
        raise _unknown(tx, reference, name)
    return found[0]


def versions_of(tx: Transaction, name: str) -> tuple[Version, ...]:
    """Every version of a name, by number."""
    return read_versions(tx, select_versions().where(versions.c.name == name).order_by(versions.c.number))


def versions_named(tx: Transaction, keys: Sequence[tuple[str, int]]) -> tuple[Version, ...]:
    """The versions that have these names and numbers, those of each part of them in order; one that is not there is left out."""
    found: list[Version] = []
    for part in in_parts(keys):
        query = select_versions().where(tuple_(versions.c.name, versions.c.number).in_(part))
        found += read_versions(tx, query.order_by(versions.c.name, versions.c.number))
    return tuple(found)


def newest_numbers(tx: Transaction, names: Sequence[str]) -> dict[str, int]:
    """The number of the newest version of each name, as `resolve` finds it."""
    newest: dict[str, int] = {}
    for part in in_parts(names):
        newest |= {row.name: row.newest for row in tx.execute(_NEWEST_NUMBERS, {"names": part})}
    return newest


class NameSpan(NamedTuple):
    """A name with its versions: when the first and the last of them were registered, and the greatest number."""

    name: str
    first_at: str
    last_at: str
    versions: int


def name_spans(tx: Transaction) -> tuple[NameSpan, ...]:
    """Every name that has a version, by name."""
    columns = (
        versions.c.name,
        func.min(versions.c.registered_at),
        func.max(versions.c.registered_at),
        func.max(versions.c.number),
    )
    return tuple(
        NameSpan(*row) for row in tx.execute(select(*columns).group_by(versions.c.name).order_by(versions.c.name))
    )


def newest_versions(tx: Transaction, *, limit: int) -> tuple[Version, ...]:
    """At most `limit` versions, those that were registered last first."""
    return read_versions(tx, select_versions().order_by(versions.c.log_index.desc()).limit(limit))


def count_versions(tx: Transaction, name: str) -> int:
    """How many versions of a name can be listed."""
    return count_versions_of_each(tx, (name,))[name]


def count_versions_of_each(tx: Transaction, names: Collection[str]) -> dict[str, int]:
    """The same of several names at once."""
    counts = dict.fromkeys(names, 0)
    for part in in_parts(sorted(names)):
        for name, count in tx.execute(_COUNTS, {"names": part}):
            counts[name] = count
    return counts


def version_by_digest(tx: Transaction, manifest_digest: Digest) -> tuple[Version, ...]:
    """Every version that has this artifact, in the order of registration."""
    return read_versions(tx, _BY_DIGEST, digest=manifest_digest)


def versions_of_artifacts(tx: Transaction, manifest_digests: Sequence[Digest]) -> tuple[Version, ...]:
    """Every version that has any of these artifacts, in the order of registration of each part of them."""
    found: list[Version] = []
    for part in in_parts(manifest_digests):
        found += read_versions(tx, _OF_ARTIFACTS, digests=part)
    return tuple(found)


def versions_with_weights(tx: Transaction, weights_digest: Digest) -> tuple[Version, ...]:
    """Every version whose artifact has these weights, in the order of registration."""
    query = select_versions().where(artifacts.c.weights_digest == weights_digest).order_by(versions.c.log_index)
    return read_versions(tx, query)


def is_in_order(tx: Transaction, version: Version) -> bool:
    """True when the version before was logged earlier and the one after later, as numbers are given out."""
    beside = versions.c.number.in_((version.number - 1, version.number + 1))
    query = select(versions.c.number, versions.c.log_index).where(versions.c.name == version.name, beside)
    logged = {row.number: row.log_index for row in tx.execute(query)}
    before = -1 if version.number == 1 else logged.get(version.number - 1)
    after = logged.get(version.number + 1)
    return before is not None and before < version.log_index and (after is None or version.log_index < after)


def base_by_weights(tx: Transaction, weights_digest: Digest) -> Version | None:
    """The base with these weights that was registered last, if any."""
    query = (
        select_versions()
        .where(artifacts.c.weights_digest == weights_digest, artifacts.c.kind == "base")
        .order_by(versions.c.log_index.desc())
        .limit(1)
    )
    return next(iter(read_versions(tx, query)), None)


def select_versions() -> Select[Any]:
    """A query for versions, to be narrowed and given to `read_versions`."""
    return _VERSIONS


def read_versions(tx: Transaction, query: Select[Any], **values: Any) -> tuple[Version, ...]:  # of columns
    """The versions of a query, each with the aliases that point to it; two queries, however many versions.

    Args:
        tx: reads them.
        query: a narrowed `select_versions`.
        values: of its parameters.

    Raises:
        RowDamaged: a row is not what `add_version` writes.
    """
    rows = tx.execute(query, values).all()
    pointing = _aliases_at(tx, rows)
    return tuple(_version(row, tuple(pointing.get((row.name, row.number), ()))) for row in rows)


def _version(row: Row[Any], pointing: tuple[str, ...]) -> Version:
    if row.layout is None:
        raise RowDamaged("artifacts", f"that of {row.name}:{row.number}, {row.manifest_digest}, is gone")
    try:
        return Version(**row._mapping, aliases=pointing)
    except ValidationError as error:
        raise RowDamaged("versions or artifacts", f"{row.name}:{row.number}: {first_problem(error)}") from error


def _aliases_at(tx: Transaction, rows: Iterable[Row[Any]]) -> dict[tuple[str, int], list[str]]:
    names = sorted({stored_text(row.name, table="versions") for row in rows})
    if not names:
        return {}
    pointing: dict[tuple[str, int], list[str]] = {}
    for name, number, alias in tx.execute(_ALIASES_OF, {"names": names}):
        pointing.setdefault((name, number), []).append(alias)
    return pointing


def _resolve_digest(tx: Transaction, reference: Reference, digest: Digest) -> Version:
    found = version_by_digest(tx, digest)
    if found:
        return found[0]
    known = tx.execute(select(artifacts.c.kind).where(artifacts.c.manifest_digest == digest)).scalar_one_or_none()
    if known is not None:
        raise VersionUnknown(reference, f"the {known} with this digest is known, but has no name here")
    raise VersionUnknown(reference, "no artifact with this digest is registered in this home")


def _unknown(tx: Transaction, reference: Reference, name: str) -> VersionUnknown:
    newest: int | None = tx.execute(select(func.max(versions.c.number)).where(versions.c.name == name)).scalar_one()
    if newest is None:
        return VersionUnknown(
            reference, f"nothing has the name {name!r}", difflib.get_close_matches(name, _names(tx), n=3)
        )
    if reference.alias is None:
        return VersionUnknown(reference, f"the newest version of {name} is {newest}", (f"{name}:{newest}",))
    used = tx.execute(select(aliases.c.alias).where(aliases.c.name == name).order_by(aliases.c.alias)).scalars().all()
    close = difflib.get_close_matches(reference.alias, used, n=3) or used[:3]
    why = f"{name} has {'no such alias' if used else 'no alias'}, and its newest version is {newest}"
    # which of several is meant nobody knows here: that one is the newest says nothing for it
    number = str(newest) if newest == 1 else "NUMBER"
    otherwise = f"`registry promote {name}:{number} {reference.alias} --explain` says what it needs to get that alias"
    return VersionUnknown(reference, why, [f"{name}@{alias}" for alias in close], otherwise)


def _names(tx: Transaction) -> list[str]:
    """The first names there are, by jumping through the index: cost grows with names, never with versions."""
    names: list[str] = []
    query = select(func.min(versions.c.name))
    found: str | None = tx.execute(query).scalar_one()
    while found is not None and len(names) < _NAMES_COMPARED:
        names.append(found)
        found = tx.execute(query.where(versions.c.name > found)).scalar_one()
    return names
