"""How a version was made, as it is signed with its registration, held against its manifest. Pure."""

from collections.abc import Iterator
from typing import Literal

from peft_registry.schemas.imports import ImportRecord
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.merge import MergeRecord
from peft_registry.schemas.run import RunRecord

Production = RunRecord | MergeRecord | ImportRecord
"""How a version was made."""

Kind = Literal["fine_tune", "merge", "import"]


def kind_of(production: Production) -> Kind:
    """What a record calls the act that made its version."""
    if isinstance(production, MergeRecord):
        return "merge"
    return "import" if isinstance(production, ImportRecord) else "fine_tune"


def is_merged(manifest: Manifest) -> bool:
    """Whether the parents of an artifact say that it was merged from others."""
    folded = sum(parent.role in ("adapter", "model") for parent in manifest.parents)
    # an adapter with one such parent was made from it alone
    return folded > (1 if manifest.kind == "adapter" else 0)


def tool_of(production: Production) -> str:
    """The version of this tool that made something, or took it in."""
    return production.tool_version if isinstance(production, ImportRecord) else production.environment.code_version


def made_otherwise(production: Production, manifest: Manifest) -> Iterator[str]:
    """What the statement of how a version was made says of something else than its manifest, a line each."""
    kind = kind_of(production)
    is_import = manifest.origin == "imported"
    if (kind == "import") != is_import or (is_merged(manifest) and kind == "fine_tune"):
        yield f"provenance: it is that of a {kind}, and the manifest says otherwise"
    base = manifest.base
    made_on = production.base
    if base is not None and (made_on.manifest, made_on.identity.weights) != (base.manifest, base.identity.weights):
        yield f"provenance: its base is {made_on.identity.weights}, and that of the manifest {base.identity.weights}"
    if production.weights_digest != manifest.weights_digest:
        yield f"provenance: it made {production.weights_digest}, and the manifest lists {manifest.weights_digest}"
    if isinstance(production, MergeRecord):
        merged = {parent.manifest for parent in manifest.parents if parent.role in ("adapter", "model")}
        if {part.manifest for part in production.ingredients} != merged:
            yield "provenance: it merged others than the parents that the manifest names"
    used = {data.sha256 for data in production.data} if isinstance(production, RunRecord) else None
    if used is not None and used != {data.sha256 for data in manifest.data}:
        yield "provenance: the run used other data than the manifest lists"
