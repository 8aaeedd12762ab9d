"""Which fields of a record answer which row of the forms, as data, and how far a record answers each.

A row is filled, open with who owes what and why, not asked of this record, or outside of what this tool is for.
"""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import Field

from peft_registry.registry.compliance.answer_forms import is_blank
from peft_registry.registry.compliance.completeness import gap_of, is_filled, own_required_leaves
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.schemas.codes import code
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.report import Gap

_PLAIN = ("record_id", "schema_version", "record_created_at")  # no values with a source, and always there
FormName = Literal["annex_iv", "annex_xi", "annex_xii", "mdf", "pst", "record"]
Recipient = Literal["aio", "nca", "dp"]
State = Literal["filled", "open", "not asked", "outside"]


class FormRow(Frozen):
    """One row of a form.

    Attributes:
        row: its number or name.
        content: what it asks for.
        fields: paths of the record that answer it; `data[].crawler.period` is a member of an object.
        parts: whether the row needs all of its fields, or one of them answers it.
        where_asked: of the fields, those that count only where the record asks for them: a representative of a modifier outside the
            Union, a crawler of data that was crawled.
        recipients: who gets it; none where the form does not say.
        only: who alone gets a field that not all of them get.
        outside: why no field answers it, where this tool leaves the row alone.
    """

    row: str
    content: str
    fields: tuple[str, ...]
    parts: Literal["all", "any"] = "any"
    where_asked: tuple[str, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    only: dict[str, tuple[Recipient, ...]] = Field(default_factory=dict)
    outside: str | None = None


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
    required = {leaf.path for leaf in own_required_leaves(record)}
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
        """`mdf: 40 rows, 21 filled, 5 open, 14 not asked`; rows that this tool leaves alone are counted where there are any."""
        left_alone = f", {self.outside} not for this tool" if self.outside else ""
        return f"{self.form}: {self.rows} rows, {self.filled} filled, {self.open} open, {self.not_asked} not asked{left_alone}"


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


@dataclass(frozen=True, slots=True)
class _Part:
    """A value, or a member of an object, that a row asks for."""

    leaf: Leaf
    member: str  # empty for the whole value
    counts: bool

    @property
    def is_filled(self) -> bool:
        if not self.member:
            return is_filled(self.leaf)
        value = self.leaf.value.value
        return isinstance(value, dict) and not is_blank(value.get(self.member))

    @property
    def gap(self) -> Gap:
        gap = gap_of(self.leaf)
        if not self.member or not self.leaf.value.known:
            return gap
        return Gap(
            field=f"{gap.field}.{self.member}",
            owner=gap.owner,
            reason=code("member_not_stated"),
            answers=gap.answers,
            label=gap.label,
        )


def _answered(row: FormRow, by_rule: dict[str, list[Leaf]], required: set[str]) -> AnsweredRow:
    if row.outside is not None:
        return AnsweredRow(row=row, state="outside")
    parts = {field: _parts(field, row, by_rule, required) for field in row.fields}
    missing = [part for field in parts.values() for part in field if part.leaf.path in required and not part.is_filled]
    if missing:
        gaps = {part.gap.field: part.gap for part in missing}
        return AnsweredRow(row=row, state="open", gaps=tuple(gaps.values()))
    if any(path in _PLAIN for path in row.fields):
        return AnsweredRow(row=row, state="filled")
    if row.parts == "all":
        wanted = [field for field in row.fields if field not in row.where_asked]
        counted = [part for field in parts.values() for part in field if part.counts]
        filled = all(parts[field] for field in wanted) and all(part.is_filled for part in counted)
    else:
        filled = any(part.is_filled for field in parts.values() for part in field)
    return AnsweredRow(row=row, state="filled" if filled else "not asked")


def _parts(field: str, row: FormRow, by_rule: dict[str, list[Leaf]], required: set[str]) -> list[_Part]:
    head, _, member = field.rpartition(".")
    parent = field_rules().by_path().get(head)
    rule, member = (head, member) if parent is not None and member in parent.members else (field, "")
    return [
        _Part(leaf, member, counts=field not in row.where_asked or leaf.path in required)
        for leaf in by_rule.get(rule, ())
    ]
