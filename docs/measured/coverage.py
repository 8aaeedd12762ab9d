"""How often each kind of interval covers what it should: `python -m docs.measured.coverage > docs/measured/coverage.json`.

Where the distribution of the data is finite and small, coverage is a sum over all of it; elsewhere it is simulated with the seed
that is asked for, in the kept table 0. Each row is one kind under one condition, with the mean and the minimum over the true values
that it lists. The intervals are those of the product, called as they are. Those of a change of a share are in `operating.py`,
which takes the structure of each suite.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from peft_registry.registry.evaluation.intervals import (
    mean_interval,
    share_interval,
    share_interval_of_alike,
)
from peft_registry.registry.evaluation.over_seeds import (
    MIN_ITEMS,
    MIN_ROWS,
    MIN_SEEDS,
    mean_over_seeds,
    ratio_over_rows_and_seeds,
    share_over_seeds,
)
from peft_registry.registry.evaluation.statistics import NoInterval, cluster_bootstrap
from peft_registry.schemas.evaluation import Interval

MEAN, MINIMUM = 0.94, 0.90  # what a kind must reach at the smallest number that it is printed for
RUNS = 1000

# clusters as the suites have them: sizes in items
LAYOUTS = {
    "10 of 8": [8] * 10,
    "10 of 11 (own prompts)": [11] * 10,
    "10 of 1 to 26": [1, 3, 5, 8, 9, 10, 12, 16, 20, 26],
    "10 of 50": [50] * 10,
    "13 of 2 or 3 (a group of house)": [3] * 6 + [2] * 7,
    "40 of 16 (a half of house)": [16] * 40,
    "14 of 16 (house 1)": [16] * 14,
    "14 of 2 to 32": [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 28, 30, 32],
    "25 of 147 (an axis of BBQ)": [147] * 25,
    "56 of 2 or 3 (Winogender)": [2] * 48 + [3] * 8,
    "79 of 1 to 14 (StereoSet)": [1] * 20 + [3] * 20 + [6] * 19 + [14] * 20,
}
ALIKE = (0.0, 0.1, 0.2, 0.3)  # the correlation of two items of one cluster
SHARES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 0.95, 0.98)
# parts of the variance that are the item's and the seed's
ITEMS_AND_SEEDS = ((0.5, 0.0), (0.9, 0.0), (0.5, 0.02), (0.5, 0.1), (0.2, 0.3))
Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Values]
# name: draws, mean
DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(0.3, 1, size), 0.3),
    "heavy tails": (lambda rng, size: rng.standard_t(4, size), 0.0),
    "half normal": (lambda rng, size: np.abs(rng.normal(0, 1, size)), math.sqrt(2 / math.pi)),
    "exponential": (lambda rng, size: rng.exponential(1, size), 1.0),
    "gamma 1/2": (lambda rng, size: rng.gamma(0.5, 1, size), 0.5),
    "log-normal 1/2": (lambda rng, size: rng.lognormal(0, 0.5, size), math.exp(0.125)),
    "log-normal 1": (lambda rng, size: rng.lognormal(0, 1, size), math.exp(0.5)),
    "zeros, ones and between": (lambda rng, size: np.clip(rng.uniform(-0.75, 1.75, size), 0, 1), 0.5),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One kind under one condition: its coverage over the true values, and where it is lowest."""

    kind: str
    condition: str
    mean: float
    minimum: float
    lowest_at: str
    exact: bool = False

    @property
    def holds(self) -> bool:
        return self.mean >= MEAN and self.minimum >= MINIMUM


