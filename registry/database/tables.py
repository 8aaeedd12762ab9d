"""Every table, and nothing else with `table=True`. Rows are built from validated schemas and do not leave this package.

The classes state the shape; queries are core selects on the `Table` objects at the end (no object-relational mapping is
set up on a read). Texts compare byte by byte on both databases, so that an order, a prefix and a page mean the same.
"""

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Double,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlmodel import Field, SQLModel

from peft_registry.registry.database.failures import UPGRADEABLE, RowDamaged
from peft_registry.schemas.identity import Digest, MalformedDigest

SCHEMA_REVISION = "0007"
"""The Alembic revision that this code writes."""
READABLE_REVISIONS = (*UPGRADEABLE, SCHEMA_REVISION)
"""Those that it reads; `registry admin upgrade` brings an older one up to date."""

FACETS_SINCE, SOURCES_SINCE = "0004", "0005"
"""The revisions that added what versions are found by, and what they were made from."""

GROWING = (
    "log_events",
    "log_nodes",
    "checkpoints",
    "artifact_parents",
    "artifact_data",
    "kept_objects",
    "statements",
    "versions",
    "version_sources",
    "alias_events",
)
"""The tables whose rows stay as they were written: whoever registers adds some. Only `log reject` and a rebuild delete any."""


class ByteOrdered(TypeDecorator[str]):
    """Text that sorts and compares by its bytes: SQLite's own order, collation "C" on PostgreSQL."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String(collation="C" if dialect.name == "postgresql" else None))


class DigestText(TypeDecorator[Digest]):
    """A digest as people see it, `sha256:<hex>`, so that it can be searched for with any tool."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(String(71, collation="C" if dialect.name == "postgresql" else None))

    def process_bind_param(self, value: Digest | None, dialect: Dialect) -> str | None:  # noqa: ARG002  SQLAlchemy's hook
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Digest | None:  # noqa: ARG002  as above
        try:
            return None if value is None else Digest.parse(f"{value}")
        except MalformedDigest as error:  # offered by nobody: it was written behind the program's back
            raise RowDamaged("with a digest", error.what) from error


METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


class TableRow(SQLModel):
    """The base of every row; its tables live in our own `METADATA`."""

    metadata: ClassVar[MetaData] = METADATA


class LogHead(TableRow, table=True):
    """One row, id 1. Writers on PostgreSQL lock it first, so that they come one after the other."""

    __tablename__ = "log_head"
    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})


class LogEventRow(TableRow, table=True):
    """One leaf of the log; `seq` counts from 0 without gaps."""

    __tablename__ = "log_events"
    seq: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    leaf: bytes
    leaf_hash: bytes


class LogNode(TableRow, table=True):
    """The hash of one complete subtree above the leaves (level 1 and up): see `transparency/merkle.py`."""

    __tablename__ = "log_nodes"
    level: int = Field(primary_key=True)
    index: int = Field(primary_key=True)
    hash: bytes


class CheckpointRow(TableRow, table=True):
    """A signed checkpoint. Two texts for one size are kept both: they may be evidence of a fork."""

    __tablename__ = "checkpoints"
    id: int | None = Field(default=None, primary_key=True)
    size: int = Field(index=True)
    text: str


class SnapshotNode(TableRow, table=True):
    """A node of the prefix tree of the newest snapshot: a pair (`key`, `value`) or a branch (`hash`).

    It changes with every checkpoint and is believed only as far as its paths lead to a signed root (`transparency/prefix_tree.py`).
    """

    __tablename__ = "snapshot_nodes"
    depth: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    prefix: str = Field(primary_key=True, sa_type=ByteOrdered)  # the first `depth` bits of the keys below, in hex
    key: bytes | None = Field(default=None, index=True)
    value: bytes | None = None
    hash: bytes | None = None


class ArtifactRow(TableRow, table=True):
    """A folder with a manifest, known by the manifest's digest; the manifest's bytes are an object of the store."""

    __tablename__ = "artifacts"
    manifest_digest: Digest = Field(primary_key=True, sa_type=DigestText)
    manifest_size: int
    kind: str = Field(sa_type=ByteOrdered)
    layout: str = Field(sa_type=ByteOrdered)
    method: str | None = Field(default=None, sa_type=ByteOrdered)
    weights_digest: Digest = Field(sa_type=DigestText, index=True)
    base_manifest: Digest | None = Field(default=None, sa_type=DigestText)
    base_weights: Digest | None = Field(default=None, sa_type=DigestText, index=True)
    size_bytes: int = Field(sa_type=BigInteger)
    signature_digest: Digest | None = Field(default=None, sa_type=DigestText)
    card_digest: Digest | None = Field(default=None, sa_type=DigestText)
    by_reference: bool


