"""Artifacts that were made from each other, registered as the trainer registers them; no model and no training."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.use_cases.add_base import AddedBase
from peft_registry.registry.use_cases.register import NewArtifact, NewStatement, register_version
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import BaseReference, Parent, ParentRole
from peft_registry.schemas.modification import Identity, ModificationRecord
from peft_registry.schemas.statement import CardPredicate
from peft_registry.schemas.values import measured
from peft_registry.schemas.version import Version
from tests.builders.homes import CONFIG, NOW, adapter_files

CARD = b"---\nlibrary_name: peft\n---\n# one of many\n"


def register_made_from(
    registry: Registry,
    folder: Path,
    base: AddedBase,
    sources: Sequence[Version],
    *,
    name: str,
    value: float,
    role: ParentRole = "start",
) -> Version:
    """An adapter whose training started from `sources`; with none of them, from the base alone."""
    adapter_files(folder, value=value)
    return _register(registry, folder, base, sources, role=role, name=name)


def register_merge(
    registry: Registry, folder: Path, base: AddedBase, sources: Sequence[Version], *, name: str, value: float
) -> Version:
    """A model that several adapters, or models, were merged into."""
    folder.mkdir(parents=True)
    tensors = {"model.layers.0.mlp.down_proj.weight": np.full((8, 16), value, dtype=np.float32)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return _register(registry, folder, base, sources, role="adapter", name=name)


def _register(
    registry: Registry, folder: Path, base: AddedBase, sources: Sequence[Version], *, role: ParentRole, name: str
) -> Version:
    is_merge = role != "start"
    manifest = manifest_of_folder(
        folder,
        kind="model" if is_merge else "adapter",
        layout="model" if is_merge else "peft",
        method=None if is_merge else "lora",
        base=BaseReference(identity=base.record.identity, manifest=base.version.manifest_digest),
        parents=(
            Parent(role="base", manifest=base.version.manifest_digest),
            *(Parent(role=role, manifest=source.manifest_digest) for source in sources),
        ),
    )
    made = measured("merge" if is_merge else "fine-tune")
    identity = Identity(kind=made, result_manifest=measured(str(manifest.canonical_digest())))
    record = ModificationRecord(record_id=name, record_created_at=NOW, identity=identity)
    statements = (
        NewStatement("modification", record.to_json()),
        NewStatement("card", CardPredicate(sha256=Digest.of(CARD)).to_json()),
    )
    source = "merge" if is_merge else "train"
    return register_version(registry, NewArtifact(name, source, manifest, folder, CARD, statements))
