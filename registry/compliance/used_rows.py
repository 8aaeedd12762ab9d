"""How much several runs used of one file, and what their selections leave open. Pure.

Selections with one digest are the same rows, and count once. Two digests may cover some of the same rows, or the same ones in
another order: which rows both runs used is then not known, and there are only bounds, unless a run used every row of the file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.schemas.codes import listed_labels
from peft_registry.schemas.modification import DataUsed
from peft_registry.schemas.values import Value, derived

_HELD_OUT = frozenset({"validation", "test"})
AT_LEAST = "at least: "  # how a count begins whose rows nobody can tell apart


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
    counts = ", ".join(f"{run.label} {run.count(what):g}" for run in runs)
    whole = next((run for run in runs if run.has_every_row), None)
    if whole is not None:
        return derived(whole.count(what), unit, method=f"every row of the file, which {whole.label} used; {counts}")
    unique = {str(selection["rows_sha256"]): int(selection[what]) for run in runs for selection in run.selections}
    least = max(run.count(what) for run in runs)
    most = sum(unique.values())
    if least == most:
        return derived(least, unit, method=f"selections with one digest once; {counts}")
    rows_of_file = next((run.rows_of_file for run in runs if run.rows_of_file is not None), None)
    if what == "rows" and rows_of_file is not None:
        most = min(most, rows_of_file)
    how = f"the most that one run used, of {counts}; at most {most}: which rows several runs used is not recorded"
    return derived(least, unit, method=f"{AT_LEAST}{how}")


def mixed_roles(data: Iterable[DataUsed]) -> tuple[str, ...]:
    """A sentence for each file of which one run trained on rows that another held out, or may have: figures on those rows do not
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
                how = "held it out" if label not in trained_on else "held rows of it out, perhaps the same"
                sentences.append(f"{section.name.value}: {listed_labels(others)} trained on it, {label} {how}")
    return tuple(sentences)


def unknown_overlaps(data: Iterable[DataUsed]) -> tuple[str, ...]:
    """A sentence for each file of which several runs used different rows, perhaps some of them the same."""
    return tuple(
        f"{section.name.value}: {listed_labels(list(_rows_by_run(section)))} used different selections of its rows"
        for section in data
        if str(section.n_points.method or "").startswith(AT_LEAST)
    )


def _rows_by_run(section: DataUsed) -> dict[str, dict[str, set[str]]]:
    """The digests of the rows that each run used of a file, by split; nothing where all runs used the same rows."""
    rows: dict[str, dict[str, set[str]]] = {}
    for row in section.splits.value if isinstance(section.splits.value, list) else []:
        if isinstance(row, dict) and "of" in row:
            splits = rows.setdefault(str(row["of"]), {})
            splits.setdefault(str(row.get("split")), set()).add(str(row.get("rows_sha256")))
    return rows
