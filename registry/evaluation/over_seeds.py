"""One share over several trainings of the same items: items and seeds both were drawn, and are no independent pairs together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from peft_registry.registry.evaluation.statistics import NoInterval, wilson


@dataclass(frozen=True, slots=True)
class ShareOverSeeds:
    """A share of items, its interval, and the lowest and highest of the trainings' own shares."""

    value: float
    low: float
    high: float
    lowest: float
    highest: float


def share_over_seeds(counts: Sequence[tuple[int, int]]) -> ShareOverSeeds | None:
    """(hits, asked) of each training, over all of them; None where nothing was asked.

    Every training is asked the same items, so that items are what was drawn: the interval is Wilson's for those of one
    training, widened to hold the share of every training. More seeds do not make it narrower.
    """
    asked = sum(whole for _, whole in counts)
    if not asked:
        return None
    value = sum(part for part, _ in counts) / asked
    items = max(whole for _, whole in counts)
    below, above = wilson(math.floor(value * items), items), wilson(math.ceil(value * items), items)
    assert not isinstance(below, NoInterval) and not isinstance(above, NoInterval), "something was asked"
    shares = [part / whole for part, whole in counts if whole]
    return ShareOverSeeds(
        value, min(below.low, *shares), max(above.high, *shares), lowest=min(shares), highest=max(shares)
    )
