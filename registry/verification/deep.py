"""An artifact and everything that it was made from, each verified: `registry verify --deep`.

What an artifact was made from is read from its signed manifest, never from the catalogue's rows. Each artifact is verified once,
however many paths lead to it; only its verdict, what was wrong with it and the digests of its sources are kept.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from peft_registry.registry.verification.findings import Findings
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.manifest import Manifest
from peft_registry.schemas.progress import Advanced, Finished, Observe, Started, ignore
from peft_registry.schemas.version import LineageOutcome, NodeOutcome, NodeVerdict, Verdict, VerifyOutcome


@dataclass(frozen=True, slots=True)
class CheckedArtifact:
    """How one artifact verified, and its manifest; None where it could not be read, and where nobody registered it here.

    `findings` are what the checks read of it; None where none was made.
    """

    outcome: VerifyOutcome
    manifest: Manifest | None
    verdict: NodeVerdict
    findings: Findings | None = None


CheckArtifact = Callable[[Digest], CheckedArtifact]
"""Verifies the artifact with a manifest digest."""


def walk(
    focus: CheckedArtifact, check: CheckArtifact, *, digest: Digest | None, observe: Observe = ignore
) -> LineageOutcome:
    """The outcome of every artifact that `focus` was made from, at any distance, sources first and `focus` last.

    Args:
        focus: the artifact that was asked about, checked already.
        check: verifies another one.
        digest: that of the manifest of `focus`; None where it could not be read.
        observe: hears of progress.
    """
    observe(Started("lineage", unit="artifacts"))
    first = _node(focus, digest)
    nodes: dict[Digest | None, NodeOutcome] = {first.digest: first}
    waiting = deque(first.sources)
    while waiting:
        source = waiting.popleft()
        if source in nodes:
            continue
        nodes[source] = _node(check(source), source)
        waiting.extend(nodes[source].sources)
        observe(Advanced("lineage", len(nodes)))
    observe(Finished("lineage"))
    return LineageOutcome(
        subject=focus.outcome.subject,
        manifest_digest=digest,
        verdict=_overall(node.verdict for node in nodes.values()),
        nodes=_sources_first(nodes),
    )


def sources_of(manifest: Manifest) -> tuple[Digest, ...]:
    """The manifest digests of what an artifact was made from, each once: its base and its parents."""
    base = () if manifest.base is None or manifest.base.manifest is None else (manifest.base.manifest,)
    return tuple(dict.fromkeys((*base, *(parent.manifest for parent in manifest.parents))))


def _node(checked: CheckedArtifact, digest: Digest | None) -> NodeOutcome:
    manifest = checked.manifest
    return NodeOutcome(
        digest=digest,
        label=checked.outcome.subject,
        kind="unknown" if manifest is None else manifest.kind,
        verdict=checked.verdict,
        # a check that passed needs no line, and one that was not reached found nothing
        checks=tuple(check for check in checked.outcome.checks if check.error is not None),
        sources=() if manifest is None else sources_of(manifest),
    )


def _overall(verdicts: Iterable[NodeVerdict]) -> Verdict:
    """Broken if anything is, else unverified if anything is; what is only recorded spoils nothing."""
    present = set(verdicts)
    if "broken" in present:
        return "broken"
    return "unverified" if "unverified" in present else "verified"


def _sources_first(nodes: dict[Digest | None, NodeOutcome]) -> tuple[NodeOutcome, ...]:
    """A topological order that depends on the digests only; `focus`, from which all were reached, is last."""
    remaining = {key: len(node.sources) for key, node in nodes.items()}
    made_from: dict[Digest, list[Digest | None]] = {}
    for key, node in nodes.items():
        for source in node.sources:
            made_from.setdefault(source, []).append(key)
    ready = [(f"{key}", key) for key, count in remaining.items() if not count]
    heapq.heapify(ready)
    order: list[NodeOutcome] = []
    while ready:
        _, key = heapq.heappop(ready)
        order.append(nodes[key])
        for target in () if key is None else made_from.get(key, ()):
            remaining[target] -= 1
            if not remaining[target]:
                heapq.heappush(ready, (f"{target}", target))
    # manifests that contain each other's digests cannot be made; were there a circle, it would be shown all the same
    circle = sorted((key for key, count in remaining.items() if count), key=str)
    return (*order, *(nodes[key] for key in circle))
