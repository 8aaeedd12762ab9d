"""Nodes and edges of the lineage graph: by digest, so they hold across machines."""

from typing import Literal

from peft_registry.schemas.document import Frozen
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import ParentRole

NodeKind = Literal["base", "adapter", "model", "bundle", "data", "unknown"]
EdgeRole = ParentRole | Literal["data"]


class LineageNode(Frozen):
    """`digest` is a manifest digest, or the file digest of data. `label` is `name:3` or what the digest is known as."""

    digest: Digest
    kind: NodeKind
    label: str
    registered: bool
    detail: str = ""


class LineageEdge(Frozen):
    """`source` went into `target`."""

    source: Digest
    target: Digest
    role: EdgeRole


class Lineage(Frozen):
    """The ancestors and descendants of `focus`, in topological order: sources first.

    `rest` counts the registered versions that came of it, at whatever distance, and are not among the nodes.
    """

    focus: Digest
    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]
    rest: int = 0