class ArtifactFileRow(TableRow, table=True):
    """One signed file of an artifact; `stored` says whether its bytes are an object of the store."""

    __tablename__ = "artifact_files"
    manifest_digest: Digest = Field(primary_key=True, sa_type=DigestText, foreign_key="artifacts.manifest_digest")
    path: str = Field(primary_key=True, sa_type=ByteOrdered)
    sha256: Digest = Field(sa_type=DigestText)
    size: int = Field(sa_type=BigInteger)
    stored: bool


class ArtifactParent(TableRow, table=True):
    """`parent` went into `child`. The parent need not be known here."""

    __tablename__ = "artifact_parents"
    child: Digest = Field(primary_key=True, sa_type=DigestText, foreign_key="artifacts.manifest_digest")
    parent: Digest = Field(primary_key=True, sa_type=DigestText, index=True)
    role: str = Field(primary_key=True, sa_type=ByteOrdered)


class ArtifactData(TableRow, table=True):
    """A data file that an artifact was made from."""

    __tablename__ = "artifact_data"
    manifest_digest: Digest = Field(primary_key=True, sa_type=DigestText, foreign_key="artifacts.manifest_digest")
    sha256: Digest = Field(primary_key=True, sa_type=DigestText, index=True)
    name: str


class KeptObject(TableRow, table=True):
    """An object that something other than an artifact's files points to (an item table, a report): gc keeps it."""

    __tablename__ = "kept_objects"
    digest: Digest = Field(primary_key=True, sa_type=DigestText)
    subject: Digest = Field(primary_key=True, sa_type=DigestText, index=True)
    role: str = Field(primary_key=True, sa_type=ByteOrdered)


class StatementRow(TableRow, table=True):
    """A signed statement in its envelope."""

    __tablename__ = "statements"
    __table_args__ = (UniqueConstraint("log_index"), Index(None, "subject", "log_index"))
    digest: Digest = Field(primary_key=True, sa_type=DigestText)
    subject: Digest = Field(sa_type=DigestText)
    kind: str | None = Field(default=None, sa_type=ByteOrdered)
    predicate_type: str
    key_id: str
    envelope: bytes  # compressed: see `envelopes`
    log_index: int = Field(foreign_key="log_events.seq")
    appended_at: str


class VersionRow(TableRow, table=True):
    """An artifact under a name. Kind, method and base repeat the artifact's, so that each filter has its own index."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("name", "manifest_digest"),
        Index(None, "manifest_digest", "log_index"),
        Index(None, "kind", "name", "number"),
        Index(None, "method", "name", "number"),
        Index(None, "base_weights", "name", "number"),
        Index(None, "registered_at", "name", "number"),
    )
    name: str = Field(primary_key=True, sa_type=ByteOrdered)
    number: int = Field(primary_key=True)
    manifest_digest: Digest = Field(sa_type=DigestText, foreign_key="artifacts.manifest_digest")
    kind: str = Field(sa_type=ByteOrdered)
    method: str | None = Field(default=None, sa_type=ByteOrdered)
    base_weights: Digest | None = Field(default=None, sa_type=DigestText)
    key_id: str
    registered_at: str
    log_index: int = Field(foreign_key="log_events.seq")


class FacetWord(TableRow, table=True):
    """A word that a version is found by: its method, a digest, a flag. The time repeats the version's, for the order by it."""

    __tablename__ = "facet_words"
    __table_args__ = (
        ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
        Index(None, "facet", "word", "registered_at", "name", "number"),
        Index(None, "name", "number"),
    )
    facet: str = Field(primary_key=True, sa_type=ByteOrdered)
    word: str = Field(primary_key=True, sa_type=ByteOrdered)
    name: str = Field(primary_key=True, sa_type=ByteOrdered)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    registered_at: str = Field(sa_type=ByteOrdered)


class FacetNumber(TableRow, table=True):
    """A number that a version is found by: a rank, a size, a figure of its newest evaluation."""

    __tablename__ = "facet_numbers"
    __table_args__ = (
        ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
        Index(None, "facet", "value", "name", "number"),
        Index(None, "name", "number"),
    )
    facet: str = Field(primary_key=True, sa_type=ByteOrdered)
    name: str = Field(primary_key=True, sa_type=ByteOrdered)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    value: float = Field(sa_type=Double)