def table(runs: int = RUNS, seed: int = 0) -> Iterator[Row]:
    """Every kind that is printed, at the smallest numbers and as the suites have them; then what was printed before."""
    for n in (1, 2, 5, 10, 20, 32, 100, 224):
        yield shares(n)
    for layout in LAYOUTS:
        for alike in ALIKE:
            yield clustered_shares(layout, alike, runs, seed)
    for n in (12, 14, 20, 24, 50):
        yield means(n, runs, seed, weighted=False)
    for n in (18, 24, 50):
        yield means(n, runs, seed, weighted=True)
    for layout in ("13 of 2 or 3 (a group of house)", "14 of 16 (house 1)", "79 of 1 to 14 (StereoSet)"):
        for alike in (0.0, 0.3):
            yield clustered_means(layout, alike, runs, seed)
    for n in (MIN_SEEDS, 5):
        yield from _over_seeds(n, runs, seed)
    for layout in ("10 of 8", "14 of 16 (house 1)"):
        yield clustered_shares(layout, 0.2, runs, seed, drawn=True)


def _over_seeds(n: int, runs: int, seed: int) -> Iterator[Row]:
    yield over_seeds(n, runs, seed)
    for items in (MIN_ITEMS, 30, 90, 240):
        for parts in ITEMS_AND_SEEDS:
            yield shares_over_seeds(n, items, parts, runs, seed)
    for rows in (MIN_ROWS, 100):
        for spread in (0.0, 0.3, 1.0):
            yield ratios_over_seeds(n, rows, spread, runs, seed)


def shares(n: int) -> Row:
    """Of independent items, exactly."""
    ends = [_ends(share_interval(hits, n)) for hits in range(n + 1)]
    covered = {
        f"{share:.2f}": float(
            sum(
                weight
                for (low, high), weight in zip(ends, stats.binom.pmf(range(n + 1), n, share), strict=True)
                if low <= share <= high
            )
        )
        for share in np.arange(0.02, 0.985, 0.01)
    }
    return _row("share, independent items", f"{n} items", covered, exact=True)


def clustered_shares(layout: str, alike: float, runs: int, seed: int = 0, *, drawn: bool = False) -> Row:
    """Of beta-binomial clusters."""
    sizes = LAYOUTS[layout]
    rng = _rng(1, seed)
    covered = {}
    for share in SHARES:
        hits = _hits(rng, share, alike, sizes, runs)
        covered[f"{share:g}"] = _covered(
            share,
            (
                cluster_bootstrap(list(map(int, row)), sizes, seed=7) if drawn else share_interval_of_alike(row, sizes)
                for row in hits
            ),
            runs,
        )
    kind = "share over clusters, percentile bootstrap (editions 1 to 3)" if drawn else "share over clusters"
    return _row(kind, _condition(layout, alike), covered)


def means(n: int, runs: int, seed: int = 0, *, weighted: bool) -> Row:
    """Of independent rows; weighted by their tokens, as a loss is."""
    rng = _rng(3, seed)
    covered = {}
    for name, (draw, mean) in DISTRIBUTIONS.items():
        weights = rng.integers(6, 41, (runs, n)) if weighted else np.ones((runs, n), dtype=int)
        values = draw(rng, (runs, n)) * weights
        covered[name] = _covered(mean, map(_mean_of, values, weights), runs)
    return _row("mean", f"{n} rows{' of 6 to 40 tokens' if weighted else ''}", covered)


def clustered_means(layout: str, alike: float, runs: int, seed: int = 0) -> Row:
    """Of clusters in which an item repeats the cluster's value with the probability √`alike`."""
    sizes = LAYOUTS[layout]
    rng = _rng(4, seed)
    covered = {}
    for name, (draw, mean) in DISTRIBUTIONS.items():
        sums = [
            np.where(rng.random((runs, size)) < math.sqrt(alike), draw(rng, (runs, 1)), draw(rng, (runs, size))).sum(1)
            for size in sizes
        ]
        rows = np.stack(sums, axis=1)
        covered[name] = _covered(mean, (_mean_of(row, np.asarray(sizes)) for row in rows), runs)
    return _row("mean over clusters", _condition(layout, alike), covered)


def over_seeds(n: int, runs: int, seed: int = 0) -> Row:
    """Of a figure that varies with the seed."""
    rng = _rng(5, seed)
    names = ("normal", "heavy tails", "log-normal 1/2")
    covered = {}
    for name in names:
        draw, mean = DISTRIBUTIONS[name]
        ends = [_ends(mean_over_seeds(list(row))) for row in draw(rng, (4 * runs, n))]
        covered[name] = sum(low <= mean <= high for low, high in ends) / (4 * runs)
    return _row("mean over seeds", f"{n} seeds", covered)


