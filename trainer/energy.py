"""Energy from the processor's own counters (Linux powercap, "RAPL"), where this user may read them."""

from collections.abc import Mapping
from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")
_JOULES_A_KWH = 3.6e6


def read_counters(root: Path = _POWERCAP) -> dict[str, tuple[int, int]]:
    """(microjoules, range of the counter) of each processor package; empty when nothing may be read."""
    found = {}
    for zone in sorted(root.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") > 1:
            continue  # a part of a package, counted in it
        try:
            energy = int((zone / "energy_uj").read_text())
            limit = int((zone / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            continue
        found[zone.name] = (energy, limit)
    return found


def kilowatt_hours(before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]) -> float | None:
    """Energy between two readings, one wrap of a counter allowed for; None when there are no counters."""
    if not before or before.keys() != after.keys():
        return None
    microjoules = sum(
        after[zone][0] - start if after[zone][0] >= start else after[zone][0] - start + limit
        for zone, (start, limit) in before.items()
    )
    return microjoules / 1e6 / _JOULES_A_KWH
