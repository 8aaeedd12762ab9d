"""The signed records of a version, read back as values: run, evaluation, modification, base."""

from dataclasses import dataclass

from registry.database import catalog
from registry.home import Registry
from registry.manifests import read_manifest
from registry.provenance import merge_of, run_of
from schemas.base_model import BaseRecord
from schemas.evaluation import EvaluationRecord
from schemas.identity import Digest
from schemas.manifest import Manifest
from schemas.merge import MergeRecord
from schemas.modification import ModificationRecord
from schemas.run import RunRecord
from schemas.statement import StoredStatement
from schemas.version import Version


@dataclass(frozen=True, slots=True)
class Records:
    """The newest record of each kind; None where a version has none."""

    manifest: Manifest
    statements: tuple[StoredStatement, ...]
    run: RunRecord | None
    merge: MergeRecord | None
    evaluation: EvaluationRecord | None
    evaluations: tuple[EvaluationRecord, ...]  # all of them, in the order in which they were recorded
    modification: ModificationRecord | None
    base: BaseRecord | None
    card: bytes | None


def stored_manifest(registry: Registry, digest: Digest) -> Manifest:
    """The manifest of a registered artifact, from the store.

    Raises:
        ObjectMissing, ObjectCorrupt: the store lost it or changed it.
        MalformedJson, ManifestMalformed: what was stored is no manifest.
    """
    return read_manifest(registry.store.read_bytes(digest))


def records_of(registry: Registry, version: Version) -> Records:
    """Everything that is recorded about a version."""
    with registry.database.read() as tx:
        statements = catalog.statements_of(tx, subject=version.manifest_digest)
        artifact = catalog.artifact(tx, manifest_digest=version.manifest_digest)
    newest = {stored.kind: stored.statement.predicate for stored in statements if stored.kind is not None}
    evaluation, modification, base = newest.get("bias-evaluation"), newest.get("modification"), newest.get("base")
    return Records(
        manifest=stored_manifest(registry, version.manifest_digest),
        statements=statements,
        run=run_of(newest["provenance"]) if "provenance" in newest else None,
        merge=merge_of(newest["provenance"]) if "provenance" in newest else None,
        evaluation=None if evaluation is None else EvaluationRecord.from_json(evaluation),
        evaluations=tuple(
            EvaluationRecord.from_json(stored.statement.predicate)
            for stored in statements
            if stored.kind == "bias-evaluation"
        ),
        modification=None if modification is None else ModificationRecord.from_json(modification),
        base=None if base is None else BaseRecord.from_json(base),
        card=None if artifact.card_digest is None else registry.store.read_bytes(artifact.card_digest),
    )
