"""What of a version goes to a repository that others read, and what stays: decided over a verified copy, before anything is sent.

The files, the manifest, the signature, the card, and of the statements those that a reader needs to tell what it is: registration,
evaluations with their item tables, the proof of the log, holds and recalls. Records stay: they hold figures that the
documentation form of the Code of Practice (Transparency, measure 1.1) keeps for authorities, and names of people.
Without them `registry verify` ends with `unverified`, naming each statement that is withheld: everything else is checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peft_registry.schemas.manifest import EVIDENCE_NAME
from peft_registry.schemas.statement import STATEMENTS_FILE, StatementKind

STATEMENTS_PATH = f"{EVIDENCE_NAME}/{STATEMENTS_FILE}"
PUBLISHED_KINDS: frozenset[StatementKind] = frozenset(
    ("card", "registration", "evaluation-plan", "bias-evaluation", "test-result", "alias", "hold", "recall")
)


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of the statements of a folder: the envelope as it lies there, what kind of statement it is, and its digest."""

    envelope: bytes
    kind: StatementKind | None
    digest: str


@dataclass(frozen=True, slots=True)
class HubFolder:
    """What is sent, by path, and what is withheld, each with its kind and digest."""

    files: Mapping[str, Path | bytes]
    withheld: tuple[str, ...]

    def size(self, path: str) -> int:
        """Of a file, in bytes."""
        content = self.files[path]
        return len(content) if isinstance(content, bytes) else content.stat().st_size


def published_part(
    files: Mapping[str, Path], lines: tuple[StatementLine, ...], *, with_records: bool = False
) -> HubFolder:
    """What of a pulled folder is sent.

    Args:
        files: of the folder, by path.
        lines: its statements, in their order.
        with_records: every statement is sent, for readers who may see them; only then do they find the version `verified`.
    """
    sent: dict[str, Path | bytes] = dict(files)
    if with_records:
        return HubFolder(sent, ())
    sent[STATEMENTS_PATH] = b"".join(line.envelope + b"\n" for line in lines if line.kind in PUBLISHED_KINDS)
    withheld = tuple(f"{line.kind or 'unknown'} {line.digest}" for line in lines if line.kind not in PUBLISHED_KINDS)
    return HubFolder(sent, withheld)
