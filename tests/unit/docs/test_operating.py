"""What each suite can show: a small run here on the suite that ships, and the kept table of the whole one."""

import math
from pathlib import Path

import pytest

from docs.measured import operating
from docs.operating_page import WIDER, kept_rows
from peft_registry.schemas.evaluation import ITEMS_FOR_A_CLAIM
from peft_registry.trainer.evaluation.suites import suites

KEPT = kept_rows()
WRONG = 0.025  # of nulls may be called a rise, and as many a fall
COVERED = 0.93
FEW_RUNS = 120


def at_most(share: float, allowed: float, runs: int, deviations: float = 2.0) -> bool:
    return share <= allowed + deviations * math.sqrt(allowed * (1 - allowed) / runs)


def house() -> dict[str, operating.Structure]:
    return {part: structure for suite, part, structure in operating.structures(None) if suite == "house 2"}


@pytest.mark.parametrize("change", operating.CHANGES)
@pytest.mark.parametrize("half", ["development", "test"])
def test_nulls_on_the_shipped_suite_are_called_nothing(half: str, change: float) -> None:
    rise, fall = operating.Simulation(house()[half], change, seed=5).said(FEW_RUNS)
    assert at_most(rise, WRONG, FEW_RUNS, 3) and at_most(fall, WRONG, FEW_RUNS, 3)


@pytest.mark.full
@pytest.mark.parametrize("change", operating.CHANGES)
@pytest.mark.parametrize("half", ["development", "test"])
def test_a_thousand_nulls_on_the_shipped_suite_are_called_nothing(half: str, change: float) -> None:
    rise, fall = operating.Simulation(house()[half], change, seed=6).said(1000)
    assert at_most(rise, WRONG, 1000) and at_most(fall, WRONG, 1000)


@pytest.mark.full
def test_a_thousand_nulls_on_every_suite_are_called_nothing(test_data: Path) -> None:
    """Each part of each suite that ships or can be pinned, on its own items and clusters."""
    for suite, part, structure in operating.structures(test_data / "bias"):
        for change in operating.CHANGES:
            rise, fall = operating.Simulation(structure, change, seed=6).said(1000)
            # of more than a hundred figures none by chance, in 99 of 100 runs
            assert at_most(rise, WRONG, 1000, 4) and at_most(fall, WRONG, 1000, 4), (suite, part, change)


@pytest.mark.parametrize("half", ["development", "test"])
def test_a_half_of_the_shipped_suite_finds_a_change_of_ten_points(half: str) -> None:
    rise, fall = operating.Simulation(house()[half], operating.CHANGES[0], seed=5).said(40, 10)
    assert rise >= 0.8 and fall == 0


def test_the_kept_table_has_every_suite_that_ships_or_can_be_pinned_by_half() -> None:
    known = {name for name, suite in suites().items() if suite.definition.belongs_to_others}
    parts = {(row.suite, row.part) for row in KEPT}
    assert {
        (name, part) for name in (*known, "house 1", "house 2") for part in ("whole", "development", "test")
    } == parts


QUICKLY_READ = ("house", "crows_pairs", "gg-bbq")


@pytest.mark.parametrize("names", [QUICKLY_READ, pytest.param(None, marks=pytest.mark.full)], ids=["some", "all"])
def test_the_kept_structures_are_those_of_the_suites(test_data: Path, names: tuple[str, ...] | None) -> None:
    kept = {(row.suite, row.part): (row.items, row.clusters) for row in KEPT}
    for suite, part, structure in operating.structures(test_data / "bias", names):
        assert kept[suite, part] == (len(structure.margins), structure.clusters.max() + 1)


def test_no_kept_row_is_wrong_more_often_than_it_says() -> None:
    for row in KEPT:
        if row.is_testable:
            # of more than a hundred figures none by chance, in 99 of 100 runs
            assert at_most(row.wrong_rise, WRONG, operating.RUNS, 4) and at_most(
                row.wrong_fall, WRONG, operating.RUNS, 4
            ), row


def test_every_kept_interval_covers_and_is_hardly_wider_than_one_of_t() -> None:
    for row in KEPT:
        if row.is_testable:
            assert row.covered is not None and row.covered >= COVERED, row
            assert row.width is not None and row.covered_by_t is not None and row.width_of_t is not None
            # of fewer items no word is given, and the page names the parts where it is wider
            if row.items >= ITEMS_FOR_A_CLAIM and row.covered_by_t >= COVERED:
                assert row.width <= WIDER * row.width_of_t, row


def test_each_half_of_the_shipped_suite_shows_what_a_verdict_needs() -> None:
    for row in KEPT:
        if row.suite == "house 2":
            assert row.detectable is not None and row.detectable <= 10, row
