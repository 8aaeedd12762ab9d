"""Data identity: which bytes, which rows of them, read through which template. Rows themselves are never quoted."""

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from peft_registry.schemas.document import Document
from peft_registry.schemas.identity import Digest

Split = Literal["train", "validation", "test"]
UNNAMED_ROWS = "rows in memory"  # what rows are listed as that were given to a trainer without a name


class RowSelection(Document):
    """The rows that a split really used. `rows_sha256` covers the canonical JSON of each selected row, one a line, in order."""

    split: Split
    rule: str  # for example "first 200 rows" or "fraction 0.1, seed 7"
    rows: int
    rows_sha256: Digest
    tokens: int | None = None
    supervised_tokens: int | None = None  # tokens that carry loss


class DataIdentity(Document):
    """One data set as it was used. `name` is the file's base name or a hub id, never a path.

    `revision` is the resolved commit of a hub's data set; the key is written only where there is one. So is `template_sha256`: rows
    that somebody else's trainer was given have no file and no template of ours, and `sha256` and `bytes` are those of their
    canonical JSON, one row a line.
    """

    name: str
    format: str
    sha256: Digest  # over the file's bytes; over those of all its files in order, where it has several
    bytes: int
    rows_total: int
    template_sha256: Digest | None = None  # over the exact UTF-8 text of the template with its placeholders
    columns: tuple[tuple[str, str], ...] = ()  # (meaning, column), sorted
    selections: tuple[RowSelection, ...]
    revision: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        value: dict[str, Any] = handler(self)
        for name in ("revision", "template_sha256"):
            if value[name] is None:
                del value[name]
        return value


class SwapListUsed(Document):
    """A list of words by which rows were swapped; `sha256` is that of all that decides a swap on its axis."""

    axis: str
    sha256: Digest
    swapped: int  # rows that got a counterpart
    dropped: dict[str, int]  # rows that got none, by reason


class CounterfactualData(Document):
    """Where counterfactual rows came from: which bytes, which rows of them by which lists, and how many were dropped and why.

    Every row that has a counterpart is written, followed by its counterparts, each once; nothing else is.
    """

    schema_version: Literal["1"] = "1"
    input_name: str
    input_sha256: Digest
    input_format: str
    input_rows: int
    lists: tuple[SwapListUsed, ...]
    kept_rows: int  # of the input, with a counterpart on one axis at least
    repeated_rows: int  # left out because the very row had been written before
    output_name: str
    output_sha256: Digest
    output_rows: int
