"""Which fields of a record answer which row of the forms, as data, and how far a record answers each.

A row is filled, open with who owes what and why, not asked of this record, or outside of what this tool is for.
"""

import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import Field

from peft_registry.registry.compliance.completeness import conditions_of, gap_of, required_leaves
from peft_registry.registry.compliance.fields import Leaf, leaves
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.report import Gap

_PLAIN = ("record_id", "schema_version", "record_created_at")  # no values with a source, and always there
FormName = Literal["annex_iv", "annex_xi", "annex_xii", "mdf", "pst", "record"]
Recipient = Literal["aio", "nca", "dp"]
State = Literal["filled", "open", "not asked", "outside"]


class FormRow(Frozen):
    """One row of a form. `fields` are paths of the record; `outside` says why none is, where this tool leaves the row alone.

    `recipients`: who gets it; none where the form does not say. `only`: who alone gets a field that not all of them get.
    """

    row: str
    content: str
    fields: tuple[str, ...]
    recipients: tuple[Recipient, ...] = ()
    only: dict[str, tuple[Recipient, ...]] = Field(default_factory=dict)
    outside: str | None = None

    def fields_for(self, recipient: Recipient) -> tuple[str, ...]:
        """The fields that a recipient gets: an authority gets a figure in a coarser form than the AI Office, or not at all."""
        if self.recipients and recipient not in self.recipients:
            return ()
        return tuple(path for path in self.fields if recipient in self.only.get(path, (recipient,)))


class LegalForm(Frozen):
    """A form with its rows, in its own order."""

    name: FormName
    title: str
    rows: tuple[FormRow, ...]


class LegalForms(Frozen):
    """The whole data file."""

    notice: str
    recipients: dict[Recipient, str]
    forms: tuple[LegalForm, ...]

    def named(self, name: FormName) -> LegalForm:
        return next(form for form in self.forms if form.name == name)


class AnsweredRow(Frozen):
    """A row and how far one record answers it; `gaps` are what it still asks for, each with its owner and reason."""

    row: FormRow
    state: State
    gaps: tuple[Gap, ...] = ()


@cache
def forms() -> LegalForms:
    """The forms that this version of the tool knows."""
    file = resources.files("peft_registry.registry.compliance") / "rules" / "form_rows.json"
    return LegalForms.model_validate(json.loads(file.read_text(encoding="utf-8")))


def answered(record: RecordSections, form: LegalForm) -> tuple[AnsweredRow, ...]:
    """Each row of the form with how far the record answers it."""
    required = {leaf.path for leaf in required_leaves(record, conditions_of(record))}
    by_rule: dict[str, list[Leaf]] = {}
    for leaf in leaves(record):
        by_rule.setdefault(leaf.rule, []).append(leaf)
    return tuple(_answered(row, by_rule, required) for row in form.rows)


class FormCount(Frozen):
    """How many rows of a form a record fills, leaves open, is not asked for, and never answers."""

    form: FormName
    rows: int
    filled: int
    open: int
    not_asked: int
    outside: int

    @property
    def text(self) -> str:
        """`mdf: 40 rows, 21 filled, 5 open, 14 not asked, 0 outside`."""
        return (
            f"{self.form}: {self.rows} rows, {self.filled} filled, {self.open} open, {self.not_asked} not asked, "
            f"{self.outside} outside"
        )


def counts_of_forms(record: RecordSections) -> tuple[FormCount, ...]:
    """The counts of each form, in the order of the forms."""
    counts = []
    for form in forms().forms:
        states = Counter(row.state for row in answered(record, form))
        counts.append(
            FormCount(
                form=form.name,
                rows=len(form.rows),
                filled=states["filled"],
                open=states["open"],
                not_asked=states["not asked"],
                outside=states["outside"],
            )
        )
    return tuple(counts)


def _answered(row: FormRow, by_rule: dict[str, list[Leaf]], required: set[str]) -> AnsweredRow:
    if row.outside is not None:
        return AnsweredRow(row=row, state="outside")
    values = list(_values(row, by_rule))
    gaps = tuple(gap_of(leaf) for leaf in values if leaf.path in required and not leaf.value.known)
    if gaps:
        return AnsweredRow(row=row, state="open", gaps=gaps)
    is_filled = any(path in _PLAIN for path in row.fields) or any(leaf.value.known for leaf in values)
    return AnsweredRow(row=row, state="filled" if is_filled else "not asked")


def _values(row: FormRow, by_rule: dict[str, list[Leaf]]) -> Iterator[Leaf]:
    for path in row.fields:
        yield from by_rule.get(path, ())
