"""Every table. Rows are built from validated schemas and do not leave this package.

Queries are core selects on these; nothing maps rows to objects, which would take a fifth of a short command to import. Texts
compare byte by byte on both databases, so that an order, a prefix and a page mean the same.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from peft_registry.registry.database.failures import UPGRADEABLE, RowDamaged
from peft_registry.schemas.identity import Digest, MalformedDigest

SCHEMA_REVISION = "0006"
"""The Alembic revision that this code writes."""
READABLE_REVISIONS = (*UPGRADEABLE, SCHEMA_REVISION)
"""Those that it reads; `registry upgrade` brings an older one up to date."""

# changed by nobody once written; SQL itself refuses UPDATE and DELETE
APPEND_ONLY = ("log_events", "log_nodes", "statements", "versions", "alias_events")


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

# One row, id 1. Writers on PostgreSQL lock it first, so that they come one after the other.
log_head = Table(
    "log_head",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
)

# One leaf of the log; `seq` counts from 0 without gaps.
log_events = Table(
    "log_events",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
)

# The hash of one complete subtree above the leaves (level 1 and up): see `transparency/merkle.py`.
log_nodes = Table(
    "log_nodes",
    METADATA,
    Column("level", Integer, primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
)

# A signed checkpoint. Two texts for one size are kept both: they may be evidence of a fork.
checkpoints = Table(
    "checkpoints",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("size", Integer, index=True, nullable=False),
    Column("text", String, nullable=False),
)

# A node of the prefix tree of the newest snapshot: a pair (`key`, `value`) or a branch (`hash`). It changes with every
# checkpoint and is believed only as far as its paths lead to a signed root (`transparency/prefix_tree.py`).
snapshot_nodes = Table(
    "snapshot_nodes",
    METADATA,
    Column("depth", Integer, primary_key=True, autoincrement=False),
    Column("prefix", ByteOrdered, primary_key=True),  # the first `depth` bits of the keys below, in hex
    Column("key", LargeBinary, index=True),
    Column("value", LargeBinary),
    Column("hash", LargeBinary),
)

# A folder with a manifest, known by the manifest's digest; the manifest's bytes are an object of the store.
artifacts = Table(
    "artifacts",
    METADATA,
    Column("manifest_digest", DigestText, primary_key=True),
    Column("manifest_size", Integer, nullable=False),
    Column("kind", ByteOrdered, nullable=False),
    Column("layout", ByteOrdered, nullable=False),
    Column("method", ByteOrdered),
    Column("weights_digest", DigestText, index=True, nullable=False),
    Column("base_manifest", DigestText),
    Column("base_weights", DigestText, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("signature_digest", DigestText),
    Column("card_digest", DigestText),
    Column("by_reference", Boolean, nullable=False),
)

# One signed file of an artifact; `stored` says whether its bytes are an object of the store.
artifact_files = Table(
    "artifact_files",
    METADATA,
    Column("manifest_digest", DigestText, ForeignKey("artifacts.manifest_digest"), primary_key=True),
    Column("path", ByteOrdered, primary_key=True),
    Column("sha256", DigestText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stored", Boolean, nullable=False),
)

# `parent` went into `child`. The parent need not be known here.
artifact_parents = Table(
    "artifact_parents",
    METADATA,
    Column("child", DigestText, ForeignKey("artifacts.manifest_digest"), primary_key=True),
    Column("parent", DigestText, primary_key=True, index=True),
    Column("role", ByteOrdered, primary_key=True),
)

# A data file that an artifact was made from.
artifact_data = Table(
    "artifact_data",
    METADATA,
    Column("manifest_digest", DigestText, ForeignKey("artifacts.manifest_digest"), primary_key=True),
    Column("sha256", DigestText, primary_key=True, index=True),
    Column("name", String, nullable=False),
)

# An object that something other than an artifact's files points to (an item table, a report): gc keeps it.
kept_objects = Table(
    "kept_objects",
    METADATA,
    Column("digest", DigestText, primary_key=True),
    Column("subject", DigestText, primary_key=True, index=True),
    Column("role", ByteOrdered, primary_key=True),
)

# A signed statement in its envelope.
statements = Table(
    "statements",
    METADATA,
    Column("digest", DigestText, primary_key=True),
    Column("subject", DigestText, nullable=False),
    Column("kind", ByteOrdered),
    Column("predicate_type", String, nullable=False),
    Column("key_id", String, nullable=False),
    Column("envelope", LargeBinary, nullable=False),  # compressed: see `envelopes`
    Column("log_index", Integer, ForeignKey("log_events.seq"), nullable=False),
    Column("appended_at", String, nullable=False),
    UniqueConstraint("log_index"),
    Index(None, "subject", "log_index"),
)

# An artifact under a name. Kind, method and base repeat the artifact's, so that each filter has its own index.
versions = Table(
    "versions",
    METADATA,
    Column("name", ByteOrdered, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("manifest_digest", DigestText, ForeignKey("artifacts.manifest_digest"), nullable=False),
    Column("kind", ByteOrdered, nullable=False),
    Column("method", ByteOrdered),
    Column("base_weights", DigestText),
    Column("key_id", String, nullable=False),
    Column("registered_at", String, nullable=False),
    Column("log_index", Integer, ForeignKey("log_events.seq"), nullable=False),
    UniqueConstraint("name", "manifest_digest"),
    Index(None, "manifest_digest", "log_index"),
    Index(None, "kind", "name", "number"),
    Index(None, "method", "name", "number"),
    Index(None, "base_weights", "name", "number"),
    Index(None, "registered_at", "name", "number"),
)

# A word that a version is found by: its method, a digest, a flag. The time repeats the version's, for the order by it.
facet_words = Table(
    "facet_words",
    METADATA,
    Column("facet", ByteOrdered, primary_key=True),
    Column("word", ByteOrdered, primary_key=True),
    Column("name", ByteOrdered, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("registered_at", ByteOrdered, nullable=False),
    ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
    Index(None, "facet", "word", "registered_at", "name", "number"),
    Index(None, "name", "number"),
)

# A number that a version is found by: a rank, a size, a figure of its newest evaluation.
facet_numbers = Table(
    "facet_numbers",
    METADATA,
    Column("facet", ByteOrdered, primary_key=True),
    Column("name", ByteOrdered, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
    ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
    Index(None, "facet", "value", "name", "number"),
    Index(None, "name", "number"),
)

# Something that a version was made from, at any distance: its own artifact, one that went into it, or a data file of any.
version_sources = Table(
    "version_sources",
    METADATA,
    Column("source", DigestText, primary_key=True),
    Column("name", ByteOrdered, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
    Index(None, "name", "number"),
)

# An alias was moved to a version, or taken away (`number` null).
alias_events = Table(
    "alias_events",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", ByteOrdered, nullable=False),
    Column("alias", ByteOrdered, nullable=False),
    Column("number", Integer),
    Column("statement_digest", DigestText, ForeignKey("statements.digest"), nullable=False),
    Column("at", String, nullable=False),
    ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
    Index(None, "name", "alias", "id"),
)

# Where each alias points now: the projection of `alias_events`.
aliases = Table(
    "aliases",
    METADATA,
    Column("name", ByteOrdered, primary_key=True),
    Column("alias", ByteOrdered, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("event_id", Integer, ForeignKey("alias_events.id"), nullable=False),
    ForeignKeyConstraint(["name", "number"], ["versions.name", "versions.number"]),
    Index(None, "alias", "name", "number"),
)

# An MLflow that versions are copied to: where it is now, and who writes to it, until a time of this database.
mirror_routes = Table(
    "mirror_routes",
    METADATA,
    Column("route", ByteOrdered, primary_key=True),
    Column("place", ByteOrdered, nullable=False),
    Column("holder", ByteOrdered),
    Column("until", BigInteger),  # seconds since 1970
    UniqueConstraint("place"),
)

# Something that has to be copied to one MLflow; the row goes when it was.
outbox = Table(
    "outbox",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("route", ByteOrdered, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", DigestText, nullable=False),
    Column("version_label", String, nullable=False),
    Column("payload", JSON, nullable=False),  # any JSON object: the kind says which
    Index(None, "route", "id"),
)

# What one MLflow calls one of our things.
mirrored = Table(
    "mirrored",
    METADATA,
    Column("route", ByteOrdered, primary_key=True),
    Column("entity", ByteOrdered, primary_key=True),
    Column("key", ByteOrdered, primary_key=True),
    Column("value", JSON, nullable=False),  # any JSON object: the entity says which
)

# A digest that somebody is about to register; gc leaves it alone until then.
leases = Table(
    "leases",
    METADATA,
    Column("holder", ByteOrdered, primary_key=True),
    Column("digest", DigestText, primary_key=True),
    Column("until", ByteOrdered, index=True, nullable=False),
)

# Facts of the registry as a whole.
meta = Table(
    "meta",
    METADATA,
    Column("key", ByteOrdered, primary_key=True),
    Column("value", String, nullable=False),
)
