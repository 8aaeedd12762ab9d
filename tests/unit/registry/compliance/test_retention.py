"""Why what a record documents is not deleted: the periods as data, each with its clause, its source and its day."""

from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from peft_registry.registry.compliance.retention import (
    RetentionLaw,
    kept_because,
    retention_law,
    retention_section,
    with_dates,
)
from peft_registry.schemas.modification import Gpai
from peft_registry.schemas.values import declared


def said(today: str, aliases: tuple[str, ...] = (), **answers: Any) -> str:
    gpai = Gpai(**{name: declared(value, by="alex", at="2026-11-24T00:00:00Z") for name, value in answers.items()})
    return kept_because(with_dates(retention_section(), gpai), gpai, aliases=aliases, today=date.fromisoformat(today))


def test_what_was_placed_on_the_market_is_kept_for_ten_years_from_that_day() -> None:
    placed = {"placed_on_eu_market": "yes", "placing_date": "2026-02-28"}
    assert "kept until 2036-02-28, 10 years from placing on the market, Art. 18(1)" in said("2036-02-28", **placed)
    assert "ended on 2036-02-28" in said("2036-02-29", **placed)


def test_without_a_day_of_placing_it_is_kept_without_end() -> None:
    assert "kept without end" in said("2099-01-01")
    assert said("2099-01-01", ("champion", "prod")).startswith("it was promoted as champion and prod; ")
    assert "not placed on the Union market" in said("2099-01-01", placed_on_eu_market="no")


def test_logs_are_kept_at_least_six_months() -> None:
    assert said("2026-01-01").endswith(
        "at least 6 months, Arts. 19(1), 26(6) (Regulation (EU) 2024/1689, consolidated 2026-07-27)"
    )


@pytest.mark.parametrize("lacking", ["clause", "source", "retrieved", "begins"])
def test_a_period_without_its_source_is_not_one(lacking: str) -> None:
    law = retention_law().model_dump(mode="json")
    del law["periods"][0][lacking]
    with pytest.raises(ValidationError):
        RetentionLaw.model_validate(law)
