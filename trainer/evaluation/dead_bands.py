"""Dead bands: where a reading starts to be a preference. Given beforehand, widened where the base itself moves that much.

Pure: what the base answered twice is handed in.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

from peft_registry.registry.evaluation.aggregate import StatisticsPlan, derived_items, grouped_readings, threshold_key
from peft_registry.registry.evaluation.items import Item
from peft_registry.registry.evaluation.noise import widened
from peft_registry.registry.evaluation.readings import MILLIONTHS
from peft_registry.schemas.evaluation import ArmName, Threshold
from peft_registry.trainer.evaluation.arms import ScoredArm, rows_of
from peft_registry.trainer.evaluation.suites import LoadedSuite


def starting_bands(suite: LoadedSuite, given: Mapping[str, Threshold]) -> Mapping[str, Threshold]:
    """The given or the suite's starting band of each measure, by threshold key."""
    keys = {threshold_key(suite.dataset.name, name): band for name, band in suite.definition.thresholds.items()}
    return {key: given.get(key, band) for key, band in keys.items()}


def has_own_band(suite: LoadedSuite, given: Mapping[str, Threshold]) -> bool:
    """Whether a policy sets other numbers than the suite starts with."""
    usual = starting_bands(suite, {})
    return any(
        (band.lo, band.hi) != (usual[key].lo, usual[key].hi) for key, band in starting_bands(suite, given).items()
    )


def dead_bands(
    suites: Sequence[LoadedSuite], before: ScoredArm, noise: ScoredArm, given: Mapping[str, Threshold]
) -> Iterator[tuple[str, Threshold]]:
    """The starting bands, widened where the base itself moves more when it is scored again."""
    for suite, first, second in zip(suites, before.suites, noise.suites, strict=True):
        bands = starting_bands(suite, given)
        plan = StatisticsPlan(thresholds=bands, before=before.arm)
        rows = [*rows_of(suite, first, before.arm, bands), *rows_of(suite, second, "noise", bands)]
        margins: dict[tuple[str, ArmName], dict[str, int]] = {}
        for item in [*(row for row in rows if isinstance(row, Item)), *derived_items(grouped_readings(rows), plan)]:
            margins.setdefault((item.measure, item.arm), {})[item.id] = item.margin or 0
        for key, band in bands.items():
            measure = key.removeprefix(f"{suite.dataset.name}.")
            scored = margins.get((measure, before.arm), {})
            again = margins.get((measure, "noise"), {})
            moved = sorted(abs(scored[name] - again[name]) for name in scored.keys() & again.keys())
            # nats, the 95th percentile
            jitter = moved[math.ceil(0.95 * len(moved)) - 1] / MILLIONTHS if moved else 0.0
            yield key, widened(band, jitter)
