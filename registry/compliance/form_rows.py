"""Which fields of a record answer which row of the forms, as data, and how far a record answers each.

A row is filled; open, with who owes what and why; undecided, with the open questions that decide whether it is asked of this
record; not applicable, with the reason; not asked for, where nothing requires it; or outside of what this tool is for.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from peft_registry.registry.compliance.answer_forms import is_blank
from peft_registry.registry.compliance.completeness import RequiredValues, gap_of, is_filled
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules
from peft_registry.schemas.codes import Code, Said, code, misfit
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.report import Gap

PLAIN = ("record_id", "schema_version", "record_created_at")  # no values with a source, and always there
FormName = Literal["annex_iv", "annex_xi", "annex_xii", "mdf", "pst", "record", "cover", "bom"]
Recipient = Literal["aio", "nca", "dp", "public"]
State = Literal["filled", "open", "undecided", "not applicable", "not asked", "outside"]


class FormRow(Frozen):
    """One row of a form.

    Attributes:
        row: its number or name.
        section: of the form, where that is divided.
        title: what the form calls it, in our words; empty where its number is all it has.
        content: what it asks for.
        words: how many words the form asks for at most.
        figures: how many significant figures of a number it asks for at least.
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
    figures: int | None = None
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
    """A row and how far one record answers it.

    Attributes:
        gaps: what it still asks for, each with its owner and reason; where that is undecided, what has to be answered first.
        reason: why it is not applicable.
    """

    row: FormRow
    state: State
    gaps: tuple[Gap, ...] = ()
    reason: Said | None = None


@cache
def forms() -> LegalForms:
    """The forms that this version of the tool knows."""
    file = resources.files("peft_registry.registry.compliance") / "rules" / "form_rows.json"
    return LegalForms.model_validate(json.loads(file.read_text(encoding="utf-8")))


def answered(record: RecordSections, form: LegalForm) -> tuple[AnsweredRow, ...]:
    """Each row of the form with how far the record answers it."""
    required = RequiredValues(record)
    return tuple(_answered(row, required) for row in form.rows)


def reason_in_words(reason: Said) -> str:
    """Why a row is not applicable, for a reader, who does not know conditions by their names."""
    if isinstance(reason, Code) and reason.code == "asked_only_where" and misfit(reason) is None:
        known = field_rules().conditions
        # a condition of another edition has only its name here
        meanings = [known[name].means if name in known else name for name in reason.parameters["conditions"]]
        return f"asked only where {', or '.join(meanings)}"
    return str(reason)


class FormCount(Frozen):
    """How many rows of a form a record fills, leaves open, is not asked for, and never answers."""

    form: FormName
    rows: int
    filled: int
    open: int
    undecided: int
    not_applicable: int
    not_asked: int
    outside: int

    @property
    def text(self) -> str:
        """`mdf: 46 rows, 21 filled, 5 open, 14 not applicable`; what there is none of is left out."""
        counts = (
            (self.filled, "filled"),
            (self.open, "open"),
            (self.undecided, "undecided"),
            (self.not_applicable, "not applicable"),
            (self.not_asked, "not asked"),
            (self.outside, "not for this tool"),
        )
        told = ", ".join(f"{count} {state}" for count, state in counts if count)
        return f"{self.form}: {self.rows} rows, {told}"


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
                undecided=states["undecided"],
                not_applicable=states["not applicable"],
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
    def place(self) -> FieldPath:
        return FieldPath.parse(self.leaf.path)

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


def _answered(row: FormRow, required: RequiredValues) -> AnsweredRow:
    if row.outside is not None:
        return AnsweredRow(row=row, state="outside")
    parts = {field: parts_of(field, required.by_rule) for field in row.fields}
    every = [part for found in parts.values() for part in found]
    missing = [part.gap for part in every if part.leaf.path in required.paths and not part.is_filled]
    if missing:
        return AnsweredRow(row=row, state="open", gaps=_each_once(missing))
    if any(path in PLAIN for path in row.fields) or _is_filled(row, parts, required):
        return AnsweredRow(row=row, state="filled")
    return _not_required(row, [part.leaf for part in every], required)


def _not_required(row: FormRow, named: list[Leaf], required: RequiredValues) -> AnsweredRow:
    """A row of which the record has nothing, and need not have anything as far as it is known."""
    left = [leaf for leaf in named if leaf.value.applies and leaf.path not in required.paths]
    why = [required.why_not_required(leaf) for leaf in left]
    questions = [gap_of(question) for one in why for question in one.waits_for]
    if questions:
        # what follows from answers is not asked of anybody as long as one of them is open
        of_people = [question for question in questions if question.owner != "tool"]
        return AnsweredRow(row=row, state="undecided", gaps=_each_once(of_people or questions))
    stated = next((leaf.value.reason for leaf in named if not leaf.value.applies), None)
    conditions = list(dict.fromkeys(name for one in why for name in one.conditions))
    if stated is not None:
        return AnsweredRow(row=row, state="not applicable", reason=stated)
    if conditions:
        return AnsweredRow(row=row, state="not applicable", reason=code("asked_only_where", conditions=conditions))
    return AnsweredRow(row=row, state="not asked")


def _each_once(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    return tuple({gap.field: gap for gap in gaps}.values())


def _is_filled(row: FormRow, parts: dict[str, list[Part]], required: RequiredValues) -> bool:
    """Whether what it needs is there; of what does not apply nothing is needed, and something has to be there."""
    if row.parts == "any":
        return any(part.is_filled for found in parts.values() for part in found)
    wanted = [field for field in row.fields if field not in row.where_asked]
    counted = [
        part
        for field, found in parts.items()
        for part in found
        if part.leaf.value.applies and (field in wanted or part.leaf.path in required.paths)
    ]
    return bool(counted) and all(parts[field] for field in wanted) and all(part.is_filled for part in counted)


def parts_of(field: str, by_rule: dict[str, list[Leaf]]) -> list[Part]:
    """The values of a record, or members of them, that are at the path of a row's field."""
    head, _, member = field.rpartition(".")
    parent = field_rules().by_path().get(head)
    rule, member = (head, member) if parent is not None and member in parent.members else (field, "")
    return [Part(leaf, member) for leaf in by_rule.get(rule, ())]
