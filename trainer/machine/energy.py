"""Energy from counters that this user may read: the processor packages' (Linux powercap, "RAPL") and NVIDIA's (NVML)."""

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")
_JOULES_A_KWH = 3.6e6
_NVML = "libnvidia-ml.so.1"
_NVML_RANGE = 2**64 * 1000  # millijoules since the driver was loaded, in 64 bits, as microjoules

Counters = dict[str, tuple[int, int]]


def read_counters(root: Path = _POWERCAP, *, gpus: bool = True) -> Counters:
    """(microjoules, range of the counter) of each processor package and GPU; empty when nothing may be read."""
    counters = {}
    for zone in sorted(root.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") > 1:
            continue  # a part of a package, counted in it
        try:
            energy = int((zone / "energy_uj").read_text())
            limit = int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        counters[zone.name] = (energy, limit)
    return counters | (_gpu_counters() if gpus else {})


def kilowatt_hours(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float | None:
    """Energy between two readings, one wrap of a counter allowed for; None when there are no counters."""
    if not before or before.keys() != after.keys():
        return None
    microjoules = sum(
        after[zone][0] - start if after[zone][0] >= start else after[zone][0] - start + limit
        for zone, (start, limit) in before.items()
    )
    return microjoules / 1e6 / _JOULES_A_KWH


class EnergyMeter:
    """Energy since it was made, over however many wraps of a counter, if it is read more often than one wraps.

    The counter of a processor package that draws 100 W wraps in three quarters of an hour.
    """

    def __init__(self, read: Callable[[], Counters] = read_counters) -> None:
        self._read = read
        self._last = read()
        self._total: float | None = 0.0

    def note(self) -> None:
        """Read the counters."""
        now = self._read()
        spent = kilowatt_hours(self._last, now)
        self._total = None if spent is None or self._total is None else self._total + spent
        self._last = now

    @property
    def kilowatt_hours(self) -> float | None:
        """Until the last reading; None where there are no counters, or they changed."""
        return self._total


def _gpu_counters() -> Counters:
    """Of every GPU that says how much it has used (Volta and later)."""
    try:
        nvml = ctypes.CDLL(_NVML)
        if nvml.nvmlInit_v2() != 0:
            return {}
    except (OSError, AttributeError):  # no driver, or one that is too old
        return {}
    readings: Counters = {}
    try:
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        for index in range(count.value):
            device = ctypes.c_void_p()
            energy = ctypes.c_ulonglong()
            if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) == 0 and (
                nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(energy)) == 0
            ):
                readings[f"nvidia:{index}"] = (energy.value * 1000, _NVML_RANGE)
    finally:
        nvml.nvmlShutdown()
    return readings
