"""Rows from a data file, streaming: jsonl, json, csv, parquet. The digest of the bytes is taken from the same read.

Errors name the file, the line (row for parquet, counted from 1) and the column; never a value.
"""

import csv
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

from peft_registry.schemas.errors import InputRefused, NotFound, Unavailable
from peft_registry.schemas.identity import Digest

Container = Literal["jsonl", "json", "csv", "parquet"]
SUFFIXES: dict[str, Container] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}
_BLOCK_BYTES = 1024 * 1024
_MAX_CSV_FIELD = 16 * 1024 * 1024  # characters; the module's own 131072 cuts long documents


class DataFileMissing(NotFound):
    what = "there is no data file {path}"
    why = "{cause}"
    fix = "{remedy}"

    path: Path
    key: str | None = None

    @property
    def cause(self) -> str:
        if self.key is None:
            return "nothing of that name exists"
        return f"the training file names it under {self.key}, and nothing of that name exists"

    @property
    def remedy(self) -> str:
        if self.key is None:
            return "check the path"
        return f"check {self.key}; a relative path starts from the training file's folder"


class DataFileUnreadable(Unavailable):
    what = "the data file {path.name} cannot be read"
    why = "{reason}"
    fix = "check its permissions"

    path: Path
    reason: str


class UnknownContainer(InputRefused):
    what = "the kind of the data file {name} is not known"
    why = "its name ends in none of {suffixes!l}"
    fix = "rename it after what it holds, or convert it to jsonl"

    name: str

    suffixes = tuple(sorted(SUFFIXES))


class DataNotUtf8(InputRefused):
    what = "{name} is not UTF-8 text"
    why = "line {line} holds bytes that are not UTF-8"
    fix = "save the file as UTF-8 and run again"

    name: str
    line: int


class BrokenRow(InputRefused):
    what = "line {line} of {name} cannot be read"
    why = "{reason}"
    fix = "correct or remove the line and run again"

    name: str
    line: int
    reason: str


class OtherSeparator(InputRefused):
    what = "{name} has no commas between its columns"
    why = "its first line is {header!q}"
    fix = "save it as CSV with commas, and a text that has a comma in quotation marks"

    name: str
    header: str


class BrokenDataFile(InputRefused):
    what = "the data file {name} cannot be read"
    why = "{reason}"
    fix = "write the file again and run again"

    name: str
    reason: str


class EmptyData(InputRefused):
    what = "the data file {name} holds no rows"
    why = "there is nothing to learn from"
    fix = "check that it is the right file"

    name: str


@dataclass(frozen=True, slots=True)
class DataRow:
    """One row; `line` is where it stands: the line of a text file, the row of a parquet or json file, from 1."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a whole data set is: digest and number of its bytes, number of rows, columns of the first row and those that hold a
    list there, and the names of the classes of a column where a parquet file states them."""

    sha256: Digest
    size: int
    rows: int
    columns: tuple[str, ...]
    classes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    lists: tuple[str, ...] = ()


def container_of(path: Path) -> Container:
    """The kind of a data file, by its suffix.

    Raises:
        UnknownContainer: another suffix.
    """
    container = SUFFIXES.get(path.suffix.lower())
    if container is None:
        raise UnknownContainer(path.name)
    return container


def inspect_file(*paths: Path) -> FileFacts:
    """Digest, size, row count and columns, after reading the whole file once; a broken row anywhere is refused.

    Several files are one data set: its bytes are theirs in order.

    Raises:
        DataFileMissing, DataFileUnreadable, UnknownContainer, DataNotUtf8, BrokenRow, BrokenDataFile, EmptyData.
    """
    digest = _Hashing()
    columns: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    count = 0
    for path in paths:
        for row in _rows(path, digest):
            if not count:
                columns = tuple(row.values)
                lists = tuple(column for column, value in row.values.items() if isinstance(value, list))
            count += 1
    if not count:
        raise EmptyData(paths[0].name)
    classes = _classes(paths[0]) if container_of(paths[0]) == "parquet" else ()
    return FileFacts(Digest(digest.sha256.hexdigest()), digest.size, count, columns, classes, lists)


def read_rows(*paths: Path, facts: FileFacts) -> Iterator[DataRow]:
    """The rows in order, read again; at the end the bytes must be those that `facts` describes.

    Raises:
        BrokenDataFile: the file changed since `inspect_file`.
        The errors of `inspect_file`.
    """
    digest = _Hashing()
    for path in paths:
        yield from _rows(path, digest)
    if digest.sha256.hexdigest() != facts.sha256.hex:
        raise BrokenDataFile(paths[0].name, "it changed while it was being read")


def rows_once(path: Path) -> Iterator[DataRow]:
    """The rows of a file that is read for nothing else.

    Raises:
        The errors of `inspect_file`.
    """
    yield from _rows(path, _Hashing())


