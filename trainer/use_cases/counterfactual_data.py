"""`registry data counterfactual`: rows and their counterparts as a data file, and beside it where they came from."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft_registry.registry.disk.files import unwritable, write_new
from peft_registry.schemas.canonical import canonical_bytes
from peft_registry.schemas.config import TrainSource
from peft_registry.schemas.dataset import CounterfactualData, SwapListUsed
from peft_registry.schemas.errors import InputRefused, Taken
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.data.containers import DataFileMissing, inspect_file, read_rows
from peft_registry.trainer.data.counterfactual import (
    Dropped,
    NothingSwapped,
    SwapList,
    counterfactual_row,
    swap_list,
)
from peft_registry.trainer.data.counterfactual import axes as known_axes
from peft_registry.trainer.data.formats import RowReading, choose_reading, row_line, turns_of

PROVENANCE = ".provenance.json"  # what is added to the name of the data file
_SUFFIX = ".jsonl"


class OutputTaken(Taken):
    reference = "counterfactual-output-taken"
    what = "{path} is there already"
    why = "a data file that was trained on must stay what it was"
    fix = "name another with --out, or remove it"

    path: Path


class OutputNotJsonLines(InputRefused):
    reference = "counterfactual-output-name"
    what = "counterfactual rows cannot be written to {name}"
    why = "they are written one JSON object a line, and a data file is read by the ending of its name"
    fix = "let it end in .jsonl"

    name: str


class NotPlainColumns(InputRefused):
    reference = "counterfactual-columns"
    what = "rows of the format columns cannot be swapped"
    why = "only a template says which of their columns hold text, and there is none here"
    fix = "name another format, such as --format text"


class NoAxis(InputRefused):
    what = "no axis was named to swap rows on"
    why = "there is a list of words for each of {axes!l}, and none is swapped unasked"
    fix = "add one, such as --axis gender; the option can be given several times"

    axes: Sequence[str]


def write_counterfactual(
    source: Path, out: Path, axes: tuple[str, ...], *, row_format: str | None = None
) -> CounterfactualData:
    """Write the rows that have a counterpart, each followed by its counterparts, and the provenance beside them.

    The same input gives the same bytes. Rows have the format's own column names, whatever those of the input are.

    Args:
        source: a data file of any kind that `registry train` reads.
        out: a `.jsonl` file that is not there yet.
        axes: by which lists; each gives a row its own counterpart.
        row_format: one of `ROW_FORMATS`; None to tell it from the columns.

    Raises:
        DataFileMissing: there is no such input; and the other errors of reading a data file.
        NoAxis, UnknownAxis: none is named, or there is no such list.
        NotPlainColumns, OutputNotJsonLines, OutputTaken: what is asked for cannot be written.
        NothingSwapped: no row has a counterpart.
    """
    if not source.exists():
        raise DataFileMissing(source)
    if not axes:
        raise NoAxis(known_axes())
    lists = tuple(swap_list(axis) for axis in dict.fromkeys(axes))
    provenance = out.with_name(out.name + PROVENANCE)
    if row_format == "columns":
        raise NotPlainColumns()
    if out.suffix != _SUFFIX:
        raise OutputNotJsonLines(out.name)
    for path in (out, provenance):
        if path.exists() or path.is_symlink():
            raise OutputTaken(path)
    facts = inspect_file(source)
    reading = choose_reading(
        TrainSource.model_validate({"path": source.name} | ({} if row_format is None else {"format": row_format})),
        name=source.name,
        columns=facts.columns,
        classes=facts.classes,
        lists=facts.lists,
        chat_template="",  # nothing is rendered here
    )
    rows = _Rows(lists)
    for row in read_rows(source, facts=facts):
        rows.add(_plain(reading.values(row), reading), reading)
    if not rows.lines:
        raise NothingSwapped(source.name, rows.reasons)
    data = b"".join(rows.lines)
    found = CounterfactualData(
        input_name=source.name,
        input_sha256=facts.sha256,
        input_format=reading.row_format,
        input_rows=facts.rows,
        lists=tuple(
            SwapListUsed(
                axis=words.axis,
                sha256=words.digest,
                swapped=rows.swapped[words.axis],
                dropped=dict(sorted(rows.dropped[words.axis].items())),
            )
            for words in lists
        ),
        kept_rows=rows.kept,
        repeated_rows=rows.repeated,
        output_name=out.name,
        output_sha256=Digest.of(data),
        output_rows=len(rows.lines),
    )
    try:
        write_new(out, data, mode=0o644)
        write_new(provenance, canonical_bytes(found.to_json()) + b"\n", mode=0o644)
    except OSError as error:
        raise unwritable(out, error) from error
    return found


def _plain(values: dict[str, Any], reading: RowReading) -> dict[str, Any]:
    """The values as a file of this row's kind holds them; turns were read as messages, whatever they were written as."""
    return {"messages": turns_of(reading, values)} if reading.row_format == "sharegpt" else values


class _Rows:
    """The lines so far, and what became of each row."""

    def __init__(self, lists: tuple[SwapList, ...]) -> None:
        self.lists = lists
        self.lines: list[bytes] = []
        self.kept = 0
        self.repeated = 0
        self.swapped: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {words.axis: Counter() for words in lists}
        self._seen: set[Digest] = set()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why rows were dropped, on all axes together, the most frequent first."""
        return tuple(reason for reason, _ in sum(self.dropped.values(), Counter()).most_common())

    def add(self, values: dict[str, Any], reading: RowReading) -> None:
        counterparts = []
        for words in self.lists:
            counterpart = counterfactual_row(values, reading, words)
            if isinstance(counterpart, Dropped):
                self.dropped[words.axis][counterpart.reason] += 1
            else:
                self.swapped[words.axis] += 1
                counterparts.append(counterpart)
        if not counterparts:
            return
        self.kept += 1
        for row in (values, *counterparts):
            line = row_line(row)
            digest = Digest.of(line)
            if digest in self._seen:
                self.repeated += 1
                continue
            self._seen.add(digest)
            self.lines.append(line)
