"""Energy of a training: from a sensor, else from the device hours and the power that somebody declares; never from nowhere."""

import math

from peft_registry.schemas.codes import Code, as_json, because_in, code, says, together
from peft_registry.schemas.modification import NOT_DERIVED, NOT_MEASURED, Compute, DeclaredPower, Energy
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value, derived, measured, unknown

COUNTERS = code("energy_counters")  # what the trainer's counters are of, as its run records say it
_WHY_UNKNOWN = code("why_energy_unknown")
_NO_FIGURE = code("no_energy_figure")
_NOTHING_MISSING = unknown(code("energy_is_declared"))


def energy_section(run: RunRecord) -> Energy:
    """Energy where a sensor measured it, else why there is none."""
    energy = run.compute.energy_kwh
    if not energy.known:
        return Energy(training_kwh=energy, missing_info=derived(as_json(energy.reason or ""), method=_WHY_UNKNOWN))
    if energy.method is None:
        return Energy(training_kwh=energy, method=unknown(code("run_names_no_method")))
    method = measured(as_json(energy.method))
    if not says(energy.method, COUNTERS.code):
        return Energy(training_kwh=energy, method=method)
    return Energy(
        training_kwh=energy,
        method=method,
        boundary=derived("accelerator", method=code("counters_of_chips")),
        missing_info=derived(code("outside_of_counters").to_json(), method=code("what_counters_miss")),
    )


def without_reason(energy: Energy) -> Energy:
    """The section of a run whose energy somebody states: what is missing is theirs to say, not why there is no figure."""
    missing = energy.missing_info
    if missing.source != "derived" or not says(missing.method, _WHY_UNKNOWN.code):
        return energy
    return energy.revised(missing_info=NOT_DERIVED)


def with_estimate(energy: Energy, power: DeclaredPower, compute: Compute) -> Energy:
    """The section with device hours × declared watts × PUE, where no sensor and nobody else has said what was used."""
    energy = _without_estimate(energy)
    if energy.training_kwh.settled:
        return energy
    watts = power.device_watts.positive_number
    days = compute.hardware_days.positive_number
    if watts is None or days is None:
        return energy
    pue = energy.pue.positive_number
    hours = days * 24
    kwh = hours * watts / 1000 * (pue or 1.0)
    if not math.isfinite(kwh):  # such figures are of no device
        return energy
    missing = [code("power_is_declared")]
    used = code("hours_times_watts_times_pue", hours=hours, watts=watts, pue=pue or 1.0)
    if pue is None:
        missing.append(code("cooling_not_recorded"))
        used = code("hours_times_watts", hours=hours, watts=watts)
    return energy.revised(
        training_kwh=derived(kwh, "kWh", method=used),
        method=derived(code("in_thousands", of=used).to_json(), method=_whose_power(power.device_watts)),
        boundary=_boundary(energy, has_pue=pue is not None),
        missing_info=derived(as_json(together(missing)), method=code("what_estimate_leaves_out")),
    )


def _whose_power(watts: Value) -> Code:
    if watts.asserted_by:
        return code("power_declared_by", by=watts.asserted_by)
    return code("power_given_as", given_as=watts.source)


def _without_estimate(energy: Energy) -> Energy:
    """The section without an earlier estimate and what was derived with it: what it rested on may have been corrected since."""
    without = {"method": NOT_MEASURED, "boundary": NOT_MEASURED}
    if energy.training_kwh.source == "derived":
        without["training_kwh"] = unknown(_NO_FIGURE)
        without["missing_info"] = derived(_NO_FIGURE.to_json(), method=_WHY_UNKNOWN)
    elif energy.training_kwh.source == "declared":
        # why there was no measurement reads beside a declared figure as if the figure were missing
        without["missing_info"] = _NOTHING_MISSING
    else:
        return energy
    return energy.revised(**{name: value for name, value in without.items() if _is_of_nobody(getattr(energy, name))})


def _is_of_nobody(value: Value) -> bool:
    """Whether a value was derived, or waits to be: what somebody measured or stated stands."""
    return value.source == "derived" or says(because_in(value.reason or ""), "inputs_not_recorded")


def _boundary(energy: Energy, *, has_pue: bool) -> Value:
    if energy.boundary.source == "declared":
        return energy.boundary
    if has_pue:
        return derived("facility", method=code("pue_of_facility"))
    return derived("accelerator", method=code("power_of_one_device"))
