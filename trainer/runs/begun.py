"""The list of the runs that were begun in a home, whatever becomes of them: a try that nobody registers was a try."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.schemas.errors import KnownError
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.run import BegunRun
from peft_registry.trainer.data.containers import rows_once
from peft_registry.trainer.data.formats import row_line

_LONGEST_LINE = 1 << 20  # bytes; of a longer line each piece counts for itself
_CONTENT_MAX_BYTES = 256 * 1024 * 1024  # about a minute; the digest of the lines is taken of every file
# columns that the trainers of transformers and TRL add to rows
_ADDED = frozenset(
    (
        *("input_ids", "attention_mask", "token_type_ids", "position_ids", "seq_lengths", "labels"),
        *("completion_mask", "assistant_masks", "prompt_ids", "completion_ids", "chosen_ids", "rejected_ids"),
        *("prompt_input_ids", "chosen_input_ids", "rejected_input_ids"),
    )
)


def note_begun(path: Path, run: BegunRun) -> None:
    """Add a run to the list of a home.

    Raises:
        OSError: it cannot be written.
    """
    line = (run.model_dump_json() + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line)  # one call: two runs that begin at once do not mix their lines
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(eq=False)
class UnorderedDigest:
    """A digest of lines whatever their order: the SHA-256 of the sum of their digests modulo 2^256.

    Whoever makes lines for it may find two sets with one digest; it serves for counting, and whoever does not want to be
    counted can change a row.
    """

    _total: int = 0

    def add(self, line: bytes) -> None:
        self._total += int.from_bytes(hashlib.sha256(line).digest())

    def value(self) -> Digest:
        """Of the lines so far."""
        return Digest.of((self._total % 2**256).to_bytes(32))


def unordered_digest(path: Path) -> Digest:
    """A digest of a file's lines, whatever their order and the white space around them.

    Raises:
        OSError: the file cannot be read.
    """
    lines = UnorderedDigest()
    with path.open("rb") as file:
        while line := file.readline(_LONGEST_LINE):
            lines.add(line.strip())
    return lines.value()


def content_digest(path: Path) -> Digest | None:
    """A digest of the rows in a file as values, whatever their order and how they are written.

    None for a file that cannot be read as rows, which the run will refuse, and for one that is too large to be read for this.
    """
    if not path.is_file() or path.stat().st_size > _CONTENT_MAX_BYTES:
        return None
    lines = UnorderedDigest()
    try:
        for row in rows_once(path):
            lines.add(row_line(dict(row.values)))
    except KnownError:
        return None
    return lines.value()


def content_digest_of_rows(rows: Iterable[Mapping[str, Any]]) -> Digest:
    """The same of rows in memory; what a trainer added to them, tokens and masks, is left out where there is more in them."""
    lines = UnorderedDigest()
    for row in rows:
        own = {column: value for column, value in row.items() if column not in _ADDED}
        lines.add(row_line(own or dict(row)))
    return lines.value()
