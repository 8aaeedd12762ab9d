"""The rules of the verdicts as data: thresholds and rows, each with its clause, its source and the day it was looked up.

The shipped rules are `rules/verdicts.json`; a person may put others in their place to see what would change.
"""

import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from peft_registry.registry.compliance.fields import field_rules
from peft_registry.registry.compliance.rule_files import by_edition, rules_text
from peft_registry.schemas.document import Frozen

Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
# printable ASCII without spaces at its ends: a version that is printed beside a verdict is not mistaken for that of other rules
Version = Annotated[str, Field(max_length=100, pattern=r"^[!-~]+( [!-~]+)*$")]
# no exponent: `1e999999999` is a number that takes minutes to write out
_FIGURE = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?(/[0-9]{1,30})?")
TableName = Literal["gpai_modifier", "high_risk"]
FULL_PCT = 100.0


class LegalThreshold(Frozen):
    """A figure that the law or a guideline names; a share may be written as a fraction, `1/3`."""

    name: Text
    value: float | Text
    unit: Text | None
    clause: Text
    source: Text
    retrieved: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]

    @field_validator("value", mode="before")
    @classmethod
    def _is_positive(cls, value: object) -> object:
        if not 0 < _number(value) < math.inf:
            raise ValueError("a threshold is a positive number, or a fraction such as 1/3")
        return value

    @property
    def number(self) -> float:
        """The figure, in its unit."""
        return _number(self.value)


def _number(value: object) -> float:
    """What a threshold says, any JSON value; not a number (NaN) where it says none that a computer can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if isinstance(value, str) and not _FIGURE.fullmatch(value):
        return math.nan
    try:
        return float(Fraction(value))
    except (ValueError, ZeroDivisionError, OverflowError):
        return math.nan


class Row(Frozen):
    """One row of a decision table: the status it gives, where that stands and what follows. `applies` names the rules whose day
    of application counts (`applications` of `modification_fields.json`)."""

    table: TableName
    row: Text
    status: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
    clause: Text
    source: Text
    applies: Text | None
    action: Text


class Flag(Frozen):
    """Something that is said beside a status, and its effect."""

    flag: Text
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")]
    clause: Text
    source: Text
    effect: Text


class Thresholds(Frozen):
    """The figures that the tables are held against: a share of the base's compute, its tolerance in %, and FLOP."""

    one_third: float
    tolerance_pct: float
    gpai_flop: float
    systemic_risk_flop: float

    def fallback_flop(self, kind: str) -> float:
        """The fixed threshold of a kind, `fallback_sr` or `fallback_gpai`, in FLOP (GL J64)."""
        whole = self.systemic_risk_flop if kind == "fallback_sr" else self.gpai_flop
        return self.one_third * whole


Read = Literal[
    "acquired_in_months",
    "excluded_in_no_system",
    "internal_high_risk_use",
    "is_gpai_by_itself",
    "presumed_systemic_risk",
    "same_provider_ratio",
    "several_known_bases",
    "signed_answers",
    "signed_role",
]
"""What a record follows from besides what the edition 2026-12 read: records of that one follow without it."""


class VerdictRules(Frozen):
    """A whole set. Two sets that differ in a threshold have different versions, which a verdict names.

    `reads`: what records derive from besides what those of the edition 2026-12 do, whose rules have neither it nor the later rows.
    """

    version: Version
    law_as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    notice: Text
    thresholds: tuple[LegalThreshold, ...]
    reads: tuple[Read, ...] = ()
    rows: tuple[Row, ...]
    flags: tuple[Flag, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        later_rows, later_flags = (LATER_ROWS, LATER_FLAGS) if self.reads else ((), ())
        for what, names, needed in (
            ("thresholds", [threshold.name for threshold in self.thresholds], Thresholds.model_fields),
            ("rows", [row.row for row in self.rows], (*ROWS, *later_rows)),
            ("flags", [flag.flag for flag in self.flags], (*FLAGS, *later_flags)),
        ):
            if sorted(names) != sorted(needed):
                raise ValueError(f"the {what} have to be {', '.join(needed)}, each once")
        if self.limits.tolerance_pct >= FULL_PCT:
            raise ValueError("a tolerance of 100 % or more leaves no figure")
        if self.limits.one_third > 1:
            raise ValueError("one_third is a share of the base's compute, and none is more than 1")
        dated = {application.what for application in field_rules().applications}
        undated = next((row for row in self.rows if row.applies is not None and row.applies not in dated), None)
        if undated is not None:
            raise ValueError(
                f"row {undated.row} applies from a day that is not known; known are {', '.join(sorted(dated))}"
            )
        return self

    @cached_property
    def limits(self) -> Thresholds:
        """The thresholds by name; made once, as a registry is held against them version by version."""
        return Thresholds(**{threshold.name: threshold.number for threshold in self.thresholds})

    def row(self, name: str) -> Row:
        """The row of a name; one that a set of before does not have is that of the shipped rules."""
        return next(row for row in (*self.rows, *shipped_rules().rows) if row.row == name)

    def raised(self, names: frozenset[str]) -> Iterator[Flag]:
        """The flags of these names, in the order of the file; those that a set of before does not have, from the shipped rules."""
        own = {flag.flag for flag in self.flags}
        later = (flag for flag in shipped_rules().flags if flag.flag not in own)
        return (flag for flag in (*self.flags, *later) if flag.flag in names)


ROWS = (*(f"G{number}" for number in range(1, 14)), *(f"H{number}" for number in range(10)))
"""What the tables can give; H10 is what stays open."""
FLAGS = ("F1", "F2", "F3", "F4", "F5", "F6", "H11")
LATER_ROWS = ("H12", "H13", "H14", "H15", "H16")
LATER_FLAGS = ("A50",)
"""Rows and flags that came after the edition 2026-12."""


@by_edition
def shipped_rules() -> VerdictRules:
    """The rules of the edition in force."""
    return VerdictRules.model_validate(json.loads(shipped_text()))


def shipped_text() -> str:
    """The file of these rules, to be changed by whoever wants to try others."""
    return rules_text("verdicts")
