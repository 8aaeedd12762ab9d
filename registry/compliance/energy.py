"""Energy of a training: from a sensor, else from the device hours and the power that somebody declares; never from nowhere."""

import math

from peft_registry.schemas.codes import because_in, says
from peft_registry.schemas.modification import NOT_DERIVED, NOT_MEASURED, Compute, DeclaredPower, Energy
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import Value, derived, measured, unknown

# what the trainer's counters are of, as its run records say it
COUNTERS = "counters of processor packages (RAPL) and GPUs (NVML), whole machine"
_OUTSIDE_COUNTERS = "memory boards, storage, fans and power supplies of the machine, and the facility's cooling"

_WHY_UNKNOWN = "why the energy is unknown"
_NO_FIGURE = "no sensor measured it, and nobody has stated it or the power of a device"
_NOTHING_MISSING = unknown("nothing is missing: the energy is declared")


def energy_section(run: RunRecord) -> Energy:
    """Energy where a sensor measured it, else why there is none."""
    energy = run.compute.energy_kwh
    if not energy.known:
        return Energy(training_kwh=energy, missing_info=derived(energy.reason, method=_WHY_UNKNOWN))
    if energy.method != COUNTERS:
        method = measured(energy.method) if energy.method else unknown("the run names no method")
        return Energy(training_kwh=energy, method=method)
    return Energy(
        training_kwh=energy,
        method=measured(energy.method),
        boundary=derived(
            "accelerator", method="the counters are of the chips that compute, and of nothing around them"
        ),
        missing_info=derived(_OUTSIDE_COUNTERS, method="what those counters do not see"),
    )


def without_reason(energy: Energy) -> Energy:
    """The section of a run whose energy somebody states: what is missing is theirs to say, not why there is no figure."""
    missing = energy.missing_info
    if missing.source != "derived" or missing.method != _WHY_UNKNOWN:
        return energy
    return energy.revised(missing_info=NOT_DERIVED)


def with_estimate(energy: Energy, power: DeclaredPower, compute: Compute) -> Energy:
    """The section with device hours × declared watts × PUE, where no sensor and nobody else has said what was used."""
    energy = _without_estimate(energy)
    if energy.training_kwh.known:
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
    missing = ["the power is declared and was not measured"]
    missing += [] if pue is not None else ["the facility's cooling: no power usage effectiveness is recorded"]
    used = f"{hours:.6g} device hours × {watts:.6g} W" + (
        "" if pue is None else f" × power usage effectiveness {pue:.6g}"
    )
    told = (
        f"declared by {power.device_watts.asserted_by}" if power.device_watts.asserted_by else power.device_watts.source
    )
    return energy.revised(
        training_kwh=derived(kwh, "kWh", method=used),
        method=derived(f"{used}, / 1000", method=f"the power of one device: {told}"),
        boundary=_boundary(energy, has_pue=pue is not None),
        missing_info=derived("; ".join(missing), method="what the estimate leaves out"),
    )


def _without_estimate(energy: Energy) -> Energy:
    """The section without an earlier estimate and what was derived with it: what it rested on may have been corrected since."""
    without = {"method": NOT_MEASURED, "boundary": NOT_MEASURED}
    if energy.training_kwh.source == "derived":
        without["training_kwh"] = unknown(_NO_FIGURE)
        without["missing_info"] = derived(_NO_FIGURE, method=_WHY_UNKNOWN)
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
        return derived("facility", method="the power usage effectiveness is a figure of the whole facility")
    return derived("accelerator", method="the declared power is that of one device")
