"""How much several runs used of one file, and what their selections leave open. Pure.

Selections with one digest are the same rows, and count once. Two digests may cover some of the same rows, or the same ones in
another order: which rows both runs used is then not known, and there are only bounds, unless a run used every row of the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.schemas.codes import Code, code, says
from peft_registry.schemas.modification import DataUsed
from peft_registry.schemas.values import Value, derived

_HELD_OUT = frozenset({"validation", "test"})


@dataclass(frozen=True, slots=True)
class RunSelections:
    """What a run used of a file: each selection as its record lists it, and how many rows the file has where that is known."""

    label: str
    selections: tuple[Mapping[str, Any], ...]  # JSON of `RowSelection`
    rows_of_file: int | None

    def count(self, what: str) -> int:
        """Rows or tokens of all selections; those of one run have no row in common."""
        return sum(int(selection[what]) for selection in self.selections)

    @property
    def has_every_row(self) -> bool:
        return self.rows_of_file is not None and self.count("rows") >= self.rows_of_file


def used_by_all(runs: Sequence[RunSelections], what: str, unit: str) -> Value:
    """The rows or tokens that the runs used together, or between which bounds they are.

    Args:
        runs: at least one; each selection has a count of `what`.
        what: `rows` or `tokens`.
        unit: of the value.
    """
    counts = [code("count_of", of=run.label, count=run.count(what)) for run in runs]
    whole = next((run for run in runs if run.has_every_row), None)
    if whole is not None:
        return derived(whole.count(what), unit, method=code("every_row_used", by=whole.label, counts=counts))
    unique = {str(selection["rows_sha256"]): int(selection[what]) for run in runs for selection in run.selections}
    least = max(run.count(what) for run in runs)
    most = sum(unique.values())
    if least == most:
        return derived(least, unit, method=code("selections_once", counts=counts))
    rows_of_file = next((run.rows_of_file for run in runs if run.rows_of_file is not None), None)
    if what == "rows" and rows_of_file is not None:
        most = min(most, rows_of_file)
    return derived(least, unit, method=code("at_least_most_of_one_run", counts=counts, most=most))


def is_lower_bound(count: Value) -> bool:
    """Whether a count is of rows that nobody can tell apart, so that there may be more."""
    return says(count.method, "at_least_most_of_one_run", "at_least_sum_over_files")


def mixed_roles(data: Iterable[DataUsed]) -> tuple[Code, ...]:
    """A code for each file of which one run trained on rows that another held out, or may have: figures on those rows do not
    speak of the result."""
    sentences = []
    for section in data:
        rows = _rows_by_run(section)
        trained_on = {label: digests for label, splits in rows.items() if (digests := splits.get("train"))}
        for label, splits in rows.items():
            if not _HELD_OUT & splits.keys():
                continue
            # where both trained on the same rows, the other did not train on a row that this one held out
            others = [other for other, digests in trained_on.items() if digests != splits.get("train")]
            if others:
                file = str(section.name.value)
                if label in trained_on:
                    sentences.append(code("held_out_perhaps_the_same", file=file, trained=others, held_out=label))
                else:
                    sentences.append(code("trained_on_what_was_held_out", file=file, trained=others, held_out=label))
    return tuple(sentences)


def unknown_overlaps(data: Iterable[DataUsed]) -> tuple[Code, ...]:
    """A code for each file of which several runs used different rows, perhaps some of them the same."""
    return tuple(
        code("different_selections", file=str(section.name.value), runs=list(_rows_by_run(section)))
        for section in data
        if is_lower_bound(section.n_points)
    )


def _rows_by_run(section: DataUsed) -> dict[str, dict[str, set[str]]]:
    """The digests of the rows that each run used of a file, by split; nothing where all runs used the same rows."""
    rows: dict[str, dict[str, set[str]]] = {}
    for row in section.splits.value if isinstance(section.splits.value, list) else []:
        if isinstance(row, dict) and "of" in row:
            splits = rows.setdefault(str(row["of"]), {})
            splits.setdefault(str(row.get("split")), set()).add(str(row.get("rows_sha256")))
    return rows
