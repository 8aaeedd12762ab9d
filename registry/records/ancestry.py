"""What something was made from: every training run, through merges and starting adapters, with the records that hold now."""

from collections.abc import Iterable
from dataclasses import dataclass

from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.evaluation.praise import Tries
from peft_registry.registry.homes.home import Registry
from peft_registry.registry.records.references import versions_of_artifact
from peft_registry.registry.records.signed_records import Records, elsewhere, records_of, require_derived
from peft_registry.registry.records.tries import most_tries, tries_of_runs
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.version import Version


def ancestry_of(registry: Registry, parents: Iterable[Version]) -> tuple[Ancestor, ...]:
    """The versions that something is made from, and everything that they were made from besides bases, each once.

    Equal bytes may have been registered under several names, each with its own record: a parent is the version that was named,
    an ingredient of a merge is the one that the merge named, and anything else the one that was registered first.

    Raises:
        StatementAltered, RecordUnreadable, VersionsDiffer: as `records_of`.
        RecordNotDerived: the record of one of them is of an edition that this release does not know.
    """
    named = {version.manifest_digest: version for version in parents}
    return _ancestors(registry, list(named), named)


def tries_of_ancestors(registry: Registry, parents: Iterable[Version]) -> Tries:
    """Of the trainings that went into these versions the one of which most seeds were begun.

    Raises:
        StatementAltered, RecordUnreadable, VersionsDiffer: as `records_of`.
    """
    runs = [ancestor.run for ancestor in ancestry_of(registry, parents) if ancestor.run is not None]
    return most_tries(tries_of_runs(registry, runs))


@dataclass(frozen=True, slots=True)
class _Node:
    """An artifact on the way up: its version and records where it is registered, and the artifacts that it was made from."""

    version: Version | None
    records: Records | None
    above: tuple[Digest, ...]


def _ancestors(registry: Registry, start: list[Digest], named: dict[Digest, Version]) -> tuple[Ancestor, ...]:
    nodes: dict[Digest, _Node] = {}
    labels: dict[Digest, str] = {}
    waiting = list(start)
    around = elsewhere(registry)
    while waiting:
        digest = waiting.pop()
        if digest in nodes:
            continue
        version = named.get(digest) or _version_of(registry, digest, labels.get(digest))
        records = None if version is None else records_of(registry, version, around)
        if version is not None and records is not None:
            require_derived(records, version)
        # its signed manifest says what it is; a statement that calls it a base takes nothing off the way up
        if records is not None and records.manifest.kind == "base":
            continue
        if records is not None and records.merge is not None:
            labels |= {part.manifest: part.label for part in records.merge.ingredients}
        parents = () if records is None else records.manifest.parents
        above = tuple(parent.manifest for parent in parents if parent.role != "base")
        nodes[digest] = _Node(version, records, above)
        waiting += above
    return tuple(_ancestor(digest, node, nodes, is_parent=digest in named) for digest, node in nodes.items())


def _version_of(registry: Registry, digest: Digest, label: str | None) -> Version | None:
    """The version with this label among those that have an artifact, else the first one; None where nobody registered it."""
    versions = versions_of_artifact(registry, digest)
    return next((version for version in versions if version.label == label), versions[0] if versions else None)


def _ancestor(digest: Digest, node: _Node, nodes: dict[Digest, _Node], *, is_parent: bool) -> Ancestor:
    records, version = node.records, node.version
    history = () if records is None else records.history
    return Ancestor(
        label=digest.short if version is None else version.label,
        manifest=digest,
        is_parent=is_parent,
        has_trained=_has_trained(node),
        run=None if records is None else records.run,
        made=None if records is None else records.made,
        record=None if records is None else records.modification,
        statement=history[-1].statement.digest if history else None,
        earlier_statements=tuple(link.statement.digest for link in history[:-1]),
        runs=_runs_above(digest, nodes),
    )


def _has_trained(node: _Node) -> bool:
    """What was not merged here was trained, here or elsewhere."""
    return node.records is None or node.records.merge is None


def _runs_above(digest: Digest, nodes: dict[Digest, _Node]) -> frozenset[Digest]:
    """The trainings that went into an artifact, its own among them."""
    seen: set[Digest] = set()
    waiting = [digest]
    while waiting:
        current = waiting.pop()
        if current in nodes and current not in seen:
            seen.add(current)
            waiting += nodes[current].above
    return frozenset(artifact for artifact in seen if _has_trained(nodes[artifact]))
