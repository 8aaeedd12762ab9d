"""Energy of a training: from a sensor, and never from nowhere."""

from peft_registry.schemas.modification import Energy
from peft_registry.schemas.run import RunRecord
from peft_registry.schemas.values import derived, measured, unknown

# what the trainer's counters are of, as its run records say it
COUNTERS = "counters of processor packages (RAPL) and GPUs (NVML), whole machine"
_OUTSIDE_COUNTERS = "memory boards, storage, fans and power supplies of the machine, and the facility's cooling"


def energy_section(run: RunRecord) -> Energy:
    """Energy where a sensor measured it, else why there is none."""
    energy = run.compute.energy_kwh
    if not energy.known:
        return Energy(training_kwh=energy, missing_info=derived(energy.reason, method="why the energy is unknown"))
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
