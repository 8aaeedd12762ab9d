"""A form as one recipient gets it: a view on a record, cut by the table of rows. Pure.

The table is an allow-list. A value reaches a recipient because a row that is theirs names its field; how a value came about stays
behind, because a code that tells it may hold figures that are somebody else's.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from peft_registry.registry.compliance.completeness import RequiredValues
from peft_registry.registry.compliance.field_paths import FieldPath
from peft_registry.registry.compliance.fields import Leaf, field_rules
from peft_registry.registry.compliance.form_rows import (
    PLAIN,
    AnsweredRow,
    FormRow,
    LegalForm,
    Part,
    Recipient,
    State,
    answered,
    parts_of,
    reason_in_words,
)
from peft_registry.registry.compliance.proposals import lacks_signature
from peft_registry.schemas.codes import Said, in_words
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.modification import RecordSections
from peft_registry.schemas.values import Source, Timestamp

_PLAIN_LABELS = {
    "record_created_at": "Date of the record",
    "record_id": "Record",
    "schema_version": "Form of the record",
    "supersedes": "Record that it supersedes",
}


class CutValue(Frozen):
    """A value as a recipient gets it: with its source and who vouches for it, without the method that found it."""

    path: str
    label: str
    value: Any  # any JSON value, each code in words
    coded: Any = Field(default=None, exclude=True)  # the same as it is signed
    unit: str | None = None
    source: Source | None = None  # None for what identifies the record, such as its id
    asserted_by: str | None = None
    asserted_at: Timestamp | None = None
    typed: bool = Field(default=False, exclude_if=lambda typed: not typed)  # and signed by nobody who may answer it


class CutRow(Frozen):
    """A row of a form for one recipient.

    Attributes:
        state: how far the record answers it; what is not for this recipient says no more.
        owners: who owes what is open.
        reason: why it is not applicable.
        values: what answers it, and what goes with it.
        words: how many the form asks for at most.
        words_written: how many the texts that answer it have, where the form asks for a number; none are cut.
        figures: how many significant figures of a number the form asks for at least.
        figures_written: the fewest of those that people stated, where the form asks for some; what was counted is exact.
    """

    row: str
    section: str
    title: str
    content: str
    state: State | Literal["not for this recipient"]
    owners: tuple[str, ...] = ()
    reason: Said | None = None
    values: tuple[CutValue, ...] = ()
    words: int | None = None
    words_written: int | None = None
    figures: int | None = None
    figures_written: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """Where an answer is longer or coarser than the form asks for; empty where it is not."""
        return notes_of(self.words, self.words_written, self.figures, self.figures_written)

    @property
    def state_in_words(self) -> str:
        if self.state == "open":
            return f"open ({', '.join(self.owners)})"
        return self.state if self.reason is None else f"{self.state}: {reason_in_words(self.reason)}"


Keeps = Callable[[FormRow, Part], bool]
"""Whether a value goes with a row; asked of the fields that the row names."""


def cut_form(record: RecordSections, form: LegalForm, recipient: Recipient) -> tuple[CutRow, ...]:
    """Each row of a form, with the values that the recipient gets."""
    # a row without recipients is the head of the form, which says which document it is
    return cut_rows(record, form, lambda row: not row.recipients or recipient in row.recipients)


def cut_rows(
    record: RecordSections,
    form: LegalForm,
    is_theirs: Callable[[FormRow], bool],
    keeps: Keeps = lambda _row, _part: True,
) -> tuple[CutRow, ...]:
    """Each row of a form, with its values where it is for the recipient.

    Args:
        record: the record.
        form: with the rows.
        is_theirs: whether a row is for them.
        keeps: whether one of the values that such a row names goes with it.
    """
    by_rule = RequiredValues(record).by_rule
    return tuple(
        _cut(row, record, by_rule, keeps) if is_theirs(row.row) else _not_theirs(row.row)
        for row in answered(record, form)
    )


def _not_theirs(row: FormRow) -> CutRow:
    return CutRow(
        row=row.row, section=row.section, title=row.title, content=row.content, state="not for this recipient"
    )


def _cut(row: AnsweredRow, record: RecordSections, by_rule: dict[str, list[Leaf]], keeps: Keeps) -> CutRow:
    form_row = row.row
    values = () if row.reason else tuple(_values(form_row, record, by_rule, keeps))
    return CutRow(
        row=form_row.row,
        section=form_row.section,
        title=form_row.title,
        content=form_row.content,
        # a recipient is told what is open, be it the row or whether it is asked
        state="open" if row.state == "undecided" else row.state,
        owners=tuple(sorted({gap.owner for gap in row.gaps})),
        reason=row.reason,
        values=values,
        words=form_row.words,
        words_written=_words(form_row, by_rule) if form_row.words else None,
        figures=form_row.figures,
        figures_written=_figures(form_row, by_rule) if form_row.figures else None,
    )


def _values(row: FormRow, record: RecordSections, by_rule: dict[str, list[Leaf]], keeps: Keeps) -> Iterator[CutValue]:
    for field in (*row.fields, *row.beside):
        if field in (*PLAIN, "supersedes"):
            stated = getattr(record, field)
            if stated is not None:
                yield CutValue(path=field, label=_PLAIN_LABELS[field], value=stated, coded=stated)
        for part in parts_of(field, by_rule):
            if part.is_filled and keeps(row, part):
                yield _value(part)


def _value(part: Part) -> CutValue:
    value = part.leaf.value
    return CutValue(
        path=part.path,
        label=label_of(part.path),
        value=in_words(part.value),
        coded=part.value,
        unit=value.unit,
        source=value.source,
        asserted_by=value.asserted_by,
        asserted_at=value.asserted_at,
        typed=lacks_signature(part.leaf),
    )


def label_of(path: str) -> str:
    """A field in words, with the number of its base or data file: a name may be somebody else's to know."""
    rules = field_rules().by_path()
    place = FieldPath.parse(path)
    if path in _PLAIN_LABELS:
        return _PLAIN_LABELS[path]
    head, _, member = place.rule.rpartition(".")
    rule, member = (rules.get(place.rule), "") if place.rule in rules else (rules.get(head), member)
    if rule is None:  # of another edition
        return path
    named = f"{rule.label}: {member.replace('_', ' ')}" if member else rule.label
    return named if place.item is None else f"{named}, {place.item[0]} {place.item[1] + 1}"


