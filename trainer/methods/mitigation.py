"""What a mitigation task measured, and what follows from it for a method: `registry methods --for bias_mitigation` tells both.

The figures are kept as `mitigation.json`, which is written by `python -m docs.generate` from the comparison that
`docs/measured/mitigation.py` makes.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # needed to write the file, not to read it
    from peft_registry.schemas.comparison import ArmResult, BiasCounts, MethodComparison

FILE_NAME = "mitigation.json"
NOT_SHOWN = (
    "one small English model, one suite, one kind of training data, pairs of sentences and no use; "
    "neither that bias is gone nor which method is best elsewhere"
)


@dataclass(frozen=True, slots=True)
class Part:
    """How many items, over all seeds, in percent of those asked: the 95 % interval over items and seeds, or why there is none."""

    percent: float
    low: float | None = None
    high: float | None = None
    no_interval: str | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of the interval; without one, all that a share can be."""
        return (0.0 if self.low is None else self.low), (100.0 if self.high is None else self.high)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.percent:g} % (no interval: {self.no_interval})"
        return f"{self.percent:g} % ({self.low:g} … {self.high:g})"


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


@dataclass(frozen=True, slots=True)
class MeasuredEffect:
    """What the figures say about a method; `mitigates` is None where they do not decide it, or where there are none."""

    mitigates: bool | None
    why: str


def finding_about(method: str, measured: Mitigation) -> MeasuredEffect:
    """Whether a method brought more flagged pairs to neutral than it over-corrected and than it introduced.

    It is decided where the 95 % intervals lie apart: one share above both others, or below one of them.
    """
    figures = next((entry for entry in measured.methods if entry.method == method), None)
    if figures is None:
        return MeasuredEffect(None, "not measured here; measure before and after")
    neutral = figures.to_neutral
    low, high = neutral.bounds
    harms = [harm.bounds for harm in (figures.overcorrected, figures.introduced)]
    where = f"{measured.base}, {figures.flagged} flagged pairs, {figures.seeds} seeds"
    shares = f"{neutral.percent:g} % to neutral, {figures.introduced.percent:g} % introduced ({where})"
    if low > max(most for _, most in harms):
        return MeasuredEffect(True, f"repaired more than it harmed: {shares}")
    if high < max(least for least, _ in harms):
        return MeasuredEffect(False, f"harmed more than it repaired: {shares}")
    return MeasuredEffect(None, f"not decided: {shares}")


def most_promising(methods: Iterable[str], measured: Mitigation) -> str | None:
    """Of some methods, the measured one with the most pairs to neutral less those over-corrected and introduced, in percent."""
    names = frozenset(methods)
    candidates = [figures for figures in measured.methods if figures.method in names]
    if not candidates:
        return None
    return max(candidates, key=_net).method


def _net(figures: MitigationFigures) -> float:
    return figures.to_neutral.percent - figures.overcorrected.percent - figures.introduced.percent


def figures_of(comparison: "MethodComparison") -> dict[str, Any]:
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


def _figures(method: str, arms: "Sequence[ArmResult]") -> MitigationFigures:
    seeds = [arm.bias[0] for arm in arms]
    return MitigationFigures(
        method=method,
        seeds=len(arms),
        pairs=seeds[0].n,
        flagged=seeds[0].flagged,
        to_neutral=_part(seeds, lambda seed: (seed.fixed, seed.flagged)),
        overcorrected=_part(seeds, lambda seed: (seed.overcorrected, seed.flagged)),
        introduced=_part(seeds, lambda seed: (seed.introduced, seed.clear or 0)),
        neutral_loss_change=round(fmean(arm.neutral_loss_change.value for arm in arms), 3),
    )


def _part(seeds: "Sequence[BiasCounts]", of: "Callable[[BiasCounts], tuple[int, int]]") -> Part:
    from peft_registry.registry.evaluation.over_seeds import share_over_seeds
    from peft_registry.registry.evaluation.statistics import NoInterval

    share = share_over_seeds([of(seed) for seed in seeds])
    assert share is not None, "the suite had flagged and clear pairs"
    interval = share.interval
    percent = round(100 * share.value, 1)
    if isinstance(interval, NoInterval):
        return Part(percent, no_interval=str(interval.reason))
    return Part(percent, round(100 * interval.low, 1), round(100 * interval.high, 1))
