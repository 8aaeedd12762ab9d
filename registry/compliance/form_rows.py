"""Which fields of a record answer which row of the forms, as data, and how far a record answers each.

A row is filled, open with who owes what and why, not asked of this record, or outside of what this tool is for.
"""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from peft_registry.registry.compliance.answer_forms import is_blank
from peft_registry.registry.compliance.completeness import gap_of, is_filled, own_required_leaves
from peft_registry.registry.compliance.fields import Leaf, field_rules, leaves
from peft_registry.schemas.codes import code
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.report import Gap

PLAIN = ("record_id", "schema_version", "record_created_at")  # no values with a source, and always there
FormName = Literal["annex_iv", "annex_xi", "annex_xii", "mdf", "pst", "record"]
Recipient = Literal["aio", "nca", "dp"]
State = Literal["filled", "open", "not asked", "outside"]


class FormRow(Frozen):
    """One row of a form.

    Attributes:
        row: its number or name.
        section: of the form, where that is divided.
        title: what the form calls it, in our words; empty where its number is all it has.
        content: what it asks for.
        words: how many words the form asks for at most.
        fields: paths of the record that answer it; `data[].crawler.period` is a member of an object.
        beside: paths that whoever gets the row gets with it, and that do not answer it.
        parts: whether the row needs all of its fields, or one of them answers it.
        where_asked: of the fields, those that count only where the record asks for them: a representative of a modifier outside the
            Union, a crawler of data that was crawled.
        recipients: who gets it; none where the form does not say. Nobody gets a field that no row lets them have.
        outside: why no field answers it, where this tool leaves the row alone.
    """

    row: str
    section: str = ""
    title: str = ""
    content: str
    words: int | None = None
    fields: tuple[str, ...]
    beside: tuple[str, ...] = ()
    parts: Literal["all", "any"] = "any"
    where_asked: tuple[str, ...] = ()
    recipients: tuple[Recipient, ...] = ()
    outside: str | None = None


class LegalForm(Frozen):
    """A form with its rows, in its own order; `source` says what they rest on, where that is not the law's own text."""

    name: FormName
    title: str
    source: str = ""
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
    by_rule = leaves_by_rule(record)
    return tuple(_answered(row, by_rule, required) for row in form.rows)


def leaves_by_rule(record: RecordSections) -> dict[str, list[Leaf]]:
    """The values of a record by the path of their rule, which has no positions."""
    by_rule: dict[str, list[Leaf]] = {}
    for leaf in leaves(record):
        by_rule.setdefault(leaf.rule, []).append(leaf)
    return by_rule


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
        """`mdf: 46 rows, 21 filled, 5 open, 14 not asked`; rows that this tool leaves alone are counted where there are any."""
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
class Part:
    """A value, or a member of an object, that a row names."""

    leaf: Leaf
    member: str  # empty for the whole value

    @property
    def is_filled(self) -> bool:
        return not is_blank(self.value) if self.member else is_filled(self.leaf)

    @property
    def value(self) -> Any:  # any JSON value
        whole = self.leaf.value.value
        if not self.member:
            return whole
        return whole.get(self.member) if isinstance(whole, dict) else None

    @property
    def path(self) -> str:
        return f"{self.leaf.path}.{self.member}" if self.member else self.leaf.path

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
    parts = {field: parts_of(field, by_rule) for field in row.fields}
    missing = [part for field in parts.values() for part in field if part.leaf.path in required and not part.is_filled]
    if missing:
        gaps = {part.gap.field: part.gap for part in missing}
        return AnsweredRow(row=row, state="open", gaps=tuple(gaps.values()))
    if any(path in PLAIN for path in row.fields):
        return AnsweredRow(row=row, state="filled")
    if row.parts == "all":
        wanted = [field for field in row.fields if field not in row.where_asked]
        counted = [
            part for field, found in parts.items() for part in found if field in wanted or part.leaf.path in required
        ]
        filled = all(parts[field] for field in wanted) and all(part.is_filled for part in counted)
    else:
        filled = any(part.is_filled for field in parts.values() for part in field)
    return AnsweredRow(row=row, state="filled" if filled else "not asked")


def parts_of(field: str, by_rule: dict[str, list[Leaf]]) -> list[Part]:
    """The values of a record, or members of them, that are at the path of a row's field."""
    head, _, member = field.rpartition(".")
    parent = field_rules().by_path().get(head)
    rule, member = (head, member) if parent is not None and member in parent.members else (field, "")
    return [Part(leaf, member) for leaf in by_rule.get(rule, ())]
