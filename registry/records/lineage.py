"""What an artifact came from and what came from it, by digest; and that as lines of text."""

import heapq
from collections.abc import Iterable
from typing import Literal

from peft_registry.registry.database.catalog import graph
from peft_registry.registry.database.session import Transaction
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import Lineage, LineageEdge, LineageNode

Direction = Literal["ancestors", "descendants", "both"]


def lineage_of(tx: Transaction, *, focus: Digest, direction: Direction = "both") -> Lineage:
    """The ancestors and descendants of an artifact or a data file, sources first.

    A digest that a manifest names and nobody registered here is a node of kind `unknown`.
    """
    edges: set[LineageEdge] = set()
    if direction != "descendants":
        edges |= set(graph.edges_above(tx, focus))
    if direction != "ancestors":
        edges |= set(graph.edges_below(tx, focus))
    digests = {focus} | {edge.source for edge in edges} | {edge.target for edge in edges}
    known = graph.describe_nodes(tx, digests)
    order = _sources_first(digests, edges)
    nodes = tuple(known.get(digest) or _unknown(digest, edges) for digest in order)
    place = {digest: position for position, digest in enumerate(order)}
    ordered = sorted(edges, key=lambda edge: (place[edge.source], place[edge.target], edge.role))
    return Lineage(focus=focus, nodes=nodes, edges=tuple(ordered))


def ancestors_of(tx: Transaction, digest: Digest) -> tuple[Digest, ...]:
    """The digests of everything, artifacts and data, that went into an artifact, in the order of digests."""
    return tuple(sorted({edge.source for edge in graph.edges_above(tx, digest)} - {digest}))


def tree_lines(lineage: Lineage) -> list[str]:
    """The graph as an indented tree: each source with what it went into below it; a node is opened up once."""
    nodes = {node.digest: node for node in lineage.nodes}
    below: dict[Digest, list[Digest]] = {digest: [] for digest in nodes}
    for edge in lineage.edges:
        if edge.target not in below[edge.source]:
            below[edge.source].append(edge.target)
    fed = {edge.target for edge in lineage.edges}
    roots = [digest for digest in nodes if digest not in fed] or list(nodes)[:1]
    lines: list[str] = []
    opened: set[Digest] = set()
    # (digest, what stands before its own line, what stands before the lines below it)
    waiting = [(digest, "", "") for digest in reversed(roots)]
    while waiting:
        digest, lead, indent = waiting.pop()
        again = digest in opened and bool(below[digest])
        lines.append(lead + _line(nodes[digest], is_focus=digest == lineage.focus, again=again))
        if digest in opened:
            continue
        opened.add(digest)
        children = below[digest]
        for child in reversed(children):
            last = child == children[-1]
            waiting.append((child, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")))
    return lines


def _line(node: LineageNode, *, is_focus: bool, again: bool) -> str:
    label = node.label if node.kind == "data" or node.registered else f"{node.label} (not registered here)"
    parts = [label, "" if node.kind == "unknown" else node.kind, node.detail]
    return "  ".join(part for part in parts if part) + ("  (above)" if again else "") + ("  ◀" if is_focus else "")


def _unknown(digest: Digest, edges: Iterable[LineageEdge]) -> LineageNode:
    roles = sorted({edge.role for edge in edges if edge.source == digest})
    detail = f"named as {' and '.join(roles)}" if roles else ""
    return LineageNode(digest=digest, kind="unknown", label=digest.short, registered=False, detail=detail)


def _sources_first(digests: Iterable[Digest], edges: Iterable[LineageEdge]) -> list[Digest]:
    """A topological order that depends on the digests only, not on the order of rows."""
    waiting_for = dict.fromkeys(digests, 0)
    below: dict[Digest, list[Digest]] = {digest: [] for digest in waiting_for}
    for edge in edges:
        waiting_for[edge.target] += 1
        below[edge.source].append(edge.target)
    ready = [digest for digest, count in waiting_for.items() if not count]
    heapq.heapify(ready)
    order: list[Digest] = []
    while ready:
        digest = heapq.heappop(ready)
        order.append(digest)
        for target in below[digest]:
            waiting_for[target] -= 1
            if not waiting_for[target]:
                heapq.heappush(ready, target)
    # a digest cannot contain itself, so only damaged rows make a circle: shown, at the end, never hidden
    return order + sorted(set(waiting_for) - set(order))
