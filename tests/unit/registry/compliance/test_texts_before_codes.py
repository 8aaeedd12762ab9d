"""What depended on the words of a record before there were codes still does: the same record with its texts and with codes."""

import pytest

from peft_registry.registry.compliance.all_data import all_data
from peft_registry.registry.compliance.ancestors import Ancestor
from peft_registry.registry.compliance.base_terms import licence_of_merge, with_derived_terms
from peft_registry.registry.compliance.energy import energy_section, with_estimate, without_reason
from peft_registry.registry.compliance.inheritance import inherited_data
from peft_registry.registry.compliance.older_records import agrees
from peft_registry.registry.compliance.retention import basis_of
from peft_registry.registry.compliance.used_rows import unknown_overlaps
from peft_registry.schemas.codes import Said, code, says
from peft_registry.schemas.modification import (
    BaseUsed,
    Compute,
    DataUsed,
    DeclaredPower,
    Energy,
    Gpai,
    ModificationRecord,
    Retention,
    UpstreamTerms,
)
from peft_registry.schemas.values import Value, declared, derived, measured, unknown
from tests.builders.records import a_digest, a_run_record, some_compute

AT = "2026-11-24T12:00:00Z"


def parts() -> tuple[BaseUsed, BaseUsed]:
    """A base and an ingredient under one licence, each stated by somebody."""
    evidence = (a_digest("1"),)
    licence = declared("MIT", by="legal", at=AT).revised(evidence=evidence)
    base = BaseUsed(name=measured("tiny"), role=derived("base", method=code("part_in_run")), licence_id=licence)
    return base, base.revised(name=measured("a:1"), role=derived("ingredient", method=code("part_in_merge")))


def trained(label: str, licence: Value) -> Ancestor:
    """A result that trained on one file, of which its record states the licence."""
    file = DataUsed(name=measured("sums"), digest=measured(str(a_digest("sums"))), licence=licence)
    record = ModificationRecord(record_id=label, record_created_at=AT, data=(file,))
    return Ancestor(label=label, manifest=a_digest(label), is_parent=True, record=record)


@pytest.mark.parametrize(
    "before",
    [
        "nobody has answered it",
        "what went in has not one licence: the base tiny Apache-2.0, a:1 MIT",
        code("not_answered"),
        code("not_one_licence", licences=[]),
    ],
)
def test_a_licence_that_nobody_stated_follows_from_what_went_in(before: Said) -> None:
    assert licence_of_merge(unknown(before), parts()).value == "MIT"


def test_a_licence_that_somebody_does_not_know_stays_unknown() -> None:
    for said in ("not one that I know", code("stated_unknown", said="nobody has answered it", by="legal")):
        assert licence_of_merge(unknown(said), parts()) == unknown(said)


@pytest.mark.parametrize(
    "before", ["what is stated is neither yes nor no: perhaps", code("neither_yes_nor_no", answer="perhaps")]
)
def test_an_exclusion_that_is_neither_yes_nor_no_is_not_answered_by_flags(before: Said) -> None:
    base = BaseUsed(name=measured("tiny"), licence_flags=declared(["non_commercial"], by="legal", at=AT))
    terms = UpstreamTerms(name=measured("tiny"), eu_exclusion=unknown(before))
    assert with_derived_terms(terms, base, unknown("not known")).eu_exclusion == unknown(before)


@pytest.mark.parametrize(
    "method",
    [
        "at least: the most that one run used, of a:1 3, b:1 2; at most 5: which rows several runs used is not recorded",
        "at least: the most that one run used, of a:1 3, b:1 2, as recorded of ab:1",
        code("at_least_most_of_one_run", counts=[], most=5),
    ],
)
def test_a_lower_bound_of_one_file_is_one_of_all(method: Said) -> None:
    bound = DataUsed(name=measured("sums"), n_points=derived(3, "rows", method=method))
    other = DataUsed(name=measured("words"), n_points=measured(4, "rows", method="rows that were used"))
    assert says(all_data([bound, other]).n_points.method, "at_least_sum_over_files")
    assert not says(all_data([other]).n_points.method, "at_least_sum_over_files")
    assert len(unknown_overlaps([bound, other])) == 1


@pytest.mark.parametrize(
    "before",
    [
        "the records of what went in differ: a:1 says MIT, b:1 says CC0-1.0",
        code("records_differ", answers=[code("says", of="a:1", answer="MIT")]),
    ],
)
def test_a_contradiction_of_an_earlier_record_is_not_settled_by_the_next(before: Said) -> None:
    stated = {"c:1": unknown(before), "d:1": declared("MIT", by="x", at=AT)}
    (data,) = inherited_data(trained(label, licence) for label, licence in stated.items())
    assert data.licence == unknown(before)


@pytest.mark.parametrize("method", ["why the energy is unknown", code("why_energy_unknown")])
def test_why_there_is_no_energy_gives_way_to_an_energy_that_is_stated(method: Said) -> None:
    energy = Energy(missing_info=derived("no energy sensor on this machine", method=method))
    assert not without_reason(energy).missing_info.known
    other = Energy(missing_info=derived("no energy sensor on this machine", method="what the estimate leaves out"))
    assert without_reason(other) == other


@pytest.mark.parametrize("open_text", ["not derived: what it follows from is not recorded", None])
def test_what_only_waited_to_be_derived_makes_room(open_text: str | None) -> None:
    energy = Energy(training_kwh=declared(1.5, by="x", at=AT))
    if open_text is not None:
        energy = energy.revised(missing_info=unknown(open_text))
    missing = with_estimate(energy, DeclaredPower(), Compute()).missing_info
    assert says(missing.reason, "energy_is_declared")
    stated = energy.revised(missing_info=unknown("the meter was off"))
    assert with_estimate(stated, DeclaredPower(), Compute()).missing_info == unknown("the meter was off")


@pytest.mark.parametrize(
    "basis",
    [
        "10 years from placing on the market; not placed, kept without end",
        code("kept_from_placing", years=10).to_json(),
    ],
)
def test_of_two_cases_a_reader_is_shown_the_one_that_holds(basis: object) -> None:
    retention = Retention(basis=derived(basis, method=code("law_of_documentation_period")))
    not_placed = Gpai(placed_on_eu_market=declared("no", by="legal", at=AT))
    assert str(basis_of(retention, not_placed).value).startswith("not placed on the Union market: kept without end")
    placed = Gpai(placing_date=declared("2026-12-01", by="legal", at=AT))
    assert basis_of(retention, placed).value == "10 years from placing on the market, which was on 2026-12-01"


@pytest.mark.parametrize(
    "method", ["counters of processor packages (RAPL) and GPUs (NVML), whole machine", code("energy_counters")]
)
def test_what_counters_of_chips_do_not_see_is_said_whichever_way_the_run_names_them(method: Said) -> None:
    run = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method=method)))
    assert energy_section(run).boundary.value == "accelerator"
    other = a_run_record(compute=some_compute(energy_kwh=measured(0.01, "kWh", method="a meter at the wall")))
    assert not energy_section(other).boundary.known


def test_a_figure_that_an_older_record_names_by_a_text_is_the_one_that_has_a_code_today() -> None:
    def built(policy: str) -> list[object]:
        return [{"metric": code("distance_with_base", policy=policy).to_json(), "value": 0.5}]

    assert agrees([{"metric": "distance, base original", "value": 0.5}], built("original"))
    assert agrees(built("original"), built("original"))
    assert not agrees([{"metric": "distance, base original", "value": 0.25}], built("original"))
    assert not agrees([{"metric": "accuracy", "value": 0.5}], built("original"))
    assert not agrees(built("dequantised"), built("original"))