def shares_over_seeds(n: int, items: int, parts: tuple[float, float], runs: int, seed: int = 0) -> Row:
    """Of items that every seed is asked: a hit is a normal value above a bound; `parts` of its variance are theirs."""
    of_items, of_seeds = parts
    rng = _rng(6, seed)
    own = math.sqrt(1 - of_items - of_seeds)
    covered = {}
    for share in SHARES:
        values = math.sqrt(of_items) * rng.normal(size=(runs, 1, items)) + own * rng.normal(size=(runs, n, items))
        values += math.sqrt(of_seeds) * rng.normal(size=(runs, n, 1))
        hits = (values > -stats.norm.ppf(share)).sum(2)
        covered[f"{share:g}"] = _covered(share, (_share_of([(int(one), items) for one in row]) for row in hits), runs)
    alike = f"of the variance {of_items:g} the item's, {of_seeds:g} the seed's"
    return _row("share over items and seeds", f"{n} seeds of {items} items, {alike}", covered)


def ratios_over_seeds(n: int, rows: int, spread: float, runs: int, seed: int = 0) -> Row:
    """Of rows that every seed is asked: a value is the row's, half a standard deviation of its own, and `spread` of the seed's."""
    rng = _rng(7, seed)
    ones = [[1] * rows] * n
    covered = {}
    for name, (draw, mean) in DISTRIBUTIONS.items():
        values = (
            draw(rng, (runs, 1, rows)) + 0.5 * rng.normal(size=(runs, n, rows)) + spread * rng.normal(size=(runs, n, 1))
        )
        covered[name] = _covered(mean, (ratio_over_rows_and_seeds(one.tolist(), ones) for one in values), runs)
    return _row("mean over rows and seeds", f"{n} seeds of {rows} rows, a seed moves {spread:g}", covered)


def _share_of(counts: Sequence[tuple[int, int]]) -> Interval | NoInterval:
    share = share_over_seeds(counts)
    assert share is not None, "items were asked"
    return share.interval


def _rng(kind: int, seed: int) -> np.random.Generator:
    """A stream of its own for every kind."""
    return np.random.default_rng(kind + 10 * seed)


def _hits(rng: np.random.Generator, share: float, alike: float, sizes: Sequence[int], runs: int) -> NDArray[np.int64]:
    if alike == 0:
        return rng.binomial(sizes, share, (runs, len(sizes)))
    weight = (1 - alike) / alike
    return rng.binomial(sizes, rng.beta(share * weight, (1 - share) * weight, (runs, len(sizes))))


def _mean_of(values: Values, weights: NDArray[np.int64]) -> Interval | NoInterval:
    millionths = [round(1e6 * value) for value in values]
    found = mean_interval(millionths, list(map(int, weights)))
    return found if isinstance(found, NoInterval) else found.revised(low=found.low / 1e6, high=found.high / 1e6)


def _covered(true: float, intervals: Iterator[Interval | NoInterval], runs: int) -> float:
    return sum(low - 1e-12 <= true <= high + 1e-12 for low, high in map(_ends, intervals)) / runs


def _ends(interval: Interval | NoInterval) -> tuple[float, float]:
    """Of an interval that is not given nothing is covered, so that no kind looks good by being withheld."""
    return (math.inf, -math.inf) if isinstance(interval, NoInterval) else (interval.low, interval.high)


def _condition(layout: str, alike: float) -> str:
    return f"{layout}, correlation {alike:g}"


def _row(kind: str, condition: str, covered: dict[str, float], *, exact: bool = False) -> Row:
    lowest = min(covered, key=lambda name: covered[name])
    mean = sum(covered.values()) / len(covered)
    return Row(kind, condition, round(mean, 4), round(covered[lowest], 4), lowest, exact)


if __name__ == "__main__":
    json.dump([asdict(row) for row in table()], sys.stdout, indent=1)
    sys.stdout.write("\n")
