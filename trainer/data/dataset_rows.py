"""Rows that somebody else's trainer holds in memory: their identity, and the text of each.

A `datasets.Dataset`, or any data set with a length whose rows are mappings, has no file: what identifies it is the canonical JSON
of its rows, one a line, in their order. Every column counts, in the form that the trainer holds it in: a trainer that tokenised
the rows adds columns to them.
"""

import base64
import datetime
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from peft_registry.schemas.canonical import as_doubles
from peft_registry.schemas.dataset import UNNAMED_ROWS, DataIdentity, RowSelection
from peft_registry.schemas.errors import InputRefused
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.data.formats import row_line

TOKENS = "input_ids"
# names of the readers of plain files in `datasets`: they say nothing of what was read
_READERS = frozenset({"json", "csv", "parquet", "arrow", "text", "pandas", "sql", "xml", "generator", "webdataset"})


class RowsNotDigested(InputRefused):
    what = "the rows of the trainer's data set cannot be digested"
    why = "{reason}"
    fix = (
        "train on a data set with a length whose rows are plain values, such as a datasets.Dataset that is not streamed"
    )

    reason: str


@dataclass(eq=False)
class RowDigest:
    """The identity of rows, while they are read one after the other."""

    name: str
    rows: int = 0
    bytes: int = 0
    tokens: int | None = 0
    columns: set[str] = field(default_factory=set)
    _digest: Any = field(default_factory=hashlib.sha256)  # hashlib's type has no public name

    def add(self, row: Mapping[str, Any]) -> None:
        """Take the next row.

        Raises:
            NotCanonical: a value has no canonical form, such as NaN.
        """
        line = row_line(dict(row))
        self._digest.update(line)
        self.rows += 1
        self.bytes += len(line)
        self.columns.update(row)
        ids = row.get(TOKENS)
        self.tokens = self.tokens + len(ids) if isinstance(ids, list) and self.tokens is not None else None

    def identity(self, *, rule: str) -> DataIdentity:
        """Of the rows so far.

        Args:
            rule: which rows they are, in words.
        """
        digest = Digest(self._digest.hexdigest())
        return DataIdentity(
            name=self.name,
            format=f"{UNNAMED_ROWS}: {', '.join(sorted(self.columns))}",
            sha256=digest,
            bytes=self.bytes,
            rows_total=self.rows,
            columns=tuple((column, column) for column in sorted(self.columns)),
            selections=(
                RowSelection(split="train", rule=rule, rows=self.rows, rows_sha256=digest, tokens=self.tokens),
            ),
        )


def name_of_rows(dataset: Any) -> str:
    """What a `datasets.Dataset` is called, with its split; the name of a reader, such as `json`, is not taken for one."""
    info = getattr(dataset, "info", None)
    called = getattr(info, "dataset_name", None) or getattr(info, "builder_name", None)
    if not isinstance(called, str) or not called or called in _READERS:
        return UNNAMED_ROWS
    split = getattr(dataset, "split", None)
    return f"{called} ({split})" if split is not None else called


def rows_of(dataset: Any) -> Iterator[dict[str, Any]]:
    """The rows as plain values, in their order.

    Raises:
        RowsNotDigested: it is streamed, has no length, or its rows are not mappings of plain values.
    """
    if dataset is None:
        raise RowsNotDigested("the trainer has none: it draws its batches elsewhere")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise RowsNotDigested(
            "it is streamed: its rows are known only while they pass, and no two passes need be equal"
        )
    form = getattr(dataset, "format", None)
    if isinstance(form, dict) and form.get("type") == "custom":
        raise RowsNotDigested("a transform of the script makes its rows while they are read")
    plain = dataset.with_format(None) if hasattr(dataset, "with_format") else dataset
    for number in range(len(plain)):
        row = plain[number]
        if not isinstance(row, Mapping):
            raise RowsNotDigested(f"row {number} is {type(row).__name__}, and not a mapping of columns to values")
        yield {str(column): _plain(value, number) for column, value in row.items()}


def text_of_row(row: Mapping[str, Any], decode: Any) -> str:
    """The text that a row teaches: its tokens as text again, else all texts in it, one a line.

    Args:
        row: plain values.
        decode: the tokenizer's, from token ids to text; None where there is no tokenizer.
    """
    ids = row.get(TOKENS)
    if decode is not None and isinstance(ids, list):
        return str(decode(ids, skip_special_tokens=True))
    return "\n".join(texts_in(row))


def texts_in(value: Any) -> Iterator[str]:  # any JSON value
    """Every text in a value, in the order of the document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)


def _plain(value: Any, row: int) -> Any:  # a JSON value
    if value is None or isinstance(value, bool | str | int | float):
        return as_doubles(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, row) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, row) for item in value]
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if hasattr(value, "tolist"):  # of numpy and torch
        return _plain(value.tolist(), row)
    raise RowsNotDigested(f"row {row} holds a {type(value).__name__}, which has no canonical form")
