"""The open fields of a record as a report names them: what is open, of which base, adapter or data file, and who owes it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from peft_registry.registry.compliance.answered_only import DECIDED_BESIDE
from peft_registry.registry.compliance.completeness import (
    Completeness,
)
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.reports.text import (
    reason_text,
    value_text,
)
from peft_registry.registry.reports.wording import OWNERS, READERS_LABELS, OwnerNames
from peft_registry.schemas.base_model import BaseRecord
from peft_registry.schemas.codes import listed_labels
from peft_registry.schemas.modification import BaseUsed, RecordSections
from peft_registry.schemas.report import Gap, Owed
from peft_registry.schemas.values import Value

# what this tool finds out by itself is asked of nobody: such a row names no person and no department
NOT_ASKED = "Nobody: this tool measures or derives it"
_NOT_FOUND_OUT = "not found out yet: "
_ITEMS_NAMED = 3  # whose field it is; each stands under "open fields"
_FIELDS_NAMED = 12  # of each owner; all of them stand under "open fields"


def open_lines(
    completed: Completeness | None, base: BaseRecord | None, names: OwnerNames | None = None
) -> tuple[str, ...]:
    """How much is open, and how much of that each owner owes.

    Args:
        completed: the fields of the modification record, counted; None where there is no record.
        base: where the version is one: facts that nobody declared are open of it.
        names: whom the page has explained already.
    """
    if completed is not None:
        return _counted(completed, names or OwnerNames())
    if base is None:
        return ("No modification record.",)
    unknown = [rule for rule, value in base.facts if isinstance(value, Value) and not value.known]
    return (
        f"{len(unknown)} facts of the base are not declared: {', '.join(unknown).replace('_', ' ')}."
        if unknown
        else "Nothing.",
    )


def _counted(completed: Completeness, names: OwnerNames) -> tuple[str, ...]:
    """The counts by owner; what this tool finds out by itself is owed by nobody, and stands apart from people."""
    counts = f"{completed.filled} of {completed.total} fields filled, {len(completed.open)} open"
    if not completed.open:
        return (f"{counts}.",)
    owed = [(owner, count) for owner, count in completed.by_owner if owner != "tool"]
    people = ", ".join(f"{names.of(owner)} {count}" for owner, count in owed)
    asked = f" To be answered by {people}." if people else ""
    by_tool = sum(count for owner, count in completed.by_owner if owner == "tool")
    measured = f" {by_tool} of those open this tool measures or derives, and has not yet." if by_tool else ""
    return (f"{counts}.{asked}{measured} Each is named under “What is unknown, and who owes it”.",)


def owed_of(
    completed: Completeness | None, record: RecordSections | None, first: frozenset[str] = frozenset()
) -> tuple[Owed, ...]:
    """Who owes an answer: how many, and which in words.

    Args:
        completed: the fields of the record, counted; None where there is no record.
        record: of which they are.
        first: the fields, without positions, that are named before the others: what a role waits for.
    """
    if completed is None or record is None:
        return ()
    rows = []
    by_weight = sorted(completed.open, key=lambda gap: FieldPath.parse(gap.field).rule not in first)
    for owner, count in completed.by_owner:
        asked: dict[str, list[str]] = {}  # by label, whose fields they are
        for gap in by_weight:
            if gap.owner == owner:
                label = READERS_LABELS.get(FieldPath.parse(gap.field).rule, gap.label or gap.field)
                if str(gap.reason).startswith(DECIDED_BESIDE):
                    label += " (decided beside the record, which does not say it yet)"
                asked.setdefault(label, []).append(whose_field(record, gap.field))
        named = dict(list(asked.items())[:_FIELDS_NAMED])
        text = ". ".join(_labels_of_whom(named))
        rest = count - sum(map(len, named.values()))
        text += f"; {rest} more under “Open fields”" if rest > 0 else ""
        if owner == "tool":
            rows.append(Owed(owner=NOT_ASKED, count=count, text=_NOT_FOUND_OUT + text))
        else:
            rows.append(Owed(owner=OWNERS[owner], count=count, text=text))
    return tuple(rows)


def named_gaps(completed: Completeness | None, record: RecordSections | None) -> tuple[Gap, ...]:
    """The open fields as the evidence lists them: of several bases, adapters or data files each says which."""
    if completed is None or record is None:
        return ()
    return tuple(
        Gap(
            field=gap.field,
            owner=gap.owner,
            reason=reason_text(gap.reason),
            answers=gap.answers,
            label=f"{gap.label}{_of_whom([whose_field(record, gap.field)])}" if gap.label else "",
        )
        for gap in completed.open
    )


def whose_field(record: RecordSections, path: str) -> str:
    """Which base, adapter or data file a field of the record is of, by name; empty where there is one of them, or none."""
    item = FieldPath.parse(path).item if "[" in path else None
    if item is None:
        return ""
    section, position = item
    items = getattr(record, section)  # base, data, upstream: each of them has a name
    if len(items) < 2:
        return ""
    holder = items[position]
    if isinstance(holder, BaseUsed):
        return base_label(holder)
    return value_text(holder.name) if holder.name.known else f"number {position + 1}, which has no name"


def _labels_of_whom(asked: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The labels with whose fields they are; neighbours of the same bases, adapters or files share that."""
    for whose, rows in groupby(asked.items(), key=lambda row: _of_whom(row[1])):
        labels = [label for label, _ in rows]
        suffix = whose.replace("(", "(each ", 1) if len(labels) > 1 else whose
        yield f"{'; '.join(labels)}{suffix}"


def _of_whom(names: Sequence[str]) -> str:
    """` (of a:1 and b:1)`; the first of many."""
    shown = [name for name in names if name]
    if not shown:
        return ""
    rest = len(shown) - _ITEMS_NAMED
    count = f"{len(shown)} fields, " if len(shown) > 1 else ""  # they are counted in fields
    return f" ({count}of {listed_labels([*shown[:_ITEMS_NAMED], f'{rest} more'] if rest > 0 else shown)})"


def base_label(used: BaseUsed) -> str:
    """A base as a modification record names it, with its version where that is known."""
    name = value_text(used.name) if used.name.known else "not named"
    version = f":{value_text(used.version)}" if used.version.known else ""
    return name if name.endswith(version) else f"{name}{version}"  # an ingredient is named with its version
