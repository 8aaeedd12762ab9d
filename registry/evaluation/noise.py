"""The noise floor of an evaluation: how far margins move when nothing but the computation changes, and when that is too far.

The arm before is scored twice, the second time in other batches and another order. What differs is what number format, kernels and
packing do. The dead bands are widened to it; where it turns over more items than the bounds allow, no band mends that, and
nothing is called better or worse. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from peft_registry.registry.evaluation.comparisons import ItemPair
from peft_registry.registry.evaluation.readings import MILLIONTHS, decimal_text
from peft_registry.schemas.codes import Code, code
from peft_registry.schemas.evaluation import Threshold

NOISE = "noise_floor"  # the part of `extra` with the floor of each measure
# One item in a hundred: tests here may be wrong once in twenty, and what the machine turns over must be small beside that. In bf16
# products SmolLM2 turned over 4 of 400 pairs against fp32, in fp32 none of 200.
MAX_FLIPS = 0.01
# ln 2 nats, from which a preference counts: a jitter as wide would be counted as one
MAX_P95 = 0.69
BAND_WIDTH = 0.25  # nats between lo and hi, at least, when noise widens the band of a log-likelihood


@dataclass(frozen=True, slots=True)
class NoiseBounds:
    """The largest share of items whose margin may change its sign, and the largest 95th percentile of |change| in nats."""

    flips: float = MAX_FLIPS
    p95: float = MAX_P95

    def to_json(self) -> dict[str, float]:
        return {"flips": self.flips, "p95": self.p95}


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How far the margins of one measure moved, in its unit; `sign_flips` counts items."""

    items: int
    mean: float
    p95: float
    max: float
    sign_flips: int

    def to_json(self) -> dict[str, Any]:
        """Amounts as decimal text with six places, like those of the item table: canonical JSON has no 0.0."""
        amounts = {"mean": self.mean, "p95": self.p95, "max": self.max}
        texts = {name: decimal_text(round(amount * MILLIONTHS)) for name, amount in amounts.items()}
        return {"items": self.items, "sign_flips": self.sign_flips} | texts

    def beyond(self, bounds: NoiseBounds) -> Code | None:
        """Why nothing can be concluded above this floor; None where it is low enough."""
        if self.sign_flips > bounds.flips * self.items:
            percent = 100 * bounds.flips
            return code("noise_turned_over", flips=self.sign_flips, items=self.items, percent=percent)
        if self.p95 > bounds.p95:
            return code("noise_moved_margins", p95=self.p95, bound=bounds.p95)
        return None


def noise_floor(pairs: Sequence[ItemPair]) -> NoiseFloor | None:
    """Of items scored twice, the noise arm after; None where there are none."""
    if not pairs:
        return None
    margins = [(pair.before.margin or 0, pair.after.margin or 0) for pair in pairs]
    moved = sorted(abs(first - second) for first, second in margins)
    return NoiseFloor(
        items=len(moved),
        mean=sum(moved) / len(moved) / MILLIONTHS,
        p95=moved[math.ceil(0.95 * len(moved)) - 1] / MILLIONTHS,
        max=moved[-1] / MILLIONTHS,
        sign_flips=sum(first * second < 0 for first, second in margins),
    )


def widened(start: Threshold, jitter: float) -> Threshold:
    """The dead band where the base moves by `jitter` when it is scored again: the starting one where it moves less than that."""
    is_binary = start.lo == start.hi == 0  # an answer is right or wrong: there is no band to widen
    if jitter <= start.lo or is_binary:
        return start
    return Threshold(
        lo=jitter,
        hi=max(start.hi, jitter + min(BAND_WIDTH, start.hi - start.lo)),
        source=code("widened_to_noise", start=start.lo),
    )


def floors_json(floors: Mapping[str, NoiseFloor]) -> dict[str, Any]:
    """For `extra`, by threshold key."""
    return {key: floors[key].to_json() for key in sorted(floors)}
