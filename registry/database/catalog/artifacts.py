"""Artifacts by manifest digest: their files, and what they were made from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, String, bindparam, func, literal, or_, select, type_coerce, union, update

from peft_registry.registry.database.catalog.row_counts import TOGETHER, note_added
from peft_registry.registry.database.catalog.sources import edges_at, insert_sources_below
from peft_registry.registry.database.rows import insert_or
from peft_registry.registry.database.session import Transaction, in_parts
from peft_registry.registry.database.tables import (
    DigestText,
    artifact_data,
    artifact_files,
    artifact_parents,
    artifacts,
)
from peft_registry.schemas.errors import NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest


class ArtifactUnknown(NotFound):
    what = "no artifact {digest} is registered here"
    why = "no manifest with this digest was ever registered in this home"
    fix = "check the digest with `registry list`, or register or import the artifact first"

    digest: Digest


@dataclass(frozen=True, slots=True)
class Artifact:
    """What the catalogue knows of an artifact besides its manifest; sizes in bytes."""

    manifest_digest: Digest
    manifest_size: int
    size_bytes: int
    signature_digest: Digest | None
    card_digest: Digest | None
    by_reference: bool


@dataclass(frozen=True, slots=True)
class RecordedArtifact:
    """Every row of an artifact, to be held against its manifest.

    `files` are (path, digest, size, stored), `parents` (digest, role), `data` (digest, name); `columns` by their names.
    """

    columns: Mapping[str, object]
    files: frozenset[tuple[str, Digest, int, bool]]
    parents: frozenset[tuple[Digest, str]]
    data: frozenset[tuple[Digest, str]]


# put together once: that takes longer than to run them
_DIGESTS: BindParameter[Sequence[Digest]] = bindparam("digests", expanding=True)
_ROWS = select(artifacts).where(artifacts.c.manifest_digest.in_(_DIGESTS))
_FILES = select(
    artifact_files.c.manifest_digest,
    artifact_files.c.path,
    artifact_files.c.sha256,
    artifact_files.c.size,
    artifact_files.c.stored,
).where(artifact_files.c.manifest_digest.in_(_DIGESTS))
_PARENTS = select(artifact_parents.c.child, artifact_parents.c.parent, artifact_parents.c.role).where(
    artifact_parents.c.child.in_(_DIGESTS)
)
_DATA = select(artifact_data.c.manifest_digest, artifact_data.c.sha256, artifact_data.c.name).where(
    artifact_data.c.manifest_digest.in_(_DIGESTS)
)
_ARTIFACT = select(
    artifacts.c.manifest_digest,
    artifacts.c.manifest_size,
    artifacts.c.size_bytes,
    artifacts.c.signature_digest,
    artifacts.c.card_digest,
    artifacts.c.by_reference,
).where(artifacts.c.manifest_digest == bindparam("digest"))


def recorded_artifact(tx: Transaction, *, manifest_digest: Digest) -> RecordedArtifact:
    """What the rows say about an artifact.

    Raises:
        ArtifactUnknown: there is none.
        RowDamaged: a row holds no digest where one belongs.
    """
    recorded = recorded_artifacts(tx, [manifest_digest]).get(manifest_digest)
    if recorded is None:
        raise ArtifactUnknown(manifest_digest)
    return recorded


def recorded_artifacts(tx: Transaction, manifest_digests: Sequence[Digest]) -> dict[Digest, RecordedArtifact]:
    """The same of several at once; one that no row describes is absent.

    Raises:
        RowDamaged: as `recorded_artifact`.
    """
    recorded: dict[Digest, RecordedArtifact] = {}
    for part in in_parts(manifest_digests):
        recorded |= _recorded(tx, part)
    return recorded


def _recorded(tx: Transaction, digests: Sequence[Digest]) -> dict[Digest, RecordedArtifact]:
    asked = {"digests": digests}
    rows = tx.execute(_ROWS, asked).all()
    files_of: defaultdict[Digest, set[tuple[str, Digest, int, bool]]] = defaultdict(set)
    for digest, path, sha256, size, stored in tx.execute(_FILES, asked):
        files_of[digest].add((path, sha256, size, stored))
    parents_of: defaultdict[Digest, set[tuple[Digest, str]]] = defaultdict(set)
    for digest, parent, role in tx.execute(_PARENTS, asked):
        parents_of[digest].add((parent, role))
    data_of: defaultdict[Digest, set[tuple[Digest, str]]] = defaultdict(set)
    for digest, sha256, name in tx.execute(_DATA, asked):
        data_of[digest].add((sha256, name))
    return {
        row.manifest_digest: RecordedArtifact(
            columns=dict(row._mapping),
            files=frozenset(files_of[row.manifest_digest]),
            parents=frozenset(parents_of[row.manifest_digest]),
            data=frozenset(data_of[row.manifest_digest]),
        )
        for row in rows
    }


def every_artifact(tx: Transaction) -> tuple[str, ...]:
    """The digest of every artifact that any row describes, as it stands there, in order."""
    columns = (
        artifacts.c.manifest_digest,
        artifact_files.c.manifest_digest,
        artifact_parents.c.child,
        artifact_data.c.manifest_digest,
    )
    # read as text: what somebody wrote in the place of a digest is to be named, and not to end the reading
    query = union(*(select(type_coerce(column, String).label("digest")) for column in columns))
    return tuple(sorted(f"{digest}" for digest in tx.execute(query).scalars()))


def recorded_signatures(tx: Transaction) -> dict[Digest, Digest]:
    """The signature that the row of each artifact names, where it names one.

    Raises:
        RowDamaged: a row holds no digest where one belongs.
    """
    query = select(artifacts.c.manifest_digest, artifacts.c.signature_digest)
    return {row[0]: row[1] for row in tx.execute(query.where(artifacts.c.signature_digest.is_not(None)))}


def artifacts_of_data(tx: Transaction, sha256: Digest) -> tuple[Digest, ...]:
    """The manifests of artifacts that a data file went into, by digest."""
    query = select(artifact_data.c.manifest_digest).where(artifact_data.c.sha256 == sha256)
    return tuple(sorted(tx.execute(query).scalars(), key=str))


def insert_artifact(
    tx: Transaction,
    *,
    manifest: Manifest,
    manifest_digest: Digest,
    manifest_size: int,
    size_bytes: int,
    signature_digest: Digest | None,
    card_digest: Digest | None,
    by_reference: bool,
) -> None:
    """Record an artifact, its files and its parents; what is recorded already stays.

    A second time only adds what was missing: a signature, a card, or that the bytes are stored now.
    """
    identity = manifest.base
    edges = edges_at(tx, manifest_digest)
    tx.execute(
        insert_or(tx, artifacts).on_conflict_do_nothing(),
        {
            "manifest_digest": manifest_digest,
            "manifest_size": manifest_size,
            "kind": manifest.kind,
            "layout": manifest.layout,
            "method": manifest.method,
            "weights_digest": manifest.weights_digest,
            "base_manifest": identity.manifest if identity else None,
            "base_weights": identity.identity.weights if identity else None,
            "size_bytes": size_bytes,
            "signature_digest": signature_digest,
            "card_digest": card_digest,
            "by_reference": by_reference,
        },
    )
    _complete(tx, manifest_digest, signature_digest, card_digest, by_reference=by_reference)
    _insert_files(tx, manifest, manifest_digest, stored=not by_reference)
    _insert_sources(tx, manifest, manifest_digest)
    _link_by_weights(tx, manifest, manifest_digest)
    added = edges_at(tx, manifest_digest) - edges
    if added:
        note_added(tx, "edge", [TOGETHER] * added)
        insert_sources_below(tx, manifest_digest)


def artifact(tx: Transaction, *, manifest_digest: Digest) -> Artifact:
    """The artifact with this manifest digest.

    Raises:
        ArtifactUnknown: there is none.
    """
    row = tx.execute(_ARTIFACT, {"digest": manifest_digest}).one_or_none()
    if row is None:
        raise ArtifactUnknown(manifest_digest)
    return Artifact(*row)


def _complete(
    tx: Transaction, digest: Digest, signature: Digest | None, card: Digest | None, *, by_reference: bool
) -> None:
    tx.execute(
        update(artifacts)
        .where(artifacts.c.manifest_digest == digest)
        .where(or_(artifacts.c.signature_digest.is_(None), artifacts.c.card_digest.is_(None)))
        .values(
            signature_digest=func.coalesce(artifacts.c.signature_digest, literal(signature, DigestText)),
            card_digest=func.coalesce(artifacts.c.card_digest, literal(card, DigestText)),
        )
    )
    if not by_reference:
        tx.execute(
            update(artifacts)
            .where(artifacts.c.manifest_digest == digest, artifacts.c.by_reference.is_(True))
            .values(by_reference=False)
        )
        tx.execute(
            update(artifact_files)
            .where(artifact_files.c.manifest_digest == digest, artifact_files.c.stored.is_(False))
            .values(stored=True)
        )


def _insert_files(tx: Transaction, manifest: Manifest, digest: Digest, *, stored: bool) -> None:
    rows = [
        {"manifest_digest": digest, "path": entry.path, "sha256": entry.sha256, "size": entry.size, "stored": stored}
        for entry in manifest.files
    ]
    if rows:
        tx.execute(insert_or(tx, artifact_files).on_conflict_do_nothing(), rows)


def _insert_sources(tx: Transaction, manifest: Manifest, digest: Digest) -> None:
    """The edges of the lineage graph that end in this artifact."""
    parents = {(parent.manifest, str(parent.role)) for parent in manifest.parents}
    if manifest.base and manifest.base.manifest and manifest.base.manifest != digest:
        parents.add((manifest.base.manifest, "base"))
    _insert_parents(tx, [(digest, parent, role) for parent, role in sorted(parents)])
    data = {one.sha256: one.name for one in manifest.data}
    if data:
        tx.execute(
            insert_or(tx, artifact_data).on_conflict_do_nothing(),
            [{"manifest_digest": digest, "sha256": sha256, "name": name} for sha256, name in sorted(data.items())],
        )


def _link_by_weights(tx: Transaction, manifest: Manifest, digest: Digest) -> None:
    """Join bases with what names them by weights only (an artifact that was imported alone), whichever came first.

    Without this edge, recalling a base would miss what was trained on it elsewhere.
    """
    if manifest.kind == "base":
        query = select(artifacts.c.manifest_digest).where(
            artifacts.c.base_weights == manifest.weights_digest,
            artifacts.c.base_manifest.is_(None),
            artifacts.c.kind != "base",
        )
        _insert_parents(tx, [(child, digest, "base") for child in tx.execute(query).scalars()])
    elif manifest.base and manifest.base.manifest is None:
        query = select(artifacts.c.manifest_digest).where(
            artifacts.c.weights_digest == manifest.base.identity.weights, artifacts.c.kind == "base"
        )
        _insert_parents(tx, [(digest, parent, "base") for parent in tx.execute(query).scalars()])


def _insert_parents(tx: Transaction, edges: list[tuple[Digest, Digest, str]]) -> None:
    if edges:
        tx.execute(
            insert_or(tx, artifact_parents).on_conflict_do_nothing(),
            [{"child": child, "parent": parent, "role": role} for child, parent, role in edges],
        )
