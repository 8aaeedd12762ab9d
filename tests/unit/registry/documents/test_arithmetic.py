"""The figures of a record by their formulas: against sums worked by hand, and each with another figure in its place."""

from typing import Any

import pytest

from peft_registry.registry.documents.arithmetic import arithmetic_of
from peft_registry.schemas.modification import AllData, DataUsed, Documentation, ModificationRecord
from peft_registry.schemas.values import Value, derived, measured, unknown
from tests.builders.records import a_modification_record


def value(number: Any, unit: str | None = None) -> Value:
    return derived(number, unit, method="by hand")


def by_hand() -> ModificationRecord:
    """1,000 parameters in 50 positions on a base of 6e9 FLOP; 4 hours on one device of 250 W, each figure worked by hand."""
    record = a_modification_record()
    (base,) = record.base
    return record.revised(
        base=(base.revised(training_compute_flop=value(6e9), params_total=value(1000)),),
        compute=record.compute.revised(
            inputs=measured({"P": 1000, "D": 50}),
            conservative_flop=value(300_000),
            param_update_flop=value(299_000),
            uncertainty_pct=value(25),
            cumulative_flop=value(6_000_300_000),
            hardware_days=value(4 / 24),
            private_synthetic_flop=unknown("none"),
        ),
        gpai=record.gpai.revised(
            original_flop=value(6e9),
            ratio=value(0.00005),
            ratio_low=value(0.00003),
            ratio_high=value(0.00008333333333333333),
            threshold_flop=value(2e9),
        ),
        power=record.power.revised(device_watts=measured(250)),
        energy=record.energy.revised(training_kwh=value(1.2), pue=value(1.2)),
        documentation=Documentation(energy_mwh=value(0.0012), flop_order=value("10^5")),
        change=record.change.revised(
            params_changed=measured(20), params_added=measured(7), params_removed=measured(2), pct_of_base=value(2)
        ),
        product=record.product.revised(params_total=value(1005)),
        data=(
            DataUsed(name=measured("a"), n_points=measured(30), n_tokens=measured(400)),
            DataUsed(name=measured("b"), n_points=measured(12), n_tokens=measured(100)),
        ),
        all_data=AllData(n_points=value(42), n_tokens=value(500)),
    )


FIGURES = {
    "compute of the modification, FLOP": ("compute", "conservative_flop"),
    "compute of the base, FLOP": ("gpai", "original_flop"),
    "ratio to the base": ("gpai", "ratio"),
    "lowest ratio": ("gpai", "ratio_low"),
    "highest ratio": ("gpai", "ratio_high"),
    "a third of the base, FLOP": ("gpai", "threshold_flop"),
    "cumulative compute, FLOP": ("compute", "cumulative_flop"),
    "energy, kWh": ("energy", "training_kwh"),
    "energy, MWh": ("documentation", "energy_mwh"),
    "order of the compute": ("documentation", "flop_order"),
    "parameters of the result": ("product", "params_total"),
    "share of the base that changed, %": ("change", "pct_of_base"),
    "rows of all data": ("all_data", "n_points"),
    "tokens of all data": ("all_data", "n_tokens"),
}


def outcomes(record: ModificationRecord) -> dict[str, str]:
    return {line.figure: line.outcome for line in arithmetic_of(record, file="record")}


def test_each_figure_follows_from_those_beside_it() -> None:
    found = outcomes(by_hand())
    assert found.keys() == FIGURES.keys()
    assert set(found.values()) <= {"reproduced", "within tolerance"}, found


def with_value(record: ModificationRecord, figure: str, new: Value) -> ModificationRecord:
    section, name = FIGURES[figure]
    return record.revised(**{section: getattr(record, section).revised(**{name: new})})


@pytest.mark.parametrize("figure", FIGURES)
def test_another_figure_differs_and_one_that_nobody_has_is_not_faulted(figure: str) -> None:
    section, name = FIGURES[figure]
    was = getattr(getattr(by_hand(), section), name).value
    other = "10^6" if isinstance(was, str) else was * 1.001
    assert outcomes(with_value(by_hand(), figure, value(other)))[figure] == "differs"
    assert outcomes(with_value(by_hand(), figure, unknown("nobody knows")))[figure] == "not possible"


@pytest.mark.parametrize(("flop", "order"), [(999.0, "10^2"), (1000.0, "10^3"), (9.99e23, "10^23"), (0.0, "0")])
def test_the_order_of_a_figure_is_its_power_of_ten(flop: float, order: str) -> None:
    record = by_hand().revised(compute=by_hand().compute.revised(param_update_flop=value(flop)))
    assert outcomes(with_value(record, "order of the compute", value(order)))["order of the compute"] == "reproduced"
