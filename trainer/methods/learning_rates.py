"""Learning rates that were measured: what follows from sweeps of `registry compare`, kept as `learning_rates.json`.

A row is one method on one base: its best rate and the range in which it does nearly as well. A rate outside of it is worth a
warning, no more: the range is that of the bases and data of the sweeps, and of runs of a few dozen steps, which want more
than long ones. So nothing between it and the method's own default, which is published for longer runs, is warned of.
The measured points, and what makes this file from them, are with the docs: `docs/learning_rates.py`.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from peft_registry.schemas.methods import METHODS

FILE_NAME = "learning_rates.json"
FAR = 10**0.5  # beyond the range by this factor: between two rates that were tried nobody knows where it ends


@dataclass(frozen=True, slots=True)
class MeasuredRates:
    """A method on a base: the best rate, the lowest and highest that reach most of its improvement, the lowest and highest
    that were tried, and the fewest and most steps of the runs, None where nobody counted."""

    method: str
    base: str
    best: float
    low: float
    high: float
    tried: tuple[float, float]
    steps: tuple[int, int] | None


@cache
def measured_rates() -> tuple[MeasuredRates, ...]:
    """Every method on every base of the file, in the file's order."""
    text = (files(__package__) / FILE_NAME).read_text(encoding="utf-8")
    return tuple(_read_row(row) for row in json.loads(text)["rates"])


def rates_of(method: str) -> tuple[MeasuredRates, ...]:
    """What was measured of one method, a base each."""
    return tuple(rates for rates in measured_rates() if rates.method == method)


def best_rate(method: str) -> float | None:
    """The geometric mean of a method's best rates over the bases; None where nothing was measured."""
    logarithms = [math.log(rates.best) for rates in rates_of(method)]
    return float(f"{math.exp(sum(logarithms) / len(logarithms)):.2g}") if logarithms else None


def against_full(method: str) -> Literal["above", "below", "equal"] | None:
    """Whether the method's best rate lies above or below full fine-tuning's; None where either was not measured."""
    mine = best_rate(method)
    full = best_rate("full")
    if mine is None or full is None:
        return None
    if mine == full:
        return "equal"
    return "above" if mine > full else "below"


def advice(method: str, learning_rate: float) -> str | None:
    """The sentence of a warning where a rate is far outside every measured range of its method; else None."""
    known = rates_of(method)
    own = METHODS[method].learning_rate
    if not known or any(min(rates.low / FAR, own) <= learning_rate <= max(rates.high * FAR, own) for rates in known):
        return None
    ranges = "; ".join(f"{rates.low:g} to {rates.high:g} on {rates.base} (best {rates.best:g})" for rates in known)
    side = against_full(method)
    beside = "" if method == "full" or side is None else f"; its best rate lay {side} full fine-tuning's"
    steps = [count for rates in known for count in rates.steps or ()]
    runs = f", in runs of {min(steps)} to {max(steps)} steps" if steps else ""
    return f"training.learning_rate {learning_rate:g} is far outside what worked for {method}: {ranges}{runs}{beside}"


def _read_row(row: dict[str, Any]) -> MeasuredRates:
    """A row of the file, its pairs as tuples."""
    pairs = {key: None if row[key] is None else tuple(row[key]) for key in ("tried", "steps")}
    return MeasuredRates(**row | pairs)
