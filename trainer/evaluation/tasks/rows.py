"""The rows of a task as files of the user's: one file with those that are asked, or a folder with a file for each split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_registry.schemas.errors import InputRefused, NotFound
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.data.containers import SUFFIXES, inspect_file, read_rows


class TaskDataNeeded(InputRefused):
    what = "the task {name} needs its rows"
    why = "no data is downloaded: what a task is asked on are files of yours, known by their digest"
    fix = "give the rows with --data FILE, or a folder with {split}.jsonl and a file for the split of its examples"

    name: str
    split: str


class TaskDataMissing(NotFound):
    what = "{place} has no rows of the split {split} for the task {name}"
    why = "{cause}"
    fix = "put {split}.jsonl (or .json, .csv, .parquet) there{other}"

    name: str
    split: str
    place: Path
    is_for_examples: bool

    @property
    def cause(self) -> str:
        used_for = "its solved examples are taken from that split" if self.is_for_examples else "that split is asked"
        if self.place.is_file():
            return f"{used_for}, and one file holds the rows that are asked"
        return f"{used_for}, and only files on this machine are read"

    @property
    def other(self) -> str:
        if not self.is_for_examples:
            return ""
        folder = ", in a folder beside the rows that are asked," if self.place.is_file() else ""
        return f"{folder} or ask without examples: --fewshot 0 (in a training file fewshot: 0)"


@dataclass(frozen=True, slots=True)
class SplitRows:
    """The rows of one split, and the files that they came from."""

    split: str
    rows: Sequence[dict[str, Any]]
    file: str
    sha256: Digest


def read_split(data: Path, task: str, split: str, *, is_for_examples: bool) -> SplitRows:
    """The rows of a split: from the file itself where one is given for the rows that are asked, else from the folder.

    Raises:
        TaskDataMissing: there is no such file.
        DataFileMissing, DataFileUnreadable, UnknownContainer, DataNotUtf8, BrokenRow, BrokenDataFile, EmptyData: as `inspect_file`.
    """
    files = [data] if data.is_file() and not is_for_examples else _files_of(data, task, split)
    if not files:
        raise TaskDataMissing(task, split, data, is_for_examples)
    facts = inspect_file(*files)
    rows = [row.values for row in read_rows(*files, facts=facts)]
    label = files[0].name if len(files) == 1 else f"{len(files)} files"
    return SplitRows(split, rows, label, facts.sha256)


def _files_of(data: Path, task: str, split: str) -> list[Path]:
    """The file of a split, or its parts as the Hub names them, in a folder of the task's own or in the one given."""
    for folder in (data / task, data):
        if not folder.is_dir():
            continue
        known = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        whole = [file for file in known if file.stem == split]
        if whole:
            return whole[:1]
        parts = [file for file in known if file.stem.startswith(f"{split}-")]
        if parts:
            return parts
    return []
