"""Artifacts that were made from each other, registered as the trainer registers them; no model and no training."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
from safetensors.numpy import save_file

from peft_registry.registry.homes.home import Registry
from peft_registry.registry.identity.manifests import manifest_of_folder
from peft_registry.registry.use_cases.add_base import AddedBase, add_base
from peft_registry.registry.use_cases.first_records import MadeResult, derive_record
from peft_registry.registry.use_cases.promote import set_alias
from peft_registry.registry.use_cases.register import NewArtifact, register_version
from peft_registry.registry.use_cases.statements import append_statement
from peft_registry.schemas.base_model import BaseOrigin
from peft_registry.schemas.manifest import BaseReference, Parent, ParentRole
from peft_registry.schemas.version import Version
from tests.builders.evaluation import a_recorded_evaluation
from tests.builders.homes import CONFIG, adapter_files, base_files
from tests.builders.made import a_merge_of, a_run_of, an_input, made_artifact

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
    return register_version(registry, _artifact(registry, folder, base, sources, role=role, name=name))


def register_merge(
    registry: Registry,
    folder: Path,
    base: AddedBase,
    sources: Sequence[Version],
    *,
    name: str,
    value: float,
) -> Version:
    """A model that several adapters, or models, were merged into."""
    return register_version(registry, merged_artifact(registry, folder, base, sources, name=name, value=value))


def merged_artifact(
    registry: Registry, folder: Path, base: AddedBase, sources: Sequence[Version], *, name: str, value: float
) -> NewArtifact:
    """The same, ready to be registered."""
    folder.mkdir(parents=True)
    tensors = {"model.layers.0.mlp.down_proj.weight": np.full((8, 16), value, dtype=np.float32)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return _artifact(registry, folder, base, sources, role="adapter", name=name)


def _artifact(
    registry: Registry,
    folder: Path,
    base: AddedBase,
    sources: Sequence[Version],
    *,
    role: ParentRole,
    name: str,
) -> NewArtifact:
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
    production = a_merge_of(manifest, sources) if is_merge else a_run_of(manifest)
    result = MadeResult(
        name=name,
        record_id=f"record of {name}",
        manifest=manifest,
        production=production,
        base=an_input(base),
        parents=tuple(sources),
    )
    made = derive_record(registry, result, key_id=registry.trainer_key.public.key_id)
    return made_artifact(name, folder, manifest, production, made, CARD)


@dataclass(frozen=True, slots=True)
class Graph:
    """A registered lineage. `sources` are the direct ones of each version, base included; all by label.

    `bases` says where those lie that are used by reference.
    """

    versions: dict[str, Version]
    sources: dict[str, tuple[str, ...]]
    bases: dict[str, Path]

    def descendants(self, label: str) -> tuple[str, ...]:
        """Everything that an artifact went into, itself included, in the order of registration."""
        reached = {label}
        for other in self.versions:  # sources are registered first
            if reached.intersection(self.sources[other]):
                reached.add(other)
        return tuple(other for other in self.versions if other in reached)


def register_graph(registry: Registry, folder: Path, *, nodes: int, seed: int) -> Graph:
    """Bases, adapters of them, adapters trained on from others, merges, with evaluations and moved aliases, drawn by a seed.

    One base is copied into the store, the other stays in its folder. Takes some 40 ms a node.
    """
    random = Random(seed)
    graph = Graph({}, {}, {})
    added = {name: _add_base(registry, graph, folder / name, name, mode) for name, mode in _BASES.items()}
    record, items = a_recorded_evaluation()
    while len(graph.versions) < nodes:
        number = len(graph.versions)
        base = added[random.choice(list(added))]
        version = _register_one(registry, graph, folder / f"{number}", base, random)
        if number % 4 == 0:
            append_statement(
                registry,
                subject=version.manifest_digest,
                kind="bias-evaluation",
                predicate=record.to_json(),
                signer=registry.trainer_key,
                evidence=(items,),
            )
        if number % 5 == 0:
            set_alias(registry, version, random.choice(("champion", "challenger")))
    return graph


_BASES: dict[str, Literal["copy", "reference"]] = {"stored": "copy", "elsewhere": "reference"}


def _add_base(
    registry: Registry, graph: Graph, folder: Path, name: str, mode: Literal["copy", "reference"]
) -> AddedBase:
    files = base_files(folder, seed=len(graph.versions))
    added = add_base(registry, files, name=name, origin=BaseOrigin(format="huggingface", source=name), mode=mode)
    graph.versions[added.version.label] = added.version
    graph.sources[added.version.label] = ()
    if mode == "reference":
        graph.bases[added.version.label] = folder
    return added


def _register_one(registry: Registry, graph: Graph, folder: Path, base: AddedBase, random: Random) -> Version:
    """One more artifact on a base: new, trained on from another, or merged of several."""
    number = len(graph.versions)
    siblings = [
        version
        for label, version in graph.versions.items()
        if base.version.label in graph.sources[label] and version.kind == "adapter"
    ]
    wanted = random.choice((0, 1, 1, 2, 3, 4))
    sources = random.sample(siblings, min(wanted, len(siblings)))
    name = f"{random.choice(('tutor', 'helper', 'writer'))}-{random.randrange(4)}"
    if len(sources) > 1:
        version = register_merge(registry, folder, base, sources, name=f"merged-{name}", value=number / 64)
    else:
        version = register_made_from(registry, folder, base, sources, name=name, value=number / 64)
    graph.versions[version.label] = version
    graph.sources[version.label] = (base.version.label, *(source.label for source in sources))
    return version