class _Hashing:
    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.size = 0

    def update(self, block: bytes) -> bytes:
        self.sha256.update(block)
        self.size += len(block)
        return block


def _rows(path: Path, digest: _Hashing) -> Iterator[DataRow]:
    container = container_of(path)
    with _opened(path) as stream:
        if container == "jsonl":
            yield from _jsonl(path.name, _lines(path.name, stream, digest))
        elif container == "csv":
            yield from _csv(path.name, _lines(path.name, stream, digest))
        elif container == "json":
            yield from _json(path.name, "".join(line for _, line in _lines(path.name, stream, digest)))
        else:
            while digest.update(stream.read(_BLOCK_BYTES)):
                pass
            stream.seek(0)
            yield from _parquet(path.name, stream)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        # a link is followed: caches are made of links; a FIFO would be waited for
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise DataFileMissing(path) from error
    except OSError as error:
        raise DataFileUnreadable(path, error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BrokenDataFile(path.name, "it is a folder, a FIFO or a device, and no file that can be read twice")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def _lines(name: str, stream: BinaryIO, digest: _Hashing) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(stream, start=1):
        digest.update(raw)
        try:
            yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataNotUtf8(name, number) from error


def _jsonl(name: str, lines: Iterator[tuple[int, str]]) -> Iterator[DataRow]:
    for number, line in lines:
        if line.strip():
            # without its line feed: what ends too early would be found on the next line
            yield DataRow(number, _object(name, number, _parsed(name, number, line.rstrip("\r\n"))))


def _json(name: str, text: str) -> Iterator[DataRow]:
    value = _parsed(name, 1, text) if text.strip() else []
    if not isinstance(value, list):
        raise BrokenDataFile(name, "a .json data file is a list of objects; one object a line is .jsonl")
    for number, item in enumerate(value, start=1):
        yield DataRow(number, _object(name, number, item))


def _parsed(name: str, number: int, text: str) -> Any:  # any JSON value
    def refuse(why: str) -> NoReturn:
        raise BrokenRow(name, number, why)

    def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs) if len(dict(pairs)) == len(pairs) else refuse("a key occurs twice in one object")

    def as_float(text: str) -> float:
        value = float(text)
        return value if math.isfinite(value) else refuse("a number in it is out of range")

    try:
        return json.loads(
            text,
            object_pairs_hook=as_object,
            parse_float=as_float,
            parse_constant=lambda word: refuse(f"{word} is not JSON"),
        )
    except json.JSONDecodeError as error:
        line = number + error.lineno - 1
        raise BrokenRow(name, line, f"it is not JSON: {error.msg} (column {error.colno})") from None
    except ValueError:  # Python reads no integer of more than some thousand digits
        raise BrokenRow(name, number, "an integer in it has thousands of digits") from None
    except RecursionError:
        raise BrokenRow(name, number, "it nests too deeply") from None


def _object(name: str, number: int, value: Any) -> dict[str, Any]:  # value: any JSON value
    if not isinstance(value, dict):
        raise BrokenRow(name, number, "it is JSON, but not an object with columns")
    return value


def _csv(name: str, lines: Iterator[tuple[int, str]]) -> Iterator[DataRow]:
    before = csv.field_size_limit(_MAX_CSV_FIELD)
    reader = csv.reader((line for _, line in lines), strict=True)
    try:
        header = next(reader, [])
        if len(header) == 1 and any(separator in header[0] for separator in ";\t"):
            raise OtherSeparator(name, header[0])
        if len(set(header)) != len(header):
            raise BrokenRow(name, 1, "a column name occurs twice in the header")
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise BrokenRow(name, reader.line_num, f"it has {len(fields)} fields, and the header has {len(header)}")
            yield DataRow(reader.line_num, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise BrokenRow(name, reader.line_num, f"it is not CSV: {error}") from None
    finally:
        csv.field_size_limit(before)


def _parquet(name: str, stream: BinaryIO) -> Iterator[DataRow]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        file = pyarrow.parquet.ParquetFile(stream)
        if len(set(file.schema_arrow.names)) != len(file.schema_arrow.names):
            raise BrokenDataFile(name, "a column name occurs twice")
        for batch in file.iter_batches(batch_size=1024):
            for values in batch.to_pylist():
                number += 1
                yield DataRow(number, values)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BrokenDataFile(name, f"it is not a readable parquet file ({type(error).__name__})") from None


def _classes(path: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(column, class names) as the library `datasets` writes them into a parquet file's schema."""
    import pyarrow.parquet

    stated = (pyarrow.parquet.read_schema(path).metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stated)["info"]["features"] if stated else {}
        return tuple(
            (column, tuple(feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and all(isinstance(name, str) for name in feature.get("names") or (None,))
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # one of another form says nothing
        return ()
