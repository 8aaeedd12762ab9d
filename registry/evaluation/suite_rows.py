"""The rows of an item table held against those of its suite: ids, clusters, categories, and whatever else is not a score.

An item table is signed by whoever evaluated, and every figure follows from it. With clusters renamed, a category moved or a row
left out and its count adjusted every figure follows as well, and is another one. What a row is of follows from the data of the
suite alone. Pure: who has the data gives the rows that it makes.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peft_registry.registry.evaluation.items import TableRow
from peft_registry.registry.evaluation.leakage import LEFT_OUT
from peft_registry.registry.evaluation.readings import Reading, decimal_text
from peft_registry.registry.evaluation.recheck import Discrepancy
from peft_registry.schemas.codes import Code
from peft_registry.schemas.evaluation import DatasetUsed, LeakageCheck, LeakedItems

_OF_EVERY_ROW = ("category", "cluster", "metric")
_OF_READINGS = ("condition", "unit", "labels", "correct")
_CHECKED = ("items", "hits", "unchecked", "near", "left_out")  # of an entry of a check of leakage


def described_otherwise(recorded: DatasetUsed, derived: DatasetUsed) -> Iterator[Discrepancy]:
    """What a record says of a suite's data and the data does not give.

    Args:
        recorded: as the record describes it.
        derived: as the data describes itself, for the same part and selection.
    """
    name = f"datasets[{recorded.name}]"
    for field in ("rows_total", "half", "mapping_sha256"):
        yield from _unequal(f"{name}.{field}", getattr(recorded, field), getattr(derived, field))
    for reason, rows in derived.excluded.items():
        yield from _unequal(f"{name}.excluded[{reason}]", recorded.left_out(Code(code=reason)), rows)
    # saying nothing of it claims nothing
    if recorded.published is not None:
        yield from _unequal(f"{name}.published", recorded.published, derived.published)


def rows_otherwise(
    recorded: DatasetUsed, table: Iterable[TableRow], of_suite: Mapping[str, TableRow]
) -> Iterator[Discrepancy]:
    """Rows of the table that are not those of the suite, and rows of the suite that are not in the table.

    Args:
        recorded: as the record describes the suite's data.
        table: the item table, with every arm.
        of_suite: by id the rows that the part of the suite has which was asked, with nothing scored.
    """
    rows = [row for row in table if row.dataset == recorded.name]
    for row in rows:
        place = f"items[{' '.join(row.key)}]"
        expected = of_suite.get(row.id)
        if expected is None:
            yield Discrepancy(place, "a row", "none of what was asked of the suite")
        else:
            yield from _otherwise(place, row, expected)
    absent = sorted(of_suite.keys() - {row.id for row in rows})
    # earlier editions of the figures left rows that were trained on out of the table
    if len(absent) != recorded.left_out(LEFT_OUT):
        first = absent[0] if absent else "none"
        yield Discrepancy(
            f"items[{recorded.name}]: rows of the suite that are absent",
            f"{recorded.left_out(LEFT_OUT)}",
            f"{len(absent)}, the first of them {first}",
        )


def leakage_otherwise(recorded: LeakageCheck, derived: LeakageCheck, dataset: str) -> Iterator[Discrepancy]:
    """What a record says of how much of a suite was trained on, and the kept hashes of the trainings do not give."""
    yield from _unequal("leakage_check.limit", recorded.limit, derived.limit)
    entries = [_entry(check, dataset) for check in (recorded, derived)]
    name = f"leakage_check.datasets[{dataset}]"
    if entries[0] is None or entries[1] is None:
        yield from _unequal(name, *("absent" if entry is None else "looked for" for entry in entries))
        return
    before, after = (entry.to_json() for entry in entries if entry is not None)
    for field in _CHECKED:
        yield from _unequal(f"{name}.{field}", before.get(field), after.get(field))


def _entry(check: LeakageCheck, dataset: str) -> LeakedItems | None:
    return next((entry for entry in check.datasets if (entry.kind, entry.dataset) == ("suite", dataset)), None)


def _otherwise(place: str, row: TableRow, expected: TableRow) -> Iterator[Discrepancy]:
    if type(row) is not type(expected):
        yield Discrepancy(place, row.metric, expected.metric)
        return
    fields = _OF_EVERY_ROW if not isinstance(expected, Reading) else (*_OF_EVERY_ROW, *_OF_READINGS)
    for field in fields:
        yield from _unequal(f"{place}.{field}", getattr(row, field), getattr(expected, field))
    if isinstance(row, Reading) and isinstance(expected, Reading) and row.labels == expected.labels:
        for label, value, constant, tokens in zip(
            row.labels, row.values, expected.values, expected.tokens, strict=True
        ):
            # what nothing was scored for is a constant of the suite
            if not tokens:
                yield from _unequal(f"{place}.values[{label}]", decimal_text(value), decimal_text(constant))


def _unequal(name: str, recorded: Any, derived: Any) -> Iterator[Discrepancy]:  # any JSON values
    if recorded != derived:
        yield Discrepancy(name, str(recorded), str(derived))
