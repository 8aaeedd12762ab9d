"""What a mitigation task measured, as `registry methods --for bias_mitigation` tells it: kept as `mitigation.json`.

The file is written by `python -m docs.generate` from the comparison that `docs/measured/mitigation.py` makes.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from statistics import fmean
from typing import Any

from peft_registry.registry.evaluation.over_seeds import share_over_seeds
from peft_registry.schemas.comparison import ArmResult, BiasCounts, MethodComparison

FILE_NAME = "mitigation.json"
NOT_SHOWN = (
    "one small English model, one suite, one kind of training data, pairs of sentences and no use; "
    "neither that bias is gone nor which method is best elsewhere"
)


@dataclass(frozen=True, slots=True)
class Part:
    """How many items, over all seeds, in percent of those asked, with the 95 % interval over items and seeds."""

    percent: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MitigationFigures:
    """What one method did to the pairs of a suite; `to_neutral` and `overcorrected` of the flagged, `introduced` of the clear."""

    method: str
    seeds: int
    pairs: int
    flagged: int
    to_neutral: Part
    overcorrected: Part
    introduced: Part
    neutral_loss_change: float


@dataclass(frozen=True, slots=True)
class Mitigation:
    """The task, and what each method did."""

    base: str
    suite: str
    task: str
    methods: tuple[MitigationFigures, ...]


@cache
def measured_mitigation() -> Mitigation:
    """The kept figures."""
    raw = json.loads((files(__package__) / FILE_NAME).read_text(encoding="utf-8"))
    rows = tuple(
        MitigationFigures(**row | {name: Part(**row[name]) for name in ("to_neutral", "overcorrected", "introduced")})
        for row in raw["methods"]
    )
    return Mitigation(raw["base"], raw["suite"], raw["task"], rows)


def figures_of(comparison: MethodComparison) -> dict[str, Any]:
    """The file of the package that follows from a comparison with one suite."""
    rows = [asdict(_figures(method, comparison.of(method))) for method in comparison.methods if comparison.of(method)]
    names = ", ".join(data.name for data in comparison.data)
    trained = sum(part.rows for data in comparison.data for part in data.selections if part.split == "train")
    return {
        "base": comparison.base.partition(":")[0],
        "suite": comparison.of(comparison.methods[0])[0].bias[0].dataset,
        "task": f"{trained} rows of {names}, tested on pairs that no row was made of",
        "methods": rows,
    }


def _figures(method: str, arms: Sequence[ArmResult]) -> MitigationFigures:
    seeds = [arm.bias[0] for arm in arms]
    return MitigationFigures(
        method=method,
        seeds=len(arms),
        pairs=seeds[0].n,
        flagged=seeds[0].flagged,
        to_neutral=_part(seeds, lambda one: (one.fixed, one.flagged)),
        overcorrected=_part(seeds, lambda one: (one.overcorrected, one.flagged)),
        introduced=_part(seeds, lambda one: (one.introduced, one.clear or 0)),
        neutral_loss_change=round(fmean(arm.neutral_loss_change.value for arm in arms), 3),
    )


def _part(seeds: Sequence[BiasCounts], of: Callable[[BiasCounts], tuple[int, int]]) -> Part:
    share = share_over_seeds([of(one) for one in seeds])
    assert share is not None, "the suite had flagged and clear pairs"
    return Part(round(100 * share.value, 1), round(100 * share.low, 1), round(100 * share.high, 1))