def notes_of(
    words: int | None, words_written: int | None, figures: int | None, figures_written: int | None
) -> tuple[str, ...]:
    """Where an answer has more words, or fewer significant figures, than a form asks for."""
    notes = []
    if words is not None and words_written is not None and words_written > words:
        notes.append(f"{words_written} words; the form asks for {words}")
    if figures is not None and figures_written is not None and figures_written < figures:
        counted = "1 significant figure" if figures_written == 1 else f"{figures_written} significant figures"
        notes.append(f"{counted}; the form asks for {figures}")
    return tuple(notes)


def _figures(row: FormRow, by_rule: dict[str, list[Leaf]]) -> int | None:
    """The fewest significant figures of a number that somebody stated; None where all were counted, or are whole numbers."""
    values = [part.leaf.value for field in row.fields for part in parts_of(field, by_rule)]
    stated = [value.value for value in values if value.source in ("declared", "imported")]
    # of a whole number nobody knows which of its zeros are meant
    counts = [
        len(Decimal(repr(number)).normalize().as_tuple().digits) for number in stated if isinstance(number, float)
    ]
    return min(counts, default=None)


def _words(row: FormRow, by_rule: dict[str, list[Leaf]]) -> int:
    texts = [part.value for field in row.fields for part in parts_of(field, by_rule) if part.leaf.value.known]
    return sum(len(text.split()) for text in texts if isinstance(text, str))