class VersionSource(TableRow, table=True):
    """Something that a version was made from, at any distance: its own artifact, one that went into it, or a data file of any."""

    __tablename__ = "version_sources"
    __table_args__ = (
        ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
        Index(None, "name", "number"),
    )
    source: Digest = Field(primary_key=True, sa_type=DigestText)
    name: str = Field(primary_key=True, sa_type=ByteOrdered)
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})


class RowCount(TableRow, table=True):
    """How many rows say that versions have a facet, a source or an alias, or are edges or versions: a deleted one is missed.

    They are counted where they are written (`catalog/row_counts.py`), and not when a list is read from them.
    """

    __tablename__ = "row_counts"
    kind: str = Field(primary_key=True, sa_type=ByteOrdered)
    word: str = Field(primary_key=True, sa_type=ByteOrdered)
    counted: int


class AliasEvent(TableRow, table=True):
    """An alias was moved to a version, or taken away (`number` null)."""

    __tablename__ = "alias_events"
    __table_args__ = (
        ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
        Index(None, "name", "alias", "id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_type=ByteOrdered)
    alias: str = Field(sa_type=ByteOrdered)
    number: int | None = None
    statement_digest: Digest = Field(sa_type=DigestText, foreign_key="statements.digest")
    at: str


class AliasRow(TableRow, table=True):
    """Where each alias points now: the projection of `alias_events`."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
        Index(None, "alias", "name", "number"),
    )
    name: str = Field(primary_key=True, sa_type=ByteOrdered)
    alias: str = Field(primary_key=True, sa_type=ByteOrdered)
    number: int
    event_id: int = Field(foreign_key="alias_events.id")


class MirrorRoute(TableRow, table=True):
    """An MLflow that an earlier release copied versions to. Nothing reads or writes it; it stays for the homes that have it."""

    __tablename__ = "mirror_routes"
    __table_args__ = (UniqueConstraint("place"),)
    route: str = Field(primary_key=True, sa_type=ByteOrdered)
    place: str = Field(sa_type=ByteOrdered)
    holder: str | None = Field(default=None, sa_type=ByteOrdered)
    until: int | None = Field(default=None, sa_type=BigInteger)  # seconds since 1970


class OutboxRow(TableRow, table=True):
    """What an earlier release had to copy to one MLflow. Nothing reads or writes it."""

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "route", "id"),)
    id: int | None = Field(default=None, primary_key=True)
    route: str = Field(sa_type=ByteOrdered)
    kind: str
    subject: Digest = Field(sa_type=DigestText)
    version_label: str
    payload: dict[str, Any] = Field(sa_type=JSON)  # any JSON object: the kind says which


class MirroredRow(TableRow, table=True):
    """What one MLflow called one of our things. Nothing reads or writes it."""

    __tablename__ = "mirrored"
    route: str = Field(primary_key=True, sa_type=ByteOrdered)
    entity: str = Field(primary_key=True, sa_type=ByteOrdered)
    key: str = Field(primary_key=True, sa_type=ByteOrdered)
    value: dict[str, Any] = Field(sa_type=JSON)  # any JSON object: the entity says which


class Lease(TableRow, table=True):
    """A digest that somebody is about to register; gc leaves it alone until then."""

    __tablename__ = "leases"
    holder: str = Field(primary_key=True, sa_type=ByteOrdered)
    digest: Digest = Field(primary_key=True, sa_type=DigestText)
    until: str = Field(sa_type=ByteOrdered, index=True)


class Meta(TableRow, table=True):
    """Facts of the registry as a whole."""

    __tablename__ = "meta"
    key: str = Field(primary_key=True, sa_type=ByteOrdered)
    value: str


def _table(name: str) -> Table:
    return METADATA.tables[name]


log_head = _table("log_head")
log_events = _table("log_events")
log_nodes = _table("log_nodes")
checkpoints = _table("checkpoints")
snapshot_nodes = _table("snapshot_nodes")
artifacts = _table("artifacts")
artifact_files = _table("artifact_files")
artifact_parents = _table("artifact_parents")
artifact_data = _table("artifact_data")
kept_objects = _table("kept_objects")
statements = _table("statements")
versions = _table("versions")
facet_words = _table("facet_words")
facet_numbers = _table("facet_numbers")
version_sources = _table("version_sources")
row_counts = _table("row_counts")
alias_events = _table("alias_events")
aliases = _table("aliases")
leases = _table("leases")
meta = _table("meta")
