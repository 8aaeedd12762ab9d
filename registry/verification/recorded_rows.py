"""The catalogue's rows of an artifact and of its versions, held against its signed manifest.

Lineage is drawn from these rows, and whoever can write the database can change what they say an artifact is or was made from.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from peft_registry.registry.database.catalog import RecordedArtifact
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest

WeightsOf = Callable[[Digest], Digest | None]
"""The weights digest of the base with this manifest; None if its manifest is not here."""


class VersionColumns(Protocol):
    """What the row of a version repeats of its artifact, so that each filter has an index."""

    @property
    def kind(self) -> str: ...

    @property
    def method(self) -> str | None: ...

    @property
    def base_weights(self) -> Digest | None: ...


def version_contradictions(row: VersionColumns, manifest: Manifest) -> Iterator[str]:
    """A line for each column of a version's row that is not what its manifest says."""
    compared = {
        "kind": (row.kind, manifest.kind),
        "method": (row.method, manifest.method),
        "base weights": (row.base_weights, manifest.base.identity.weights if manifest.base else None),
    }
    for name, (recorded, signed) in compared.items():
        if recorded != signed:
            yield f"{name}: {recorded} in the catalogue, {signed} signed"


def row_contradictions(
    recorded: RecordedArtifact, manifest: Manifest, *, digest: Digest, size: int, weights_of: WeightsOf
) -> Iterator[str]:
    """A line for each row that is not what `insert_artifact` writes of this manifest; `size` is that of its bytes."""
    stored = not recorded.columns["by_reference"]
    for name, signed in _columns(manifest, size).items():
        if recorded.columns[name] != signed:
            yield f"{name}: {recorded.columns[name]} in the catalogue, {signed} signed"
    files = {(entry.path, entry.sha256, entry.size, stored) for entry in manifest.files}
    for path in sorted({row[0] for row in files ^ recorded.files}):
        yield f"file {path}: its row in the catalogue is not what was signed"
    for sha256, name in sorted({(entry.sha256, entry.name) for entry in manifest.data} ^ recorded.data):
        place = "catalogue" if (sha256, name) in recorded.data else "manifest"
        yield f"data {name} {sha256.short}: in the {place} only"
    parents = _parents(manifest, digest)
    for parent, role in sorted(parents ^ recorded.parents):
        if (parent, role) in parents:
            yield f"{role} {parent.short}: in the manifest, and not in the catalogue"
        elif not _is_linked_by_weights(manifest, parent, role, weights_of):
            yield f"{role} {parent.short}: in the catalogue, and not in the manifest"


def _columns(manifest: Manifest, size: int) -> dict[str, object]:
    base = manifest.base
    return {
        "manifest_size": size,
        "kind": manifest.kind,
        "layout": manifest.layout,
        "method": manifest.method,
        "weights_digest": manifest.weights_digest,
        "base_manifest": base.manifest if base else None,
        "base_weights": base.identity.weights if base else None,
        "size_bytes": sum(entry.size for entry in manifest.files),
    }


def _parents(manifest: Manifest, digest: Digest) -> set[tuple[Digest, str]]:
    parents = {(parent.manifest, str(parent.role)) for parent in manifest.parents}
    if manifest.base and manifest.base.manifest and manifest.base.manifest != digest:
        parents.add((manifest.base.manifest, "base"))
    return parents


def _is_linked_by_weights(manifest: Manifest, parent: Digest, role: str, weights_of: WeightsOf) -> bool:
    """Whether a row joins an artifact that names its base by weights alone with a base that has them."""
    base = manifest.base
    return role == "base" and base is not None and base.manifest is None and weights_of(parent) == base.identity.weights
