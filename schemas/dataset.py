"""Data identity: which bytes, which rows of them, read through which template. Rows themselves are never quoted."""

from typing import Literal

from schemas.document import Document
from schemas.identity import Digest

Split = Literal["train", "validation", "test"]


class RowSelection(Document):
    """The rows that a split really used. `rows_sha256` covers the canonical JSON of each selected row, one a line, in order."""

    split: Split
    rule: str  # for example "first 200 rows" or "fraction 0.1, seed 7"
    rows: int
    rows_sha256: Digest
    tokens: int | None = None
    supervised_tokens: int | None = None  # tokens that carry loss


class DataIdentity(Document):
    """One data file as it was used. `name` is the file's base name or a hub id, never a path."""

    name: str
    format: str
    sha256: Digest  # over the file's bytes
    bytes: int
    rows_total: int
    template_sha256: Digest  # over the exact UTF-8 text of the template with its placeholders
    columns: tuple[tuple[str, str], ...] = ()  # (meaning, column), sorted
    selections: tuple[RowSelection, ...]
