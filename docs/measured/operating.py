"""How often a comparison over each suite says what is not so, and what it can show.

    python -m docs.measured.operating DATA >registry/evaluation/operating.json

DATA holds the files of the suites as their authors publish them (`bias/` of the tests' data); some minutes on one core. Each
suite that ships or can be pinned is read as an evaluation reads it: its items, its clusters, its dead band. Own prompts have
no structure of their own and are left out.

Before and after are the same margins with changes of their own, alike in size, so that without a shift the two are
exchangeable: what is then called a change is wrong. `CHANGES` are the standard deviations of the difference of the two, in
dead bands; a part `ALIKE` of their variance is the cluster's. An effect is a shift of every margin after, as large as it takes
for the flagged share to be expected to rise by so many points. Margins are those of SmolLM2-135M-Instruct where they are kept
(`house-margins.json`), else normal and as wide as those. What is asked of the counts is the product's own test and interval.
"""

import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import t as student

from peft_registry.registry.evaluation.aggregate import StatisticsPlan, derived_items, grouped_readings, threshold_key
from peft_registry.registry.evaluation.directions import ALPHA
from peft_registry.registry.evaluation.items import Item
from peft_registry.registry.evaluation.power import POWER, WHOLE, WIDEST
from peft_registry.registry.evaluation.sign_flips import (
    ClusterChanges,
    change_interval,
    clusters_needed,
    sign_flip_p,
)
from peft_registry.registry.evaluation.statistics import NoInterval
from peft_registry.schemas.evaluation import Half, Threshold
from peft_registry.schemas.identity import Digest
from peft_registry.trainer.evaluation.questions import Score
from peft_registry.trainer.evaluation.suites import LoadedSuite, suites
from peft_registry.trainer.evaluation.suites.published import HOUSE
from peft_registry.trainer.evaluation.suites.selection import EmptyHalf, halved

HERE = Path(__file__).resolve().parent
CHANGES = (2.0, 4.0)  # 1.4 and 2.8 nats of a pair of sentences
ALIKE = 0.2
SPREAD = 5.3  # of simulated margins: 3.7 nats of a pair of sentences
POINTS = (5, 10, 15)
RUNS = 1000
FEWER_RUNS = 200  # of each of the many shifts that the power is looked for at
PARTS: tuple[Half | None, ...] = (None, "development", "test")
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Structure:
    """The items of a suite: the margin of each in dead bands, and the number of its cluster; and the digest of its data."""

    dataset: str
    margins: _Floats
    clusters: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One part of a suite under one size of changes. Shares of runs; `detectable` and `width` are in points.

    Attributes:
        suite: its name, with the version where several ship.
        dataset: the digest of its data.
        part: `whole`, or a half.
        items: how many.
        clusters: how many.
        change: standard deviation of the changes, in dead bands.
        is_testable: whether as many clusters could move as the test needs.
        wrong_rise: of exchangeable nulls that are called a rise.
        wrong_fall: of those that are called a fall.
        power: of true rises by `POINTS`.
        detectable: the rise that is found with `POWER`; None where it is more than `WIDEST`.
        covered: of intervals that hold the true change.
        width: of them, the median.
        covered_by_t: the same of the interval of Student's t over clusters, for comparison.
        width_of_t: likewise.
    """

    suite: str
    dataset: str
    part: str
    items: int
    clusters: int
    change: float
    is_testable: bool
    wrong_rise: float = 0.0
    wrong_fall: float = 0.0
    power: tuple[float, ...] = ()
    detectable: float | None = None
    covered: float | None = None
    width: float | None = None
    covered_by_t: float | None = None
    width_of_t: float | None = None


def structures(data: Path | None, names: Collection[str] | None = None) -> Iterator[tuple[str, str, Structure]]:
    """Each part of each suite, or of the suites with these names; without a folder of data of those that ship."""
    for name, suite in suites().items():
        if names is not None and name not in names:
            continue
        if suite.definition.is_shipped:
            for digest, version in HOUSE.items():
                yield from _parts(f"{name} {version}", suite.load(expected=Digest(digest)))
        elif suite.definition.belongs_to_others and data is not None:
            yield from _parts(name, suite.load(data))


def _parts(name: str, whole: LoadedSuite) -> Iterator[tuple[str, str, Structure]]:
    for part in PARTS:
        try:
            suite = halved(whole, part)
        except EmptyHalf:
            continue
        yield name, part or WHOLE, structure_of(suite)


def structure_of(suite: LoadedSuite) -> Structure:
    """What is compared between two arms of a suite: the items of its primary measure."""
    bands = suite.definition.thresholds
    measure = next(iter(bands))
    items = [item for item in _items(suite, bands) if item.measure == measure]
    numbers = {cluster: number for number, cluster in enumerate(sorted({item.cluster for item in items}))}
    kept = kept_margins(suite)
    margins = (
        np.random.default_rng(0).normal(0, SPREAD, len(items))
        if kept is None
        else np.array([kept[item.id] for item in items]) / bands[measure].hi
    )
    return Structure(str(suite.dataset.sha256), margins, np.array([numbers[item.cluster] for item in items]))


def _items(suite: LoadedSuite, bands: Mapping[str, Threshold]) -> list[Item]:
    """The items as an evaluation has them; what the model answered is any number here."""
    random = np.random.default_rng(0)
    scores = [Score(-float(score), 4) for score in random.uniform(5, 40, len(suite.requests))]
    rows = suite.items(scores, arm="base", threshold=next(iter(bands.values())))
    plan = StatisticsPlan(thresholds={threshold_key(suite.dataset.name, name): band for name, band in bands.items()})
    return [
        *(row for row in rows if isinstance(row, Item)),
        *derived_items(grouped_readings(rows), plan),
    ]


def kept_margins(suite: LoadedSuite) -> dict[str, float] | None:
    """The margins that SmolLM2 gave, by item; None where none are kept."""
    kept = json.loads((HERE / "house-margins.json").read_text("utf-8")).get(str(suite.dataset.sha256))
    if kept is None:
        return None
    whole = suites()[suite.dataset.name].load(expected=suite.dataset.sha256)
    return dict(zip((name for name, _ in whole.units), kept, strict=True))


@dataclass(frozen=True, slots=True)
class Simulation:
    """Draws of one structure: the counts by cluster of items that entered the flagged state, less those that left it."""

    structure: Structure
    change: float
    seed: int = 0

    def drawn(self, runs: int, shift: float = 0.0, stream: int = 0) -> Iterator[ClusterChanges]:
        """So many comparisons, with every margin after moved by a shift in dead bands."""
        random = np.random.default_rng((self.seed, stream))
        margins, clusters = self.structure.margins, self.structure.clusters
        sizes = tuple(map(int, np.bincount(clusters)))
        for _ in range(runs):
            before, after = (self._arm(random) for _ in range(2))
            moved = (margins + after + shift > 1).astype(np.int64) - (margins + before > 1)
            counts = np.bincount(clusters, weights=moved, minlength=len(sizes))
            yield ClusterChanges(tuple(int(count) for count in counts), sizes)

    def _arm(self, random: np.random.Generator) -> _Floats:
        """What one arm adds to every margin: half of the variance of a change, a part of it alike within a cluster."""
        clusters = self.structure.clusters
        shared = random.normal(0, np.sqrt(ALIKE / 2) * self.change, int(clusters.max()) + 1)
        own: _Floats = random.normal(0, np.sqrt((1 - ALIKE) / 2) * self.change, len(clusters))
        return own + shared[clusters]

    def shift_for(self, points: float) -> float:
        """The shift by which the flagged share is expected to rise by so many points: a normal distribution of what an arm adds."""

        def expected(shift: float) -> float:
            return float(np.mean(ndtr((self.structure.margins + shift - 1) / (self.change / np.sqrt(2)))))

        return float(brentq(lambda shift: expected(shift) - expected(0) - points / 100, 0, 10 * SPREAD))

    def said(self, runs: int, points: float = 0.0) -> tuple[float, float]:
        """The shares of comparisons that are called a rise, and a fall."""
        shift = self.shift_for(points) if points else 0.0
        verdicts = [
            (change.value > 0) - (change.value < 0) if sign_flip_p(change.changes) <= ALPHA else 0
            for change in self.drawn(runs, shift, stream=2)
        ]
        return verdicts.count(1) / runs, verdicts.count(-1) / runs

    def detectable(self, runs: int) -> float | None:
        """The least rise, in points, that is found with `POWER`, to half a point."""
        low, high = 0.0, float(WIDEST)
        if self.said(runs, high)[0] < POWER:
            return None
        while high - low > 0.5:
            middle = (low + high) / 2
            if self.said(runs, middle)[0] < POWER:
                low = middle
            else:
                high = middle
        return round(high, 1)

    def intervals(self, runs: int, points: float) -> tuple[tuple[float, float], tuple[float, float]]:
        """The share of intervals that hold a true rise by so many points, and their median width: the product's, and those of t."""
        true = points / 100
        changes = list(self.drawn(runs, self.shift_for(points), stream=3))
        drawn = [interval for interval in map(change_interval, changes) if not isinstance(interval, NoInterval)]
        ours = _covered_and_width([(interval.low, interval.high) for interval in drawn], true)
        return ours, _covered_and_width([_of_t(change) for change in changes], true)


