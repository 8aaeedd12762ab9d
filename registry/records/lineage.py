"""What an artifact came from and what came from it, by digest; and that as lines of text."""

import heapq
from collections.abc import Iterable
from typing import Literal

from peft_registry.registry.database.catalog import graph
from peft_registry.registry.database.session import Transaction
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import Lineage, LineageEdge, LineageNode

Direction = Literal["ancestors", "descendants", "both"]


def lineage_of(
    tx: Transaction,
    *,
    focus: Digest,
    direction: Direction = "both",
    depth: int | None = None,
    limit: int | None = None,
) -> Lineage:
    """The ancestors and descendants of an artifact or a data file, sources first.

    A digest that a manifest names and nobody registered here is a node of kind `unknown`.

    Args:
        tx: reads the catalogue.
        focus: the digest of a manifest or of data.
        direction: which of them.
        depth: how many edges away from the focus the graph ends; None goes all the way.
        limit: how many edges below the focus it has, the nearest first; None for all. What is above is never cut by it:
            what something was made from is what its reader has to know.
    """
    edges: set[LineageEdge] = set()
    if direction != "descendants":
        edges |= set(graph.edges_above(tx, focus, depth=depth))
    if direction != "ancestors":
        edges |= set(graph.edges_below(tx, focus, depth=depth, limit=limit))
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


def mermaid_lines(lineage: Lineage) -> list[str]:
    """The graph as a Mermaid flowchart, for a page of Markdown; sources on the left, the focus with a thick frame."""
    place = {node.digest: position for position, node in enumerate(lineage.nodes)}
    lines = ["flowchart LR"]
    for node in lineage.nodes:
        text = _mermaid_text("  ".join(part for part in (node.label, node.kind, node.detail) if part))
        shape = f'(["{text}"])' if node.kind == "data" else f'["{text}"]'
        lines.append(f"  n{place[node.digest]}{shape}")
    lines += [f"  n{place[edge.source]} -->|{edge.role}| n{place[edge.target]}" for edge in lineage.edges]
    lines.append(f"  style n{place[lineage.focus]} stroke-width:3px")
    return lines


def _mermaid_text(text: str) -> str:
    """Text between quotes: whatever Mermaid could read as its own, or a page as HTML, as a number between # and ;."""
    return "".join(char if char.isalnum() or char in " .:_-…" else f"#{ord(char)};" for char in text)


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
