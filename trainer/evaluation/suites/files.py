"""The files of a suite as they lie where the user has them: read once, pinned by digest, named in every complaint.

A user gives a file, or a folder that holds it: the suite's own, or one with a folder for each suite. Several files make one
digest over their names and digests, so that "BBQ" always means these very categories.
"""

import ast
import csv
import io
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import FileMissing, read_offered
from peft_registry.registry.intake.json import read_json
from peft_registry.schemas.errors import InputRefused, IntegrityBroken
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.suites import SuiteDefinition, SuiteFileNeeded

MAX_BYTES = 256 * 1024 * 1024
MAX_FILES = 200
MAX_LITERAL = 10_000  # characters


class MalformedSuite(InputRefused):
    what = "row {row} of {file} is not a row of {suite}"
    why = "{reason}"
    fix = "use the file as its authors publish it, or correct the row"

    suite: str
    file: str
    row: int
    reason: str


class OtherSuiteFile(IntegrityBroken):
    what = "{file} is not the file that {suite} was pinned to"
    why = "expected {expected}, the file has {found}; figures of different files do not compare"
    fix = "restore the pinned file, or pin the new one and evaluate every arm again"

    suite: str
    file: str
    expected: Digest
    found: Digest


@dataclass(frozen=True, slots=True)
class SuiteFiles:
    """Names and bytes, sorted by name."""

    suite: str
    named: tuple[tuple[str, bytes], ...]

    @property
    def label(self) -> str:
        """The one name, or how many there are."""
        return self.named[0][0] if len(self.named) == 1 else f"{len(self.named)} files"

    @property
    def sha256(self) -> Digest:
        """Of the one file; of several, over one line each: name and digest."""
        if len(self.named) == 1:
            return Digest.of(self.named[0][1])
        return Digest.of("".join(f"{name} {Digest.of(data)}\n" for name, data in self.named).encode())

    def get(self, name: str) -> bytes | None:
        return dict(self.named).get(name)

    def text(self, name: str) -> str:
        """The text of a file.

        Raises:
            MalformedSuite: it is not UTF-8.
        """
        data = dict(self.named)[name]
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            row = data[: error.start].count(b"\n") + 1
            raise MalformedSuite(self.suite, name, row, f"byte {error.start} is not UTF-8") from error

    def json_lines(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(row number, object) of each line that is not empty.

        Raises:
            MalformedSuite: a line is not a JSON object.
        """
        for number, line in enumerate(self.text(name).split("\n"), 1):  # U+2028 may stand in a JSON text
            if not line.strip():
                continue
            value = read_json(
                line.encode(),
                what=f"{name}:{number}",
                error=lambda _, why, number=number: MalformedSuite(self.suite, name, number, why),  # type: ignore[misc]
            )
            if not isinstance(value, dict):
                raise MalformedSuite(self.suite, name, number, "it is not a JSON object")
            yield number, value

    def csv_rows(self, name: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str | None]]]:
        """(row number, values by column) of each row below the heading; None where a row is too short for a column.

        Raises:
            MalformedSuite: the heading lacks one of the columns, or the text is not CSV.
        """
        reader = csv.DictReader(io.StringIO(self.text(name), newline=""), strict=True)
        try:
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise MalformedSuite(self.suite, name, 0, f"the heading lacks {', '.join(missing)}")
            yield from enumerate(reader, 1)
        except csv.Error as error:
            raise MalformedSuite(self.suite, name, reader.line_num, str(error)) from error


def require_different(suite: str, file: str, questions: Sequence[Hashable]) -> None:
    """Raise if every row asks the same: counted as many, one question would decide with the weight of all.

    Raises:
        MalformedSuite: it does.
    """
    if len(questions) > 1 and len(set(questions)) == 1:
        raise MalformedSuite(suite, file, 2, "every row asks the same as the first")


def suite_files(path: Path | None, *, definition: SuiteDefinition, expected: Digest | None) -> SuiteFiles:
    """The files of a suite.

    Args:
        path: a file, the suite's folder, or a folder above it; None where the user gave none.
        definition: of the suite: what its folder and files are called.
        expected: the digest that the files must have.

    Raises:
        SuiteFileNeeded: no path was given.
        FileMissing: there is no such file, or none in the folder.
        OfferedFileRefused, FileUnreadable: about one of them.
        OtherSuiteFile: they do not have the expected digest.
    """
    suite = definition.name
    if path is None:
        raise SuiteFileNeeded(suite, definition.source, belongs_to_others=definition.belongs_to_others)
    paths = [path] if not path.is_dir() else _in_folder(path, suite, definition.folder, definition.files)
    if not paths:
        raise FileMissing(path / definition.files[0])
    if len(paths) > MAX_FILES:
        raise MalformedSuite(suite, path.name, 0, f"it holds {len(paths)} files of that form, more than {MAX_FILES}")
    files = SuiteFiles(suite, tuple((path.name, read_offered(path, max_bytes=MAX_BYTES)) for path in paths))
    if expected is not None and files.sha256 != expected:
        raise OtherSuiteFile(suite, files.label, expected, files.sha256)
    return files


def require_text(suite: str, file: str, row: int, value: dict[str, Any], columns: Sequence[str]) -> None:
    """Raise unless the columns are there and hold text.

    Raises:
        MalformedSuite: one is missing or holds something else.
    """
    missing = [column for column in columns if column not in value]
    if missing:
        raise MalformedSuite(suite, file, row, f"it lacks {', '.join(missing)}")
    for column in columns:
        if not isinstance(value[column], str) or not value[column].strip():
            raise MalformedSuite(suite, file, row, f"{column} is empty or no text")


def read_literal(suite: str, file: str, row: int, column: str, text: str) -> Any:
    """The lists and strings of a Python literal, as pandas writes them into a column; nothing is run.

    Raises:
        MalformedSuite: it is not one, or longer than any that is published.
    """
    try:
        if len(text) <= MAX_LITERAL:
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise MalformedSuite(suite, file, row, f"{column} is not a list of labels") from error
    raise MalformedSuite(suite, file, row, f"{column} is longer than {MAX_LITERAL} characters")


def _in_folder(path: Path, suite: str, folder: str, names: Sequence[str]) -> list[Path]:
    """In the folder, or in one of its own for this suite, also below `data`, as published copies have it."""
    places = (path, *(path / name for name in dict.fromkeys((folder, suite, suite.replace("_", "-")))))
    for place in (folder for start in places for folder in (start, start / "data")):
        paths = sorted(
            {path for name in names for path in place.glob(name) if path.is_file()}, key=lambda path: path.name
        )
        if paths:
            return paths
    return []
