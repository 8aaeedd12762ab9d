"""Until when a record's documentation is kept: it counts from placing on the market, and not from the last update.

The periods are data, `rules/retention.json`, each with its clause, its source and the day it was looked up.
"""

import json
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from peft_registry.registry.compliance.completeness import is_yes
from peft_registry.registry.compliance.rule_files import by_edition, rules_text
from peft_registry.schemas.codes import Code, Said, code, code_in, says
from peft_registry.schemas.document import Frozen
from peft_registry.schemas.modification import Gpai, Retention
from peft_registry.schemas.values import Value, derived, not_derived, unknown

PeriodName = Literal["documentation", "model_documentation", "logs"]
Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class Period(Frozen):
    """How long something is kept, from what on, and where that stands."""

    name: PeriodName
    years: Annotated[int, Field(ge=0, le=100)] = 0
    months: Annotated[int, Field(ge=0, le=11)] = 0
    begins: Text
    clause: Text
    source: Text
    retrieved: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]

    @property
    def where(self) -> str:
        """Clause and source."""
        return f"{self.clause} ({self.source})"


class RetentionLaw(Frozen):
    """Every period, as the law was on a day."""

    law_as_of: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    periods: tuple[Period, ...]

    def period(self, name: PeriodName) -> Period:
        """The period of a name, which the file has."""
        return next(period for period in self.periods if period.name == name)


@by_edition
def retention_law() -> RetentionLaw:
    """The periods of the edition in force."""
    return RetentionLaw.model_validate(json.loads(rules_text("retention")))


def _years() -> int:
    """How long documentation is kept after placing."""
    return retention_law().period("documentation").years


DAYS = ("retention.start_date", "retention.until")
"""They follow from the day of placing, so that one is asked and not these; a later end may be declared all the same."""


def retention_section() -> Retention:
    """How long the documentation is kept; the days follow from the placing (`with_dates`)."""
    return Retention(
        basis=derived(code("kept_from_placing", years=_years()).to_json(), method=code("law_of_documentation_period"))
    )


def with_dates(retention: Retention, gpai: Gpai) -> Retention:
    """The section with its first and last day; without a day of placing neither is known, and it is kept without end.

    A last day that somebody declared stands: other law may ask for a longer time.
    """
    begins = _day(gpai.placing_date)
    if begins is None:
        reason = unknown(_why(gpai))
        return _kept(retention, start_date=reason, until=reason)
    how = code("day_of_placing", stated=gpai.placing_date.source)
    ends = years_after(begins, _years())
    return _kept(
        retention,
        start_date=derived(begins.isoformat(), method=how),
        until=not_derived(code("calendar_ends", years=_years(), begins=begins.isoformat()))
        if ends is None
        else derived(ends.isoformat(), method=code("calendar_years_after_placing", years=_years())),
    )


def basis_of(retention: Retention, gpai: Gpai) -> Value:
    """The basis of the period as it holds for this record, for a reader.

    The recorded text names both cases, and beside an answer the case that is not met reads as one that is.
    """
    said = _said(retention.basis)
    if retention.basis.source != "derived" or not says(said, "kept_from_placing"):
        return retention.basis
    years = _years() if isinstance(said, str) else said.parameters["years"]
    begins = _day(gpai.placing_date)
    if begins is not None:
        return retention.basis.revised(value=f"{years} years from placing on the market, which was on {begins}")
    is_placed_or_open = is_yes(gpai.placed_on_eu_market) is not False
    period = f"{years} years from placing on the market; " if is_placed_or_open else ""
    return retention.basis.revised(value=f"{period}{_why(gpai)}")


def _said(basis: Value) -> Said:
    return code_in(basis.value) or str(basis.value)


def kept_because(retention: Retention, gpai: Gpai, *, aliases: Sequence[str], today: date) -> str:
    """Why what a record documents is not deleted today: the period, its clause and source, and when it ends or ended.

    Args:
        retention: of the record, with its days.
        gpai: of the record, which says whether and when it was placed on the market.
        aliases: that were pointed at the version by a signed move, now or before.
        today: the day that the end is compared with.
    """
    documentation = retention_law().period("documentation")
    logs = retention_law().period("logs")
    ends = _day(retention.until)
    if ends is None:
        served = f"it was promoted as {' and '.join(aliases)}; " if aliases else ""
        period = f"{served}{_why(gpai)}, {documentation.where}"
    elif today <= ends:
        since = f"{documentation.years} years from placing on the market"
        period = f"its documentation is kept until {ends}, {since}, {documentation.where}"
    else:
        period = f"the period of {documentation.where} ended on {ends}, and no command deletes what is registered"
    return f"{period}; the log that names it is kept at least {logs.months} months, {logs.where}"


def _kept(retention: Retention, **days: Value) -> Retention:
    undeclared = {name: day for name, day in days.items() if getattr(retention, name).source != "declared"}
    return retention.revised(**undeclared)


def years_after(day: date, years: int) -> date | None:
    """The same day of a later year; 29 February becomes 28 February where that year has none. None beyond the calendar.

    A period of years whose last month lacks the day ends with that month: Regulation (EEC, Euratom) No 1182/71 Art. 3(2)(c).
    """
    if day.year + years > date.max.year:
        return None
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # the only day that not every year has
        return day.replace(year=day.year + years, day=28)


def _day(value: Value) -> date | None:
    try:
        return date.fromisoformat(str(value.value)) if value.known else None
    except ValueError:
        return None


def _why(gpai: Gpai) -> Code:
    if gpai.placing_date.known:
        return code("not_derived", because=code("not_a_date", stated=str(gpai.placing_date.value)[:60]))
    if is_yes(gpai.placed_on_eu_market) is False:
        return code("not_placed", years=_years())
    if is_yes(gpai.placed_on_eu_market) is True:
        return code("day_of_placing_not_recorded")
    return code("placing_not_recorded")
