"""Learning rates that were measured: what `registry compare --sweep learning_rate` found, kept as `learning_rates.json`.

A point is a short training: held-out loss before and after, or why it failed. From the points of one method on one base
follow its best rate and the range in which it does nearly as well. A rate outside of it is worth a warning, no more: the
range is that of the bases and data in the file, and of runs of a few dozen steps, which want more than long ones. So nothing
between it and the method's own default, which is published for longer runs, is warned of.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from peft_registry.schemas.config import DEFAULT_LEARNING_RATES, MethodName

FILE_NAME = "learning_rates.json"
NEARLY_AS_GOOD = 0.8  # of the best improvement: inside the range
FAR = 10**0.5  # beyond the range by this factor: between two rates that were tried nobody knows where it ends


@dataclass(frozen=True, slots=True)
class Point:
    """One rate that was tried; `after` and `steps` are None where the run failed."""

    learning_rate: float
    before: float
    after: float | None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class MeasuredRates:
    """A method on a base: the best rate, and the lowest and highest that reach most of its improvement."""

    method: str
    base: str
    best: float
    low: float
    high: float
    tried: tuple[float, float]
    points: tuple[Point, ...]


def measured_rates() -> tuple[MeasuredRates, ...]:
    """Every method on every base of the file, in the file's order."""
    return tuple(
        _measured(sweep["base"], method, points)
        for sweep in _file().get("sweeps", ())
        for method, points in _by_method(sweep).items()
        if any(point.after is not None for point in points)
    )


def rates_of(method: str) -> tuple[MeasuredRates, ...]:
    """What was measured of one method, a base each."""
    return tuple(one for one in measured_rates() if one.method == method)


def best_rate(method: str) -> float | None:
    """The geometric mean of a method's best rates over the bases; None where nothing was measured."""
    found = [math.log(one.best) for one in rates_of(method)]
    return float(f"{math.exp(sum(found) / len(found)):.2g}") if found else None


def against_full(method: str) -> Literal["above", "below", "equal"] | None:
    """Whether the method's best rate lies above or below full fine-tuning's; None where either was not measured."""
    mine, full = best_rate(method), best_rate("full")
    if mine is None or full is None:
        return None
    return "above" if mine > full else "below" if mine < full else "equal"


def advice(method: MethodName, learning_rate: float) -> str | None:
    """The sentence of a warning where a rate is far outside every measured range of its method; else None."""
    known = rates_of(method)
    own = DEFAULT_LEARNING_RATES[method]
    if not known or any(min(one.low / FAR, own) <= learning_rate <= max(one.high * FAR, own) for one in known):
        return None
    ranges = "; ".join(f"{one.low:g} to {one.high:g} on {one.base} (best {one.best:g})" for one in known)
    side = against_full(method)
    beside = "" if method == "full" or side is None else f"; its best rate lay {side} full fine-tuning's"
    steps = [point.steps for one in known for point in one.points if point.steps]
    runs = f", in runs of {min(steps)} to {max(steps)} steps" if steps else ""
    return f"training.learning_rate {learning_rate:g} is far outside what worked for {method}: {ranges}{runs}{beside}"


def _by_method(sweep: dict[str, Any]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in sweep["points"]:
        rate, steps = point["learning_rate"], point.get("steps")
        found.setdefault(point["method"], []).append(Point(rate, point["before"], point["after"], steps))
    return found


def _measured(base: str, method: str, points: list[Point]) -> MeasuredRates:
    ran = sorted((one for one in points if one.after is not None), key=lambda one: one.learning_rate)
    gains = {one.learning_rate: one.before - (one.after or 0.0) for one in ran}
    best = max(gains, key=lambda rate: gains[rate])
    good = [rate for rate, gain in gains.items() if gain >= NEARLY_AS_GOOD * gains[best]]
    tried = [one.learning_rate for one in points]
    return MeasuredRates(method, base, best, min(good), max(good), (min(tried), max(tried)), tuple(points))


@cache
def _file() -> dict[str, Any]:
    path = files(__package__) / FILE_NAME
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