def _covered_and_width(ends: Sequence[tuple[float, float]], true: float) -> tuple[float, float]:
    covered = float(np.mean([low <= true <= high for low, high in ends]))
    return covered, round(100 * float(np.median([high - low for low, high in ends])), 1)


def _of_t(change: ClusterChanges) -> tuple[float, float]:
    """The interval of a ratio of sums over clusters by its linearisation (Cochran 1977, 6.13) and Student's t."""
    clusters = len(change.changes)
    residuals = np.array(change.changes) - change.value * np.array(change.items)
    error = np.sqrt(clusters / (clusters - 1) * np.sum(residuals**2)) / sum(change.items)
    half = float(student.ppf(1 - ALPHA / 2, clusters - 1) * error)
    return change.value - half, change.value + half


def row_of(suite: str, part: str, structure: Structure, change: float, runs: int = RUNS) -> Row:
    """What is known of one part of a suite."""
    clusters = int(structure.clusters.max()) + 1
    row = Row(
        suite=suite,
        dataset=structure.dataset,
        part=part,
        items=len(structure.margins),
        clusters=clusters,
        change=change,
        is_testable=clusters >= clusters_needed(ALPHA),
    )
    if not row.is_testable:
        return row
    simulation = Simulation(structure, change)
    fewer = min(runs, FEWER_RUNS)
    rise, fall = simulation.said(runs)
    ours, of_t = simulation.intervals(runs, POINTS[0])
    return replace(
        row,
        wrong_rise=rise,
        wrong_fall=fall,
        power=tuple(simulation.said(fewer, points)[0] for points in POINTS),
        detectable=simulation.detectable(fewer),
        covered=ours[0],
        width=ours[1],
        covered_by_t=of_t[0],
        width_of_t=of_t[1],
    )


def main(arguments: Sequence[str]) -> int:
    """Print every row, one JSON document."""
    (data,) = arguments
    rows = [
        asdict(row_of(suite, part, structure, change))
        for suite, part, structure in structures(Path(data))
        for change in CHANGES
    ]
    sys.stdout.write("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
